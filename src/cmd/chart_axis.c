/* SPDX-License-Identifier: MIT */
/* Ticks of 1, 2, 5 times a power of ten, on linear and logarithmic scales; see chart_axis.h. */
#include "cmd/chart_axis.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

/* Decades of a logarithmic axis up to which 2 and 5 have a label, and up to which 2 … 9 have a small line. */
#define LABELLED_DECADES 3.0
#define MINOR_DECADES 6.0
/* Numbers that differ by less than this share of them are one number. */
#define RESOLUTION 1e-9
/* Lengths of an axis; no number that it has stands further below. */
#define FAR_BELOW 1000

static const double steps[] = {1, 2, 5};

static double power_of_ten(int exponent)
{
    double v = 1;

    for (int i = 0; i < exponent; i++)
        v *= 10;
    for (int i = 0; i > exponent; i--)
        v /= 10;
    return v;
}

/* The greatest e with 10^e <= v, v > 0; what a rounding error is below counts as reached. */
static int exponent_of(double v)
{
    int e = (int)floor(log10(v));

    if (v >= power_of_ten(e + 1) * (1 - RESOLUTION))
        e++;
    else if (v < power_of_ten(e) * (1 - RESOLUTION))
        e--;
    return e;
}

double skep_axis_unit(bool log, double value)
{
    return log ? log10(value) : value;
}

void skep_axis_range_add(struct skep_axis_range *r, double value)
{
    if (fabs(value) < SKEP_AXIS_LEAST)
        value = 0;
    if (!r->some || value < r->low)
        r->low = value;
    if (!r->some || value > r->high)
        r->high = value;
    if (value > 0 && (!r->some_positive || value < r->low_positive))
        r->low_positive = value;
    r->some = true;
    r->some_zero = r->some_zero || value == 0;
    r->some_positive = r->some_positive || value > 0;
    r->some_negative = r->some_negative || value < 0;
}

/* ---- numbers as text ---- */

static size_t put(char *out, size_t used, const char *text)
{
    size_t len = SKEP_MIN(strlen(text), SKEP_AXIS_TEXT_MAX - 1 - used);

    memcpy(out + used, text, len);
    out[used + len] = '\0';
    return used + len;
}

/* The digits of a whole number, thin spaces between thousands. */
static size_t put_grouped(char *out, size_t used, uint64_t v)
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%llu", (unsigned long long)v);

    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            used = put(out, used, "\u2009");
        used = put(out, used, (const char[]){digits[i], '\0'});
    }
    return used;
}

static size_t put_plain(char *out, size_t used, double size, int decimals)
{
    double scale = power_of_ten(decimals);
    uint64_t scaled = (uint64_t)(size * scale + 0.5);
    char fraction[24];

    used = put_grouped(out, used, scaled / (uint64_t)scale);
    if (decimals == 0)
        return used;
    snprintf(fraction, sizeof fraction, ".%0*llu", decimals,
             (unsigned long long)(scaled % (uint64_t)scale));
    return put(out, used, fraction);
}

static size_t put_superscript(char *out, size_t used, int exponent)
{
    static const char *const digits[] = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
    int size = exponent < 0 ? -exponent : exponent;

    if (exponent < 0)
        used = put(out, used, "⁻");
    if (size >= 10)
        used = put(out, used, digits[size / 10 % 10]);
    return put(out, used, digits[size % 10]);
}

/* "2.5·10⁹", or "10⁹". The mantissa has as many decimals as it needs, at most three. */
static size_t put_scientific(char *out, size_t used, double size)
{
    int e = exponent_of(size), decimals = 0;
    double mantissa = size / power_of_ten(e);

    while (decimals < 3 && fabs(mantissa * power_of_ten(decimals) -
                                floor(mantissa * power_of_ten(decimals) + 0.5)) > 1e-6)
        decimals++;
    if (decimals > 0 || fabs(mantissa - 1) > 1e-6) {
        used = put_plain(out, used, mantissa, decimals);
        used = put(out, used, "·");
    }
    used = put(out, used, "10");
    return put_superscript(out, used, e);
}

