// spmm_csc: y = act(W x + bias), act the identity or max(., 0).
// Shapes:  W (rows, cols) given by columns and laid out by rows when it is uploaded: row_ptr
//          (rows + 1,), col_idx (nnz,), values (nnz,), and for codes scale (cols,); x, bias and y as
//          of spmm_csr
// Launch:  spmm_csc and spmm_csc_rows as spmm_csr and spmm_csr_rows
// Assumes: as spmm_csr
//
// A product by columns scatters: several columns add to one element of y, which OpenCL 1.2 has no
// float atomics for, and which no two runs would add in the same order if it had. So each sum gets
// one owner: the elements are put in order of their rows once, in linear time and stably, which a
// weight that stays on the device repays with its first products. The scale of codes stays with the
// columns, hence is read beside x.
#define SCALE_OF_COLUMN 1
#include "stored.cl"
#include "lines.cl"

#if NARROW
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void spmm_csc_rows(LINES)
{
    MULTIPLY_FEW_COLUMNS;
}
#else
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void spmm_csc(LINES)
{
    MULTIPLY_COLUMNS;
}
#endif
