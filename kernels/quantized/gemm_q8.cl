// gemm_q8: y = act((x - x_zero) codes^T + bias), scaled: S * (scale * by) as float, or the nearest
//          integer of that plus y_zero, saturated, as bytes. act is the identity or max(., 0).
// Shapes:  x (n, 16 pitch) signed bytes, codes (m, 16 pitch) signed bytes of which the first k count,
//          scale (m,) float, bias (m,) int or null, y (n, m) float or signed bytes, all row-major
// Launch:  gemm_q8       global (ceil(m / TILE_COLS) * GROUP, ceil(n / TILE_ROWS)), local (GROUP, 1)
//          gemm_q8_rows  global (blocks * LANES rounded up to GROUP), local (GROUP); a block is
//                        XROWS x WROWS outputs, blocks = ceil(n / XROWS) * ceil(m / WROWS)
//          gemm_q8_widen global (4 pitch rounded up to GROUP, n), local (GROUP, 1): copies rows of k
//                        bytes apart where k is no multiple of 16
// Assumes: codes after column k are 0; zeros are -128 to 127; buffers aligned to 64 bytes
//
// The card has no 8-bit dot product: bytes become int, and mad24 takes one cycle where a multiplication
// of 32 bits takes four. Sums are exact modulo 2^32 in any order, and what follows is one product and
// one rounding of float, so that every device makes the same bytes.
#ifndef WIDEN
#define WIDEN 0  // 1 builds the kernel that prepares x
#endif
#ifndef BYTES
#define BYTES 1  // 1: y is bytes, 0: float
#endif
#define DEPTH 16  // codes per 128-bit load
#define INTEGERS 1
#if WIDEN
#ifndef GROUP
#define GROUP 64  // work-items per group; multiple of 64, at most 256
#endif

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void gemm_q8_widen(const int k, const int pitch, __global const char* restrict x,
                   __global char4* restrict wide)
{
    const int quad = get_global_id(0), row = get_global_id(1);
    __global const char* from = x + row * k;
    const int at = 4 * quad;
    if (quad >= 4 * pitch) return;

    wide[row * 4 * pitch + quad] = (char4)(at < k ? from[at] : 0, at + 1 < k ? from[at + 1] : 0,
                                           at + 2 < k ? from[at + 2] : 0, at + 3 < k ? from[at + 3] : 0);
}
#else
#define FINISH(sum, row, col) finish(sum, row, col, n, m, relu, y_zero, by, scale, bias, y)
#include "prelude.cl"

#if BYTES
typedef char made_t;
#else
typedef float made_t;
#endif

static int4 decoded4(const uint four)
{
    const char4 c = as_char4(four);
    return (int4)(c.x, c.y, c.z, c.w);
}

static void finish(int sum, const int row, const int col, const int n, const int m, const int relu,
                   const float y_zero, const float by, __global const float* scale,
                   __global const int* bias, __global made_t* y)
{
    if (row >= n || col >= m) return;
    if (bias) sum += bias[col];
    if (relu) sum = max(sum, 0);
    const float scaled = (float)sum * (scale[col] * by);
#if BYTES
    y[row * m + col] = (char)(clamp(rint(scaled), -128.0f - y_zero, 127.0f - y_zero) + y_zero);
#else
    (void)y_zero;
    y[row * m + col] = scaled;
#endif
}

#define PARAMETERS \
    const int n, const int m, const int pitch, const int relu, const int x_zero, const float y_zero, \
    const float by, __global const uint4* restrict x, __global const uint4* restrict codes, \
    __global const float* restrict scale, __global const int* restrict bias, \
    __global made_t* restrict y

#if TILED
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void gemm_q8(PARAMETERS)
{
    __local int xs[DEPTH * XPITCH] __attribute__((aligned(16)));
    __local int ws[DEPTH * WPITCH] __attribute__((aligned(16)));
    const int item = get_local_id(0);
    const int row0 = get_global_id(1) * TILE_ROWS, col0 = get_group_id(0) * TILE_COLS;
    const int right = item % ITEMS_ACROSS * 4, down = item / ITEMS_ACROSS * 4;
    int4 low[4], high[4];  // columns right.. and TILE_COLS / 2 + right..

    #pragma unroll
    for (int i = 0; i < 4; ++i) low[i] = high[i] = (int4)(0);
    for (int step = 0; step < pitch; ++step) {
        for (int t = item; t < TILE_ROWS * 4; t += GROUP) {
            const int row = min(row0 + t / 4, n - 1);
            const uint v = ((__global const uint*)x)[(row * pitch + step) * 4 + t % 4];
            turn(xs, XPITCH, t % 4 * 4, t / 4, decoded4(v) - x_zero);
        }
        if (item < TILE_COLS) {
            const uint4 w = codes[min(col0 + item, m - 1) * pitch + step];
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
static int add4(const int sum, const int4 v, const int4 w)
{
    return mad24(v.x, w.x, mad24(v.y, w.y, mad24(v.z, w.z, mad24(v.w, w.w, sum))));
}

static void add16(int* sums, const uint4 a, const int zero, const uint4* w)
{
    #pragma unroll
    for (int q = 0; q < 4; ++q) {
        const int4 v = decoded4(((const uint*)&a)[q]) - zero;
        #pragma unroll
        for (int j = 0; j < WROWS; ++j)
            sums[j] = add4(sums[j], v, decoded4(((const uint*)&w[j])[q]));
    }
}
#else
static int16 decoded(const uint4 codes)
{
    const char16 c = as_char16(codes);
    return (int16)(c.s0, c.s1, c.s2, c.s3, c.s4, c.s5, c.s6, c.s7,
                   c.s8, c.s9, c.sa, c.sb, c.sc, c.sd, c.se, c.sf);
}

static void add16(int16* sums, const uint4 a, const int zero, const uint4* w)
{
    const int16 v = decoded(a) - zero;
    #pragma unroll
    for (int j = 0; j < WROWS; ++j) sums[j] += v * decoded(w[j]);
}
#endif

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void gemm_q8_rows(PARAMETERS)
{
    const int lane = get_local_id(0) % LANES, block = get_global_id(0) / LANES;
    const int across = (n + XROWS - 1) / XROWS;
    const int row = block % across * XROWS, col = block / across * WROWS;
    const int end = col < m ? pitch : 0;  // blocks past the last do nothing
    sum_t sums[XROWS][WROWS];
    int sum[XROWS][WROWS];

    #pragma unroll
    for (int i = 0; i < XROWS; ++i)
        #pragma unroll
        for (int j = 0; j < WROWS; ++j) sums[i][j] = (sum_t)(0);

    for (int step = lane; step < end; step += LANES) {
        uint4 w[WROWS];
        #pragma unroll
        for (int j = 0; j < WROWS; ++j) w[j] = codes[min(col + j, m - 1) * pitch + step];
        #pragma unroll
        for (int i = 0; i < XROWS; ++i) {
            const uint4 v = x[min(row + i, n - 1) * pitch + step];
            add16(sums[i], v, x_zero, w);
        }
    }
    #pragma unroll
    for (int i = 0; i < XROWS; ++i)
        #pragma unroll
        for (int j = 0; j < WROWS; ++j) sum[i][j] = FOLD(sums[i][j]);

    FINISH_BLOCK(sum, row, col);
}
#endif
#endif
