/* SPDX-License-Identifier: MIT */
/* Charts as SVG: that the documents are well-formed and small, ticks round, numbers right, and nothing is drawn that was not said. */
#include "cmd/chart.h"

#include <math.h>

#include "cmd/chart_axis.h"
#include "cmd/chart_svg.h"
#include "support/test.h"

enum { TAGS_MAX = 16, DOCUMENT_MAX = 60000, MANY = 20000 };

/* ---- a document as text ---- */

/* The document, kept until the next one; fails the test unless it was written. */
static const char *text_of(int rc, struct skep_buf *buf)
{
    static char *text;

    assert_int_equal(rc, 0);
    free(text);
    text = malloc(buf->len + 1);
    assert_non_null(text);
    skep_bytes_copy(text, skep_buf_view(buf));
    text[buf->len] = '\0';
    skep_buf_fini(buf);
    return text;
}

static const char *svg(const struct skep_chart *chart)
{
    struct skep_buf buf;

    skep_buf_init(&buf, &skep_mem_std);
    return text_of(skep_chart_write(&buf, chart), &buf);
}

static const char *svg_boxes(const struct skep_chart_boxes *chart)
{
    struct skep_buf buf;

    skep_buf_init(&buf, &skep_mem_std);
    return text_of(skep_chart_write_boxes(&buf, chart), &buf);
}

static size_t times(const char *text, const char *word)
{
    size_t count = 0;

    for (; (text = strstr(text, word)); text += strlen(word))
        count++;
    return count;
}

/* '&' begins one of the four entities that XML has without saying so. */
static bool is_entity(const char *p)
{
    return strncmp(p, "&amp;", 5) == 0 || strncmp(p, "&lt;", 4) == 0 ||
           strncmp(p, "&gt;", 4) == 0 || strncmp(p, "&quot;", 6) == 0;
}

/* One tag, p after its '<'. @return after its '>'. */
static const char *check_tag(const char *p, char open[TAGS_MAX][16], size_t *depth)
{
    bool closing = *p == '/', quoted = false;
    size_t len;

    p += closing;
    len = strspn(p, "abcdefghijklmnopqrstuvwxyz");
    assert_in_range(len, 1, 15);
    if (closing) {
        assert_true(*depth > 0);
        (*depth)--;
        assert_true(strlen(open[*depth]) == len && memcmp(open[*depth], p, len) == 0);
    } else {
        assert_true(*depth < TAGS_MAX);
        memcpy(open[*depth], p, len);
        open[(*depth)++][len] = '\0';
    }
    for (p += len; quoted || *p != '>'; p++) {
        assert_true(*p != '\0' && *p != '<');
        if (*p == '&')
            assert_true(is_entity(p));
        if (*p == '"')
            quoted = !quoted;
    }
    if (p[-1] == '/')
        (*depth)--;
    return p + 1;
}

static void assert_well_formed(const char *text)
{
    char open[TAGS_MAX][16];
    size_t depth = 0;
    const char *p = text;

    assert_true(skep_utf8_valid(skep_bytes_str(text)));
    assert_true(strlen(text) < DOCUMENT_MAX);
    while (*p != '\0') {
        unsigned char c = (unsigned char)*p;

        assert_true((c >= 0x20 || c == '\n') && c != 0x7f && c != '>');
        if (c == '&')
            assert_true(is_entity(p));
        p = c == '<' ? check_tag(p + 1, open, &depth) : p + 1;
        assert_true(depth > 0 || *p == '\n' || *p == '\0');
    }
    assert_int_equal(depth, 0);
    assert_null(strstr(text, "nan"));
    assert_null(strstr(text, "inf"));
    assert_null(strstr(text, "<script"));
    assert_int_equal(times(text, "http"), 1); /* the name space */
}

static int refusal(const struct skep_chart *chart)
{
    struct skep_buf buf;
    int rc;

    skep_buf_init(&buf, &skep_mem_std);
    skep_buf_put_str(&buf, "before");
    rc = skep_chart_write(&buf, chart);
    assert_int_equal(buf.len, rc < 0 ? 6 : buf.len);
    skep_buf_fini(&buf);
    return rc;
}

static const double one_to_five[] = {1, 2, 3, 4, 5}, primes[] = {2, 3, 5, 7, 11};
static const struct skep_chart_series line = {"primes", one_to_five, primes, 5, SKEP_CHART_LINE};
static const struct skep_chart plain = {.title = "Primes",
                                        .subtitle = "by hand",
                                        .x_label = "n",
                                        .y_label = "prime",
                                        .series = &line,
                                        .series_count = 1};

