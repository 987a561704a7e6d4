/* SPDX-License-Identifier: MIT */
#include "base/error.h"

const char *skep_strerror(int code)
{
    switch (code) {
    case 0: return "success";
#define CASE(name, number, text)                                                                   \
    case number: return text;
        SKEP_ERRORS(CASE)
#undef CASE
    default: return "unknown error";
    }
}

const char *skep_error_name(int code)
{
    switch (code) {
    case 0: return "SKEP_OK";
#define CASE(name, number, text)                                                                   \
    case number: return "SKEP_" #name;
        SKEP_ERRORS(CASE)
#undef CASE
    default: return "SKEP_UNKNOWN";
    }
}
