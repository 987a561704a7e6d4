/* SPDX-License-Identifier: MIT */
/* Checkpoints in a folder of their own: round trips, what is torn or foreign, what a crash leaves, names of folders. */
#include "server/checkpoint.h"

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "fake_backend.h"
#include "server/safetensors.h"
#include "support/test.h"

#define UID "ffn.3.7"
#define FILE_NAME "checkpoint_last.safetensors"
#define ADAM SKEP_OPTIMIZER_ADAM
#define SGD SKEP_OPTIMIZER_SGD

static char dir[64], why[SKEP_CHECKPOINT_WHY_MAX];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/skep-checkpoint-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int remove_dir(void **state)
{
    (void)state;
    return nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* dir/<folder>/<name>, in a ring. */
static const char *path_of(const char *folder, const char *name)
{
    static char paths[4][512];
    static size_t next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof paths[0], "%s/%s/%s", dir, folder, name);
    return path;
}

static int save(const struct fake_backend *fake, const char *uid)
{
    return skep_checkpoint_save(&fake->backend, skep_bytes_str(uid), dir, why, sizeof why);
}

static int load(struct fake_backend *fake, const char *uid)
{
    return skep_checkpoint_load(&fake->backend, skep_bytes_str(uid), dir, why, sizeof why);
}

static skep_bytes read_file(const char *path)
{
    static uint8_t bytes[4][8192];
    static size_t next;
    uint8_t *to = bytes[next++ % 4];
    FILE *file = fopen(path, "rb");
    size_t len;

    assert_non_null(file);
    len = fread(to, 1, sizeof bytes[0], file);
    fclose(file);
    return skep_bytes_of(to, len);
}

static void write_file(const char *path, skep_bytes bytes)
{
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes.data, 1, bytes.len, file), bytes.len);
    assert_int_equal(fclose(file), 0);
}

static void assert_why(const char *wanted)
{
    if (!strstr(why, wanted))
        fail_msg("\"%s\" is not in \"%s\"", wanted, why);
}

/* A file that neither load nor save touches, and why. */
static void assert_refused(const char *wanted)
{
    const char *path = path_of(UID, FILE_NAME);
    skep_bytes before = read_file(path);
    struct fake_backend fake, other;

    fake_backend_init(&fake, "ffn", 3, ADAM, 500);
    fake_backend_init(&other, "ffn", 3, ADAM, 500);
    assert_int_equal(load(&fake, UID), SKEP_EVALUE);
    assert_why(wanted);
    assert_why(path);
    assert_true(fake_backend_equal(&fake, &other));
    assert_int_equal(save(&fake, UID), SKEP_EVALUE);
    assert_why(wanted);
    assert_true(skep_bytes_equal(read_file(path), before));
    assert_int_equal(access(path_of(UID, FILE_NAME ".tmp"), F_OK), -1);
    fake_backend_fini(&fake);
    fake_backend_fini(&other);
}

/* ---- round trips ---- */

static void what_is_saved_is_loaded(void **state)
{
    static const enum skep_optimizer optimizers[] = {ADAM, SGD, SKEP_OPTIMIZER_NONE};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(optimizers); i++) {
        struct fake_backend saved, loaded;
        char uid[32];

        snprintf(uid, sizeof uid, "ffn.0.%zu", i);
        fake_backend_init(&saved, "ffn", 5, optimizers[i], 1);
        fake_backend_init(&loaded, "ffn", 5, optimizers[i], 77);
        saved.backend.step = UINT64_MAX;
        assert_int_equal(load(&loaded, uid), 1);
        assert_int_equal(save(&saved, uid), 0);
        assert_string_equal(why, "");
        assert_int_equal(load(&loaded, uid), 0);
        assert_true(fake_backend_equal(&saved, &loaded));
        saved.backend.step = 7; /* over the first */
        saved.backend.parameters[1][9] = -1;
        assert_int_equal(save(&saved, uid), 0);
        assert_int_equal(load(&loaded, uid), 0);
        assert_true(fake_backend_equal(&saved, &loaded));
        fake_backend_fini(&saved);
        fake_backend_fini(&loaded);
    }
}

