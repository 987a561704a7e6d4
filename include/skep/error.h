/* SPDX-License-Identifier: MIT */
/* Every error code of skep: its number, its name, its text.
 *
 * The hundreds digit says whose fault it was, which decides what to do about it:
 *   -1xx the caller (mend the call)        -2xx this machine (memory, files, the OS)
 *   -3xx the network (retry may help)      -4xx the peer (it broke a rule; do not trust it further) */
#ifndef SKEP_ERROR_H
#define SKEP_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined _WIN32
#define SKEP_API
#else
#define SKEP_API __attribute__((visibility("default")))
#endif

#define SKEP_ERRORS(X)                                                                             \
    X(EINVAL, -101, "invalid argument")                                                            \
    X(ELIMIT, -102, "a configured limit was reached")                                              \
    X(EDEADLOCK, -103, "a blocking call on the node's own loop would never return")                \
    X(ECANCELED, -104, "the operation was cancelled")                                              \
    X(ECLOSED, -105, "the object is closed")                                                       \
    X(EUID, -106, "not an expert uid (name.number.number…)")                                       \
    X(EPREFIX, -107, "not an expert prefix (name.number. …, ending in a dot)")                     \
    X(EMULTIADDR, -108, "not a multiaddr that skep can use")                                       \
    X(EPEERID, -109, "not a peer id")                                                              \
    X(EKEY, -110, "not a usable private key")                                                      \
    X(EKEYMODE, -111, "others can read the private key file")                                      \
    X(EEXIST, -112, "it exists already")                                                           \
    X(ESIZE, -113, "too large")                                                                    \
    X(EVALUE, -114, "a value cannot be encoded or decoded")                                        \
    X(ESELF, -115, "that is this node itself")                                                     \
    X(ENOMEM, -201, "out of memory")                                                               \
    X(EIO, -202, "input or output failed")                                                         \
    X(ECRYPTO, -203, "a cryptographic function failed")                                            \
    X(ESYSTEM, -204, "the operating system refused")                                               \
    X(EADDRINUSE, -205, "the address is in use")                                                   \
    X(ETIMEDOUT, -301, "timed out")                                                                \
    X(EUNREACH, -302, "the peer cannot be reached")                                                \
    X(ELOST, -303, "the connection was lost")                                                      \
    X(EREFUSED, -304, "the connection was refused")                                                \
    X(ENOTFOUND, -305, "not found")                                                                \
    X(EBOOTSTRAP, -306, "no initial peer answered")                                                \
    X(ERESOLVE, -307, "the name cannot be resolved")                                               \
    X(EDEADLINE, -308, "the deadline passed")                                                      \
    X(EIDENTITYTAKEN, -309, "another running peer already uses this identity")                     \
    X(EPEER_FRAME, -401, "the peer sent a malformed frame")                                        \
    X(EPEER_PROTO, -402, "the peer broke the protocol")                                            \
    X(EPEER_AUTH, -403, "the peer could not prove its identity")                                   \
    X(EPEER_LIMIT, -404, "the peer exceeded a limit")                                              \
    X(EPEER_REMOTE, -405, "the peer answered with an error")                                       \
    X(EPEER_UNSUPPORTED, -406, "the peer does not speak this protocol")                            \
    X(EPEER_RESET, -407, "the peer reset the stream")                                              \
    X(EPEER_CLOCK, -408, "the peer's clock differs too much from ours")                            \
    X(EPEER_UNVERIFIED, -409, "the peer could not reach us back")

enum skep_error {
    SKEP_OK = 0,
#define SKEP_ERROR_ENUM(name, number, text) SKEP_##name = number,
    SKEP_ERRORS(SKEP_ERROR_ENUM)
#undef SKEP_ERROR_ENUM
};

/** @return the text of an error code, static; "unknown error" for a number that is none. */
SKEP_API const char *skep_strerror(int code);

/** @return the name of an error code such as "SKEP_EINVAL", static; "SKEP_OK" for 0. */
SKEP_API const char *skep_error_name(int code);

#ifdef __cplusplus
}
#endif
#endif
