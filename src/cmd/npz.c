/* SPDX-License-Identifier: MIT */
/* numpy's .npz: a zip archive of .npy files. Source: PKWARE APPNOTE 6.3.10, 4.3.7 (local header), 4.3.12 (central directory),
 * 4.3.16 (end record). The central directory is what counts: numpy's local headers leave their sizes to zip64 fields.
 *
 * Leaves out encryption, archives in several parts, zip64 sizes (members of 4 GiB and more) and methods but stored and deflated. */
#include "cmd/npy.h"

#include <stdio.h>
#include <zlib.h>

enum {
    END_LEN = 22, /* without the comment of up to 65,535 bytes */
    COMMENT_MAX = 65535,
    CENTRAL_LEN = 46,
    LOCAL_LEN = 30,
    METHOD_STORED = 0,
    METHOD_DEFLATED = 8,
    FLAG_ENCRYPTED = 1,
    DEFLATE_RATIO_MAX = 1032, /* no deflated byte yields more than this many */
};

struct zip_entry {
    unsigned flags, method;
    uint32_t crc, packed_len, len, local_offset;
    skep_bytes name;
};

static uint16_t get_le16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t get_le32(const uint8_t *p)
{
    return get_le16(p) | (uint32_t)get_le16(p + 2) << 16;
}

static int malformed(struct skep_cmd_why *why)
{
    return skep_cmd_refuse(why, SKEP_EVALUE, "it is a malformed or truncated .npz archive");
}

/* The end record lies at the end, before a comment whose length it tells. @return it, or NULL. */
static const uint8_t *find_end(skep_bytes file)
{
    for (size_t comment = 0; comment <= COMMENT_MAX && comment + END_LEN <= file.len; comment++) {
        const uint8_t *end = file.data + file.len - END_LEN - comment;

        if (memcmp(end, "PK\5\6", 4) == 0 && get_le16(end + 20) == comment)
            return end;
    }
    return NULL;
}

static int take_entry(skep_bytes *directory, struct zip_entry *entry, struct skep_cmd_why *why)
{
    skep_bytes fixed = skep_bytes_take(directory, CENTRAL_LEN);
    size_t skipped;

    if (fixed.len < CENTRAL_LEN || memcmp(fixed.data, "PK\1\2", 4) != 0)
        return malformed(why);
    *entry = (struct zip_entry){.flags = get_le16(fixed.data + 8),
                                .method = get_le16(fixed.data + 10),
                                .crc = get_le32(fixed.data + 16),
                                .packed_len = get_le32(fixed.data + 20),
                                .len = get_le32(fixed.data + 24),
                                .local_offset = get_le32(fixed.data + 42)};
    entry->name = skep_bytes_take(directory, get_le16(fixed.data + 28));
    skipped = (size_t)get_le16(fixed.data + 30) + get_le16(fixed.data + 32);
    if (entry->name.len < get_le16(fixed.data + 28) ||
        skep_bytes_take(directory, skipped).len < skipped)
        return malformed(why);
    return 0;
}

/* The bytes of a member, still packed: behind its local header, whose name and extra field may differ in length. */
static int packed_bytes(skep_bytes file, const struct zip_entry *entry, skep_bytes *packed,
                        struct skep_cmd_why *why)
{
    skep_bytes fixed, rest = file;
    size_t skipped;

    skep_bytes_take(&rest, entry->local_offset);
    fixed = skep_bytes_take(&rest, LOCAL_LEN);
    if (fixed.len < LOCAL_LEN || memcmp(fixed.data, "PK\3\4", 4) != 0)
        return malformed(why);
    skipped = (size_t)get_le16(fixed.data + 26) + get_le16(fixed.data + 28);
    if (skep_bytes_take(&rest, skipped).len < skipped || rest.len < entry->packed_len)
        return malformed(why);
    *packed = skep_bytes_take(&rest, entry->packed_len);
    return 0;
}

static void *zip_alloc(void *mem, unsigned count, unsigned size)
{
    return skep_mem_zalloc(mem, count, size);
}

static void zip_free(void *mem, void *ptr)
{
    skep_mem_free(mem, ptr);
}

/* @return Z_STREAM_END when `to` is filled to the byte. */
static int inflate_raw(const struct skep_mem *mem, uint8_t *to, size_t len, skep_bytes packed)
{
    z_stream z = {.zalloc = zip_alloc,
                  .zfree = zip_free,
                  .opaque = (void *)(uintptr_t)mem,
                  .next_in = (Bytef *)(uintptr_t)packed.data,
                  .avail_in = (uInt)packed.len,
                  .next_out = to,
                  .avail_out = (uInt)len};
    int rc = inflateInit2(&z, -MAX_WBITS);

    if (rc != Z_OK)
        return rc;
    rc = inflate(&z, Z_FINISH);
    if (rc == Z_STREAM_END && (z.avail_out != 0 || z.avail_in != 0))
        rc = Z_DATA_ERROR;
    inflateEnd(&z);
    return rc;
}