static void a_class_without_parameters_has_checkpoints_too(void **state)
{
    struct fake_backend nop;

    (void)state;
    fake_backend_init(&nop, "nop", 1, ADAM, 0);
    nop.class.schema.parameter_count = 0;
    nop.backend.step = 12;
    assert_int_equal(save(&nop, "nop.0"), 0);
    nop.backend.step = 0;
    assert_int_equal(load(&nop, "nop.0"), 0);
    assert_int_equal(nop.backend.step, 12);
    fake_backend_fini(&nop);
}

static void a_file_is_readable_as_the_umask_says(void **state)
{
    struct fake_backend fake;
    struct stat st;
    mode_t mask = umask(027);

    (void)state;
    fake_backend_init(&fake, "ffn", 3, ADAM, 1);
    assert_int_equal(save(&fake, UID), 0);
    umask(mask);
    assert_int_equal(stat(path_of(UID, FILE_NAME), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    fake_backend_fini(&fake);
}

static void another_optimizer_takes_the_parameters_and_the_step(void **state)
{
    struct fake_backend adam, sgd;

    (void)state;
    fake_backend_init(&adam, "ffn", 3, ADAM, 1);
    fake_backend_init(&sgd, "ffn", 3, SGD, 100);
    assert_int_equal(save(&adam, UID), 0);
    sgd.backend.step = 1;
    assert_int_equal(load(&sgd, UID), 0);
    assert_true(fake_backend_equal(&adam, &sgd));
    fake_backend_fini(&adam);
    fake_backend_fini(&sgd);
}

static void adam_begins_anew_with_parameters_of_another_optimizer(void **state)
{
    struct fake_backend adam, sgd;

    (void)state;
    fake_backend_init(&adam, "ffn", 3, ADAM, 1);
    fake_backend_init(&sgd, "ffn", 3, SGD, 100);
    assert_int_equal(save(&sgd, UID), 0);
    assert_int_equal(load(&adam, UID), 0);
    assert_int_equal(adam.backend.step, 0);
    assert_true(adam.backend.parameters[1][5] == 108);
    for (size_t i = 0; i < 3; i++)
        assert_true(adam.backend.exp_avg[0][i] == 0 && adam.backend.exp_avg_sq[1][i] == 0);
    fake_backend_fini(&adam);
    fake_backend_fini(&sgd);
}

static void a_copied_folder_loads_as_another_expert(void **state)
{
    struct fake_backend saved, loaded;

    (void)state;
    fake_backend_init(&saved, "ffn", 3, ADAM, 1);
    fake_backend_init(&loaded, "ffn", 3, ADAM, 100);
    assert_int_equal(save(&saved, UID), 0);
    assert_int_equal(rename(path_of(UID, ""), path_of("ffn.3.8", "")), 0);
    assert_int_equal(load(&loaded, "ffn.3.8"), 0);
    assert_true(fake_backend_equal(&saved, &loaded));
    fake_backend_fini(&saved);
    fake_backend_fini(&loaded);
}

static void the_folder_may_be_a_link_to_another_disk(void **state)
{
    struct fake_backend saved, loaded;

    (void)state;
    fake_backend_init(&saved, "ffn", 3, ADAM, 1);
    fake_backend_init(&loaded, "ffn", 3, ADAM, 100);
    assert_int_equal(mkdir(path_of("elsewhere", ""), 0700), 0);
    assert_int_equal(symlink("elsewhere", path_of("", UID)), 0);
    assert_int_equal(save(&saved, UID), 0);
    assert_int_equal(access(path_of("elsewhere", FILE_NAME), F_OK), 0);
    assert_int_equal(load(&loaded, UID), 0);
    assert_true(fake_backend_equal(&saved, &loaded));
    fake_backend_fini(&saved);
    fake_backend_fini(&loaded);
}

/* ---- torn and foreign ---- */

static void a_file_torn_at_any_byte_is_refused_and_left_alone(void **state)
{
    struct fake_backend fake;
    skep_bytes whole;
    uint8_t longer[8192];

    (void)state;
    fake_backend_init(&fake, "ffn", 3, ADAM, 1);
    assert_int_equal(save(&fake, UID), 0);
    whole = read_file(path_of(UID, FILE_NAME));
    assert_true(whole.len > 500);
    skep_bytes_copy(longer, whole);
    longer[whole.len] = 0;
    for (size_t len = 0; len < whole.len; len++) {
        write_file(path_of(UID, FILE_NAME), skep_bytes_of(longer, len));
        assert_refused("torn");
    }
    write_file(path_of(UID, FILE_NAME), skep_bytes_of(longer, whole.len + 1));
    assert_refused("1 bytes follow its tensors");
    write_file(path_of(UID, FILE_NAME), skep_bytes_of(longer, whole.len));
    assert_int_equal(load(&fake, UID), 0);
    fake_backend_fini(&fake);
}

static void foreign_files_are_refused_and_left_alone(void **state)
{
    static const char *const texts[] = {"PK\3\4 a checkpoint of torch's", "some notes of mine",
                                        "\x10\0\0\0\0\0\0\0{\"a\": 1}       "};

    (void)state;
    assert_int_equal(mkdir(path_of(UID, ""), 0700), 0);
    for (size_t i = 0; i < SKEP_COUNT_OF(texts); i++) {
        write_file(path_of(UID, FILE_NAME), skep_bytes_of(texts[i], i < 2 ? strlen(texts[i]) : 24));
        assert_refused(i < 2 ? "it is no safetensors file" : "its header is malformed at byte 6");
    }
}

/* A file as some other program would write it. */
struct foreign {
    const char *format, *class, *hidden, *step, *optimizer; /* NULL: left out */
    const char *names[8];                                   /* of tensors */
    size_t rows; /* of tensors: bias [rows, 2], scale [rows] */
};

static void write_foreign(const struct foreign *f)
{
    struct skep_safetensors_header header;
    struct skep_buf out;
    const char *const notes[][2] = {{"format", f->format},
                                    {"class", f->class},
                                    {"hidden", f->hidden},
                                    {"step", f->step},
                                    {"optimizer", f->optimizer}};
    const size_t shape[] = {f->rows, 2};

    skep_buf_init(&out, &skep_mem_std);
    skep_safetensors_begin(&header, &out);
    for (size_t i = 0; i < SKEP_COUNT_OF(notes); i++) {
        if (notes[i][1])
            skep_safetensors_put_note(&header, notes[i][0], skep_bytes_str(notes[i][1]));
    }
    for (size_t i = 0; i < 8 && f->names[i]; i++)
        skep_safetensors_put_float32(&header, "", f->names[i], strstr(f->names[i], "bias") ? 2 : 1,
                                     shape);
    assert_int_equal(skep_safetensors_end(&header), 0);
    for (size_t i = 0; i < header.data_len; i++)
        skep_buf_put_u8(&out, 0x3f);
    mkdir(path_of(UID, ""), 0700);
    write_file(path_of(UID, FILE_NAME), skep_buf_view(&out));
    skep_buf_fini(&out);
}

#define MODULE "module.scale", "module.bias"
#define EXP_AVG "optimizer.exp_avg.scale", "optimizer.exp_avg.bias"

static void files_of_another_class_shape_or_content_are_refused(void **state)
{
    static const struct {
        struct foreign file;
        const char *why;
    } cases[] = {
        {{"other", "ffn", "3", "0", "adam", {MODULE}, 3}, "its format is other"},
        {{NULL, "ffn", "3", "0", "adam", {MODULE}, 3}, "its format is not said"},
        {{"skep-expert-1", "f\nn", "3", "0", "adam", {MODULE}, 3}, "its class is f\\x0an, not ffn"},
        {{"skep-expert-1", NULL, "3", "0", "adam", {MODULE}, 3}, "its class is not said, not ffn"},
        {{"skep-expert-1", "ffn", "4", "0", "adam", {MODULE}, 3},
         "its hidden dimension is 4, not 3"},
        {{"skep-expert-1", "ffn", "", "0", "adam", {MODULE}, 3}, "its hidden dimension is , not 3"},
        {{"skep-expert-1", "ffn", "3", "-1", "adam", {MODULE}, 3},
         "its step is -1, which is no number"},
        {{"skep-expert-1", "ffn", "3", "18446744073709551616", "adam", {MODULE}, 3},
         "its step is 18446744073709551616, which is no number"},
        {{"skep-expert-1", "ffn", "3", NULL, "adam", {MODULE}, 3},
         "its step is not said, which is no number"},
        {{"skep-expert-1", "ffn", "3", "0", "adam", {"module.scale"}, 3},
         "it lacks the tensor module.bias"},
        {{"skep-expert-1", "ffn", "3", "0", "adam", {MODULE, "module.wei\x01ght"}, 3},
         "its class has no tensor \"module.wei\\x01ght\""},
        {{"skep-expert-1", "ffn", "3", "0", "adam", {MODULE, EXP_AVG}, 3},
         "it lacks the tensor optimizer.exp_avg_sq.scale"},
        {{"skep-expert-1", "ffn", "3", "0", "adam", {MODULE}, 2},
         "its tensor module.scale has another shape"},
        {{"skep-expert-1", "ffn", "3", "0", "adam", {"module.scale", "module.bia"}, 3},
         "it lacks the tensor module.bias"},
    };

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        write_foreign(&cases[i].file);
        assert_refused(cases[i].why);
    }
}

static void adam_without_its_moments_is_loaded_only_where_it_begins(void **state)
{
    static const struct {
        const char *step, *optimizer;
        int rc;
    } cases[] = {{"0", "adam", 0},
                 {"0", NULL, 0},
                 {"9", "sgd", 0},
                 {"9", "adam", SKEP_EVALUE},
                 {"9", NULL, SKEP_EVALUE}};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        struct foreign file = {"skep-expert-1",    "ffn",    "3", cases[i].step,
                               cases[i].optimizer, {MODULE}, 3};
        struct fake_backend fake;

        write_foreign(&file);
        fake_backend_init(&fake, "ffn", 3, ADAM, 1);
        assert_int_equal(load(&fake, UID), cases[i].rc);
        if (cases[i].rc < 0)
            assert_why("it lacks the tensors of Adam after 9 steps");
        assert_true((fake.backend.exp_avg[0][0] == 0) == (cases[i].rc == 0));
        assert_int_equal(fake.backend.step, cases[i].rc == 0 ? 0 : 1003);
        fake_backend_fini(&fake);
    }
}

