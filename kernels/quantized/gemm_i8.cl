// gemm_i8: y = act((x codes^T) scale + bias), act the identity or max(., 0).
// Shapes:  x (n, k) float, codes (m, 16 pitch) signed bytes of which k count, scale (m,),
//          bias (m,) or null, y (n, m), all row-major
// Launch:  gemm_i8       global (ceil(m / TILE_COLS) * GROUP, ceil(n / TILE_ROWS)), local (GROUP, 1)
//          gemm_i8_rows  global (blocks * LANES rounded up to GROUP), local (GROUP); a block is
//                        XROWS x WROWS outputs, blocks = ceil(n / XROWS) * ceil(m / WROWS)
//          gemm_i8_round global (n * GROUP), local (GROUP): x as the bytes of its rows stand for it,
//                        (n, k) float, a group per row
// Assumes: the bytes after column k are 0; ALIGNED promises k % 16 == 0; buffers aligned to 64 bytes
//
// Weights keep float32 activations: the card has no 8-bit dot product, what a byte saves is memory
// traffic. Codes are read 16 at a time and turned to float exactly, so the scale multiplies the sum
// once. (Offset-binary codes convert in one instruction less, but 128 * sum(x) then cancels against
// the sum and costs two digits.) Products are written a * b + c: that contracts to the card's v_mac,
// and a processor's driver may call a function for every mad() or convert.
#ifndef ROUND
#define ROUND 0  // 1 builds the kernel that prepares x
#endif
#if ROUND
#include "rounding.cl"

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void gemm_i8_round(const int k, __global const float* restrict x, __global float* restrict rounded)
{
    __local uint largest[GROUP];
    const int item = get_local_id(0), row = get_group_id(0);
    __global const float* from = x + row * k;
    const uint most = most_of(largest, from, k);
    const int finite = most < 0x7f800000u;
    const float scale = step_of(most), inverse = 1.0f / scale;

    for (int i = item; i < k; i += GROUP)
        rounded[row * k + i] = finite ? nearest(from[i], scale, inverse) * scale : NAN;
}
#else
#define DEPTH 16  // codes per 128-bit load
#define FINISH(sum, row, col) finish(sum, row, col, n, m, relu, scale, bias, y)
#include "prelude.cl"

static float4 decoded4(const uint four)
{
    const char4 c = as_char4(four);
    return (float4)(c.x, c.y, c.z, c.w);
}

static void finish(float sum, const int row, const int col, const int n, const int m,
                   const int relu, __global const float* scale, __global const float* bias,
                   __global float* y)
{
    if (row >= n || col >= m) return;
    sum = bias ? sum * scale[col] + bias[col] : sum * scale[col];
    y[row * m + col] = relu && sum < 0.0f ? 0.0f : sum;
}

