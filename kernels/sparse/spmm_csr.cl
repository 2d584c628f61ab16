// spmm_csr: y = act(W x + bias), act the identity or max(., 0).
// Shapes:  W (rows, cols) as CSR: row_ptr (rows + 1,), col_idx (nnz,), values (nnz,), and for codes
//          scale (rows,); x (cols, n) row-major; bias (height,) or null; y (height, n), of which
//          rows first to first + rows - 1 are made. If BATCH_FIRST, y is (height, n) by columns, and
//          spmm_csr_rows takes x (cols, n) by columns too.
// Launch:  spmm_csr       global (rows * ceil(n / REACH) rounded up to GROUP), local (GROUP), where
//                         REACH = VEC * SPAN; if UNIFORM global (rows * GROUP,
//                         ceil(n / (GROUP * REACH))), local (GROUP, 1)
//          spmm_csr_rows  global (rows * LANES rounded up to GROUP, ceil(n / BATCH)), local (GROUP, 1)
// Assumes: column indices in range, in any order, repeated ones add up; rows may be empty; buffers
//          are whole loads of 16 bytes; fewer than 2^31 elements everywhere
#define WIDE_KERNEL spmm_csr
#define ROWS_KERNEL spmm_csr_rows
#define SCALE_OF_COLUMN 0
#include "stored.cl"
#include "lines.cl"
