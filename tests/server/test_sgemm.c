/* SPDX-License-Identifier: MIT */
/* Matrix products against sums in double, over shapes that are no multiples of anything: ours, and the library's. */
#include <math.h>

#include "server/pass.h"

struct product {
    char op_a, op_b;
    size_t m, n, k, lda, ldb, ldc;
    float alpha, beta;
};

enum { MARGIN = 8 }; /* numbers behind each row of C that nobody may touch */

static float at(char op, const float *x, size_t ld, size_t row, size_t column)
{
    return op == 'T' ? x[column * ld + row] : x[row * ld + column];
}

static void check_numbers(const struct product *p, const float *a, const float *b,
                          const float *before, const float *c)
{
    for (size_t i = 0; i < p->m; i++)
        for (size_t j = 0; j < p->ldc; j++) {
            double sum = 0, sizes = 0, old = (double)before[i * p->ldc + j];
            double got = (double)c[i * p->ldc + j];

            if (j >= p->n) {
                assert_memory_equal(&c[i * p->ldc + j], &before[i * p->ldc + j], sizeof(float));
                continue;
            }
            for (size_t q = 0; q < p->k; q++) {
                double x = (double)at(p->op_a, a, p->lda, i, q),
                       y = (double)at(p->op_b, b, p->ldb, q, j);

                sum += x * y;
                sizes += fabs(x * y);
            }
            sum *= (double)p->alpha;
            if (p->beta != 0)
                sum += (double)p->beta * old;
            if (!(fabs(got - sum) <= 1e-5 * (sizes + (p->beta != 0 ? fabs(old) : 0)) + 1e-30))
                fail_msg("%c%c m %zu n %zu k %zu alpha %g beta %g: C[%zu][%zu] is %g, not %g",
                         p->op_a, p->op_b, p->m, p->n, p->k, (double)p->alpha, (double)p->beta, i,
                         j, got, sum);
        }
}

static void check_product(skep_sgemm_fn *sgemm, struct product p)
{
    size_t a_rows = p.op_a == 'T' ? p.k : p.m, b_rows = p.op_b == 'T' ? p.n : p.k;
    float *a, *b, *c, *before;

    p.lda = (p.op_a == 'T' ? p.m : p.k) + 3;
    p.ldb = (p.op_b == 'T' ? p.k : p.n) + 5;
    p.ldc = p.n + MARGIN;
    a = test_draw(1, a_rows * p.lda, 1);
    b = test_draw(2, b_rows * p.ldb, 1);
    c = test_draw(3, p.m * p.ldc, 1);
    if (p.beta == 0) /* what is overwritten may be anything */
        for (size_t i = 0; i < p.m; i++)
            for (size_t j = 0; j < p.n; j++)
                c[i * p.ldc + j] = NAN;
    before = malloc(p.m * p.ldc * sizeof *before);
    memcpy(before, c, p.m * p.ldc * sizeof *before);
    sgemm(p.op_a, p.op_b, p.m, p.n, p.k, p.alpha, a, p.lda, b, p.ldb, p.beta, c, p.ldc);
    check_numbers(&p, a, b, before, c);
    free(a);
    free(b);
    free(c);
    free(before);
}

static void check_shapes(skep_sgemm_fn *sgemm)
{
    static const size_t shapes[][3] = {
        {1, 1, 1},     {1, 17, 5},    {1, 64, 256}, {1, 255, 129}, {2, 96, 64},   {3, 7, 130},
        {4, 100, 33},  {5, 66, 127},  {6, 48, 160}, {7, 130, 16},  {9, 65, 31},   {12, 97, 144},
        {16, 64, 128}, {17, 129, 65}, {31, 70, 48}, {33, 140, 20}, {63, 129, 77}, {65, 50, 200},
        {70, 1, 300},  {130, 17, 15}, {64, 200, 1}, {200, 64, 2},  {40, 300, 3},
    };
    static const char ops[] = {'N', 'T'};
    static const float factors[][2] = {{1, 0}, {1, 1}, {-0.5f, 0}, {2, -3}};

    for (size_t s = 0; s < SKEP_COUNT_OF(shapes); s++)
        for (size_t o = 0; o < 4; o++)
            for (size_t f = 0; f < SKEP_COUNT_OF(factors); f++)
                check_product(sgemm, (struct product){.op_a = ops[o / 2],
                                                      .op_b = ops[o % 2],
                                                      .m = shapes[s][0],
                                                      .n = shapes[s][1],
                                                      .k = shapes[s][2],
                                                      .alpha = factors[f][0],
                                                      .beta = factors[f][1]});
}

static void our_products_are_right_for_odd_shapes(void **state)
{
    (void)state;
    check_shapes(skep_sgemm_portable);
}

static void the_librarys_products_are_right_for_odd_shapes(void **state)
{
    (void)state;
    check_shapes(test_sgemm());
}

static void products_of_nothing_scale_and_no_more(void **state)
{
    skep_sgemm_fn *const both[] = {skep_sgemm_portable, test_sgemm()};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        float c[2] = {3, 4};

        both[i]('N', 'T', 0, 2, 2, 1, c, 2, c, 2, 0, c, 2);
        assert_true(c[0] == 3 && c[1] == 4);
        both[i]('N', 'T', 1, 2, 0, 1, c, 1, c, 1, 2, c, 2);
        assert_true(c[0] == 6 && c[1] == 8);
    }
}

static void what_is_not_finite_stays_so(void **state)
{
    skep_sgemm_fn *const both[] = {skep_sgemm_portable, test_sgemm()};
    enum { N = 64 };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        float *a = test_draw(1, N, 1), *b = test_draw(2, N * N, 1), c[N];

        a[N / 2] = NAN;
        both[i]('N', 'T', 1, N, N, 1, a, N, b, N, 0, c, N);
        for (size_t j = 0; j < N; j++)
            assert_true(isnan(c[j]));
        free(a);
        free(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(our_products_are_right_for_odd_shapes),
        cmocka_unit_test(the_librarys_products_are_right_for_odd_shapes),
        cmocka_unit_test(products_of_nothing_scale_and_no_more),
        cmocka_unit_test(what_is_not_finite_stays_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
