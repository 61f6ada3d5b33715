/* The kernel of merge/combine.py in one pass, to nearest: every written bit is the numpy kernel's.
 *
 * float64 sums and products are IEEE 754's, in the numpy kernel's order; compiled with -ffp-contract=off, so that no
 * product is fused with a sum. A block is worked on in steps that stay in the first-level cache; the last one is filled
 * up with zeros, so that every loop has one length, which compilers turn into vectors without further code. Sums are
 * taken in 8 lanes, whatever the width of the machine's vectors, so that they do not depend on it.
 */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

/* 16: as 0 but for _Float16, which is not used; what GCC says where there is AVX512-FP16. */
#if (FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16) || defined(__FAST_MATH__) || \
    __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "float64 arithmetic must be IEEE 754's, numbers little-endian"
#endif

#define STEP 256
#define LANES 8
#define MOST 8 /* checkpoints */
#define INLINE static inline __attribute__((always_inline))

enum { BF16, F16, F32, F64 };
enum { DONE, ASK_NUMPY };

/* What one instruction works on. */
#ifdef __AVX512F__
#define WIDTH 8
#elif defined(__AVX__)
#define WIDTH 4
#else
#define WIDTH 2
#endif
typedef double vector __attribute__((vector_size(8 * WIDTH)));
typedef float singles __attribute__((vector_size(4 * WIDTH)));
typedef int64_t integers __attribute__((vector_size(8 * WIDTH)));
typedef double lanes[LANES];
typedef double step[STEP] __attribute__((aligned(64)));

static const int BYTES[] = {2, 2, 4, 8};

/* `size` numbers of a dtype, and zeros. */
INLINE void widen(const char *stored, int code, int size, double *restrict out)
{
    step filled;
    if (size < STEP) {
        memset(filled, 0, sizeof filled);
        stored = memcpy(filled, stored, (size_t)size * BYTES[code]);
    }
    uint32_t words[STEP];
    float single[STEP];
    const uint16_t *half = (const uint16_t *)stored;
    switch (code) {
    case BF16:
        for (int i = 0; i < STEP; i++) {
            const uint32_t word = (uint32_t)half[i] << 16;
            float number;
            memcpy(&number, &word, 4);
            out[i] = number;
        }
        return;
    case F16:
        for (int i = 0; i < STEP; i++) words[i] = (uint32_t)(half[i] & 0x7fff) << 13;
        memcpy(single, words, sizeof single);
        /* From exponents biased by 15 to 127, subnormal numbers too. */
        for (int i = 0; i < STEP; i++) single[i] *= 0x1p112f;
        memcpy(words, single, sizeof words);
        for (int i = 0; i < STEP; i++)
            words[i] |= (uint32_t)(half[i] & 0x8000) << 16 | ((half[i] & 0x7c00) == 0x7c00 ? 0x7f800000u : 0);
        memcpy(single, words, sizeof single);
        break;
    case F32:
        memcpy(single, stored, sizeof single);
        break;
    default:
        memcpy(out, stored, sizeof(step));
        return;
    }
    for (int i = 0; i < STEP; i++) out[i] = single[i];
}

/* `size` numbers that the target has, bit for bit. Whether any does not fit, or is NaN. */
INLINE int narrow(const float *restrict rounded, int code, int size, char *out)
{
    float single[STEP];
    uint32_t words[STEP];
    uint16_t half[STEP], beyond = 0;
    if (code == BF16) {
        for (int i = 0; i < STEP; i++) {
            uint32_t word;
            memcpy(&word, rounded + i, 4);
            half[i] = word >> 16;
            beyond |= -(uint16_t)((half[i] & 0x7f80) == 0x7f80);
        }
        memcpy(out, half, (size_t)size * sizeof(uint16_t));
        return beyond;
    }
    const float limit = code == F16 ? 0x1p16f : INFINITY;
    for (int i = 0; i < STEP; i++) beyond |= -(uint16_t)!(fabsf(rounded[i]) < limit);
    if (code == F32) {
        memcpy(out, rounded, (size_t)size * sizeof(float));
        return beyond;
    }
    memcpy(words, rounded, sizeof words);
    uint32_t signs[STEP];
    for (int i = 0; i < STEP; i++) signs[i] = words[i] >> 16 & 0x8000;
    for (int i = 0; i < STEP; i++) single[i] = fabsf(rounded[i]) * 0x1p-112f;
    memcpy(words, single, sizeof words);
    for (int i = 0; i < STEP; i++) half[i] = words[i] >> 13 | signs[i];
    memcpy(out, half, (size_t)size * sizeof(uint16_t));
    return beyond;
}