char *skep_axis_number(char out[SKEP_AXIS_TEXT_MAX], double value, int decimals)
{
    double size = fabs(value);
    bool scientific = size >= 1e7 || (size >= SKEP_AXIS_LEAST && size < 9.9e-5);
    size_t used = 0;

    decimals = SKEP_MIN(SKEP_MAX(decimals, 0), 9);
    out[0] = '\0';
    if (value < 0 && (scientific || size * power_of_ten(decimals) >= 0.5))
        used = put(out, used, "\u2212");
    if (scientific)
        put_scientific(out, used, size);
    else if (size < SKEP_AXIS_LEAST)
        put(out, used, "0");
    else
        put_plain(out, used, size, decimals);
    return out;
}

char *skep_axis_value(char out[SKEP_AXIS_TEXT_MAX], double value)
{
    double size = fabs(value);
    int decimals = size > 0 ? 2 - exponent_of(size) : 0;

    decimals = SKEP_MAX(decimals, 0);
    /* 12.0 and 0.50 say no more than 12 and 0.5. */
    while (decimals > 0 && decimals < 9 &&
           fabs(size * power_of_ten(decimals - 1) -
                floor(size * power_of_ten(decimals - 1) + 0.5)) < 1e-6)
        decimals--;
    return skep_axis_number(out, value, decimals);
}

/* ---- linear ---- */

static double step_for(double span, size_t tick_max, int *out_exponent)
{
    double least = span / (double)SKEP_MAX(tick_max, (size_t)1);
    int e = exponent_of(least);

    *out_exponent = e;
    for (size_t i = 0; i < SKEP_COUNT_OF(steps); i++) {
        if (steps[i] * power_of_ten(e) >= least * (1 - RESOLUTION))
            return steps[i] * power_of_ten(e);
    }
    *out_exponent = e + 1;
    return power_of_ten(e + 1);
}

static void add_tick(struct skep_axis *a, double value, int decimals, bool minor)
{
    struct skep_axis_tick *tick = &a->ticks[a->tick_count];

    if (a->tick_count == SKEP_AXIS_TICKS_MAX)
        return;
    *tick = (struct skep_axis_tick){.value = value, .minor = minor};
    if (!minor)
        skep_axis_number(tick->text, value, decimals);
    a->tick_count++;
}

static void linear_ticks(struct skep_axis *a, size_t tick_max)
{
    int e;
    double step = step_for(a->high - a->low, tick_max, &e);
    double slack = (a->high - a->low) * 1e-6;
    double first = ceil((a->low - slack) / step);

    for (size_t i = 0; i < SKEP_AXIS_TICKS_MAX; i++) {
        double value = (first + (double)i) * step;

        if (value > a->high + slack)
            break;
        add_tick(a, fabs(value) < step / 2 ? 0 : value, SKEP_MAX(-e, 0), false);
    }
}

static void linear_fit(struct skep_axis *a, double low, double high, double padding,
                       size_t tick_max)
{
    double size = SKEP_MAX(fabs(low), fabs(high)), step;
    int e;

    if (high - low <= size * RESOLUTION || high == low) {
        /* One number: zero to twice it would hide where it is. */
        double room = size > 0 ? size / 10 : 1;

        high += room;
        low = low == 0 ? 0 : low - room;
    }
    if (padding < 0) {
        step = step_for(high - low, tick_max, &e);
        low = floor(low / step + 1e-6) * step;
        high = ceil(high / step - 1e-6) * step;
    } else {
        double room = (high - low) * padding;

        low -= room;
        high += room;
    }
    a->low = low;
    a->high = high;
}

/* ---- logarithmic ---- */

/* The next 1, 2 or 5 times a power of ten, down or up. */
static double round_log(double v, bool up)
{
    int e = exponent_of(v);

    for (size_t i = 0; i < SKEP_COUNT_OF(steps); i++) {
        double here = steps[i] * power_of_ten(e), next = i + 1 < SKEP_COUNT_OF(steps)
                                                             ? steps[i + 1] * power_of_ten(e)
                                                             : power_of_ten(e + 1);

        if (v <= here * (1 + RESOLUTION))
            return here;
        if (v < next * (1 - RESOLUTION))
            return up ? next : here;
    }
    return power_of_ten(e + 1);
}

