// The products with compressed rows: spmm_csr, and spmm_csc once its columns are laid out by rows.
// kernels.source puts this text where they include it, after stored.cl.
//
// The including file names the kernels WIDE_KERNEL and ROWS_KERNEL, and says with SCALE_OF_COLUMN
// whether the scale of codes belongs to columns (1) or rows (0) of W.
#if VALUE == 8 && SCALE_OF_COLUMN
#define SCALED(value, col) ((value) * scale[col])
#define SCALED4(v, c) ((v) * (float4)(scale[(c).x], scale[(c).y], scale[(c).z], scale[(c).w]))
#else
#define SCALED(value, col) (value)
#define SCALED4(v, c) (v)
#endif
#if VALUE == 8 && !SCALE_OF_COLUMN
#define SCALE_OF_ROW(row) scale[row]
#else
#define SCALE_OF_ROW(row) 1.0f
#endif

#if NARROW
// Loads take four neighbours at a time, so the first and the last may hold elements of other rows.
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void ROWS_KERNEL(SIZES, __global const int* restrict row_ptr,
                 __global const index_t* restrict col_idx, __global const stored_t* restrict values,
                 UNUSED __global const float* restrict scale, __global const float* restrict x,
                 __global const float* restrict bias, __global float* restrict y)
{
    const int lane = get_local_id(0) % LANES, row = get_global_id(0) / LANES;
    const int begin = row < rows ? row_ptr[row] : 0, end = row < rows ? row_ptr[row + 1] : 0;
    float sums[BATCH];
    POINT(from);

    #pragma unroll
    for (int b = 0; b < BATCH; ++b) sums[b] = 0.0f;
    for (int q = (begin >> 2) + lane; q * 4 < end; q += LANES) {
        const int i = q * 4;
        const int4 c = indices_at(col_idx, q);
        const float4 v = values_at(values, q);
        if (i >= begin && i + 4 <= end) {
            const float4 w = SCALED4(v, c);
            #pragma unroll
            for (int b = 0; b < BATCH; ++b)
                sums[b] += (w.x * X(b, c.x) + w.y * X(b, c.y))
                         + (w.z * X(b, c.z) + w.w * X(b, c.w));
        } else {
            #pragma unroll
            for (int j = 0; j < 4; ++j) {
                if (i + j < begin || i + j >= end) continue;
                const int col = j == 0 ? c.x : j == 1 ? c.y : j == 2 ? c.z : c.w;
                const float w = SCALED(j == 0 ? v.x : j == 1 ? v.y : j == 2 ? v.z : v.w, col);
                #pragma unroll
                for (int b = 0; b < BATCH; ++b) sums[b] += w * X(b, col);
            }
        }
    }
#if LANES > 1
    __local float partial[BATCH][GROUP];
    #pragma unroll
    for (int b = 0; b < BATCH; ++b) sums[b] = shared_sum(sums[b], partial[b]);
#endif
    #pragma unroll
    for (int b = 0; b < BATCH; ++b)
        if (lane == 0 && row < rows && COLUMN + b < n)
            finish(SCALE_OF_ROW(row) * sums[b], first + row, COLUMN + b, n, height, relu, bias, y);
}
#else

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void WIDE_KERNEL(SIZES, __global const int* restrict row_ptr,
                 __global const index_t* restrict col_idx, __global const stored_t* restrict values,
                 UNUSED __global const float* restrict scale, __global const float* restrict x,
                 __global const float* restrict bias, __global float* restrict y)
{
    const int row = ROW, column = COLUMN;
    if (row >= rows || column >= n) return;
    const int end = row_ptr[row + 1];
    vec sums[SPAN];

    #pragma unroll
    for (int s = 0; s < SPAN; ++s) sums[s] = (vec)(0.0f);
    #pragma unroll 4
    for (int i = row_ptr[row]; i < end; ++i) {
        const int col = index_at(col_idx, i);
        add_row(sums, SCALED(value_at(values, i), col), x, col, column, n);
    }
    finish_row(sums, SCALE_OF_ROW(row), first + row, column, n, height, relu, bias, y);
}
#endif