static void a_tensor_of_another_type_is_refused(void **state)
{
    struct fake_backend fake;
    skep_bytes whole;
    uint8_t changed[8192], *dtype;

    (void)state;
    fake_backend_init(&fake, "ffn", 3, ADAM, 1);
    assert_int_equal(save(&fake, UID), 0);
    whole = read_file(path_of(UID, FILE_NAME));
    skep_bytes_copy(changed, whole);
    dtype = memmem(changed, whole.len, "F32", 3);
    assert_non_null(dtype);
    dtype[0] = 'I';
    write_file(path_of(UID, FILE_NAME), skep_bytes_of(changed, whole.len));
    assert_refused("its tensor module.scale is of type I32, not F32");
    fake_backend_fini(&fake);
}

static void what_is_no_file_is_refused_without_waiting_for_it(void **state)
{
    static const char *const kinds[] = {"a folder", "a FIFO", "a symbolic link"};

    (void)state;
    assert_int_equal(mkdir(path_of(UID, ""), 0700), 0);
    for (size_t i = 0; i < SKEP_COUNT_OF(kinds); i++) {
        const char *path = path_of(UID, FILE_NAME);
        struct fake_backend fake;

        if (i == 0)
            assert_int_equal(mkdir(path, 0700), 0);
        else
            assert_int_equal(i == 1 ? mkfifo(path, 0600) : symlink("nowhere", path), 0);
        fake_backend_init(&fake, "ffn", 3, ADAM, 1);
        assert_int_equal(load(&fake, UID), SKEP_EVALUE);
        assert_why(kinds[i]);
        assert_int_equal(save(&fake, UID), SKEP_EVALUE);
        assert_why(kinds[i]);
        fake_backend_fini(&fake);
        assert_int_equal(remove(path), 0);
    }
}