/* ---- what is drawn ---- */

static void a_chart_is_a_well_formed_document_with_its_texts(void **state)
{
    const char *text = svg(&plain);

    (void)state;
    assert_well_formed(text);
    assert_non_null(strstr(text, "viewBox=\"0 0 760 440\""));
    assert_non_null(strstr(text, "role=\"img\""));
    assert_non_null(strstr(text, "<title>Primes</title>"));
    assert_non_null(strstr(text, "<desc>by hand</desc>"));
    assert_non_null(strstr(text, "prefers-color-scheme:dark"));
    assert_non_null(strstr(text, ">primes</text>"));
    assert_non_null(strstr(text, ">prime</text>"));
    assert_non_null(strstr(text, ">n</text>"));
}

static void texts_are_escaped(void **state)
{
    static const char *const names[] = {"<b>", "a&b"};
    static const double x[] = {0, 1};
    const struct skep_chart_series series = {"\"quoted\"", x, primes, 2, SKEP_CHART_BARS};
    const struct skep_chart_mark mark = {3, "</svg>", false};
    const struct skep_chart chart = {.title = "1 < 2 & 3 > 2",
                                     .subtitle = "bell \a, tab \t, no UTF-8 \xff\xc0, \xef\xbf\xbf",
                                     .x_label = "<x>",
                                     .y_label = "&y",
                                     .x_names = names,
                                     .x_name_count = 2,
                                     .series = &series,
                                     .series_count = 1,
                                     .marks = &mark,
                                     .mark_count = 1};
    const char *text = svg(&chart);

    (void)state;
    assert_well_formed(text);
    assert_non_null(strstr(text, "1 &lt; 2 &amp; 3 &gt; 2"));
    assert_non_null(strstr(text, "bell \xef\xbf\xbd, tab  , no UTF-8 \xef\xbf\xbd\xef\xbf\xbd"));
    assert_non_null(strstr(text, ">&lt;b&gt;</text>"));
    assert_non_null(strstr(text, "&quot;quoted&quot;"));
    assert_non_null(strstr(text, "&lt;/svg&gt;"));
}

static void lines_that_reach_the_right_side_have_their_names_there_others_in_a_legend(void **state)
{
    struct skep_chart_series two[] = {line, line};
    struct skep_chart chart = plain;

    (void)state;
    two[1].name = "again";
    chart.series = two;
    chart.series_count = 2;
    assert_int_equal(times(svg(&chart), "font-weight=\"600\">again</text>"), 1);
    two[1].count = 3; /* ends half way */
    assert_int_equal(times(svg(&chart), "font-weight=\"600\">again</text>"), 0);
    assert_int_equal(times(svg(&chart), ">again</text>"), 1);
    two[1] = line;
    two[1].name = "a name that is far too long to stand at the end of a line";
    assert_int_equal(times(svg(&chart), "font-weight=\"600\">primes</text>"), 0);
}

static void names_at_the_ends_of_lines_keep_apart(void **state)
{
    struct skep_chart_series eight[8];
    struct skep_chart chart = plain;
    double y[8];
    size_t found = 0;

    (void)state;
    for (size_t i = 0; i < 8; i++)
        eight[i] = line;
    chart.series = eight;
    chart.series_count = 8;
    for (const char *p = svg(&chart); (p = strstr(p, "fill=\"currentColor\" font-weight")); p++) {
        const char *at = p;

        while (strncmp(at, " y=\"", 4) != 0)
            at--;
        assert_in_range(found, 0, 7);
        y[found++] = strtod(at + 4, NULL);
    }
    assert_int_equal(found, 8);
    for (size_t i = 1; i < 8; i++)
        assert_true(y[i] - y[i - 1] >= 15.9);
    assert_true(y[0] > 90 && y[7] < 400);
}

/* The heights of all bars of a document, in pixels. */
static size_t bars_of(const char *text, double *out, size_t most)
{
    const char *p = strstr(text, "fill=\"currentColor\" d=\"M");
    size_t count = 0;

    for (; p && count < most && (p = strstr(p, "V")); p++) {
        double top = strtod(p + 1, NULL), base;

        p = strstr(p + 1, "V");
        base = strtod(p + 1, NULL);
        out[count++] = base - top;
        if (*strchr(p, 'z') != 'z' || strchr(p, 'z')[1] == '"')
            break;
    }
    return count;
}

