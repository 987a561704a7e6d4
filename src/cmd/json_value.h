/* SPDX-License-Identifier: MIT */
/* Values of the DHT as JSON and back. Source: design.md, "The command line is a contract".
 *
 * What JSON cannot say has a form of its own, an object with one key:
 *   {"$tuple": [...]}  {"$bytes": "base64"}  {"$uint": "18446744073709551615"}  {"$float": "inf" | "-inf" | "nan"}
 *   {"$map": [[key, value], ...]}  a map with keys that are bytes, hold a NUL or begin with '$'
 *   {"$raw": "hex"}                msgpack that JSON has no words for: other extensions, or what does not decode */
#ifndef SKEP_CMD_JSON_VALUE_H
#define SKEP_CMD_JSON_VALUE_H

#include <jansson.h>

#include "base/bytes.h"
#include "cmd/why.h"

/** Append the msgpack form of a JSON value. @return 0; SKEP_EVALUE with the reason: a form above misused, or nested deeper
 *  than SKEP_MSGPACK_DEPTH_MAX; SKEP_ENOMEM. On error `out` has unspecified content. */
int skep_cmd_json_pack(struct skep_buf *out, const json_t *value, struct skep_cmd_why *why);

/** Read JSON text (any value, no duplicate keys). @return a new reference, or NULL with the reason. */
json_t *skep_cmd_json_parse(skep_bytes text, struct skep_cmd_why *why);

/** The JSON form of msgpack bytes. Tuples are arrays unless `typed`.
 *  @return a new reference; NULL only where memory ran out: what does not decode becomes {"$raw": …}. */
json_t *skep_cmd_json_unpack(const struct skep_mem *mem, skep_bytes packed, bool typed);

/** A number that may not be finite. */
json_t *skep_cmd_json_real(double v);

/** Text of a peer's: JSON strings are UTF-8, so other bytes become \xNN. */
json_t *skep_cmd_json_text(skep_bytes text);

#endif