/* ---- crashes and failures ---- */

static void a_temporary_file_of_a_crash_is_replaced(void **state)
{
    struct fake_backend saved, loaded;
    static uint8_t rest[5000];

    (void)state;
    fake_backend_init(&saved, "ffn", 3, ADAM, 1);
    fake_backend_init(&loaded, "ffn", 3, ADAM, 100);
    assert_int_equal(save(&saved, UID), 0);
    write_file(path_of(UID, FILE_NAME ".tmp"), skep_bytes_of(rest, sizeof rest));
    assert_int_equal(load(&loaded, UID), 0); /* the old one is whole */
    assert_true(fake_backend_equal(&saved, &loaded));
    saved.backend.step = 4;
    assert_int_equal(save(&saved, UID), 0);
    assert_int_equal(load(&loaded, UID), 0);
    assert_int_equal(loaded.backend.step, 4);
    assert_int_equal(access(path_of(UID, FILE_NAME ".tmp"), F_OK), -1);
    fake_backend_fini(&saved);
    fake_backend_fini(&loaded);
}

static void nothing_changes_before_the_commit(void **state)
{
    struct fake_backend saved, loaded;
    struct skep_checkpoint_file file;

    (void)state;
    fake_backend_init(&saved, "ffn", 3, ADAM, 1);
    fake_backend_init(&loaded, "ffn", 3, ADAM, 100);
    assert_int_equal(save(&saved, UID), 0);
    saved.backend.step = 5;
    for (int commit = 0; commit < 2; commit++) {
        assert_int_equal(
            skep_checkpoint_write(&file, &saved.backend, skep_bytes_str(UID), dir, why, sizeof why),
            0);
        assert_int_equal(load(&loaded, UID), 0);
        assert_int_equal(loaded.backend.step, 1003);
        if (commit)
            assert_int_equal(skep_checkpoint_commit(&file, why, sizeof why), 0);
        else
            skep_checkpoint_abandon(&file);
        assert_int_equal(load(&loaded, UID), 0);
        assert_int_equal(loaded.backend.step, commit ? 5 : 1003);
        assert_int_equal(access(path_of(UID, FILE_NAME ".tmp"), F_OK), -1);
    }
    fake_backend_fini(&saved);
    fake_backend_fini(&loaded);
}