/* Adds sum(left * right) to `sum`, lane by lane. */
INLINE void add_dot(double *sum, const double *left, const double *right)
{
    vector total[LANES / WIDTH];
    memcpy(total, sum, sizeof total);
    for (int i = 0; i < STEP; i += LANES)
#pragma GCC unroll 4
        for (int v = 0; v < LANES / WIDTH; v++)
            total[v] += ((const vector *)(left + i))[v] * ((const vector *)(right + i))[v];
    memcpy(sum, total, sizeof total);
}

static double total(const double *sum)
{
    double all = 0.0;
    for (int i = 0; i < LANES; i++) all += sum[i];
    return all;
}

/* What one output is made of: `exact` where it is there, else anchor * scale + delta * weight. */
typedef struct {
    const double *anchor, *delta, *exact;
    double scale, weight;
} recipe;

/* Rounds an output to multiples of the spacing, see Rounder, and adds up its error along its direction (`delta`, or
 * else its own move from the anchor), the error squared, and the move squared. One pass: what is constant where it is
 * called is compiled away. */
INLINE void round_step(recipe from, int code, int ready, int along_delta, float *restrict rounded, double *restrict error,
                      double *sum_along, double *sum_error, double *sum_move)
{
    const vector zero = {0};
    const integers exponent = (integers)zero + 0x7ff0000000000000, sign = (integers)zero + INT64_MIN;
    const vector least = zero + (code == F16 ? 0x1p-14 : 0x1p-126);
    const double steps = 1.5 * (code == BF16 ? 0x1p45 : code == F16 ? 0x1p42 : 0x1p29);
    vector along[LANES / WIDTH], squared[LANES / WIDTH], moved[LANES / WIDTH];
    memcpy(along, sum_along, sizeof along);
    memcpy(squared, sum_error, sizeof squared);
    memcpy(moved, sum_move, sizeof moved);
    for (int i = 0; i < STEP; i += LANES)
#pragma GCC unroll 4
        for (int v = 0; v < LANES / WIDTH; v++) {
            const int at = i + v * WIDTH;
            const vector anchor = *(const vector *)(from.anchor + at), delta = *(const vector *)(from.delta + at);
            const vector exact = ready ? *(const vector *)(from.exact + at) : anchor * from.scale + delta * from.weight;
            /* Powers of two are ordered as their words are. */
            integers power = (integers)exact & exponent;
            const integers large = power > (integers)least;
            power = (power & large) | ((integers)least & ~large);
            const vector spacing = (vector)power * steps;
            vector value = exact + spacing;
            value -= spacing;
            value = (vector)(((integers)value & ~sign) | ((integers)exact & sign));
            const vector off = value - exact, direction = along_delta ? delta : exact - anchor;
            *(singles *)(rounded + at) = __builtin_convertvector(value, singles);
            if (ready) *(vector *)(error + at) = off; /* one direction has no further use for it */
            along[v] += off * direction;
            squared[v] += off * off;
            if (!along_delta) moved[v] += direction * direction;
        }
    memcpy(sum_along, along, sizeof along);
    memcpy(sum_error, squared, sizeof squared);
    memcpy(sum_move, moved, sizeof moved);
}

INLINE void round_output(recipe from, int code, int along_delta, float *restrict rounded, double *restrict error,
                          double *sum_along, double *sum_error, double *sum_move)
{
#define STEP_OF(ready, along) round_step(from, code, ready, along, rounded, error, sum_along, sum_error, sum_move)
    if (from.exact)
        along_delta ? STEP_OF(1, 1) : STEP_OF(1, 0);
    else
        along_delta ? STEP_OF(0, 1) : STEP_OF(0, 0);
#undef STEP_OF
}

/* One block. gram: (sources - 1) ** 2. sums: a row an output: error along each direction, error squared, the length of
 * its move where along_delta is 0. from[k]: the checkpoint that output k equals, or -1. */
