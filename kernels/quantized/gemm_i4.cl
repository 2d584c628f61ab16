// gemm_i4: y = act(x (codes scale)^T + bias), act the identity or max(., 0).
// Shapes:  x (n, k) float, k = 32 steps; codes (ceil(m / 2), steps) of 8 words: a word holds columns
//          4 i to 4 i + 3 of two rows, the even row in its low half, as code + 8 in 4 bits each;
//          scale (m, groups), a group being 2^shift steps; bias (m,) or null, y (n, m), row-major
// Launch:  gemm_i4             global (ceil(m / TILE_COLS) * GROUP, ceil(n / TILE_ROWS)),
//                              local (GROUP, 1)
//          gemm_i4_rows        global (blocks * LANES rounded up to GROUP), local (GROUP); a block is
//                              XROWS x WROWS outputs, blocks = ceil(n / XROWS) * ceil(m / WROWS)
//          gemm_i4_bytes       global (ceil(m / 64) * 256, ceil(n / 64)), local (256, 1)
//          gemm_i4_bytes_rows  as gemm_i4_rows
//          gemm_i4_round       global (n * GROUP), local (GROUP): makes the bytes, a group per row of x
//          gemm_i4_spread      global (k rounded up to GROUP, n), local (GROUP, 1): copies x apart
//                              where a group of columns is not made of whole steps
// Assumes: codes are 8, that is zero, where a group or the last pair of rows is filled up, and x is
//          zero there; WROWS is even; buffers aligned to 64 bytes
//
// Activations stay float (BYTES 0) or become bytes, x = byte * x_scale[row] (BYTES 1). The card has no
// 8-bit dot product, but with two rows of W in one operand mad24 makes two products at full rate:
// see int4_bytes.cl. A float product takes three instructions per weight: v_bfe_i32, v_cvt, v_mac;
// the offset is gone after one exclusive or per word, so nothing cancels. Products are written
// a * b + c: that contracts to the card's v_mac.
#ifndef BYTES
#define BYTES 0  // 1 builds the kernels whose activations are bytes
#endif
#ifndef ROUND
#define ROUND 0  // 1 builds the kernels that prepare x
#endif
#define ALIGNED 1  // k is a multiple of 32
#define DEPTH 16  // columns of x and W staged at a time
#define COLUMNS_PER_STEP 32

#if ROUND
#include "int4_prepare.cl"
#else
#include "prelude.cl"

// The q-th word of four; q is known when the loop over it is unrolled.
static uint word_of(const uint4 words, const int q)
{
    return q == 0 ? words.x : q == 1 ? words.y : q == 2 ? words.z : words.w;
}

#if BYTES
#include "int4_bytes.cl"
#else

// The four columns of the even (odd 0) or odd row of a word; its codes are in two's complement.
static float4 decoded4(const uint word, const int odd)
{
    const uint w = odd ? word : word << 16;
    return (float4)((int)(w << 12) >> 28, (int)(w << 8) >> 28, (int)(w << 4) >> 28, (int)w >> 28);
}

#define SIGNED(words) ((words) ^ 0x88888888u)  // code + 8 to two's complement

