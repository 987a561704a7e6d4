/* SPDX-License-Identifier: MIT */
/* The example's class out of its shared object, and objects that are none. Arguments: the example, and the folder of the bad ones. */
#include "api/class_load.h"

#include "support/test.h"

static const char *example, *bad_folder;
static char why[SKEP_API_CLASS_WHY_MAX];

/* ---- a pass, as the server makes it ---- */

enum { HIDDEN = 3, ROWS = 2 };

struct pass {
    skep_pass pass;
    void *blocks[4];
    size_t block_count;
    float gradients[2][HIDDEN];
};

static void *pass_alloc(skep_pass *base, size_t len)
{
    struct pass *pass = SKEP_CONTAINER_OF(base, struct pass, pass);
    void *block = malloc(len);

    assert_true(pass->block_count < SKEP_COUNT_OF(pass->blocks));
    pass->blocks[pass->block_count++] = block;
    return block;
}

static void *pass_alloc_nothing(skep_pass *pass, size_t len)
{
    (void)pass;
    (void)len;
    return NULL;
}

static void pass_gradient(skep_pass *base, size_t parameter, size_t offset, const float *gradient,
                          size_t count)
{
    struct pass *pass = SKEP_CONTAINER_OF(base, struct pass, pass);

    assert_true(parameter < 2 && offset + count <= HIDDEN);
    memcpy(pass->gradients[parameter] + offset, gradient, count * sizeof *gradient);
}

static void end_pass(struct pass *pass)
{
    for (size_t i = 0; i < pass->block_count; i++)
        free(pass->blocks[i]);
}

static const float x[] = {1, 2, 3, -4, 5, 0.5f}, grad_y[] = {1, 1, 1, 2, -1, 4},
                   scale[] = {2, -1, 0.5f}, bias[] = {0, 10, -1};

static void the_example_is_loaded_and_computes(void **state)
{
    const skep_tensor input = {.axes = 2, .shape = {ROWS, HIDDEN}, .data = x},
                      grad_output = {.axes = 2, .shape = {ROWS, HIDDEN}, .data = grad_y};
    const float *const parameters[] = {scale, bias};
    struct pass pass = {.pass = {.rows = ROWS,
                                 .parameters = parameters,
                                 .alloc = pass_alloc,
                                 .gradient = pass_gradient}};
    const skep_expert_class *class;
    skep_class_schema schema = {.input_count = 0};
    float y[ROWS * HIDDEN], grad_x[ROWS * HIDDEN];
    void *outputs[] = {y}, *grad_inputs[] = {grad_x}, *handle, *class_state = NULL;

    (void)state;
    assert_int_equal(skep_api_class_load(&class, &handle, example, why, sizeof why), 0);
    assert_string_equal(why, "");
    assert_string_equal(class->name, "scale");
    assert_int_equal(class->open(HIDDEN, "scale=2.5", &schema, &class_state, why, sizeof why), 0);
    assert_int_equal(schema.input_count, 1);
    assert_int_equal(schema.outputs[0].shape[0], HIDDEN);
    assert_int_equal(schema.parameter_count, 2);
    assert_true(schema.parameters[0].init_value == 2.5);
    assert_int_equal(class->forward(&pass.pass, &input, outputs), 0);
    for (size_t i = 0; i < ROWS * HIDDEN; i++)
        assert_true(y[i] == x[i] * scale[i % HIDDEN] + bias[i % HIDDEN]);
    assert_int_equal(class->backward(&pass.pass, &input, &grad_output, grad_inputs), 0);
    for (size_t i = 0; i < ROWS * HIDDEN; i++)
        assert_true(grad_x[i] == grad_y[i] * scale[i % HIDDEN]);
    for (size_t i = 0; i < HIDDEN; i++) {
        assert_true(pass.gradients[0][i] == x[i] * grad_y[i] + x[3 + i] * grad_y[3 + i]);
        assert_true(pass.gradients[1][i] == grad_y[i] + grad_y[3 + i]);
    }
    end_pass(&pass);
    pass.pass.alloc = pass_alloc_nothing;
    assert_int_equal(class->backward(&pass.pass, &input, &grad_output, grad_inputs), SKEP_ENOMEM);
    skep_api_class_unload(handle);
}

static void the_example_refuses_options_it_does_not_have(void **state)
{
    static const struct {
        const char *options, *why;
    } cases[] = {{"size=2", "the only option is scale=NUMBER"},
                 {"scale", "the only option is scale=NUMBER"},
                 {"scale=", "scale is to be a number"},
                 {"scale=2x", "scale is to be a number"},
                 {"scale=inf", "scale is to be a number"}};
    const skep_expert_class *class;
    skep_class_schema schema = {.input_count = 0};
    void *handle, *class_state = NULL;

    (void)state;
    assert_int_equal(skep_api_class_load(&class, &handle, example, why, sizeof why), 0);
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        assert_int_equal(class->open(4, cases[i].options, &schema, &class_state, why, sizeof why),
                         SKEP_EINVAL);
        assert_string_equal(why, cases[i].why);
    }
    assert_int_equal(class->open(4, NULL, &schema, &class_state, why, sizeof why), 0);
    assert_true(schema.parameters[0].init_value == 1);
    skep_api_class_unload(handle);
}

static void what_is_no_class_is_refused_with_its_path_and_reason(void **state)
{
    static const struct {
        const char *file, *why;
    } cases[] = {
        {"bad_class_1.so", "it is made for interface 2 of <skep/expert_class.h>, this skep has 1"},
        {"bad_class_2.so", "its class has no name"},
        {"bad_class_3.so", "its class has no open()"},
        {"bad_class_4.so", "its class has no forward()"},
        {"bad_class_5.so", "its class has no backward()"},
        {"bad_class_6.so", "it gives no class"},
        {"bad_class_7.so", "it defines no skep_expert_class_get()"},
        {"none.so", "cannot open shared object file: No such file or directory"},
    };

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        const skep_expert_class *class;
        char path[512], wanted[1024];
        void *handle;

        snprintf(path, sizeof path, "%s/%s", bad_folder, cases[i].file);
        snprintf(wanted, sizeof wanted, "%s: %s", path, cases[i].why);
        assert_int_equal(skep_api_class_load(&class, &handle, path, why, sizeof why), SKEP_EINVAL);
        assert_string_equal(why, wanted);
        assert_null(class);
        assert_null(handle);
    }
}

static void what_is_no_path_or_no_object_is_refused(void **state)
{
    const skep_expert_class *class;
    void *handle;

    (void)state;
    assert_int_equal(skep_api_class_load(&class, &handle, "libc.so.6", why, sizeof why),
                     SKEP_EINVAL);
    assert_string_equal(why,
                        "libc.so.6: a class is loaded from a path with a '/', as in ./class.so");
    assert_int_equal(skep_api_class_load(&class, &handle, "./CMakeLists.txt", why, sizeof why),
                     SKEP_EINVAL);
    assert_non_null(strstr(why, "./CMakeLists.txt: "));
    skep_api_class_unload(NULL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_example_is_loaded_and_computes),
        cmocka_unit_test(the_example_refuses_options_it_does_not_have),
        cmocka_unit_test(what_is_no_class_is_refused_with_its_path_and_reason),
        cmocka_unit_test(what_is_no_path_or_no_object_is_refused),
    };

    if (argc != 3)
        return 2;
    example = argv[1];
    bad_folder = argv[2];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