static void bars_are_as_high_as_their_numbers_and_begin_at_zero(void **state)
{
    struct skep_chart_series bars = line;
    struct skep_chart chart = plain;
    double height[8] = {0};

    (void)state;
    bars.form = SKEP_CHART_BARS;
    bars.name = NULL;
    chart.series = &bars;
    assert_int_equal(bars_of(svg(&chart), height, 8), 5);
    for (size_t i = 0; i < 5; i++)
        assert_true(fabs(height[i] / height[0] - primes[i] / primes[0]) < 0.01);
}

static void areas_of_the_same_x_are_stacked(void **state)
{
    static const double ones[] = {1, 1, 1, 1, 1}, x[] = {11, 12, 13, 14, 15},
                        other_x[] = {11, 12, 13, 14, 14.5};
    struct skep_chart_series areas[] = {{"a", x, ones, 5, SKEP_CHART_AREA},
                                        {"b", x, ones, 5, SKEP_CHART_AREA},
                                        {"c", x, ones, 5, SKEP_CHART_AREA}};
    struct skep_chart chart = plain;

    (void)state;
    chart.series = areas;
    chart.series_count = 3;
    assert_non_null(strstr(svg(&chart), ">3.0</text>"));
    assert_int_equal(times(svg(&chart), "class=\"a2\""), 1);
    areas[2].x = other_x;
    assert_null(strstr(svg(&chart), ">3.0</text>"));
    assert_int_equal(times(svg(&chart), "class=\"a2\""), 0);
}

static void one_point_and_equal_numbers_are_drawn(void **state)
{
    static const double zero[] = {0}, threes[] = {3, 3, 3, 3, 3};
    struct skep_chart_series series = {"p", zero, zero, 1, SKEP_CHART_LINE};
    struct skep_chart chart = plain;

    (void)state;
    chart.series = &series;
    for (int form = SKEP_CHART_LINE; form <= SKEP_CHART_AREA; form++) {
        for (int log = 0; log < 2; log++) {
            memcpy(&series.form, &form, sizeof form);
            chart.x_log = chart.y_log = log == 1;
            series.x = series.y = zero;
            series.count = 1;
            assert_well_formed(svg(&chart));
            series.x = series.y = threes;
            series.count = 5;
            assert_well_formed(svg(&chart));
        }
    }
}

static void zero_has_a_place_apart_on_a_logarithmic_axis(void **state)
{
    static const double y[] = {0, 0.001, 1};
    const struct skep_chart_series series = {"gap", one_to_five, y, 3, SKEP_CHART_LINE};
    struct skep_chart chart = plain;
    const char *text;

    (void)state;
    chart.series = &series;
    chart.y_log = true;
    text = svg(&chart);
    assert_well_formed(text);
    assert_int_equal(times(text, ">0</text>"), 1);
    assert_int_equal(times(text, ">0.001</text>"), 1);
}

static void marks_are_drawn_where_the_axes_reach_and_widen_those_from_the_data(void **state)
{
    const struct skep_chart_mark marks[] = {{100, "goal", false}, {2.5, "median", true}};
    struct skep_chart chart = plain;

    (void)state;
    chart.marks = marks;
    chart.mark_count = 2;
    assert_well_formed(svg(&chart));
    assert_non_null(strstr(svg(&chart), ">goal</text>"));
    assert_non_null(strstr(svg(&chart), ">median</text>"));
    chart.y_min = 0;
    chart.y_max = 20;
    assert_null(strstr(svg(&chart), ">goal</text>"));
    assert_non_null(strstr(svg(&chart), ">median</text>"));
}

static void what_is_outside_of_given_limits_is_cut_off(void **state)
{
    struct skep_chart chart = plain;

    (void)state;
    chart.x_min = 2;
    chart.x_max = 3;
    assert_well_formed(svg(&chart));
    assert_int_equal(times(svg(&chart), "<svg"), 2);
    assert_int_equal(times(svg(&plain), "<svg"), 1);
}

/* ---- what is refused ---- */

static void what_is_no_number_is_refused(void **state)
{
    static const double wrong[] = {NAN, INFINITY, -INFINITY, 1e31, -1e31};
    const struct skep_chart_mark mark = {NAN, "", false};
    struct skep_chart chart = plain;

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(wrong); i++) {
        struct skep_chart_series series = line;
        double values[5] = {1, 2, 3, 4, 5};

        chart.series = &series;
        values[3] = wrong[i];
        series.y = values;
        assert_int_equal(refusal(&chart), SKEP_EINVAL);
        series.y = primes;
        series.x = values;
        assert_int_equal(refusal(&chart), SKEP_EINVAL);
    }
    chart = plain;
    assert_int_equal(refusal(&chart), 0);
    chart.marks = &mark;
    chart.mark_count = 1;
    assert_int_equal(refusal(&chart), SKEP_EINVAL);
    chart = plain;
    chart.y_max = INFINITY;
    assert_int_equal(refusal(&chart), SKEP_EINVAL);
}

