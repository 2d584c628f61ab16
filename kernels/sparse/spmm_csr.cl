// spmm_csr: y = act(W x + bias), act the identity or max(., 0).
// Shapes:  W (rows, cols) as CSR: row_ptr (rows + 1,), col_idx (nnz,), values (nnz,), and for codes
//          scale (rows,); x (cols, n) and y (rows, n) row-major; bias (rows,) or null. If
//          BATCH_FIRST, y is (n, rows), and spmm_csr_rows takes x (n, cols)
// Launch:  spmm_csr       global (rows * ceil(n / REACH) rounded up to GROUP), local (GROUP), where
//                         REACH = VEC * SPAN; if UNIFORM global (rows * GROUP,
//                         ceil(n / (GROUP * REACH))), local (GROUP, 1)
//          spmm_csr_rows  global (rows * LANES rounded up to GROUP, ceil(n / BATCH)), local (GROUP, 1)
// Assumes: column indices in range, in any order, repeated ones add up; rows may be empty; buffers
//          are whole loads of 16 bytes; n >= VEC; fewer than 2^31 elements everywhere
#define SCALE_OF_COLUMN 0
#include "stored.cl"
#include "lines.cl"

#if NARROW
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void spmm_csr_rows(SIZES, __global const int* restrict row_ptr,
                   __global const index_t* restrict col_idx,
                   __global const stored_t* restrict values,
                   UNUSED __global const float* restrict scale, __global const float* restrict x,
                   __global const float* restrict bias, __global float* restrict y)
{
    const int lane = get_local_id(0) % LANES, row = get_global_id(0) / LANES;
    const int begin = row < rows ? row_ptr[row] : 0, end = row < rows ? row_ptr[row + 1] : 0;
    float sums[BATCH];
    POINT(from);

    clear(sums);
    add_line(sums, begin, end, lane, col_idx, values, scale, from, n);
    SHARE(sums);
    if (lane == 0 && row < rows) finish_row(sums, SCALE_OF(row), row, rows, n, relu, bias, y);
}
#else

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void spmm_csr(SIZES, __global const int* restrict row_ptr, __global const index_t* restrict col_idx,
              __global const stored_t* restrict values, UNUSED __global const float* restrict scale,
              __global const float* restrict x, __global const float* restrict bias,
              __global float* restrict y)
{
    const int row = ROW, column = COLUMN;
    if (row >= rows || column >= n) return;
    vec sums[SPAN];

    clear(sums);
    add_line(sums, row_ptr[row], row_ptr[row + 1], col_idx, values, scale, x, column, n);
    finish_row(sums, SCALE_OF(row), row, column, rows, n, relu, bias, y);
}
#endif
