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
void spmm_csr_rows(LINES)
{
    MULTIPLY_FEW_COLUMNS;
}
#else
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void spmm_csr(LINES)
{
    MULTIPLY_COLUMNS;
}
#endif
