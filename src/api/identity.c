/* SPDX-License-Identifier: MIT */
/* Identity files: made atomically and for their owner alone, read as hivemind's `identity_path` writes them. */
#include "api/api.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/secret.h"

static int read_all(int fd, uint8_t *to, size_t cap, size_t *len)
{
    *len = 0;
    while (*len < cap) {
        ssize_t n = read(fd, to + *len, cap - *len);

        if (n == 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return SKEP_EIO;
        *len += n > 0 ? (size_t)n : 0;
    }
    return SKEP_EKEY; /* no key is that large */
}

static int check_mode(int fd, const char *path)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return skep_api_fail(SKEP_EIO, "%s: %s", skep_api_quote(path), strerror(errno));
    if (!S_ISREG(st.st_mode))
        return skep_api_fail(SKEP_EKEY, "%s: not a file", skep_api_quote(path));
    if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return skep_api_fail(
            SKEP_EKEYMODE,
            "%s: others than its owner have rights on the key (mode %03o; chmod 600 helps)",
            skep_api_quote(path), (unsigned)(st.st_mode & 0777));
    return 0;
}

int skep_api_identity_load(struct skep_identity *identity, const char *path)
{
    uint8_t bytes[SKEP_IDENTITY_FILE_MAX];
    size_t len = 0;
    int rc, fd = open(path,
                      O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK); /* a pipe would make us wait */

    memset(identity, 0, sizeof *identity);
    if (fd < 0)
        return skep_api_fail(SKEP_EIO, "%s: %s", skep_api_quote(path), strerror(errno));
    if ((rc = check_mode(fd, path)) < 0)
        goto out;
    if ((rc = read_all(fd, bytes, sizeof bytes, &len)) == SKEP_EIO) {
        rc = skep_api_fail(SKEP_EIO, "%s: %s", skep_api_quote(path), strerror(errno));
        goto out;
    }
    if (rc == 0)
        rc = skep_identity_parse(identity, API_MEM, skep_bytes_of(bytes, len));
    if (rc < 0)
        skep_api_fail(rc, "%s: %s", skep_api_quote(path), skep_strerror(rc));
out:
    skep_secret_wipe(bytes, sizeof bytes);
    close(fd);
    return rc;
}

int skep_identity_load(const char *path, skep_peer *peer)
{
    struct skep_identity identity;
    int rc;

    if (!path || !peer)
        return skep_api_fail(SKEP_EINVAL, "no path, or nowhere to put the peer id");
    if ((rc = skep_api_identity_load(&identity, path)) < 0)
        return rc;
    *peer = api_peer_out(&identity.id);
    skep_identity_fini(&identity);
    return 0;
}

/* ---- making one ---- */

static int new_identity(struct skep_identity *identity)
{
    struct skep_uv_loop *loop;
    uint8_t seed[SKEP_ED25519_LEN];
    int rc;

    if ((rc = skep_uv_loop_new(&loop, API_MEM)) < 0)
        return rc;
    if ((rc = skep_uv_loop_env(loop)->entropy(skep_uv_loop_env(loop), seed, sizeof seed)) == 0)
        rc = skep_identity_from_seed(identity, API_MEM, seed);
    skep_secret_wipe(seed, sizeof seed);
    skep_uv_loop_free(loop);
    return rc;
}

static int write_all(int fd, skep_bytes bytes)
{
    while (bytes.len > 0) {
        ssize_t n = write(fd, bytes.data, bytes.len);

        if (n < 0 && errno != EINTR)
            return SKEP_EIO;
        skep_bytes_take(&bytes, n > 0 ? (size_t)n : 0);
    }
    return fsync(fd) == 0 ? 0 : SKEP_EIO;
}

/* Written under another name and then linked: nobody ever sees half a key, and of two that make one at the same time one wins.
 * @return 0 made, 1 it was there. */
static int write_new(const char *path, skep_bytes bytes)
{
    char *temporary = NULL;
    int rc, fd;

    if (asprintf(&temporary, "%s.XXXXXX", path) < 0)
        return skep_api_fail(SKEP_ENOMEM, "out of memory");
    fd = mkstemp(temporary); /* mode 0600 */
    if (fd < 0) {
        rc = skep_api_fail(SKEP_EIO, "%s: %s", skep_api_quote(path), strerror(errno));
        goto out;
    }
    rc = write_all(fd, bytes);
    if (close(fd) != 0 || rc < 0)
        rc = skep_api_fail(SKEP_EIO, "%s: %s", skep_api_quote(path), strerror(errno));
    else if (link(temporary, path) != 0)
        rc = errno == EEXIST
                 ? 1
                 : skep_api_fail(SKEP_EIO, "%s: %s", skep_api_quote(path), strerror(errno));
    unlink(temporary);
out:
    free(temporary);
    return rc;
}

int skep_identity_create(const char *path, skep_peer *peer)
{
    struct skep_identity identity = {0};
    struct skep_buf file;
    skep_peer unused;
    int rc;

    peer = peer ? peer : &unused;
    if (!path || !*path)
        return skep_api_fail(SKEP_EINVAL, "no path for the key file");
    if (access(path, F_OK) == 0)
        return (rc = skep_identity_load(path, peer)) < 0 ? rc : 1;
    if ((rc = new_identity(&identity)) < 0)
        return skep_api_fail(rc, "cannot make a key: %s", skep_strerror(rc));
    skep_buf_init(&file, API_MEM);
    if ((rc = skep_identity_serialize(&identity, &file)) == 0)
        rc = write_new(path, skep_buf_view(&file));
    if (rc == 0)
        *peer = api_peer_out(&identity.id);
    if (file.data)
        skep_secret_wipe(file.data, file.cap);
    skep_buf_fini(&file);
    skep_identity_fini(&identity);
    if (rc == 1)
        rc = (rc = skep_identity_load(path, peer)) < 0 ? rc : 1;
    return rc;
}
