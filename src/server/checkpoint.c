/* SPDX-License-Identifier: MIT */
/* See checkpoint.h. The one file below api/ that opens files: what it does is nothing but that, and it runs on a worker thread.
 *
 * Writing: lock the temporary file (which may be left from a crash; whoever holds the lock owns it), empty it, write from the parameters where they lie,
 * sync, rename, sync the folder. So a checkpoint is whole whenever the machine stops, and of two processes that write the same one, one is refused.
 *
 * An expert's folder may be a symbolic link, as to another disk. The file itself may not: a rename would put a file in the link's place. Nothing that is
 * opened here can block (O_NONBLOCK: a FIFO is found out, not waited for). */
#include "server/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/limits.h"
#include "server/safetensors.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "safetensors files are little-endian, and numbers are written as they lie in memory"
#endif

#define FORMAT "skep-expert-1"
#define NAME "checkpoint_last.safetensors"
#define TEMPORARY NAME ".tmp"

enum { MODULE, EXP_AVG, EXP_AVG_SQ, KINDS };

static const char *const prefixes[KINDS] = {"module.", "optimizer.exp_avg.",
                                            "optimizer.exp_avg_sq."};

/* Where the reason goes, and which file it is about. */
struct reason {
    char *why;
    size_t why_len;
    const char *path;
};