static void a_chart_of_nothing_is_refused(void **state)
{
    struct skep_chart_series series = line;
    struct skep_chart chart = plain;

    (void)state;
    chart.series_count = 0;
    assert_int_equal(refusal(&chart), SKEP_EINVAL);
    chart.series_count = 1;
    chart.series = &series;
    series.count = 0;
    assert_int_equal(refusal(&chart), SKEP_EINVAL);
}

static void more_series_than_colours_are_refused(void **state)
{
    struct skep_chart_series series[SKEP_CHART_SERIES_MAX + 1];
    struct skep_chart chart = plain;

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(series); i++)
        series[i] = line;
    chart.series = series;
    chart.series_count = SKEP_CHART_SERIES_MAX;
    assert_int_equal(refusal(&chart), 0);
    chart.series_count++;
    assert_int_equal(refusal(&chart), SKEP_EINVAL);
}

static void what_does_not_suit_an_axis_is_refused(void **state)
{
    static const double down[] = {5, 4, 3, 2, 1}, negative[] = {-1, 0, 1, 2, 3};
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    struct skep_chart_series series = line;
    struct skep_chart chart = plain;

    (void)state;
    chart.series = &series;
    series.x = down;
    assert_int_equal(refusal(&chart), SKEP_EINVAL);
    series.form = SKEP_CHART_DOTS;
    assert_int_equal(refusal(&chart), 0);
    series = line;
    series.y = negative;
    assert_int_equal(refusal(&chart), 0);
    chart.y_log = true;
    assert_int_equal(refusal(&chart), SKEP_EINVAL);
    chart = plain;
    chart.x_names = names;
    chart.x_name_count = 5; /* x is 1 to 5 */
    assert_int_equal(refusal(&chart), SKEP_EINVAL);
    chart = plain;
    chart.x_min = 3;
    chart.x_max = 2;
    assert_int_equal(refusal(&chart), SKEP_EINVAL);
    chart.x_min = 0;
    assert_int_equal(refusal(&chart), 0);
    chart.x_log = true;
    assert_int_equal(refusal(&chart), SKEP_EINVAL);
}

/* ---- many points ---- */

static double *random_numbers(struct skep_prng *prng, size_t count, bool ascending)
{
    double *out = malloc(count * sizeof *out), sum = 0;

    assert_non_null(out);
    for (size_t i = 0; i < count; i++) {
        double v = (double)skep_prng_below(prng, 1000000) / 997.0;

        out[i] = ascending ? (sum += v) : v;
    }
    return out;
}

static void documents_stay_small_however_many_points_there_are(void **state)
{
    struct skep_prng prng;
    struct skep_chart_series series[SKEP_CHART_SERIES_MAX];
    struct skep_chart chart = plain;
    double *x, *y;

    (void)state;
    skep_prng_init(&prng, 5);
    x = random_numbers(&prng, MANY, true);
    y = random_numbers(&prng, MANY, false);
    chart.series = series;
    for (int form = SKEP_CHART_LINE; form <= SKEP_CHART_AREA; form++) {
        for (size_t count = 1; count <= SKEP_CHART_SERIES_MAX; count++) {
            for (size_t i = 0; i < count; i++) {
                series[i] = (struct skep_chart_series){"many", x + i, y + i, MANY - i, 0};
                memcpy(&series[i].form, &form, sizeof form);
            }
            chart.series_count = count;
            assert_well_formed(svg(&chart));
        }
    }
    free(y);
    free(x);
}

/* The least y of a path's points: how high it reaches. */
static double top_of(const char *text)
{
    const char *p = strstr(text, "stroke-linecap=\"round\" d=\"M");
    double least = 1e9;

    for (p = strchr(p, 'M'); *p != '"';) {
        char *end;
        double y;

        strtod(p + 1, &end);
        y = strtod(end, &end);
        least = SKEP_MIN(least, y);
        p = end;
    }
    return least;
}

