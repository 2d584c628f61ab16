// gemm_int: y = act(x ((codes - zero) scale)^T + bias), act the identity or max(., 0).
// Shapes:  x (n, k) float, k = 32 steps; codes (m, steps) of BITS words: code i of a step from bit
//          i BITS on, its lowest bit first; scale (m or 1, groups) float and zero (m or 1, groups or
//          1) float, a group being 2^shift steps; bias (m,) or null, y (n, m), row-major
// Launch:  gemm_int       global (ceil(m / TILE_COLS) * GROUP, ceil(n / TILE_ROWS)), local (GROUP, 1)
//          gemm_int_rows  global (blocks * LANES rounded up to GROUP), local (GROUP); a block is
//                         XROWS x WROWS outputs, blocks = ceil(n / XROWS) * ceil(m / WROWS)
//          Both: scale_pitch and zero_pitch numbers from one row to the next, zero_step from one group
//          to the next; 0 where one stands for all
// Assumes: x is zero where a group of columns is filled up to whole steps; BITS is 2 to 8; buffers
//          aligned to 64 bytes
//
// Codes become float and lose their zero before they are multiplied, both exactly, so that nothing
// cancels against a sum of x. Four codes have at most 32 bits: they come out of two neighbouring words
// with two shifts, which are constants in the blocks, where the loop over a step is unrolled.
#ifndef BITS
#define BITS 4  // of a code
#endif
#define ALIGNED 1  // k is a multiple of 32
#define DEPTH 16  // columns of x and W staged at a time
#define COLUMNS_PER_STEP 32
#define MASK ((1u << BITS) - 1)

#include "prelude.cl"

#define WIDTHS const int scale_pitch, const int zero_pitch, const int zero_step

// Four codes, the first in the lowest bits, from the two words that hold them.
static uint joined(const uint low, const uint high, const int shift)
{
    return (uint)(((ulong)high << 32 | low) >> shift);
}

// The four codes of a step from its i-th on; i is a multiple of four.
#define FOUR(words, i) \
    joined((words)[(i) * BITS / 32], (words)[min((i) * BITS / 32 + 1, BITS - 1)], (i) * BITS % 32)

static float4 decoded4(const uint four, const float zero)
{
    return (float4)((float)(four & MASK), (float)(four >> BITS & MASK),
                    (float)(four >> 2 * BITS & MASK), (float)(four >> 3 * BITS & MASK)) - zero;
}

#if TILED
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void gemm_int(const int n, const int m, const int steps, const int shift, const int relu, WIDTHS,
              __global const float* restrict x, __global const uint* restrict codes,
              __global const float* restrict scale, __global const float* restrict zero,
              __global const float* restrict bias, __global float* restrict y)
{
    __local float xs[DEPTH * XPITCH] __attribute__((aligned(16)));
    __local float ws[DEPTH * WPITCH] __attribute__((aligned(16)));
    const int item = get_local_id(0), k = steps * COLUMNS_PER_STEP;
    const int row0 = get_global_id(1) * TILE_ROWS, col0 = get_group_id(0) * TILE_COLS;
    const int right = item % ITEMS_ACROSS * 4, down = item / ITEMS_ACROSS * 4;
    float4 low[4], high[4];  // columns right.. and TILE_COLS / 2 + right..

    #pragma unroll
    for (int i = 0; i < 4; ++i) low[i] = high[i] = (float4)(0.0f);
    for (int at = 0; at < k; at += DEPTH) {
        const int step = at / COLUMNS_PER_STEP, group = step >> shift;
        stage(xs, XPITCH, TILE_ROWS, x, row0, n, at, k);
        for (int t = item; t < TILE_COLS * (DEPTH / 4); t += GROUP) {
            const int col = t / (DEPTH / 4), inside = t % (DEPTH / 4) * 4;
            const int row = min(col0 + col, m - 1), i = at % COLUMNS_PER_STEP + inside;
            __global const uint* words = codes + (row * steps + step) * BITS;
            const float offset = zero[row * zero_pitch + group * zero_step];
            const float4 values = decoded4(FOUR(words, i), offset);
            turn(ws, WPITCH, inside, col, values * scale[row * scale_pitch + group]);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        multiply(xs, ws, down, right, low, high);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    COLUMNS(low, row0 + down, col0 + right);
    COLUMNS(high, row0 + down, col0 + TILE_COLS / 2 + right);
}
#else

#if LANES > 1
static float add4(const float sum, const float4 v, const float4 w)
{
    return v.x * w.x + (v.y * w.y + (v.z * w.z + (v.w * w.w + sum)));
}

// Adds the products of a step of XROWS rows of x, from column `at` on, with one of W.
static void add_step(float* sums, __global const float* const* xs, const int at, const uint* words,
                     const float zero)
{
    #pragma unroll
    for (int q = 0; q < COLUMNS_PER_STEP; q += 4) {
        const float4 w = decoded4(FOUR(words, q), zero);
        #pragma unroll
        for (int i = 0; i < XROWS; ++i) sums[i] = add4(sums[i], LOAD(xs[i] + at + q), w);
    }
}
#else
static void add_step(float16* sums, __global const float* const* xs, const int at,
                     const uint* words, const float zero)
{
    #pragma unroll
    for (int q = 0; q < COLUMNS_PER_STEP; q += 16) {
        const float4 a = decoded4(FOUR(words, q), zero), b = decoded4(FOUR(words, q + 4), zero);
        const float4 c = decoded4(FOUR(words, q + 8), zero), d = decoded4(FOUR(words, q + 12), zero);
        #pragma unroll
        for (int i = 0; i < XROWS; ++i) sums[i] += LOAD(xs[i] + at + q) * (float16)(a, b, c, d);
    }
}
#endif

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void gemm_int_rows(const int n, const int m, const int steps, const int shift, const int relu,
                   WIDTHS, __global const float* restrict x, __global const uint* restrict codes,
                   __global const float* restrict scale, __global const float* restrict zero,
                   __global const float* restrict bias, __global float* restrict y)
{
    const int lane = get_local_id(0) % LANES, block = get_global_id(0) / LANES;
    const int across = (n + XROWS - 1) / XROWS;
    const int row = block % across * XROWS, col = block / across * WROWS;
    const int end = col < m ? steps : 0;  // blocks past the last do nothing
    __global const float* xs[XROWS];
    float sum[XROWS][WROWS];

    #pragma unroll
    for (int i = 0; i < XROWS; ++i) xs[i] = x + min(row + i, n - 1) * steps * COLUMNS_PER_STEP;
    #pragma unroll
    for (int i = 0; i < XROWS; ++i)
        #pragma unroll
        for (int j = 0; j < WROWS; ++j) sum[i][j] = 0.0f;

    for (int step = lane; step < end; step += LANES) {
        const int group = step >> shift;
        #pragma unroll
        for (int j = 0; j < WROWS; ++j) {
            const int from = min(col + j, m - 1);
            uint words[BITS];
            sum_t sums[XROWS];
            #pragma unroll
            for (int w = 0; w < BITS; ++w) words[w] = codes[(from * steps + step) * BITS + w];
            #pragma unroll
            for (int i = 0; i < XROWS; ++i) sums[i] = (sum_t)(0.0f);
            add_step(sums, xs, step * COLUMNS_PER_STEP, words,
                     zero[from * zero_pitch + group * zero_step]);
            #pragma unroll
            for (int i = 0; i < XROWS; ++i)
                sum[i][j] += FOLD(sums[i]) * scale[from * scale_pitch + group];
        }
    }
    FINISH_BLOCK(sum, row, col);
}
#endif