/* The content of a member: *bytes points into the file, or into *owned, which the caller frees. */
static int unpack(skep_bytes file, const struct zip_entry *entry, const struct skep_mem *mem,
                  skep_bytes *bytes, uint8_t **owned, struct skep_cmd_why *why)
{
    skep_bytes packed = {NULL, 0};
    int rc = packed_bytes(file, entry, &packed, why);

    if (rc < 0)
        return rc;
    if ((entry->flags & FLAG_ENCRYPTED) != 0 ||
        (entry->method != METHOD_STORED && entry->method != METHOD_DEFLATED))
        return skep_cmd_refuse(why, SKEP_EVALUE, "it is %s",
                               entry->flags & FLAG_ENCRYPTED ? "encrypted"
                                                             : "compressed in an unknown way");
    if (entry->len > SKEP_CMD_INPUT_MAX || entry->len / DEFLATE_RATIO_MAX > packed.len)
        return skep_cmd_refuse(why, SKEP_EVALUE, "its %lu bytes are too many",
                               (unsigned long)entry->len);
    *bytes = packed;
    if (entry->method == METHOD_DEFLATED) {
        *owned = skep_mem_alloc(mem, entry->len);
        if (!*owned)
            return skep_cmd_no_memory(why);
        rc = inflate_raw(mem, *owned, entry->len, packed);
        if (rc != Z_STREAM_END)
            return rc == Z_MEM_ERROR ? skep_cmd_no_memory(why) : malformed(why);
        *bytes = skep_bytes_of(*owned, entry->len);
    }
    if (bytes->len != entry->len || crc32(0, bytes->data, (uInt)bytes->len) != entry->crc)
        return skep_cmd_refuse(why, SKEP_EVALUE, "its checksum is wrong");
    return 0;
}

/* Unpack a member and hand it on. */
static int visit_member(const struct skep_npz_visit *visit, size_t index,
                        const struct skep_mem *mem, skep_bytes file, const struct zip_entry *entry,
                        struct skep_cmd_why *why)
{
    struct skep_cmd_why inner = {.text = ""};
    char name[SKEP_NPZ_NAME_MAX];
    uint8_t *owned = NULL;
    skep_bytes stem = entry->name, bytes = {NULL, 0};
    int rc;

    if (stem.len > 4 && memcmp(stem.data + stem.len - 4, ".npy", 4) == 0)
        stem.len -= 4;
    skep_text_escape(name, sizeof name, stem);
    rc = unpack(file, entry, mem, &bytes, &owned, &inner);
    if (rc == 0)
        rc = visit->member(visit->user, index, name, bytes, &inner);
    skep_mem_free(mem, owned);
    return rc < 0 ? skep_cmd_refuse(why, rc, "member '%.128s': %.300s", name, inner.text) : 0;
}

int skep_npz_walk(const struct skep_npz_visit *visit, const struct skep_mem *mem, skep_bytes file,
                  struct skep_cmd_why *why)
{
    const uint8_t *end = find_end(file);
    struct zip_entry entry = {.flags = 0};
    skep_bytes directory = file;
    size_t count;
    int rc = 0;

    if (!end)
        return malformed(why);
    count = get_le16(end + 10);
    skep_bytes_take(&directory, get_le32(end + 16));
    directory.len = SKEP_MIN(directory.len, get_le32(end + 12));
    if (count == 0 || count > SKEP_GRID_DIMENSIONS_MAX)
        return skep_cmd_refuse(why, SKEP_EVALUE, "it has %zu arrays, not 1 to %d", count,
                               SKEP_GRID_DIMENSIONS_MAX);
    if (visit->begin(visit->user, count) < 0)
        return skep_cmd_no_memory(why);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = take_entry(&directory, &entry, why);
        if (rc == 0)
            rc = visit_member(visit, i, mem, file, &entry, why);
    }
    return rc;
}

/* ---- arrays of floats ---- */

struct floats {
    struct skep_npz *out;
    const struct skep_mem *mem;
};

static int begin_floats(void *user, size_t count)
{
    struct floats *floats = user;

    floats->out->members = skep_mem_zalloc(floats->mem, count, sizeof *floats->out->members);
    return floats->out->members ? 0 : SKEP_ENOMEM;
}

static int add_floats(void *user, size_t index, const char *name, skep_bytes npy,
                      struct skep_cmd_why *why)
{
    struct floats *floats = user;
    struct skep_npz_member *member = &floats->out->members[index];
    int rc = skep_npy_parse(&member->array, floats->mem, npy, why);

    if (rc < 0)
        return rc;
    snprintf(member->name, sizeof member->name, "%s", name);
    floats->out->count = index + 1;
    return 0;
}

int skep_npz_parse(struct skep_npz *out, const struct skep_mem *mem, skep_bytes file,
                   struct skep_cmd_why *why)
{
    struct floats floats = {out, mem};
    const struct skep_npz_visit visit = {begin_floats, add_floats, &floats};
    int rc;

    *out = (struct skep_npz){.count = 0};
    rc = skep_npz_walk(&visit, mem, file, why);
    if (rc < 0)
        skep_npz_fini(out, mem);
    return rc;
}

void skep_npz_fini(struct skep_npz *npz, const struct skep_mem *mem)
{
    for (size_t i = 0; i < npz->count; i++)
        skep_npy_fini(&npz->members[i].array, mem);
    skep_mem_free(mem, npz->members);
    *npz = (struct skep_npz){.count = 0};
}
