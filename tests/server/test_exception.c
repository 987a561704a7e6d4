/* SPDX-License-Identifier: MIT */
/* Errors in Python's words: repr for unary calls, str for streams. */
#include "server/exception.h"
#include "support/test.h"

/* What CPython 3.11's repr() says of a text. */
static const struct {
    const char *text;
    size_t len;
    const char *repr;
} reprs[] = {
    {"\146\146\156\056\071\056\071", 7, "\047\146\146\156\056\071\056\071\047"},
    {"\151\164\047\163", 4, "\042\151\164\047\163\042"},
    {"\163\141\171\040\042\170\042", 7, "\047\163\141\171\040\042\170\042\047"},
    {"\151\164\047\163\040\042\170\042", 8, "\047\151\164\134\047\163\040\042\170\042\047"},
    {"\141\134\142", 3, "\047\141\134\134\142\047"},
    {"\012\015\011\000\177", 5, "\047\134\156\134\162\134\164\134\170\060\060\134\170\067\146\047"},
    {"\303\251\302\255\342\200\250\344\270\255\357\273\277\360\237\230\200\363\240\200\201\364\217\277\277",
     25,
     "\047\303\251\134\170\141\144\134\165\062\060\062\070\344\270\255\134\165\146\145\146\146\360\237\230\200\134\125\060\060\060\145\060\060\060\061\134\125\060\060\061\060\146\146\146\146\047"},
    {"\172\314\200", 3, "\047\172\314\200\047"},
};

static void a_key_is_quoted_as_python_quotes_it(void **state)
{
    struct skep_exception e;
    char out[SKEP_EXCEPTION_LEN_MAX], wanted[256];

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(reprs); i++) {
        skep_exception_set_key(&e, skep_bytes_of(reprs[i].text, reprs[i].len));
        assert_string_equal(skep_exception_str(&e, out), reprs[i].repr);
        snprintf(wanted, sizeof wanted, "KeyError(%s)", reprs[i].repr);
        assert_string_equal(skep_exception_repr(&e, out), wanted);
    }
}

static void each_kind_has_its_repr_and_its_str(void **state)
{
    struct skep_exception e;
    char out[SKEP_EXCEPTION_LEN_MAX];

    (void)state;
    skep_exception_set(&e, "ValueError", "batch %d", 0);
    assert_string_equal(skep_exception_repr(&e, out), "ValueError('batch 0')");
    assert_string_equal(skep_exception_str(&e, out), "batch 0");
    skep_exception_set_key(&e, (skep_bytes){NULL, 0});
    assert_string_equal(skep_exception_repr(&e, out), "KeyError(None)");
    assert_string_equal(skep_exception_str(&e, out), "None");
    skep_exception_set_bare(&e, "CancelledError");
    assert_string_equal(skep_exception_repr(&e, out), "CancelledError()");
    assert_string_equal(skep_exception_str(&e, out), "");
}

static void what_the_runtime_says_is_read_back(void **state)
{
    static const char *const texts[] = {"MemoryError('out of memory')", "CancelledError()",
                                        "RuntimeError('the expert failed')", "ValueError('')"};
    struct skep_exception e;
    char out[SKEP_EXCEPTION_LEN_MAX];

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(texts); i++) {
        skep_exception_set_repr(&e, texts[i]);
        assert_string_equal(skep_exception_repr(&e, out), texts[i]);
    }
    skep_exception_set_repr(&e, "something else");
    assert_string_equal(skep_exception_repr(&e, out), "RuntimeError('something else')");
}

static void what_is_too_long_is_cut(void **state)
{
    struct skep_exception e;
    char out[SKEP_EXCEPTION_LEN_MAX], *key = malloc(SKEP_UID_LEN_MAX);

    (void)state;
    assert_non_null(key);
    memset(key, 1, SKEP_UID_LEN_MAX); /* each four characters */
    skep_exception_set_key(&e, skep_bytes_of(key, SKEP_UID_LEN_MAX));
    assert_in_range(strlen(skep_exception_repr(&e, out)), SKEP_ERROR_TEXT_MAX - 4,
                    SKEP_ERROR_TEXT_MAX);
    /* and what is no UTF-8 is not read past its end */
    for (unsigned c = 0; c < 256; c++) {
        char last = (char)c;

        skep_exception_set_key(&e, skep_bytes_of(&last, 1));
        assert_true(strlen(skep_exception_str(&e, out)) >= 3);
    }
    free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_quoted_as_python_quotes_it),
        cmocka_unit_test(each_kind_has_its_repr_and_its_str),
        cmocka_unit_test(what_the_runtime_says_is_read_back),
        cmocka_unit_test(what_is_too_long_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