static int one_block(int size, int start, int sources, const char *const *stored, const int *codes, int outputs,
                     char *const *outs, int target, const double *scales, const double *coefficients,
                     const int *from, int along_delta, double *gram, double *sums)
{
    const int deltas = sources - 1, directions = along_delta ? deltas : 1, row = directions + 2;
    step wide[MOST], delta[MOST - 1], exact, error;
    float rounded[STEP] __attribute__((aligned(64)));
    lanes lengths[MOST - 1][MOST - 1];
    lanes along[outputs][MOST + 1];
    memset(lengths, 0, sizeof lengths);
    memset(along, 0, sizeof along);
    for (int at = 0; at < size; at += STEP) {
        const int count = size - at < STEP ? size - at : STEP;
        const int64_t first = (int64_t)start + at;
        for (int j = 0; j < sources; j++) widen(stored[j] + first * BYTES[codes[j]], codes[j], count, wide[j]);
        for (int j = 0; j < deltas; j++) {
            for (int i = 0; i < STEP; i++) delta[j][i] = wide[j + 1][i] - wide[0][i];
            for (int i = 0; i <= j; i++)
                if (i == j || along_delta) add_dot(lengths[j][i], delta[j], delta[i]);
        }
        for (int k = 0; k < outputs; k++) {
            if (from[k] >= 0 && codes[from[k]] == target) {
                memcpy(outs[k] + first * BYTES[target], stored[from[k]] + first * BYTES[target], (size_t)count * BYTES[target]);
                continue;
            }
            recipe made = {wide[0], delta[0], 0, scales[k], coefficients[k * deltas]};
            if (from[k] >= 0) {
                made.exact = wide[from[k]];
            } else if (deltas > 1) {
                const double scale = made.scale, weight = made.weight, *weights = coefficients + k * deltas;
                for (int i = 0; i < STEP; i++) exact[i] = wide[0][i] * scale + delta[0][i] * weight;
                for (int j = 1; j < deltas; j++) {
                    const double other = weights[j];
                    for (int i = 0; i < STEP; i++) exact[i] += delta[j][i] * other;
                }
                made.exact = exact;
            }
            double *sum = along[k][0], *squared = along[k][directions], *length = along[k][directions + 1];
            char *out = outs[k] + first * BYTES[target];
            int beyond;
            switch (target) {
            case BF16:
                round_output(made, BF16, along_delta, rounded, error, sum, squared, length);
                beyond = narrow(rounded, BF16, count, out);
                break;
            case F16:
                round_output(made, F16, along_delta, rounded, error, sum, squared, length);
                beyond = narrow(rounded, F16, count, out);
                break;
            default:
                round_output(made, F32, along_delta, rounded, error, sum, squared, length);
                beyond = narrow(rounded, F32, count, out);
            }
            if (beyond) return ASK_NUMPY;
            for (int j = 1; along_delta && j < deltas; j++) add_dot(along[k][j], error, delta[j]);
        }
    }
    int moved = 0;
    for (int j = 0; j < deltas; j++) {
        for (int i = 0; i <= j; i++) gram[j * deltas + i] = gram[i * deltas + j] = total(lengths[j][i]);
        /* Beyond the largest number: something was not finite. */
        if (!(gram[j * deltas + j] <= DBL_MAX)) return ASK_NUMPY;
        moved |= gram[j * deltas + j] != 0.0;
    }
    for (int k = 0; k < outputs; k++)
        for (int i = 0; i < row; i++) sums[k * row + i] = total(along[k][i]);
    /* Equal checkpoints are copied, down to the sign of their zeros. */
    return moved ? DONE : ASK_NUMPY;
}

/* `size` elements of one tensor in blocks of `block`; states[b] is what became of each. */
void alpharay_blocks(int size, int block, int sources, const char *const *stored, const int *codes, int outputs,
                     char *const *outs, int target, const double *scales, const double *coefficients,
                     const int *from, int along_delta, double *gram, double *sums, int *states)
{
    const int deltas = sources - 1, row = (along_delta ? deltas : 1) + 2;
    for (int start = 0, b = 0; start < size; start += block, b++)
        states[b] = one_block(size - start < block ? size - start : block, start, sources, stored, codes, outputs, outs,
                              target, scales, coefficients, from, along_delta, gram + b * deltas * deltas,
                              sums + b * outputs * row);
}
