/* SPDX-License-Identifier: MIT */
/* What of a found value is believed: skep_dht_get_options.believes put to use. */
#ifndef SKEP_DHT_BELIEVE_H
#define SKEP_DHT_BELIEVE_H

#include "dht/node_internal.h"

/** Take out of *value what `judge` does not believe (NULL: it believes everything). What others hold of it stays as it is: then *value becomes another. What is believed
 *  is believed for ttl_max_s at most, unless it is signed.
 *  @return is anything left? false: *value is dropped, and NULL. Without memory nothing is believed. */
bool skep_dht_believe(struct skep_dht *dht, skep_dht_judge *judge, const struct skep_dht_id *key,
                      struct skep_dht_value **value);

#endif
