// gemm_i8: y = act((x codes^T) scale + bias), act the identity or max(., 0).
// Shapes:  x (n, k) float, codes (m, 16 pitch) signed bytes of which k count, scale (m,),
//          bias (m,) or null, y (n, m), all row-major
// Launch:  gemm_i8       global (ceil(m / TILE_COLS) * GROUP, ceil(n / TILE_ROWS)), local (GROUP, 1)
//          gemm_i8_rows  global (blocks * LANES rounded up to GROUP), local (GROUP); a block is
//                        XROWS x WROWS outputs, blocks = ceil(n / XROWS) * ceil(m / WROWS)
// Assumes: the bytes after column k are 0; ALIGNED promises k % 16 == 0; buffers aligned to 64 bytes
//
// Weights keep float32 activations: the card has no 8-bit dot product, what a byte saves is memory
// traffic. Codes are read 16 at a time and turned to float exactly, so the scale multiplies the sum
// once. (Offset-binary codes convert in one instruction less, but 128 * sum(x) then cancels against
// the sum and costs two digits.) Products are written a * b + c: that contracts to the card's v_mac,
// and a processor's driver may call a function for every mad() or convert.
#ifndef TILED
#define TILED 1  // 1 builds gemm_i8, 0 builds gemm_i8_rows
#endif
#ifndef GROUP
#define GROUP 256  // work-items per group; the tile needs (TILE_ROWS / 4) * (TILE_COLS / 8)
#endif
#ifndef ALIGNED
#define ALIGNED 1  // 0 allows any k and loads x element by element where it must
#endif
#ifndef TILE_ROWS
#define TILE_ROWS 64  // rows of x per tile
#endif
#ifndef TILE_COLS
#define TILE_COLS 128  // rows of codes, that is columns of y, per tile; at most GROUP
#endif
#ifndef LANES
#define LANES 64  // work-items that share a block; 1, or a power of two that divides GROUP
#endif
#ifndef XROWS
#define XROWS 1  // rows of x per block
#endif
#ifndef WROWS
#define WROWS 2  // rows of codes per block
#endif
#define DEPTH 16  // codes per 128-bit load

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
#define ITEMS_ACROSS (TILE_COLS / 8)  // work-items side by side; each owns 4 rows x (4 + 4) columns

// Four neighbours of one row of x, zero outside the matrix.
static float4 fetch(__global const float* x, const int row, const int n, const int at, const int k)
{
    float4 v = (float4)(0.0f);
    if (row >= n) return v;
    __global const float* from = x + row * k + at;
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

// Four neighbours of one row become four rows of a tile.
static void stage(__local float (*tile)[TILE_COLS + 4], const int down, const int across,
                  const float4 v)
{
    tile[down][across] = v.x, tile[down + 1][across] = v.y;
    tile[down + 2][across] = v.z, tile[down + 3][across] = v.w;
}

// Stores the four rows of one column of a work-item's outputs.
#define COLUMN(sums, part, col) \
    finish(sums[0].part, row0 + down, col, n, m, relu, scale, bias, y), \
    finish(sums[1].part, row0 + down + 1, col, n, m, relu, scale, bias, y), \
    finish(sums[2].part, row0 + down + 2, col, n, m, relu, scale, bias, y), \
    finish(sums[3].part, row0 + down + 3, col, n, m, relu, scale, bias, y)

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void gemm_i8(const int n, const int m, const int k, const int pitch, const int relu,
             __global const float* restrict x, __global const uint4* restrict codes,
             __global const float* restrict scale, __global const float* restrict bias,
             __global float* restrict y)
{
    __local float xs[DEPTH][TILE_ROWS + 4] __attribute__((aligned(16)));  // + 4: spreads the banks
    __local float ws[DEPTH][TILE_COLS + 4] __attribute__((aligned(16)));
    const int item = get_local_id(0);
    const int row0 = get_group_id(1) * TILE_ROWS, col0 = get_group_id(0) * TILE_COLS;
    const int right = item % ITEMS_ACROSS * 4, down = item / ITEMS_ACROSS * 4;
    float4 low[4], high[4];  // columns right.. and TILE_COLS / 2 + right..

    #pragma unroll
    for (int i = 0; i < 4; ++i) low[i] = high[i] = (float4)(0.0f);
    for (int step = 0; step < pitch; ++step) {
        for (int t = item; t < TILE_ROWS * 4; t += GROUP) {
            const int r = t / 4, c = t % 4 * 4;
            const float4 v = fetch(x, row0 + r, n, step * DEPTH + c, k);
            xs[c][r] = v.x, xs[c + 1][r] = v.y, xs[c + 2][r] = v.z, xs[c + 3][r] = v.w;
        }
        if (item < TILE_COLS) {
            const int col = col0 + item < m ? col0 + item : m - 1;
            const uint4 w = codes[col * pitch + step];
            stage(ws, 0, item, decoded4(w.x));
            stage(ws, 4, item, decoded4(w.y));
            stage(ws, 8, item, decoded4(w.z));
            stage(ws, 12, item, decoded4(w.w));
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

#if LANES > 1  // a wavefront has its registers to count: four codes at a time, one sum
typedef float4 vec;
typedef float sum_t;
#define FOLD(sum) (sum)
#else  // a processor adds 16 products at once and folds them at the end
typedef float16 vec;
typedef float16 sum_t;
static float fold4(const float4 v) { return (v.x + v.y) + (v.z + v.w); }
#define FOLD(sum) fold4(((sum).lo.lo + (sum).lo.hi) + ((sum).hi.lo + (sum).hi.hi))
#endif

// A load that asks for no more alignment than an element has, unless more is promised.
#if ALIGNED
#define LOAD(from) (*(__global const vec*)(from))
#else
typedef vec loose __attribute__((aligned(4)));
#define LOAD(from) (*(__global const loose*)(from))
#endif

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

#if LANES == 1
    #pragma unroll
    for (int i = 0; i < XROWS; ++i)
        #pragma unroll
        for (int j = 0; j < WROWS; ++j)
            finish(sum[i][j], row + i, col + j, n, m, relu, scale, bias, y);
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
        finish(whole_sum, row + output / WROWS, col + output % WROWS, n, m, relu, scale, bias, y);
    }
#endif
}
#endif