/* Every so many decades a label, so that there are no more than `tick_max`. */
static void decade_ticks(struct skep_axis *a, int first, int last, bool fives, size_t tick_max)
{
    int every = 1;
    double decades = a->unit_high - a->unit_low;

    while (decades / every > (double)SKEP_MAX(tick_max, (size_t)1))
        every++;
    for (int e = first; e <= last; e++) {
        double decade = power_of_ten(e);

        for (int m = 1; m <= 9; m++) {
            double value = m * decade;
            bool label = m == 1 ? (e - first) % every == 0 : fives && (m == 2 || m == 5);

            if (value < a->low * (1 - RESOLUTION) || value > a->high * (1 + RESOLUTION) ||
                (!label && decades > MINOR_DECADES))
                continue;
            add_tick(a, value, SKEP_MAX(-e, 0), !label);
        }
    }
}

static void log_ticks(struct skep_axis *a, size_t tick_max)
{
    int first = exponent_of(a->low), last = exponent_of(a->high);
    double decades = a->unit_high - a->unit_low;
    bool fives = decades <= LABELLED_DECADES && 2 * decades <= (double)tick_max;
    size_t labels = 0;

    if (a->zero_apart)
        add_tick(a, 0, 0, false);
    decade_ticks(a, first, last, fives, tick_max);
    for (size_t i = 0; i < a->tick_count; i++)
        labels += !a->ticks[i].minor;
    if (labels >= 2 + (size_t)a->zero_apart)
        return;
    /* Less than a decade without two round numbers of it: as on a linear axis. */
    a->tick_count = a->zero_apart;
    linear_ticks(a, tick_max);
}

static void log_fit(struct skep_axis *a, double low, double high, double padding)
{
    if (high <= low * (1 + RESOLUTION)) {
        low /= 1.5;
        high *= 1.5;
    }
    if (padding < 0) {
        a->low = round_log(low, false);
        a->high = round_log(high, true);
    } else {
        double room = pow(10, (log10(high) - log10(low)) * padding);

        a->low = low / room;
        a->high = high * room;
    }
}

/* ---- both ---- */

static void finish(struct skep_axis *a, size_t tick_max)
{
    a->unit_low = skep_axis_unit(a->log, a->low);
    a->unit_high = skep_axis_unit(a->log, a->high);
    a->tick_count = 0;
    if (a->log)
        log_ticks(a, tick_max);
    else
        linear_ticks(a, tick_max);
}

void skep_axis_fit(struct skep_axis *a, const struct skep_axis_range *range, bool log,
                   double padding, size_t tick_max)
{
    *a = (struct skep_axis){.log = log, .zero_apart = log && range->some_zero};
    if (log && range->some_positive)
        log_fit(a, range->low_positive, range->high, padding);
    else if (log)
        log_fit(a, 1, 10, -1);
    else if (range->some)
        linear_fit(a, range->low, range->high, padding, tick_max);
    else
        linear_fit(a, 0, 1, padding, tick_max);
    finish(a, tick_max);
}

void skep_axis_set(struct skep_axis *a, double low, double high, bool log, size_t tick_max)
{
    assert(low < high && (!log || low > 0));
    *a = (struct skep_axis){.log = log, .low = low, .high = high};
    finish(a, tick_max);
}

double skep_axis_at(const struct skep_axis *a, double value)
{
    double gap = a->zero_apart ? 0.07 : 0, share;

    if (a->log && value < SKEP_AXIS_LEAST)
        return a->zero_apart ? a->start : a->start - (a->end - a->start) * FAR_BELOW;
    share = (skep_axis_unit(a->log, value) - a->unit_low) / (a->unit_high - a->unit_low);
    return a->start + (a->end - a->start) * (gap + (1 - gap) * share);
}