#if TILED
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void gemm_i8(const int n, const int m, const int k, const int pitch, const int relu,
             __global const float* restrict x, __global const uint4* restrict codes,
             __global const float* restrict scale, __global const float* restrict bias,
             __global float* restrict y)
{
    __local float xs[DEPTH * XPITCH] __attribute__((aligned(16)));
    __local float ws[DEPTH * WPITCH] __attribute__((aligned(16)));
    const int item = get_local_id(0);
    const int row0 = get_global_id(1) * TILE_ROWS, col0 = get_group_id(0) * TILE_COLS;
    const int right = item % ITEMS_ACROSS * 4, down = item / ITEMS_ACROSS * 4;
    float4 low[4], high[4];  // columns right.. and TILE_COLS / 2 + right..

    #pragma unroll
    for (int i = 0; i < 4; ++i) low[i] = high[i] = (float4)(0.0f);
    for (int step = 0; step < pitch; ++step) {
        stage(xs, XPITCH, TILE_ROWS, x, row0, n, step * DEPTH, k);
        if (item < TILE_COLS) {
            const int col = col0 + item < m ? col0 + item : m - 1;
            const uint4 w = codes[col * pitch + step];
            turn(ws, WPITCH, 0, item, decoded4(w.x));
            turn(ws, WPITCH, 4, item, decoded4(w.y));
            turn(ws, WPITCH, 8, item, decoded4(w.z));
            turn(ws, WPITCH, 12, item, decoded4(w.w));
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
// The q-th four of 16 codes; q is known when the loop over it is unrolled.
static uint quarter(const uint4 codes, const int q)
{
    return q == 0 ? codes.x : q == 1 ? codes.y : q == 2 ? codes.z : codes.w;
}

static float add4(const float sum, const float4 v, const uint four)
{
    const float4 w = decoded4(four);
    return v.x * w.x + (v.y * w.y + (v.z * w.z + (v.w * w.w + sum)));
}
#else
static float16 decoded(const uint4 codes)
{
    const char16 c = as_char16(codes);
    return (float16)(c.s0, c.s1, c.s2, c.s3, c.s4, c.s5, c.s6, c.s7,
                     c.s8, c.s9, c.sa, c.sb, c.sc, c.sd, c.se, c.sf);
}
#endif

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void gemm_i8_rows(const int n, const int m, const int k, const int pitch, const int relu,
                  __global const float* restrict x, __global const uint4* restrict codes,
                  __global const float* restrict scale, __global const float* restrict bias,
                  __global float* restrict y)
{
    const int lane = get_local_id(0) % LANES, block = get_global_id(0) / LANES;
    const int across = (n + XROWS - 1) / XROWS;
    const int row = block % across * XROWS, col = block / across * WROWS;
    const int end = col < m ? k : 0, steps = end / DEPTH;  // blocks past the last do nothing
    __global const float* xs[XROWS];
    __global const uint4* ws[WROWS];
    sum_t sums[XROWS][WROWS];
    float sum[XROWS][WROWS];

    #pragma unroll
    for (int i = 0; i < XROWS; ++i) xs[i] = x + (row + i < n ? row + i : n - 1) * k;
    #pragma unroll
    for (int j = 0; j < WROWS; ++j) ws[j] = codes + (col + j < m ? col + j : m - 1) * pitch;
    #pragma unroll
    for (int i = 0; i < XROWS; ++i)
        #pragma unroll
        for (int j = 0; j < WROWS; ++j) sums[i][j] = (sum_t)(0.0f);

    for (int step = lane; step < steps; step += LANES) {
#if LANES > 1
        uint4 codes_of[WROWS];
        #pragma unroll
        for (int j = 0; j < WROWS; ++j) codes_of[j] = ws[j][step];
        #pragma unroll
        for (int q = 0; q < 4; ++q)
            #pragma unroll
            for (int i = 0; i < XROWS; ++i) {
                const float4 v = LOAD(xs[i] + step * DEPTH + 4 * q);
                #pragma unroll
                for (int j = 0; j < WROWS; ++j)
                    sums[i][j] = add4(sums[i][j], v, quarter(codes_of[j], q));
            }
#else
        float16 v[XROWS];
        #pragma unroll
        for (int i = 0; i < XROWS; ++i) v[i] = LOAD(xs[i] + step * DEPTH);
        #pragma unroll
        for (int j = 0; j < WROWS; ++j) {
            const float16 w = decoded(ws[j][step]);
            #pragma unroll
            for (int i = 0; i < XROWS; ++i) sums[i][j] += v[i] * w;
        }
#endif
    }
    #pragma unroll
    for (int i = 0; i < XROWS; ++i)
        #pragma unroll
        for (int j = 0; j < WROWS; ++j) {
            sum[i][j] = FOLD(sums[i][j]);
            for (int at = steps * DEPTH + lane; at < end; at += LANES)
                sum[i][j] += xs[i][at] * (float)((__global const char*)ws[j])[at];
        }

    FINISH_BLOCK(sum, row, col);
}
#endif
#endif
