// What the dense products share: how y (n, m) is cut, and how x is read.
// kernels.source puts this text where they include it.
//
// Tiles (TILED 1) stage DEPTH columns of x and W in local memory; a work-item owns 4 rows x (4 + 4)
// columns of y. Blocks (TILED 0) read straight from memory; a block is XROWS x WROWS outputs.
// The including file defines DEPTH; where more than a bias and relu is left to do,
// FINISH(sum, row, col): write one output if it exists; and INTEGERS 1 if sums are int, not float.
#ifndef INTEGERS
#define INTEGERS 0
#endif
#if INTEGERS
typedef int num;
typedef int4 num4;
typedef int16 num16;
#define MORE(sum, a, b) (sum) = mad24((num4)(a), b, sum)  // a multiplication of 32 bits is slow
#else
typedef float num;
typedef float4 num4;
#define MORE(sum, a, b) (sum) += (a) * (b)
#endif

#ifndef TILED
#define TILED 1  // 1 builds the kernel of tiles, 0 the one of blocks, whose name ends in _rows
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
#define TILE_COLS 128  // rows of W, that is columns of y, per tile; at most GROUP for gemm_i8
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

#ifndef FINISH
#define FINISH(sum, row, col) finish(sum, row, col, n, m, relu, bias, y)

static void finish(float sum, const int row, const int col, const int n, const int m,
                   const int relu, __global const float* bias, __global float* y)
{
    if (row >= n || col >= m) return;
    if (bias) sum += bias[col];
    y[row * m + col] = relu && sum < 0.0f ? 0.0f : sum;
}
#endif

#if TILED
#define ITEMS_ACROSS (TILE_COLS / 8)  // work-items side by side
#define XPITCH (TILE_ROWS + 4)  // floats from one staged column to the next; + 4 spreads the banks
#define WPITCH (TILE_COLS + 4)

#if !INTEGERS
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
#endif

// Four neighbours of one row become one element of four staged columns.
static void turn(__local num* tile, const int pitch, const int column, const int row,
                 const num4 v)
{
    tile[column * pitch + row] = v.x, tile[(column + 1) * pitch + row] = v.y;
    tile[(column + 2) * pitch + row] = v.z, tile[(column + 3) * pitch + row] = v.w;
}

#if !INTEGERS
// Stages DEPTH columns, from `at` on, of `height` rows.
static void stage(__local float* tile, const int pitch, const int height,
                  __global const float* matrix, const int row0, const int rows, const int at,
                  const int k)
{
    const int quads = DEPTH / 4;

    for (int t = get_local_id(0); t < height * quads; t += GROUP) {
        const int r = t / quads, c = t % quads * 4;
        turn(tile, pitch, c, r, fetch(matrix, row0 + r, rows, at + c, k));
    }
}
#endif

// Adds what is staged to a work-item's outputs: low for columns right.., high half a tile further.
static void multiply(__local const num* xs, __local const num* ws, const int down,
                     const int right, num4* low, num4* high)
{
    #pragma unroll 4
    for (int d = 0; d < DEPTH; ++d) {
        const num4 a = *(__local const num4*)(xs + d * XPITCH + down);
        const num4 b = *(__local const num4*)(ws + d * WPITCH + right);
        const num4 c = *(__local const num4*)(ws + d * WPITCH + TILE_COLS / 2 + right);
        MORE(low[0], a.x, b), MORE(high[0], a.x, c);
        MORE(low[1], a.y, b), MORE(high[1], a.y, c);
        MORE(low[2], a.z, b), MORE(high[2], a.z, c);
        MORE(low[3], a.w, b), MORE(high[3], a.w, c);
    }
}

// Write the four rows from `row` on of one column, and of four.
#define COLUMN(sums, part, row, col) \
    FINISH(sums[0].part, row, col), FINISH(sums[1].part, row + 1, col), \
    FINISH(sums[2].part, row + 2, col), FINISH(sums[3].part, row + 3, col)
#define COLUMNS(sums, row, col) \
    COLUMN(sums, x, row, col), COLUMN(sums, y, row, col + 1), \
    COLUMN(sums, z, row, col + 2), COLUMN(sums, w, row, col + 3)
#else
#ifndef VEC
#if LANES > 1
#define VEC 4  // floats per load of a block: 4, or 8 or 16 when LANES is 1
#else
#define VEC 16
#endif
#endif

#include "vectors.cl"

#if LANES > 1  // a wavefront has its registers to count
typedef num sum_t;
#define FOLD(sum) (sum)
#else  // a processor adds VEC products at once and folds them at the end
#if INTEGERS
typedef num16 sum_t;
#else
typedef vec sum_t;
#endif
static num fold4(const num4 v) { return (v.x + v.y) + (v.z + v.w); }
#if VEC == 16
#define FOLD(sum) fold4(((sum).lo.lo + (sum).lo.hi) + ((sum).hi.lo + (sum).hi.hi))
#elif VEC == 8
#define FOLD(sum) fold4((sum).lo + (sum).hi)
#else
#define FOLD(sum) fold4(sum)
#endif
#endif

// Write the XROWS x WROWS outputs of a block, each the sum over the lanes that share the block.
#if LANES == 1
#define FINISH_BLOCK(sum, row, col) \
    _Pragma("unroll") \
    for (int i = 0; i < XROWS; ++i) \
        _Pragma("unroll") \
        for (int j = 0; j < WROWS; ++j) FINISH(sum[i][j], row + i, col + j)
#else
// Lays a lane's sums where the others see them; + 1: the sums below hit different banks.
static void share(num sum[XROWS][WROWS], __local num partial[XROWS * WROWS][GROUP + 1])
{
    #pragma unroll
    for (int i = 0; i < XROWS; ++i)
        #pragma unroll
        for (int j = 0; j < WROWS; ++j) partial[i * WROWS + j][get_local_id(0)] = sum[i][j];
    barrier(CLK_LOCAL_MEM_FENCE);
}

// One output: the sum over the lanes of this work-item's block.
static num over_lanes(__local const num* partial)
{
    const int first = get_local_id(0) / LANES * LANES;
    num sum = 0;
    for (int i = 0; i < LANES; ++i) sum += partial[first + i];
    return sum;
}

#define FINISH_BLOCK(sum, row, col) \
    __local num partial[XROWS * WROWS][GROUP + 1]; \
    share(sum, partial); \
    for (int output = get_local_id(0) % LANES; output < XROWS * WROWS; output += LANES) \
        FINISH(over_lanes(partial[output]), row + output / WROWS, col + output % WROWS)
#endif
#endif
