/* SPDX-License-Identifier: MIT */
/* Identify messages from a peer: where the input is cut changes nothing, and what is taken stays within its limits. */
#include <stdlib.h>

#include "host/host_impl.h"

struct outcome {
    int rc;
    size_t protocol_count, addr_count, agent_len;
    uint32_t text;
};

static struct outcome read_cut(const uint8_t *data, size_t len, size_t cut)
{
    struct skep_identify_reader reader;
    struct skep_identify_info *info = NULL;
    struct outcome outcome = {0};

    skep_identify_reader_init(&reader, &skep_mem_std);
    outcome.rc = skep_identify_feed(&reader, skep_bytes_of(data, cut));
    if (outcome.rc == 0)
        outcome.rc = skep_identify_feed(&reader, skep_bytes_of(data + cut, len - cut));
    if (outcome.rc == 0)
        outcome.rc = skep_identify_finish(&reader, &info);
    skep_identify_reader_fini(&reader);
    if (!info)
        return outcome;
    outcome.protocol_count = info->protocol_count;
    outcome.addr_count = info->addr_count;
    outcome.agent_len = info->agent.len;
    outcome.text = skep_map_hash(info->text.data, info->text.len);
    for (size_t i = 0; i < info->protocol_count; i++)
        if (strlen(info->protocols[i]) == 0 ||
            strlen(info->protocols[i]) >= SKEP_NEGOTIATE_TOKEN_MAX)
            abort();
    if (info->protocol_count > SKEP_IDENTIFY_PROTOCOLS_MAX ||
        info->addr_count > SKEP_ADDRESSES_PER_PEER_MAX || info->agent.len > SKEP_PEER_TEXT_MAX)
        abort();
    skep_identify_info_free(&skep_mem_std, info);
    return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    size_t cut = len > 0 ? data[len / 2] % (len + 1) : 0;
    struct outcome whole = read_cut(data, len, len), parts = read_cut(data, len, cut);

    if (memcmp(&whole, &parts, sizeof whole) != 0)
        abort();
    return 0;
}
