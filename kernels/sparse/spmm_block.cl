// spmm_block: y = act(W x + bias), act the identity or max(., 0).
// Shapes:  W (rows, cols) in blocks of BLOCK_ROWS x BLOCK_COLS: row_ptr (ceil(rows / BLOCK_ROWS) + 1,),
//          col_idx (blocks,), values (blocks, BLOCK_ROWS, BLOCK_COLS), and for codes scale (blocks,).
//          x, bias and y as of spmm_csr
// Launch:  spmm_block       global (chunks * ceil(n / REACH) rounded up to GROUP), local (GROUP),
//                           where REACH = VEC * SPAN and a chunk is TALL rows of a block:
//                           chunks = ceil(rows / BLOCK_ROWS) * BLOCK_ROWS / TALL; if UNIFORM global
//                           (chunks * GROUP, ceil(n / (GROUP * REACH))), local (GROUP, 1)
//          spmm_block_rows  global (rows * LANES rounded up to GROUP, ceil(n / BATCH)),
//                           local (GROUP, 1)
// Assumes: indices of blocks in range; what a block holds past cols is never used; fewer than 2^31
//          elements everywhere
//
// If UNIFORM a wavefront owns TALL rows and GROUP columns: every weight is the same for all its
// work-items, so a card reads it through its scalar unit, as an operand that costs no register and
// no local memory: nearly all that its loop issues are multiply-adds (ops/docs/kernels.md).
#ifndef BLOCK_ROWS
#define BLOCK_ROWS 16
#endif
#ifndef BLOCK_COLS
#define BLOCK_COLS 16
#endif
#ifndef TALL
#define TALL 16  // rows of a block per work-item of spmm_block; divides BLOCK_ROWS
#endif
#include "stored.cl"

#define BLOCK (BLOCK_ROWS * BLOCK_COLS)
#define QUADS (BLOCK_COLS % 4 == 0)  // whether four neighbours of a row are one load

#if NARROW
// x at four neighbours.
#if BATCH_FIRST
typedef float4 loose4 __attribute__((aligned(4)));
#define X4(b, col) (*(__global const loose4*)(from[b] + (col)))
#else
static float4 four_of(__global const float* at, const int n)
{
    return (float4)(at[0], at[n], at[2 * n], at[3 * n]);
}
#define X4(b, col) four_of(from[b] + (col) * n, n)
#endif

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void spmm_block_rows(SIZES, __global const int* restrict row_ptr,
                     __global const index_t* restrict col_idx,
                     __global const stored_t* restrict values,
                     UNUSED __global const float* restrict scale, __global const float* restrict x,
                     __global const float* restrict bias, __global float* restrict y)
{
    const int lane = get_local_id(0) % LANES, row = get_global_id(0) / LANES;
    const int down = row / BLOCK_ROWS, inside = row % BLOCK_ROWS * BLOCK_COLS;
    const int end = row < rows ? row_ptr[down + 1] : 0;
    float4 sums[BATCH];
    POINT(from);

    #pragma unroll
    for (int b = 0; b < BATCH; ++b) sums[b] = (float4)(0.0f);
    for (int at = row < rows ? row_ptr[down] : 0; at < end; ++at) {
        const int col = index_at(col_idx, at) * BLOCK_COLS, start = at * BLOCK + inside;
        const int wide = min(BLOCK_COLS, cols - col), whole = QUADS ? wide & ~3 : 0;
        const float unit = SCALE_OF(at);
#if QUADS
        for (int k = lane * 4; k < whole; k += LANES * 4) {
            const float4 w = unit * values_at(values, (start + k) / 4);
            #pragma unroll
            for (int b = 0; b < BATCH; ++b) sums[b] += w * X4(b, col + k);
        }
#endif
        for (int k = whole + lane; k < wide; k += LANES) {
            const float w = unit * value_at(values, start + k);
            #pragma unroll
            for (int b = 0; b < BATCH; ++b) sums[b].x += w * X(b, col + k);
        }
    }
    float folded[BATCH];
    #pragma unroll
    for (int b = 0; b < BATCH; ++b)
        folded[b] = (sums[b].x + sums[b].y) + (sums[b].z + sums[b].w);
    SHARE(folded);
    if (lane == 0 && row < rows) finish_row(folded, 1.0f, row, rows, n, relu, bias, y);
}
#else

// Adds column `col` of x times a column of weights to a work-item's outputs.
static void add_column(vec sums[TALL][SPAN], const float* weights, const float unit,
                       __global const float* x, const int col, const int column, const int n)
{
    #pragma unroll
    for (int s = 0; s < SPAN; ++s) {
        const vec v = unit * LOAD(x + col * n + PLACE(s, column, n));
        #pragma unroll
        for (int r = 0; r < TALL; ++r) sums[r][s] += weights[r] * v;
    }
}

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void spmm_block(SIZES, __global const int* restrict row_ptr,
                __global const index_t* restrict col_idx, __global const stored_t* restrict values,
                UNUSED __global const float* restrict scale, __global const float* restrict x,
                __global const float* restrict bias, __global float* restrict y)
{
    const int row = ROW * TALL, column = COLUMN, down = row / BLOCK_ROWS;
    if (row >= rows || column >= n) return;
    const int end = row_ptr[down + 1];
    vec sums[TALL][SPAN];

    #pragma unroll
    for (int r = 0; r < TALL; ++r) clear(sums[r]);
    for (int at = row_ptr[down]; at < end; ++at) {
        const int col = index_at(col_idx, at) * BLOCK_COLS;
        const int start = at * BLOCK + row % BLOCK_ROWS * BLOCK_COLS;
        const int wide = min(BLOCK_COLS, cols - col), whole = QUADS ? wide & ~3 : 0;
        const float unit = SCALE_OF(at);
#if QUADS
        for (int k = 0; k < whole; k += 4) {
            float w[4][TALL];
            #pragma unroll
            for (int r = 0; r < TALL; ++r) {
                const float4 four = values_at(values, (start + r * BLOCK_COLS + k) / 4);
                w[0][r] = four.x, w[1][r] = four.y, w[2][r] = four.z, w[3][r] = four.w;
            }
            #pragma unroll
            for (int j = 0; j < 4; ++j) add_column(sums, w[j], unit, x, col + k + j, column, n);
        }
#endif
        for (int k = whole; k < wide; ++k) {
            float w[TALL];
            #pragma unroll
            for (int r = 0; r < TALL; ++r) w[r] = value_at(values, start + r * BLOCK_COLS + k);
            add_column(sums, w, unit, x, col + k, column, n);
        }
    }
    #pragma unroll
    for (int r = 0; r < TALL; ++r)
        if (row + r < rows)
            finish_row(sums[r], 1.0f, row + r, column, rows, n, relu, bias, y);
}
#endif