static void of_two_who_write_one_is_refused(void **state)
{
    struct fake_backend fake;
    struct skep_checkpoint_file file;

    (void)state;
    fake_backend_init(&fake, "ffn", 3, ADAM, 1);
    assert_int_equal(
        skep_checkpoint_write(&file, &fake.backend, skep_bytes_str(UID), dir, why, sizeof why), 0);
    assert_int_equal(save(&fake, UID), SKEP_EIO);
    assert_why("somebody else is writing it");
    assert_int_equal(skep_checkpoint_commit(&file, why, sizeof why), 0);
    assert_int_equal(save(&fake, UID), 0);
    fake_backend_fini(&fake);
}

static void a_full_disk_leaves_the_old_one_and_no_rest(void **state)
{
    struct rlimit old, small = {600, RLIM_INFINITY};
    struct fake_backend saved, loaded;

    (void)state;
    fake_backend_init(&saved, "ffn", 64, ADAM, 1);
    fake_backend_init(&loaded, "ffn", 64, ADAM, 100);
    assert_int_equal(save(&saved, UID), 0);
    saved.backend.step = 9;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    small.rlim_max = old.rlim_max;
    setrlimit(RLIMIT_FSIZE, &small);
    assert_int_equal(save(&saved, UID), SKEP_EIO);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_why("cannot write it: ");
    assert_int_equal(access(path_of(UID, FILE_NAME ".tmp"), F_OK), -1);
    assert_int_equal(load(&loaded, UID), 0);
    assert_int_equal(loaded.backend.step, 1064);
    fake_backend_fini(&saved);
    fake_backend_fini(&loaded);
}