static void a_peak_among_thousands_of_points_is_not_lost(void **state)
{
    static double x[MANY], y[MANY];
    const struct skep_chart_series series = {NULL, x, y, MANY, SKEP_CHART_LINE};
    struct skep_chart chart = plain;

    (void)state;
    for (size_t i = 0; i < MANY; i++) {
        x[i] = (double)i;
        y[i] = i % 7 == 0 ? 0.1 : 0.2;
    }
    chart.series = &series;
    chart.y_min = 0;
    chart.y_max = 100;
    assert_true(top_of(svg(&chart)) > 350);
    y[12345] = 100;
    assert_true(top_of(svg(&chart)) < 120);
}

static void random_charts_are_well_formed(void **state)
{
    (void)state;
    for (uint64_t seed = test_seed_first(); seed < test_seed_end(300); seed++) {
        struct skep_prng prng;
        struct skep_chart_series series[SKEP_CHART_SERIES_MAX];
        struct skep_chart_mark marks[3];
        struct skep_chart chart = {.series = series, .marks = marks};
        double *x, *y;

        skep_prng_init(&prng, seed);
        x = random_numbers(&prng, 2000, true);
        y = random_numbers(&prng, 2000, false);
        chart.series_count = 1 + (size_t)skep_prng_below(&prng, SKEP_CHART_SERIES_MAX);
        chart.mark_count = (size_t)skep_prng_below(&prng, 4);
        chart.x_log = skep_prng_below(&prng, 2) > 0;
        chart.y_log = skep_prng_below(&prng, 2) > 0;
        chart.title = skep_prng_below(&prng, 2) > 0 ? "Some title" : NULL;
        chart.y_max = skep_prng_below(&prng, 3) > 0 ? 0 : 500;
        chart.y_min = chart.y_max > 0 ? 1 : 0;
        for (size_t i = 0; i < chart.series_count; i++) {
            int form = (int)skep_prng_below(&prng, 5);

            series[i] = (struct skep_chart_series){"a name", x, y + i,
                                                   1 + (size_t)skep_prng_below(&prng, 1900), 0};
            memcpy(&series[i].form, &form, sizeof form);
        }
        for (size_t i = 0; i < chart.mark_count; i++)
            marks[i] = (struct skep_chart_mark){(double)skep_prng_below(&prng, 2000), "a mark",
                                                skep_prng_below(&prng, 2) > 0};
        assert_well_formed(svg(&chart));
        free(y);
        free(x);
    }
}

/* ---- axes ---- */

/* The labels of an axis, joined by blanks. */
static const char *ticks(double low, double high, bool log, double padding, size_t tick_max)
{
    static char text[SKEP_AXIS_TICKS_MAX * SKEP_AXIS_TEXT_MAX];
    struct skep_axis_range range = {0};
    struct skep_axis axis;
    size_t used = 0;

    skep_axis_range_add(&range, low);
    skep_axis_range_add(&range, high);
    skep_axis_fit(&axis, &range, log, padding, tick_max);
    text[0] = '\0';
    for (size_t i = 0; i < axis.tick_count; i++) {
        if (!axis.ticks[i].minor)
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", used > 0 ? " " : "",
                                     axis.ticks[i].text);
    }
    return text;
}

static void ticks_are_one_two_five_times_a_power_of_ten(void **state)
{
    (void)state;
    assert_string_equal(ticks(0, 9.3, false, -1, 6), "0 2 4 6 8 10");
    assert_string_equal(ticks(0, 4.1, false, -1, 6), "0 1 2 3 4 5");
    assert_string_equal(ticks(0, 23, false, -1, 6), "0 5 10 15 20 25");
    assert_string_equal(ticks(-0.3, 0.3, false, -1, 6),
                        "\u22120.3 \u22120.2 \u22120.1 0 0.1 0.2 0.3");
    assert_string_equal(ticks(0, 0.003, false, -1, 6),
                        "0 0.0005 0.0010 0.0015 0.0020 0.0025 0.0030");
    assert_string_equal(ticks(0, 10000, false, -1, 5),
                        "0 2\u2009000 4\u2009000 6\u2009000 8\u2009000 10\u2009000");
    assert_string_equal(ticks(0, 3e9, false, -1, 3), "0 10⁹ 2·10⁹ 3·10⁹");
    assert_string_equal(ticks(1.2, 3.7, false, 0, 6), "1.5 2.0 2.5 3.0 3.5");
}

