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
#ifndef TILED
#define TILED 1  // 1 builds gemm_f32, 0 builds gemm_f32_rows
#endif
#ifndef GROUP
#define GROUP 256  // work-items per group; the tile needs (TILE_ROWS / 4) * (TILE_COLS / 8)
#endif
#ifndef ALIGNED
#define ALIGNED 1  // 0 allows any k and loads element by element where it must
#endif
#ifndef TILE_ROWS
#define TILE_ROWS 64  // rows of x per tile
#endif
#ifndef TILE_COLS
#define TILE_COLS 128  // rows of W, that is columns of y, per tile
#endif
#ifndef DEPTH
#define DEPTH 16  // columns of x and W staged at a time; local bytes: DEPTH * (tile rows + cols + 8) * 4
#endif
#ifndef LANES
#define LANES 64  // work-items that share a block; 1, or a power of two that divides GROUP
#endif
#ifndef XROWS
#define XROWS 1  // rows of x per block
#endif
#ifndef WROWS
#define WROWS 2  // rows of W per block
#endif
#ifndef VEC
#define VEC 4  // floats per load of a block: 4, or 8 or 16 when LANES is 1
#endif

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
typedef JOIN(float, VEC) vec;

static void finish(float sum, const int row, const int col, const int n, const int m,
                   const int relu, __global const float* bias, __global float* y)
{
    if (row >= n || col >= m) return;
    if (bias) sum += bias[col];
    y[row * m + col] = relu && sum < 0.0f ? 0.0f : sum;
}

#if TILED
#define ITEMS_ACROSS (TILE_COLS / 8)  // work-items side by side; each owns 4 rows x (4 + 4) columns

// Four neighbours of one row, zero outside the matrix.
static float4 fetch(__global const float* matrix, const int row, const int rows, const int at,
                    const int k)
{
    float4 v = (float4)(0.0f);
    if (row >= rows) return v;
    __global const float* from = matrix + row * k + at;
#if ALIGNED
    if (at < k) v = *(__global const float4*)from;
#else
    if (at < k) v.x = from[0];
    if (at + 1 < k) v.y = from[1];
    if (at + 2 < k) v.z = from[2];
    if (at + 3 < k) v.w = from[3];
#endif
    return v;
}

// Stores the four rows of one column of a work-item's outputs.
#define COLUMN(sums, part, col) \
    finish(sums[0].part, row0 + down, col, n, m, relu, bias, y), \
    finish(sums[1].part, row0 + down + 1, col, n, m, relu, bias, y), \
    finish(sums[2].part, row0 + down + 2, col, n, m, relu, bias, y), \
    finish(sums[3].part, row0 + down + 3, col, n, m, relu, bias, y)

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void gemm_f32(const int n, const int m, const int k, const int relu,
              __global const float* restrict x, __global const float* restrict weight,
              __global const float* restrict bias, __global float* restrict y)
{
    __local float xs[DEPTH][TILE_ROWS + 4] __attribute__((aligned(16)));  // + 4: spreads the banks
    __local float ws[DEPTH][TILE_COLS + 4] __attribute__((aligned(16)));
    const int item = get_local_id(0), quads = DEPTH / 4;
    const int row0 = get_group_id(1) * TILE_ROWS, col0 = get_group_id(0) * TILE_COLS;
    const int right = item % ITEMS_ACROSS * 4, down = item / ITEMS_ACROSS * 4;
    float4 low[4], high[4];  // columns right.. and TILE_COLS / 2 + right..

    #pragma unroll
    for (int i = 0; i < 4; ++i) low[i] = high[i] = (float4)(0.0f);
    for (int at = 0; at < k; at += DEPTH) {
        for (int t = item; t < TILE_ROWS * quads; t += GROUP) {
            const int r = t / quads, c = t % quads * 4;
            const float4 v = fetch(x, row0 + r, n, at + c, k);
            xs[c][r] = v.x, xs[c + 1][r] = v.y, xs[c + 2][r] = v.z, xs[c + 3][r] = v.w;
        }
        for (int t = item; t < TILE_COLS * quads; t += GROUP) {
            const int r = t / quads, c = t % quads * 4;
            const float4 v = fetch(weight, col0 + r, m, at + c, k);
            ws[c][r] = v.x, ws[c + 1][r] = v.y, ws[c + 2][r] = v.z, ws[c + 3][r] = v.w;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        #pragma unroll 4
        for (int d = 0; d < DEPTH; ++d) {
            const float4 a = *(__local const float4*)&xs[d][down];
            const float4 b = *(__local const float4*)&ws[d][right];
            const float4 c = *(__local const float4*)&ws[d][TILE_COLS / 2 + right];
            low[0] += a.x * b, high[0] += a.x * c;
            low[1] += a.y * b, high[1] += a.y * c;
            low[2] += a.z * b, high[2] += a.z * c;
            low[3] += a.w * b, high[3] += a.w * c;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    const int near = col0 + right, far = near + TILE_COLS / 2;
    COLUMN(low, x, near), COLUMN(low, y, near + 1), COLUMN(low, z, near + 2);
    COLUMN(low, w, near + 3), COLUMN(high, x, far), COLUMN(high, y, far + 1);
    COLUMN(high, z, far + 2), COLUMN(high, w, far + 3);
}
#else

// A load that asks for no more alignment than an element has, unless more is promised.
#if ALIGNED
#define LOAD(from) (*(__global const vec*)(from))
#else
typedef vec loose __attribute__((aligned(4)));
#define LOAD(from) (*(__global const loose*)(from))
#endif

#if LANES > 1  // a wavefront has its registers to count
typedef float sum_t;
#define ADD(sum, a, b) ((a).x * (b).x + ((a).y * (b).y + ((a).z * (b).z + ((a).w * (b).w + (sum)))))
#define FOLD(sum) (sum)
#else  // a processor adds VEC products at once and folds them at the end
typedef vec sum_t;
#define ADD(sum, a, b) ((a) * (b) + (sum))
static float fold4(const float4 v) { return (v.x + v.y) + (v.z + v.w); }
#if VEC == 16
#define FOLD(sum) fold4(((sum).lo.lo + (sum).lo.hi) + ((sum).hi.lo + (sum).hi.hi))
#elif VEC == 8
#define FOLD(sum) fold4((sum).lo + (sum).hi)
#else
#define FOLD(sum) fold4(sum)
#endif
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

#if LANES == 1
    #pragma unroll
    for (int i = 0; i < XROWS; ++i)
        #pragma unroll
        for (int j = 0; j < WROWS; ++j)
            finish(sum[i][j], row + i, col + j, n, m, relu, bias, y);
#else
    __local float partial[XROWS * WROWS][GROUP + 1];  // + 1: the sums below hit different banks
    #pragma unroll
    for (int i = 0; i < XROWS; ++i)
        #pragma unroll
        for (int j = 0; j < WROWS; ++j) partial[i * WROWS + j][get_local_id(0)] = sum[i][j];
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int output = lane; output < XROWS * WROWS; output += LANES) {
        float whole_sum = 0.0f;
        for (int i = 0; i < LANES; ++i)
            whole_sum += partial[output][get_local_id(0) - lane + i];
        finish(whole_sum, row + output / WROWS, col + output % WROWS, n, m, relu, bias, y);
    }
#endif
}
#endif