static void a_missing_folder_is_named(void **state)
{
    struct fake_backend fake;

    (void)state;
    fake_backend_init(&fake, "ffn", 3, ADAM, 1);
    assert_int_equal(
        skep_checkpoint_save(&fake.backend, skep_bytes_str(UID), "/nowhere/to/be", why, sizeof why),
        SKEP_EIO);
    assert_string_equal(
        why, "/nowhere/to/be: cannot open the folder of checkpoints: No such file or directory");
    assert_int_equal(
        skep_checkpoint_load(&fake.backend, skep_bytes_str(UID), "/nowhere/to/be", why, sizeof why),
        SKEP_EIO);
    write_file(path_of("", UID), skep_bytes_str("in its way"));
    assert_int_equal(save(&fake, UID), SKEP_EIO);
    assert_why("cannot open its folder: Not a directory");
    fake_backend_fini(&fake);
}

/* ---- names, and the list ---- */

static void uids_have_folders_by_percent_encoding(void **state)
{
    static const struct {
        const char *uid, *folder;
    } vectors[] = {{"ffn.0.15", "ffn.0.15"},
                   {"My_expert-2.7", "My_expert-2.7"},
                   {"a/b.1", "a%2Fb.1"},
                   {"é~ %.1", "%C3%A9%7E%20%25.1"},
                   {"\x01\n\x7f.0", "%01%0A%7F.0"}};
    static const char *const bad[] = {"",        "ffn",        "ffn.",       "ffn.01",  "ffn.1%",
                                      "ffn.1%2", "a%2fb.1",    "%66fn.1",    "ffn%2E1", ".ffn.1",
                                      "%FF.1",   "ffn.%zz1.0", "lost+found", "..",      "%2E%2E"};
    char out[SKEP_CHECKPOINT_FOLDER_MAX];

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(vectors); i++) {
        assert_int_equal(skep_checkpoint_folder(out, sizeof out, skep_bytes_str(vectors[i].uid)),
                         strlen(vectors[i].folder));
        assert_string_equal(out, vectors[i].folder);
        assert_int_equal(skep_checkpoint_uid(out, sizeof out, vectors[i].folder),
                         strlen(vectors[i].uid));
        assert_string_equal(out, vectors[i].uid);
        assert_int_equal(skep_checkpoint_uid(out, strlen(vectors[i].uid), vectors[i].folder),
                         SKEP_ESIZE);
    }
    for (size_t i = 0; i < SKEP_COUNT_OF(bad); i++) {
        if (skep_checkpoint_uid(out, sizeof out, bad[i]) >= 0)
            fail_msg("%s is taken for a uid", bad[i]);
    }
    assert_int_equal(skep_checkpoint_folder(out, sizeof out, skep_bytes_str("..")), 6);
    assert_string_equal(out, "%2E%2E");
    assert_int_equal(skep_checkpoint_folder(out, sizeof out, skep_bytes_str("../x")), 6);
    assert_string_equal(out, "..%2Fx");
    assert_int_equal(skep_checkpoint_folder(out, sizeof out, skep_bytes_str(".")), 3);
    assert_int_equal(skep_checkpoint_folder(out, 8, skep_bytes_str("ffn.0.15")), SKEP_ESIZE);
    assert_int_equal(skep_checkpoint_folder(out, 9, skep_bytes_str("ffn.0.15")), 8);
}