static void ticks_of_a_logarithmic_axis_are_decades_or_one_two_five(void **state)
{
    (void)state;
    assert_string_equal(ticks(3, 180, true, -1, 6), "2 5 10 20 50 100 200");
    assert_string_equal(ticks(1, 1e6, true, -1, 9),
                        "1 10 100 1\u2009000 10\u2009000 100\u2009000 1\u2009000\u2009000");
    assert_string_equal(ticks(1e-4, 1, true, -1, 6), "0.0001 0.001 0.01 0.1 1");
    assert_string_equal(ticks(1, 1e12, true, -1, 4), "1 1\u2009000 1\u2009000\u2009000 10⁹ 10¹²");
    assert_string_equal(ticks(0, 100, true, -1, 6), "0 50 100 200");
    assert_string_equal(ticks(310, 420, true, 0, 6), "320 340 360 380 400 420");
}

static void an_axis_reaches_to_round_numbers_or_has_its_padding(void **state)
{
    struct skep_axis_range range = {0};
    struct skep_axis axis;

    (void)state;
    skep_axis_range_add(&range, 13);
    skep_axis_range_add(&range, 87);
    skep_axis_fit(&axis, &range, false, -1, 6);
    assert_true(axis.low == 0 && axis.high == 100);
    skep_axis_fit(&axis, &range, true, -1, 6);
    assert_true(fabs(axis.low - 10) < 1e-9 && fabs(axis.high - 100) < 1e-9);
    skep_axis_fit(&axis, &range, false, 0.5, 6);
    assert_true(axis.low == 13 - 37 && axis.high == 87 + 37);
}

static void numbers_stand_where_their_share_of_the_axis_is(void **state)
{
    struct skep_axis_range range = {0};
    struct skep_axis axis;

    (void)state;
    skep_axis_set(&axis, 0, 10, false, 6);
    axis.start = 400;
    axis.end = 100;
    assert_true(fabs(skep_axis_at(&axis, 2.5) - 325) < 1e-9);
    skep_axis_set(&axis, 1, 100, true, 6);
    axis.start = 0;
    axis.end = 200;
    assert_true(fabs(skep_axis_at(&axis, 10) - 100) < 1e-9);
    assert_true(skep_axis_at(&axis, 0) < -1000);
    skep_axis_range_add(&range, 0);
    skep_axis_range_add(&range, 1);
    skep_axis_range_add(&range, 100);
    skep_axis_fit(&axis, &range, true, 0, 6);
    axis.start = 0;
    axis.end = 200;
    assert_true(skep_axis_at(&axis, 0) == 0);
    assert_true(skep_axis_at(&axis, 1) > 5 && skep_axis_at(&axis, 1) < 30);
}

static void numbers_have_thin_thousands_and_the_digits_that_matter(void **state)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0, "0"},
                 {1234567, "1\u2009234\u2009567"},
                 {-12, "\u221212"},
                 {0.1234, "0.123"},
                 {12.34, "12.3"},
                 {123.4, "123"},
                 {12, "12"},
                 {0.5, "0.5"},
                 {999.96, "1\u2009000"},
                 {2.5e9, "2.5·10⁹"},
                 {1e-6, "10⁻⁶"},
                 {-3e-12, "\u22123·10⁻¹²"}};

    (void)state;
    for (size_t i = 0; i < SKEP_COUNT_OF(cases); i++) {
        char text[SKEP_AXIS_TEXT_MAX];

        assert_string_equal(skep_axis_value(text, cases[i].value), cases[i].text);
    }
}

static void an_axis_of_any_range_has_few_ticks_within_it(void **state)
{
    (void)state;
    for (uint64_t seed = test_seed_first(); seed < test_seed_end(5000); seed++) {
        struct skep_axis_range range = {0};
        struct skep_axis axis;
        struct skep_prng prng;
        size_t labels = 0;
        double slack;

        skep_prng_init(&prng, seed);
        for (int i = 0; i < 2; i++)
            skep_axis_range_add(&range, ((double)skep_prng_below(&prng, 2000) + 1) *
                                            pow(10, (double)skep_prng_below(&prng, 52) - 30));
        skep_axis_fit(&axis, &range, seed % 2 > 0, seed % 3 > 0 ? -1 : 0.03, 6);
        slack = (axis.high - axis.low) * 1e-5;
        assert_true(axis.low <= range.low + slack && axis.high >= range.high - slack);
        assert_true(axis.low < axis.high);
        for (size_t i = 0; i < axis.tick_count; i++) {
            labels += !axis.ticks[i].minor;
            assert_true(i == 0 || axis.ticks[i].value > axis.ticks[i - 1].value);
        }
        if (labels < 1 || labels > 11)
            fail_msg("SKEP_SEED=%llu: %zu ticks", (unsigned long long)seed, labels);
    }
}

/* ---- text ---- */