#if TILED
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void gemm_i4(const int n, const int m, const int steps, const int shift, const int relu,
             __global const float* restrict x, __global const uint* restrict codes,
             __global const float* restrict scale, __global const float* restrict bias,
             __global float* restrict y)
{
    __local float xs[DEPTH * XPITCH] __attribute__((aligned(16)));
    __local float ws[DEPTH * WPITCH] __attribute__((aligned(16)));
    const int item = get_local_id(0), groups = ((steps - 1) >> shift) + 1;
    const int row0 = get_global_id(1) * TILE_ROWS, col0 = get_group_id(0) * TILE_COLS;
    const int right = item % ITEMS_ACROSS * 4, down = item / ITEMS_ACROSS * 4;
    const int k = steps * COLUMNS_PER_STEP, pairs = (m + 1) / 2;
    float4 low[4], high[4];  // columns right.. and TILE_COLS / 2 + right..

    #pragma unroll
    for (int i = 0; i < 4; ++i) low[i] = high[i] = (float4)(0.0f);
    for (int at = 0; at < k; at += DEPTH) {
        stage(xs, XPITCH, TILE_ROWS, x, row0, n, at, k);
        for (int t = item; t < TILE_COLS / 2 * (DEPTH / 4); t += GROUP) {
            const int pair = t / (DEPTH / 4), word = t % (DEPTH / 4);
            const int from = min(col0 / 2 + pair, pairs - 1), even = 2 * from;
            const int odd = min(even + 1, m - 1), group = at / COLUMNS_PER_STEP >> shift;
            const uint w = SIGNED(codes[(from * k + at) / 4 + word]);
            turn(ws, WPITCH, 4 * word, 2 * pair, decoded4(w, 0) * scale[even * groups + group]);
            turn(ws, WPITCH, 4 * word, 2 * pair + 1, decoded4(w, 1) * scale[odd * groups + group]);
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

// Adds 16 columns of XROWS rows of x times the two rows of W in `words`.
static void add16(float sums[XROWS][2], __global const float* const* xs, const int at,
                  const uint4 words)
{
    #pragma unroll
    for (int q = 0; q < 4; ++q) {
        const float4 even = decoded4(word_of(words, q), 0), odd = decoded4(word_of(words, q), 1);
        #pragma unroll
        for (int i = 0; i < XROWS; ++i) {
            const float4 v = LOAD(xs[i] + at + 4 * q);
            sums[i][0] = add4(sums[i][0], v, even);
            sums[i][1] = add4(sums[i][1], v, odd);
        }
    }
}
#else
static float16 decoded(const uint4 words, const int odd)
{
    const float4 a = decoded4(words.x, odd), b = decoded4(words.y, odd);
    return (float16)(a, b, decoded4(words.z, odd), decoded4(words.w, odd));
}

static void add16(float16 sums[XROWS][2], __global const float* const* xs, const int at,
                  const uint4 words)
{
    const float16 even = decoded(words, 0), odd = decoded(words, 1);
    #pragma unroll
    for (int i = 0; i < XROWS; ++i) {
        const float16 v = LOAD(xs[i] + at);
        sums[i][0] += v * even;
        sums[i][1] += v * odd;
    }
}
#endif

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void gemm_i4_rows(const int n, const int m, const int steps, const int shift, const int relu,
                  __global const float* restrict x, __global const uint4* restrict codes,
                  __global const float* restrict scale, __global const float* restrict bias,
                  __global float* restrict y)
{
    const int lane = get_local_id(0) % LANES, block = get_global_id(0) / LANES;
    const int across = (n + XROWS - 1) / XROWS, groups = ((steps - 1) >> shift) + 1;
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
        #pragma unroll
        for (int j = 0; j < WROWS; j += 2) {
            const int even = min(col + j, (m - 1) / 2 * 2), odd = min(even + 1, m - 1);
            __global const uint4* from = codes + (even / 2 * steps + step) * 2;
            sum_t sums[XROWS][2];
            #pragma unroll
            for (int i = 0; i < XROWS; ++i) sums[i][0] = sums[i][1] = (sum_t)(0.0f);
            add16(sums, xs, step * COLUMNS_PER_STEP, SIGNED(from[0]));
            add16(sums, xs, step * COLUMNS_PER_STEP + 16, SIGNED(from[1]));
            #pragma unroll
            for (int i = 0; i < XROWS; ++i) {
                sum[i][j] += FOLD(sums[i][0]) * scale[even * groups + (step >> shift)];
                sum[i][j + 1] += FOLD(sums[i][1]) * scale[odd * groups + (step >> shift)];
            }
        }
    }
    FINISH_BLOCK(sum, row, col);
}
#endif
#endif
#endif