static void a_uid_too_long_for_a_folder_is_an_error_that_says_so(void **state)
{
    struct fake_backend fake;
    char uid[257];

    (void)state;
    fake_backend_init(&fake, "ffn", 3, ADAM, 1);
    memset(uid, 'x', sizeof uid);
    memcpy(uid + 253, ".7", 3);
    assert_int_equal(strlen(uid), 255);
    assert_int_equal(save(&fake, uid), 0);
    assert_int_equal(load(&fake, uid), 0);
    memset(uid, 'x', sizeof uid);
    memcpy(uid + 254, ".7", 3);
    assert_int_equal(save(&fake, uid), SKEP_ESIZE);
    assert_why("the uid of 256 bytes is too long for the name of a folder (255 bytes)");
    assert_int_equal(load(&fake, uid), SKEP_ESIZE);
    fake_backend_fini(&fake);
}

static void the_end_of_a_long_path_is_in_the_message(void **state)
{
    char longer[600] = "";
    struct fake_backend fake;

    (void)state;
    snprintf(longer, sizeof longer, "%s", dir);
    while (strlen(longer) < 500)
        strcat(longer, "/.");
    fake_backend_init(&fake, "ffn", 3, ADAM, 1);
    mkdir(path_of(UID, ""), 0700);
    write_file(path_of(UID, FILE_NAME), skep_bytes_str("x"));
    assert_int_equal(
        skep_checkpoint_load(&fake.backend, skep_bytes_str(UID), longer, why, sizeof why),
        SKEP_EVALUE);
    assert_why("/./" UID "/" FILE_NAME ": it is torn, or no safetensors file: it has only 1 bytes");
    fake_backend_fini(&fake);
}

static void the_list_has_what_has_a_checkpoint_and_nothing_else(void **state)
{
    static const char *const with[] = {"ffn.2.0", "a%2Fb.1", "ffn.10.0", "%C3%A9.1"},
                             *const foreign[] = {"notes", "a%2fb.1", ".git"},
                             *const sorted[] = {"a/b.1", "ffn.10.0", "ffn.2.0", "é.1"};
    char **uids;
    size_t count;

    (void)state;
    assert_int_equal(skep_checkpoint_list(&uids, &count, &skep_mem_std, dir, why, sizeof why), 0);
    assert_int_equal(count, 0);
    assert_null(uids[0]);
    skep_mem_free(&skep_mem_std, uids);
    for (size_t i = 0; i < SKEP_COUNT_OF(with); i++) {
        assert_int_equal(mkdir(path_of(with[i], ""), 0700), 0);
        write_file(path_of(with[i], FILE_NAME), skep_bytes_str("")); /* torn, and listed */
    }
    for (size_t i = 0; i < SKEP_COUNT_OF(foreign); i++) {
        assert_int_equal(mkdir(path_of(foreign[i], ""), 0700), 0);
        write_file(path_of(foreign[i], FILE_NAME), skep_bytes_str(""));
    }
    assert_int_equal(mkdir(path_of("ffn.3.0", ""), 0700), 0); /* only a temporary file */
    write_file(path_of("ffn.3.0", FILE_NAME ".tmp"), skep_bytes_str(""));
    write_file(path_of("", "ffn.4.0"), skep_bytes_str(""));
    assert_int_equal(skep_checkpoint_list(&uids, &count, &skep_mem_std, dir, why, sizeof why), 0);
    assert_int_equal(count, SKEP_COUNT_OF(sorted));
    for (size_t i = 0; i < count; i++)
        assert_string_equal(uids[i], sorted[i]);
    assert_null(uids[count]);
    skep_mem_free(&skep_mem_std, uids);
    assert_int_equal(
        skep_checkpoint_list(&uids, &count, &skep_mem_std, path_of("", "ffn.4.0"), why, sizeof why),
        SKEP_EIO);
    assert_null(uids);
}