static void text_is_cut_to_its_width_between_characters(void **state)
{
    char text[64];

    (void)state;
    assert_string_equal(skep_svg_text_cut(text, sizeof text, skep_bytes_str("short"), 12, 200),
                        "short");
    assert_string_equal(skep_svg_text_cut(text, 8, skep_bytes_str("no room for it"), 12, 2000),
                        "no r…");
    assert_string_equal(skep_svg_text_cut(text, 8, skep_bytes_str("ééé ééé"), 12, 2000), "éé…");
    skep_svg_text_cut(text, sizeof text, skep_bytes_str("wwwwwwwwwwwwwwwwwwwwwwwwwwwwww"), 12, 100);
    assert_true(skep_svg_text_width(skep_bytes_str(text), 12) <= 100);
    assert_true(strlen(text) > 8);
}

static void a_command_line_is_broken_before_an_option(void **state)
{
    struct skep_chart chart = plain;

    (void)state;
    chart.subtitle = "skep sim --nodes 10000 --experts 65536 --grid 256x256x256 --queries 1000 "
                     "--latency lognormal:80ms,0.5 --churn 3600s --loss 1% --seed 7";
    assert_well_formed(svg(&chart));
    assert_non_null(strstr(svg(&chart), ">--churn 3600s --loss 1% --seed 7</text>"));
}

/* ---- boxes ---- */

static void percentiles_are_those_of_the_samples(void **state)
{
    static double samples[101];
    struct skep_chart_box boxes[] = {{"hundred", samples, 101}, {"two", primes, 2}};
    const struct skep_chart_boxes chart = {.title = "Boxes", .boxes = boxes, .box_count = 2};
    const char *text;

    (void)state;
    for (size_t i = 0; i < 101; i++)
        samples[i] = (double)(i * 37 % 101);
    text = svg_boxes(&chart);
    assert_well_formed(text);
    assert_non_null(strstr(
        text,
        "<title>hundred: 5 % 5, 25 % 25, median 50, 75 % 75, 95 % 95, 99 % 99, of 101</title>"));
    assert_non_null(strstr(
        text,
        "<title>two: 5 % 2.05, 25 % 2.25, median 2.5, 75 % 2.75, 95 % 2.95, 99 % 2.99, of 2</title>"));
    assert_non_null(strstr(text, ">n = 101</text>"));
}

static void boxes_of_any_kind_of_samples_are_drawn(void **state)
{
    static double zeros[50], many[MANY];
    struct skep_chart_box boxes[] = {
        {"equal", zeros, 50}, {"many", many, MANY},
        {"few", primes, 5},   {"one", primes, 1},
        {"none", NULL, 0},    {"a name that is too long to stand beside the others", primes, 3}};
    const struct skep_chart_mark marks[] = {{5, "goal", false}, {3, "here", true}};
    struct skep_chart_boxes chart = {.title = "Boxes",
                                     .x_label = "x",
                                     .y_label = "y",
                                     .boxes = boxes,
                                     .box_count = 6,
                                     .marks = marks,
                                     .mark_count = 2};

    (void)state;
    for (size_t i = 0; i < MANY; i++)
        many[i] = (double)(i * i % 1009) * (i % 100 == 0 ? 50 : 1);
    assert_well_formed(svg_boxes(&chart));
    chart.y_log = true;
    assert_well_formed(svg_boxes(&chart));
    chart.box_count = 1;
    chart.y_log = false;
    assert_well_formed(svg_boxes(&chart));
}

static void a_document_of_as_many_boxes_as_there_may_be_is_small(void **state)
{
    static double many[MANY];
    struct skep_chart_box boxes[SKEP_CHART_BOXES_MAX + 1];
    struct skep_chart_boxes chart = {.boxes = boxes, .box_count = SKEP_CHART_BOXES_MAX};
    struct skep_buf buf;

    (void)state;
    for (size_t i = 0; i < MANY; i++)
        many[i] = (double)(i * i % 1009);
    for (size_t i = 0; i < SKEP_COUNT_OF(boxes); i++)
        boxes[i] = (struct skep_chart_box){"box", many, MANY};
    assert_well_formed(svg_boxes(&chart));
    chart.box_count++;
    skep_buf_init(&buf, &skep_mem_std);
    assert_int_equal(skep_chart_write_boxes(&buf, &chart), SKEP_EINVAL);
    assert_int_equal(buf.len, 0);
    skep_buf_fini(&buf);
}

