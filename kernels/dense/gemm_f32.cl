// gemm_f32: y = act(x W^T + bias), act the identity or max(., 0).
// Shapes:  x (n, k), W (m, k), bias (m,) or null, y (n, m), all row-major
// Launch:  gemm_f32       global (ceil(m / TILE_COLS) * GROUP, ceil(n / TILE_ROWS)), local (GROUP, 1)
//          gemm_f32_rows  global (blocks * LANES rounded up to GROUP), local (GROUP); a block is
//                         XROWS x WROWS outputs, blocks = ceil(n / XROWS) * ceil(m / WROWS)
// Assumes: ALIGNED promises k % VEC == 0 and (tile) k % 4 == 0; buffers aligned to 64 bytes
//
// gemm_f32 stages tiles in local memory for many rows on a graphics card. gemm_f32_rows reads
// straight from memory: a wavefront per block for few rows (a matrix-vector product is bound by
// the stream of W), one work-item per block on a processor that has caches and no local memory.
// Products are written a * b + c: that contracts to the card's v_mac, and a processor's driver may
// call a function for every mad().
#ifndef DEPTH
#define DEPTH 16  // columns of x and W staged at a time; local bytes: DEPTH * (tile rows + cols + 8) * 4
#endif
#include "prelude.cl"

#if TILED
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void gemm_f32(const int n, const int m, const int k, const int relu,
              __global const float* restrict x, __global const float* restrict weight,
              __global const float* restrict bias, __global float* restrict y)
{
    __local float xs[DEPTH * XPITCH] __attribute__((aligned(16)));
    __local float ws[DEPTH * WPITCH] __attribute__((aligned(16)));
    const int item = get_local_id(0);
    const int row0 = get_global_id(1) * TILE_ROWS, col0 = get_group_id(0) * TILE_COLS;
    const int right = item % ITEMS_ACROSS * 4, down = item / ITEMS_ACROSS * 4;
    float4 low[4], high[4];  // columns right.. and TILE_COLS / 2 + right..

    #pragma unroll
    for (int i = 0; i < 4; ++i) low[i] = high[i] = (float4)(0.0f);
    for (int at = 0; at < k; at += DEPTH) {
        stage(xs, XPITCH, TILE_ROWS, x, row0, n, at, k);
        stage(ws, WPITCH, TILE_COLS, weight, col0, m, at, k);
        barrier(CLK_LOCAL_MEM_FENCE);
        multiply(xs, ws, down, right, low, high);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    COLUMNS(low, row0 + down, col0 + right);
    COLUMNS(high, row0 + down, col0 + TILE_COLS / 2 + right);
}
#else

#if LANES > 1
#define ADD(sum, a, b) ((a).x * (b).x + ((a).y * (b).y + ((a).z * (b).z + ((a).w * (b).w + (sum)))))
#else
#define ADD(sum, a, b) ((a) * (b) + (sum))
#endif

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void gemm_f32_rows(const int n, const int m, const int k, const int relu,
                   __global const float* restrict x, __global const float* restrict weight,
                   __global const float* restrict bias, __global float* restrict y)
{
    const int lane = get_local_id(0) % LANES, block = get_global_id(0) / LANES;
    const int across = (n + XROWS - 1) / XROWS;
    const int row = block % across * XROWS, col = block / across * WROWS;
    const int end = col < m ? k : 0, whole = end / VEC * VEC;  // blocks past the last do nothing
    __global const float* xs[XROWS];
    __global const float* ws[WROWS];
    sum_t sums[XROWS][WROWS];
    float sum[XROWS][WROWS];

    #pragma unroll
    for (int i = 0; i < XROWS; ++i) xs[i] = x + (row + i < n ? row + i : n - 1) * k;
    #pragma unroll
    for (int j = 0; j < WROWS; ++j) ws[j] = weight + (col + j < m ? col + j : m - 1) * k;
    #pragma unroll
    for (int i = 0; i < XROWS; ++i)
        #pragma unroll
        for (int j = 0; j < WROWS; ++j) sums[i][j] = (sum_t)(0.0f);

    for (int at = lane * VEC; at < whole; at += LANES * VEC) {
        vec w[WROWS];
        #pragma unroll
        for (int j = 0; j < WROWS; ++j) w[j] = LOAD(ws[j] + at);
        #pragma unroll
        for (int i = 0; i < XROWS; ++i) {
            const vec v = LOAD(xs[i] + at);
            #pragma unroll
            for (int j = 0; j < WROWS; ++j) sums[i][j] = ADD(sums[i][j], v, w[j]);
        }
    }
    #pragma unroll
    for (int i = 0; i < XROWS; ++i)
        #pragma unroll
        for (int j = 0; j < WROWS; ++j) {
            sum[i][j] = FOLD(sums[i][j]);
            for (int at = whole + lane; at < end; at += LANES)
                sum[i][j] += xs[i][at] * ws[j][at];
        }

    FINISH_BLOCK(sum, row, col);
}
#endif