static int refuse(const struct reason *reason, int rc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static int refuse(const struct reason *reason, int rc, const char *format, ...)
{
    char what[SKEP_CHECKPOINT_WHY_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    if (reason->why_len > 0)
        snprintf(reason->why, reason->why_len, "%s: %s", reason->path, what);
    return rc;
}

static int refuse_errno(const struct reason *reason, const char *doing)
{
    return refuse(reason, SKEP_EIO, "%s: %s", doing, strerror(errno));
}

static int no_memory(const struct reason *reason)
{
    return refuse(reason, SKEP_ENOMEM, "out of memory");
}

/* A path for messages: its end is what tells experts apart. */
static void show_path(char *out, const char *dir, const char *folder, const char *name)
{
    size_t tail = strlen(folder) + strlen(name) + 2, room, skipped;

    room = SKEP_CHECKPOINT_PATH_MAX - 1 > tail ? SKEP_CHECKPOINT_PATH_MAX - 1 - tail : 0;
    skipped = strlen(dir) > room ? strlen(dir) - room : 0;
    snprintf(out, SKEP_CHECKPOINT_PATH_MAX, "%s/%s/%s", dir + skipped, folder, name);
}

/* ---- places ---- */

static void close_if_open(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void close_all(struct skep_checkpoint_file *file)
{
    close_if_open(&file->fd);
    close_if_open(&file->folder);
    close_if_open(&file->dir);
}

static int open_folder(int at, const char *name)
{
    return openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Open DIR and the expert's folder in it. @return 0; 1: there is no folder, and it was not to be made; an error. */
static int open_place(struct skep_checkpoint_file *file, skep_bytes uid, const char *dir, bool make,
                      const struct reason *reason)
{
    char folder[SKEP_CHECKPOINT_FOLDER_MAX];

    *file = (struct skep_checkpoint_file){.dir = -1, .folder = -1, .fd = -1};
    snprintf(file->path, sizeof file->path, "%s", dir);
    if (skep_checkpoint_folder(folder, sizeof folder, uid) < 0)
        return refuse(reason, SKEP_ESIZE,
                      "the uid of %zu bytes is too long for the name of a folder (%d bytes)",
                      uid.len, SKEP_CHECKPOINT_FOLDER_MAX - 1);
    file->dir = open_folder(AT_FDCWD, dir);
    if (file->dir < 0)
        return refuse_errno(reason, "cannot open the folder of checkpoints");
    show_path(file->path, dir, folder, NAME);
    if (make && mkdirat(file->dir, folder, 0777) < 0 && errno != EEXIST)
        return refuse_errno(reason, "cannot make its folder");
    file->folder = open_folder(file->dir, folder);
    if (file->folder < 0)
        return errno == ENOENT && !make ? 1 : refuse_errno(reason, "cannot open its folder");
    return 0;
}

/* ---- reading, and what is there already ---- */

/* A checkpoint that is there. */
struct old {
    int fd;
    struct skep_safetensors header;
    off_t data; /* where it begins in the file */
    size_t data_len;
    uint64_t step;
    bool has_moments;
    const struct skep_safetensors_tensor *tensors[KINDS][SKEP_CLASS_PARAMETERS_MAX];
};

static int read_at(int fd, void *to, size_t len, off_t at, const struct reason *reason)
{
    uint8_t *p = to;

    while (len > 0) {
        ssize_t got = pread(fd, p, len, at);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return refuse_errno(reason, "cannot read it");
        if (got == 0)
            return refuse(reason, SKEP_EVALUE, "it became shorter while it was read");
        p += got;
        len -= (size_t)got;
        at += got;
    }
    return 0;
}

static int read_header(struct old *old, uint64_t size, const struct skep_mem *mem,
                       const struct reason *reason)
{
    uint8_t prefix[SKEP_SAFETENSORS_PREFIX_LEN], *text = NULL;
    char why[SKEP_CHECKPOINT_WHY_MAX];
    size_t len = SKEP_MIN(sizeof prefix, size);
    int rc;

    if ((rc = read_at(old->fd, prefix, len, 0, reason)) < 0)
        return rc;
    rc = skep_safetensors_prefix(&len, skep_bytes_of(prefix, len), size, why, sizeof why);
    if (rc < 0)
        return refuse(reason, rc, "%s", why);
    text = skep_mem_alloc(mem, len);
    if (!text)
        return no_memory(reason);
    if ((rc = read_at(old->fd, text, len, sizeof prefix, reason)) < 0)
        goto out;
    old->data = (off_t)(sizeof prefix + len);
    rc = skep_safetensors_parse(&old->header, mem, skep_bytes_of(text, len),
                                size - (uint64_t)old->data, why, sizeof why);
    if (rc < 0)
        refuse(reason, rc, "%s", why);
    else
        old->data_len = (size_t)(size - (uint64_t)old->data);
out:
    skep_mem_free(mem, text);
    return rc;
}

static const char *kind_of_file(mode_t mode)
{
    return S_ISDIR(mode)    ? "a folder"
           : S_ISFIFO(mode) ? "a FIFO"
           : S_ISCHR(mode)  ? "a device"
           : S_ISBLK(mode)  ? "a device"
           : S_ISSOCK(mode) ? "a socket"
           : S_ISLNK(mode)  ? "a symbolic link"
                            : "something else";
}

/* @return the descriptor; -1: there is none; an error (below -1). */
static int open_file(int folder, const struct reason *reason)
{
    struct stat st;
    int fd;

    if (fstatat(folder, NAME, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? -1 : refuse_errno(reason, "cannot look at it");
    if (!S_ISREG(st.st_mode))
        return refuse(reason, SKEP_EVALUE, "it is %s, not a file", kind_of_file(st.st_mode));
    fd = openat(folder, NAME, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY);
    return fd >= 0 ? fd : refuse_errno(reason, "cannot open it");
}

/* Open it and read its header. @return 0; 1: there is none; an error. close_old() whatever is returned. */
static int open_old(struct old *old, int folder, const struct skep_mem *mem,
                    const struct reason *reason)
{
    struct stat st;
    int fd = open_file(folder, reason);

    *old = (struct old){.fd = -1, .header = {.mem = mem}};
    if (fd < 0)
        return fd == -1 ? 1 : fd;
    old->fd = fd;
    if (fstat(fd, &st) < 0)
        return refuse_errno(reason, "cannot look at it");
    if (!S_ISREG(st.st_mode)) /* it was when we looked; whoever changes it now is no friend */
        return refuse(reason, SKEP_EVALUE, "it is %s, not a file", kind_of_file(st.st_mode));
    return read_header(old, (uint64_t)st.st_size, mem, reason);
}

static void close_old(struct old *old)
{
    skep_safetensors_fini(&old->header);
    close_if_open(&old->fd);
}

static bool note_is(const struct skep_safetensors *header, const char *key, const char *wanted)
{
    const skep_bytes *note = skep_safetensors_note(header, key);

    return note && skep_bytes_equal(*note, skep_bytes_str(wanted));
}

/* The value of a key for a message. */
static const char *show_note(char *out, size_t out_len, const struct skep_safetensors *header,
                             const char *key)
{
    const skep_bytes *note = skep_safetensors_note(header, key);

    if (!note)
        return "not said";
    return skep_text_escape(out, out_len, *note);
}

static bool note_u64(const struct skep_safetensors *header, const char *key, uint64_t *out)
{
    const skep_bytes *note = skep_safetensors_note(header, key);
    uint64_t v = 0;

    if (!note || note->len == 0)
        return false;
    for (size_t i = 0; i < note->len; i++) {
        uint8_t c = note->data[i];

        if (c < '0' || c > '9' || __builtin_mul_overflow(v, (uint64_t)10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(c - '0'), &v))
            return false;
    }
    *out = v;
    return true;
}

static int check_notes(struct old *old, const struct skep_backend *backend,
                       const struct reason *reason)
{
    const struct skep_safetensors *header = &old->header;
    uint64_t hidden;
    char shown[80];

    if (!note_is(header, "format", FORMAT))
        return refuse(reason, SKEP_EVALUE, "it is no checkpoint of skep's: its format is %s",
                      show_note(shown, sizeof shown, header, "format"));
    if (!note_is(header, "class", backend->class->class->name))
        return refuse(reason, SKEP_EVALUE, "its class is %s, not %s",
                      show_note(shown, sizeof shown, header, "class"), backend->class->class->name);
    if (!note_u64(header, "hidden", &hidden) || hidden != backend->class->hidden)
        return refuse(reason, SKEP_EVALUE, "its hidden dimension is %s, not %zu",
                      show_note(shown, sizeof shown, header, "hidden"), backend->class->hidden);
    if (!note_u64(header, "step", &old->step))
        return refuse(reason, SKEP_EVALUE, "its step is %s, which is no number",
                      show_note(shown, sizeof shown, header, "step"));
    return 0;
}

static const struct skep_safetensors_tensor *find_tensor(const struct skep_safetensors *header,
                                                         const char *prefix, const char *name)
{
    size_t prefix_len = strlen(prefix), name_len = strlen(name);

    for (size_t i = 0; i < header->tensor_count; i++) {
        skep_bytes has = header->tensors[i].name;

        if (has.len == prefix_len + name_len && memcmp(has.data, prefix, prefix_len) == 0 &&
            memcmp(has.data + prefix_len, name, name_len) == 0)
            return &header->tensors[i];
    }
    return NULL;
}

static bool has_shape(const struct skep_safetensors_tensor *tensor,
                      const skep_parameter_schema *parameter)
{
    if (tensor->axes != parameter->axes)
        return false;
    for (size_t i = 0; i < tensor->axes; i++) {
        if (tensor->shape[i] != parameter->shape[i])
            return false;
    }
    return true;
}

/* A tensor that no parameter has: there is one. */
static int refuse_unknown(const struct old *old, size_t parameter_count,
                          const struct reason *reason)
{
    char shown[96];

    for (size_t i = 0; i < old->header.tensor_count; i++) {
        const struct skep_safetensors_tensor *tensor = &old->header.tensors[i];
        bool known = false;

        for (size_t at = 0; at < KINDS * parameter_count; at++)
            known |= old->tensors[at % KINDS][at / KINDS] == tensor;
        if (!known)
            return refuse(reason, SKEP_EVALUE, "its class has no tensor \"%s\"",
                          skep_text_escape(shown, sizeof shown, tensor->name));
    }
    SKEP_UNREACHABLE();
}

static int check_tensor(struct old *old, size_t kind, size_t index,
                        const skep_parameter_schema *parameter, const struct reason *reason)
{
    const struct skep_safetensors_tensor *tensor =
        find_tensor(&old->header, prefixes[kind], parameter->name);

    if (tensor && strcmp(tensor->dtype, "F32") != 0)
        return refuse(reason, SKEP_EVALUE, "its tensor %s%s is of type %s, not F32", prefixes[kind],
                      parameter->name, tensor->dtype);
    if (tensor && !has_shape(tensor, parameter))
        return refuse(reason, SKEP_EVALUE, "its tensor %s%s has another shape", prefixes[kind],
                      parameter->name);
    old->tensors[kind][index] = tensor;
    return tensor != NULL;
}

/* Exactly those of the class: all parameters, and all moments or none. */
static int check_tensors(struct old *old, const struct skep_class_schema *schema,
                         const struct reason *reason)
{
    size_t found[KINDS] = {0};
    int rc;

    for (size_t kind = 0; kind < KINDS; kind++) {
        for (size_t i = 0; i < schema->parameter_count; i++) {
            if ((rc = check_tensor(old, kind, i, &schema->parameters[i], reason)) < 0)
                return rc;
            found[kind] += (size_t)rc;
        }
    }
    old->has_moments = found[EXP_AVG] + found[EXP_AVG_SQ] > 0 || schema->parameter_count == 0;
    for (size_t kind = 0; kind < KINDS; kind++) {
        for (size_t i = 0; i < schema->parameter_count; i++) {
            if (!old->tensors[kind][i] && (kind == MODULE || old->has_moments))
                return refuse(reason, SKEP_EVALUE, "it lacks the tensor %s%s", prefixes[kind],
                              schema->parameters[i].name);
        }
    }
    if (found[MODULE] + found[EXP_AVG] + found[EXP_AVG_SQ] < old->header.tensor_count)
        return refuse_unknown(old, schema->parameter_count, reason);
    return 0;
}

/* Is what is there a whole checkpoint of this class and dimension? */
static int check_old(struct old *old, const struct skep_backend *backend,
                     const struct reason *reason)
{
    int rc = check_notes(old, backend, reason);

    return rc < 0 ? rc : check_tensors(old, &backend->class->schema, reason);
}

/* ---- saving ---- */

static bool is_adam(const struct skep_backend *backend)
{
    return backend->training->optimizer == SKEP_OPTIMIZER_ADAM;
}

static const char *optimizer_name(enum skep_optimizer optimizer)
{
    switch (optimizer) {
    case SKEP_OPTIMIZER_ADAM: return "adam";
    case SKEP_OPTIMIZER_SGD: return "sgd";
    case SKEP_OPTIMIZER_NONE: return "none";
    }
    SKEP_UNREACHABLE();
}

static float *const *blocks_of(const struct skep_backend *backend, size_t kind)
{
    return kind == MODULE    ? backend->parameters
           : kind == EXP_AVG ? backend->exp_avg
                             : backend->exp_avg_sq;
}

static void put_note_u64(struct skep_safetensors_header *header, const char *key, uint64_t v)
{
    char digits[24];

    snprintf(digits, sizeof digits, "%" PRIu64, v);
    skep_safetensors_put_note(header, key, skep_bytes_str(digits));
}

/* @param data_len  Gets the bytes of all tensors. */
static int build_header(struct skep_buf *out, size_t *data_len, const struct skep_backend *backend,
                        skep_bytes uid, size_t kinds, const struct reason *reason)
{
    const struct skep_class_schema *schema = &backend->class->schema;
    struct skep_safetensors_header header;
    int rc;

    skep_safetensors_begin(&header, out);
    skep_safetensors_put_note(&header, "format", skep_bytes_str(FORMAT));
    skep_safetensors_put_note(&header, "uid", uid);
    skep_safetensors_put_note(&header, "class", skep_bytes_str(backend->class->class->name));
    put_note_u64(&header, "hidden", backend->class->hidden);
    skep_safetensors_put_note(&header, "optimizer",
                              skep_bytes_str(optimizer_name(backend->training->optimizer)));
    put_note_u64(&header, "step", backend->step);
    for (size_t kind = 0; kind < kinds; kind++) {
        for (size_t i = 0; i < schema->parameter_count; i++)
            skep_safetensors_put_float32(&header, prefixes[kind], schema->parameters[i].name,
                                         schema->parameters[i].axes, schema->parameters[i].shape);
    }
    rc = skep_safetensors_end(&header);
    *data_len = header.data_len;
    return rc < 0 ? refuse(reason, rc, "cannot make its header: %s", skep_strerror(rc)) : 0;
}

/* Write it all, also where the system takes only a part at a time. */
static int write_parts(int fd, struct iovec *parts, size_t count, const struct reason *reason)
{
    while (count > 0) {
        ssize_t wrote = writev(fd, parts, (int)count);

        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            return refuse_errno(reason, "cannot write it");
        while (count > 0 && (size_t)wrote >= parts->iov_len) {
            wrote -= (ssize_t)parts->iov_len;
            parts++;
            count--;
        }
        if (count > 0) {
            parts->iov_base = (uint8_t *)parts->iov_base + wrote;
            parts->iov_len -= (size_t)wrote;
        }
    }
    return 0;
}

/* Header and numbers, from where they lie: an expert may be as large as what is left of memory. */
static int write_backend(int fd, const struct skep_backend *backend, skep_bytes uid,
                         const struct reason *reason)
{
    struct iovec parts[1 + KINDS * SKEP_CLASS_PARAMETERS_MAX];
    size_t kinds = is_adam(backend) ? KINDS : 1, count = 1, data_len = 0, numbers = 0;
    struct skep_buf header;
    int rc;

    skep_buf_init(&header, backend->mem);
    if ((rc = build_header(&header, &data_len, backend, uid, kinds, reason)) < 0)
        goto out;
    parts[0] = (struct iovec){header.data, header.len};
    for (size_t kind = 0; kind < kinds; kind++) {
        for (size_t i = 0; i < backend->class->schema.parameter_count; i++) {
            parts[count++] =
                (struct iovec){blocks_of(backend, kind)[i], backend->counts[i] * sizeof(float)};
            numbers += backend->counts[i];
        }
    }
    assert(data_len == numbers * sizeof(float));
    rc = write_parts(fd, parts, count, reason);
out:
    skep_buf_fini(&header);
    return rc;
}

/* Ours alone once it is locked and still in its place: only who holds the lock renames it. */
static int open_temporary(struct skep_checkpoint_file *file, const struct reason *reason)
{
    struct stat ours, there;
    int rc = 0,
        fd = openat(file->folder, TEMPORARY,
                    O_WRONLY | O_CREAT | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0644);

    if (fd < 0)
        return refuse_errno(reason, "cannot make a temporary file beside it");
    if (fstat(fd, &ours) < 0)
        rc = refuse_errno(reason, "cannot look at the temporary file beside it");
    else if (!S_ISREG(ours.st_mode))
        rc = refuse(reason, SKEP_EVALUE, "the temporary file beside it is %s",
                    kind_of_file(ours.st_mode));
    else if ((flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK) ||
             fstatat(file->folder, TEMPORARY, &there, AT_SYMLINK_NOFOLLOW) < 0 ||
             ours.st_dev != there.st_dev || ours.st_ino != there.st_ino)
        rc = refuse(reason, SKEP_EIO, "somebody else is writing it");
    else if (ftruncate(fd, 0) < 0) /* what a crash has left */
        rc = refuse_errno(reason, "cannot empty the temporary file beside it");
    if (rc < 0)
        close(fd);
    else
        file->fd = fd;
    return rc;
}

static struct reason start_reason(char *why, size_t why_len,
                                  const struct skep_checkpoint_file *file)
{
    if (why_len > 0)
        why[0] = '\0';
    return (struct reason){why, why_len, file->path};
}

int skep_checkpoint_write(struct skep_checkpoint_file *file, const struct skep_backend *backend,
                          skep_bytes uid, const char *dir, char *why, size_t why_len)
{
    struct reason reason = start_reason(why, why_len, file);
    struct old old = {.fd = -1, .header = {.mem = backend->mem}};
    int rc;

    if ((rc = open_place(file, uid, dir, true, &reason)) < 0)
        goto out;
    rc = open_old(&old, file->folder, backend->mem, &reason);
    if (rc == 0)
        rc = check_old(&old, backend, &reason);
    if (rc < 0)
        goto out;
    if ((rc = open_temporary(file, &reason)) < 0)
        goto out;
    rc = write_backend(file->fd, backend, uid, &reason);
out:
    close_old(&old);
    if (rc < 0)
        skep_checkpoint_abandon(file);
    return rc;
}

/* File systems that cannot sync a folder say EINVAL, and have nothing to sync. */
static bool sync_folder(int fd)
{
    return fsync(fd) == 0 || errno == EINVAL;
}

int skep_checkpoint_commit(struct skep_checkpoint_file *file, char *why, size_t why_len)
{
    struct reason reason = start_reason(why, why_len, file);
    int rc = 0;

    if (fsync(file->fd) < 0)
        rc = refuse_errno(&reason, "cannot sync it");
    else if (renameat(file->folder, TEMPORARY, file->folder, NAME) < 0)
        rc = refuse_errno(&reason, "cannot put it in its place");
    if (rc < 0) {
        skep_checkpoint_abandon(file);
        return rc;
    }
    if (!sync_folder(file->folder) || !sync_folder(file->dir))
        rc = refuse_errno(&reason, "cannot sync its folder");
    close_all(file);
    return rc;
}

void skep_checkpoint_abandon(struct skep_checkpoint_file *file)
{
    if (file->fd >= 0)
        unlinkat(file->folder, TEMPORARY, 0);
    close_all(file);
}

int skep_checkpoint_save(const struct skep_backend *backend, skep_bytes uid, const char *dir,
                         char *why, size_t why_len)
{
    struct skep_checkpoint_file file;
    int rc = skep_checkpoint_write(&file, backend, uid, dir, why, why_len);

    return rc < 0 ? rc : skep_checkpoint_commit(&file, why, why_len);
}

/* ---- loading ---- */

/* Does the backend's Adam begin anew with this file? */
static int check_moments(const struct old *old, const struct skep_backend *backend,
                         const struct reason *reason)
{
    if (!is_adam(backend) || old->has_moments || old->step == 0)
        return 0;
    if (skep_safetensors_note(&old->header, "optimizer") &&
        !note_is(&old->header, "optimizer", "adam"))
        return 0;
    return refuse(reason, SKEP_EVALUE, "it lacks the tensors of Adam after %" PRIu64 " steps",
                  old->step);
}

/* Nothing fails from here on. */
static void apply(struct skep_backend *backend, const struct old *old, const uint8_t *data)
{
    size_t kinds = is_adam(backend) ? KINDS : 1;

    for (size_t kind = 0; kind < kinds; kind++) {
        for (size_t i = 0; i < backend->class->schema.parameter_count; i++) {
            const struct skep_safetensors_tensor *from = old->tensors[kind][i];
            float *to = blocks_of(backend, kind)[i];

            if (from)
                skep_bytes_copy(to, skep_bytes_of(data + from->begin, from->end - from->begin));
            else
                memset(to, 0, backend->counts[i] * sizeof(float));
        }
    }
    backend->step = is_adam(backend) && !old->has_moments ? 0 : old->step;
}

/* The numbers are read into memory of their own first: a disk may fail in the middle. */
static int read_data(struct skep_backend *backend, const struct old *old,
                     const struct reason *reason)
{
    uint8_t *data = skep_mem_alloc(backend->mem, old->data_len);
    int rc;

    if (!data)
        return no_memory(reason);
    rc = read_at(old->fd, data, old->data_len, old->data, reason);
    if (rc == 0)
        apply(backend, old, data);
    skep_mem_free(backend->mem, data);
    return rc;
}

int skep_checkpoint_load(struct skep_backend *backend, skep_bytes uid, const char *dir, char *why,
                         size_t why_len)
{
    struct skep_checkpoint_file file;
    struct reason reason = start_reason(why, why_len, &file);
    struct old old = {.fd = -1, .header = {.mem = backend->mem}};
    int rc;

    if ((rc = open_place(&file, uid, dir, false, &reason)) != 0)
        goto out;
    if ((rc = open_old(&old, file.folder, backend->mem, &reason)) != 0)
        goto out;
    if ((rc = check_old(&old, backend, &reason)) < 0 ||
        (rc = check_moments(&old, backend, &reason)) < 0)
        goto out;
    rc = read_data(backend, &old, &reason);
out:
    close_old(&old);
    close_all(&file);
    return rc;
}

/* ---- what there is ---- */

/* Texts one behind the other, each with its end. */
struct names {
    struct skep_buf texts;
    size_t count;
};

static int add_name(struct names *names, int dir, const char *folder, const struct reason *reason)
{
    char uid[SKEP_CHECKPOINT_FOLDER_MAX], path[SKEP_CHECKPOINT_FOLDER_MAX + sizeof NAME];
    int len = skep_checkpoint_uid(uid, sizeof uid, folder);
    struct stat st;

    if (len < 0)
        return 0;
    snprintf(path, sizeof path, "%s/" NAME, folder);
    if (fstatat(dir, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT || errno == ENOTDIR
                   ? 0
                   : refuse(reason, SKEP_EIO, "cannot look at %.255s: %s", path, strerror(errno));
    if (names->count == SKEP_CHECKPOINTS_MAX)
        return refuse(reason, SKEP_ELIMIT, "there are more than %d checkpoints",
                      SKEP_CHECKPOINTS_MAX);
    skep_buf_put(&names->texts, uid, (size_t)len + 1);
    names->count++;
    return names->texts.rc < 0 ? no_memory(reason) : 0;
}

static int read_names(struct names *names, DIR *stream, const struct reason *reason)
{
    struct dirent *entry;
    int rc = 0;

    while (rc == 0) {
        errno = 0;
        entry = readdir(stream);
        if (!entry)
            return errno == 0 ? 0 : refuse_errno(reason, "cannot read the folder of checkpoints");
        rc = add_name(names, dirfd(stream), entry->d_name, reason);
    }
    return rc;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* One block: pointers, NULL, texts. */
static char **block_of(const struct names *names, const struct skep_mem *mem)
{
    size_t head = (names->count + 1) * sizeof(char *);
    char **block = skep_mem_alloc(mem, head + names->texts.len), *text;

    if (!block)
        return NULL;
    text = (char *)block + head;
    skep_bytes_copy(text, skep_buf_view(&names->texts));
    for (size_t i = 0; i < names->count; i++, text += strlen(text) + 1)
        block[i] = text;
    block[names->count] = NULL;
    qsort(block, names->count, sizeof *block, compare_texts);
    return block;
}

int skep_checkpoint_list(char ***out, size_t *count, const struct skep_mem *mem, const char *dir,
                         char *why, size_t why_len)
{
    struct skep_checkpoint_file file = {.dir = -1, .folder = -1, .fd = -1};
    struct reason reason = start_reason(why, why_len, &file);
    struct names names = {.count = 0};
    DIR *stream = NULL;
    int rc = 0, fd;

    *out = NULL;
    *count = 0;
    snprintf(file.path, sizeof file.path, "%s", dir);
    skep_buf_init(&names.texts, mem);
    fd = open_folder(AT_FDCWD, dir);
    stream = fd >= 0 ? fdopendir(fd) : NULL;
    if (!stream) {
        rc = refuse_errno(&reason, "cannot open the folder of checkpoints");
        close_if_open(&fd);
        goto out;
    }
    if ((rc = read_names(&names, stream, &reason)) < 0)
        goto out;
    *out = block_of(&names, mem);
    if (*out)
        *count = names.count;
    else
        rc = no_memory(&reason);
out:
    if (stream)
        closedir(stream);
    skep_buf_fini(&names.texts);
    return rc;
}