static void boxes_of_nothing_or_of_no_numbers_are_refused(void **state)
{
    static const double wrong[] = {1, NAN}, negative[] = {-1, 1};
    struct skep_chart_box box = {"box", wrong, 2};
    struct skep_chart_boxes chart = {.boxes = &box, .box_count = 1};
    struct skep_buf buf;

    (void)state;
    skep_buf_init(&buf, &skep_mem_std);
    assert_int_equal(skep_chart_write_boxes(&buf, &chart), SKEP_EINVAL);
    box.count = 0;
    assert_int_equal(skep_chart_write_boxes(&buf, &chart), SKEP_EINVAL);
    box.count = 2;
    box.samples = negative;
    chart.y_log = true;
    assert_int_equal(skep_chart_write_boxes(&buf, &chart), SKEP_EINVAL);
    chart.box_count = 0;
    assert_int_equal(skep_chart_write_boxes(&buf, &chart), SKEP_EINVAL);
    assert_int_equal(buf.len, 0);
    skep_buf_fini(&buf);
}

/* ---- memory ---- */

static int write_both(const struct skep_mem *mem, void *user)
{
    static const double down[] = {5, 4, 3, 2, 1};
    const struct skep_chart_series series[] = {
        line,
        {"dots", down, primes, 5, SKEP_CHART_DOTS},
        {"area", one_to_five, primes, 5, SKEP_CHART_AREA},
        {"stacked", one_to_five, primes, 5, SKEP_CHART_AREA},
        {"bars", one_to_five, primes, 5, SKEP_CHART_BARS},
    };
    const struct skep_chart_box boxes[] = {{"a", primes, 5}, {"b", primes, 3}};
    const struct skep_chart_boxes of_boxes = {.title = "Boxes", .boxes = boxes, .box_count = 2};
    struct skep_chart chart = plain;
    struct skep_buf buf;
    int rc;

    (void)user;
    chart.series = series;
    chart.series_count = SKEP_COUNT_OF(series);
    skep_buf_init(&buf, mem);
    rc = skep_chart_write(&buf, &chart);
    if (rc == 0)
        rc = skep_chart_write_boxes(&buf, &of_boxes);
    skep_buf_fini(&buf);
    return rc;
}

static void each_allocation_may_fail(void **state)
{
    (void)state;
    test_each_allocation_fails(write_both, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chart_is_a_well_formed_document_with_its_texts),
        cmocka_unit_test(texts_are_escaped),
        cmocka_unit_test(lines_that_reach_the_right_side_have_their_names_there_others_in_a_legend),
        cmocka_unit_test(names_at_the_ends_of_lines_keep_apart),
        cmocka_unit_test(bars_are_as_high_as_their_numbers_and_begin_at_zero),
        cmocka_unit_test(areas_of_the_same_x_are_stacked),
        cmocka_unit_test(one_point_and_equal_numbers_are_drawn),
        cmocka_unit_test(zero_has_a_place_apart_on_a_logarithmic_axis),
        cmocka_unit_test(marks_are_drawn_where_the_axes_reach_and_widen_those_from_the_data),
        cmocka_unit_test(what_is_outside_of_given_limits_is_cut_off),
        cmocka_unit_test(what_is_no_number_is_refused),
        cmocka_unit_test(a_chart_of_nothing_is_refused),
        cmocka_unit_test(more_series_than_colours_are_refused),
        cmocka_unit_test(what_does_not_suit_an_axis_is_refused),
        cmocka_unit_test(documents_stay_small_however_many_points_there_are),
        cmocka_unit_test(a_peak_among_thousands_of_points_is_not_lost),
        cmocka_unit_test(random_charts_are_well_formed),
        cmocka_unit_test(ticks_are_one_two_five_times_a_power_of_ten),
        cmocka_unit_test(ticks_of_a_logarithmic_axis_are_decades_or_one_two_five),
        cmocka_unit_test(an_axis_reaches_to_round_numbers_or_has_its_padding),
        cmocka_unit_test(numbers_stand_where_their_share_of_the_axis_is),
        cmocka_unit_test(numbers_have_thin_thousands_and_the_digits_that_matter),
        cmocka_unit_test(an_axis_of_any_range_has_few_ticks_within_it),
        cmocka_unit_test(text_is_cut_to_its_width_between_characters),
        cmocka_unit_test(a_command_line_is_broken_before_an_option),
        cmocka_unit_test(percentiles_are_those_of_the_samples),
        cmocka_unit_test(boxes_of_any_kind_of_samples_are_drawn),
        cmocka_unit_test(a_document_of_as_many_boxes_as_there_may_be_is_small),
        cmocka_unit_test(boxes_of_nothing_or_of_no_numbers_are_refused),
        cmocka_unit_test(each_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