static void one_checkpoint_past_16384_is_refused(void **state)
{
    int at = open(dir, O_RDONLY | O_DIRECTORY);
    char **uids, name[32];
    size_t count;

    (void)state;
    assert_int_equal(mkdir(path_of("one", ""), 0700), 0);
    write_file(path_of("one", FILE_NAME), skep_bytes_str("x"));
    for (size_t i = 0; i <= SKEP_CHECKPOINTS_MAX; i++) {
        snprintf(name, sizeof name, "x.%zu", i);
        assert_int_equal(symlinkat("one", at, name), 0); /* links are quicker than folders */
        if (i + 1 == SKEP_CHECKPOINTS_MAX) {
            assert_int_equal(
                skep_checkpoint_list(&uids, &count, &skep_mem_std, dir, why, sizeof why), 0);
            assert_int_equal(count, SKEP_CHECKPOINTS_MAX);
            skep_mem_free(&skep_mem_std, uids);
        }
    }
    assert_int_equal(skep_checkpoint_list(&uids, &count, &skep_mem_std, dir, why, sizeof why),
                     SKEP_ELIMIT);
    assert_why("there are more than 16384 checkpoints");
    close(at);
}

/* ---- memory ---- */

static int save_load_and_list(const struct skep_mem *mem, void *user)
{
    struct fake_backend fake;
    char **uids = NULL;
    size_t count;
    int rc;

    (void)user;
    fake_backend_init(&fake, "ffn", 3, ADAM, 1);
    fake.backend.mem = mem;
    if ((rc = save(&fake, UID)) == 0 && (rc = load(&fake, UID)) == 0)
        rc = skep_checkpoint_list(&uids, &count, mem, dir, why, sizeof why);
    assert_int_equal(rc == SKEP_ENOMEM, strstr(why, "out of memory") != NULL);
    skep_mem_free(mem, uids);
    assert_int_equal(access(path_of(UID, FILE_NAME ".tmp"), F_OK), -1);
    fake_backend_fini(&fake);
    return rc;
}

static void no_failed_allocation_leaks_or_crashes(void **state)
{
    struct fake_backend fake;

    (void)state;
    fake_backend_init(&fake, "ffn", 3, ADAM, 1);
    assert_int_equal(save(&fake, UID), 0);
    fake_backend_fini(&fake);
    test_each_allocation_fails(save_load_and_list, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_saved_is_loaded, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_class_without_parameters_has_checkpoints_too, make_dir,
                                        remove_dir),
        cmocka_unit_test_setup_teardown(a_file_is_readable_as_the_umask_says, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(another_optimizer_takes_the_parameters_and_the_step,
                                        make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(adam_begins_anew_with_parameters_of_another_optimizer,
                                        make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_copied_folder_loads_as_another_expert, make_dir,
                                        remove_dir),
        cmocka_unit_test_setup_teardown(the_folder_may_be_a_link_to_another_disk, make_dir,
                                        remove_dir),
        cmocka_unit_test_setup_teardown(a_file_torn_at_any_byte_is_refused_and_left_alone, make_dir,
                                        remove_dir),
        cmocka_unit_test_setup_teardown(foreign_files_are_refused_and_left_alone, make_dir,
                                        remove_dir),
        cmocka_unit_test_setup_teardown(files_of_another_class_shape_or_content_are_refused,
                                        make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(adam_without_its_moments_is_loaded_only_where_it_begins,
                                        make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_tensor_of_another_type_is_refused, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(what_is_no_file_is_refused_without_waiting_for_it, make_dir,
                                        remove_dir),
        cmocka_unit_test_setup_teardown(a_temporary_file_of_a_crash_is_replaced, make_dir,
                                        remove_dir),
        cmocka_unit_test_setup_teardown(nothing_changes_before_the_commit, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(of_two_who_write_one_is_refused, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_full_disk_leaves_the_old_one_and_no_rest, make_dir,
                                        remove_dir),
        cmocka_unit_test_setup_teardown(a_missing_folder_is_named, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(uids_have_folders_by_percent_encoding, make_dir,
                                        remove_dir),
        cmocka_unit_test_setup_teardown(a_uid_too_long_for_a_folder_is_an_error_that_says_so,
                                        make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(the_end_of_a_long_path_is_in_the_message, make_dir,
                                        remove_dir),
        cmocka_unit_test_setup_teardown(the_list_has_what_has_a_checkpoint_and_nothing_else,
                                        make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(one_checkpoint_past_16384_is_refused, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(no_failed_allocation_leaks_or_crashes, make_dir,
                                        remove_dir),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
