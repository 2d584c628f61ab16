// How spmm_csr and spmm_csc add up the elements begin to end - 1 of a row. kernels.source puts this
// text where they include it, after stored.cl.
//
// The including file says with SCALE_OF_COLUMN whether the scale of codes belongs to the columns of W
// (1), so that it multiplies each element, or to its rows (0), so that it multiplies their sums.
#define EACH (VALUE == 8 && SCALE_OF_COLUMN)
#define OF_SUM(row) (SCALE_OF_COLUMN ? 1.0f : SCALE_OF(row))

// What both kernels of a file take.
#define LINES \
    SIZES, __global const int* restrict row_ptr, __global const index_t* restrict col_idx, \
    __global const stored_t* restrict values, UNUSED __global const float* restrict scale, \
    __global const float* restrict x, __global const float* restrict bias, \
    __global float* restrict y

#if NARROW
// Loads take four neighbours, so the first and the last may bring elements of other rows.
static void add_line(float* sums, const int begin, const int end, const int lane,
                     __global const index_t* col_idx, __global const stored_t* values,
                     UNUSED __global const float* scale, FROM)
{
    for (int q = (begin >> 2) + lane; q * 4 < end; q += LANES) {
        const int i = q * 4;
        const int4 c = indices_at(col_idx, q);
        float4 w = values_at(values, q);
        if (i >= begin && i + 4 <= end) {
            if (EACH) w *= (float4)(scale[c.x], scale[c.y], scale[c.z], scale[c.w]);
            #pragma unroll
            for (int b = 0; b < BATCH; ++b)
                sums[b] += (w.x * X(b, c.x) + w.y * X(b, c.y))
                         + (w.z * X(b, c.z) + w.w * X(b, c.w));
        } else {
            #pragma unroll
            for (int j = 0; j < 4; ++j) {
                if (i + j < begin || i + j >= end) continue;
                const int col = ((const int*)&c)[j];
                const float one = ((const float*)&w)[j] * (EACH ? scale[col] : 1.0f);
                #pragma unroll
                for (int b = 0; b < BATCH; ++b) sums[b] += one * X(b, col);
            }
        }
    }
}

// LANES work-items multiply a row of W and BATCH columns of x; the arguments are those of LINES.
#define MULTIPLY_FEW_COLUMNS \
    const int lane = get_local_id(0) % LANES, row = get_global_id(0) / LANES; \
    const int begin = row < rows ? row_ptr[row] : 0, end = row < rows ? row_ptr[row + 1] : 0; \
    float sums[BATCH]; \
    POINT(from); \
    clear(sums); \
    add_line(sums, begin, end, lane, col_idx, values, scale, from, n); \
    SHARE(sums); \
    if (lane == 0 && row < rows) finish_row(sums, OF_SUM(row), row, rows, n, relu, bias, y)
#else

static void add_line(vec* sums, const int begin, const int end, __global const index_t* col_idx,
                     __global const stored_t* values, UNUSED __global const float* scale,
                     __global const float* x, const int column, const int n)
{
    #pragma unroll 4
    for (int i = begin; i < end; ++i) {
        const int col = index_at(col_idx, i);
        const float w = value_at(values, i) * (EACH ? scale[col] : 1.0f);
        add_row(sums, w, x, col, column, n);
    }
}

// A work-item multiplies a row of W and SPAN * VEC columns of x; the arguments are those of LINES.
#define MULTIPLY_COLUMNS \
    const int row = ROW, column = COLUMN; \
    if (row >= rows || column >= n) return; \
    vec sums[SPAN]; \
    clear(sums); \
    add_line(sums, row_ptr[row], row_ptr[row + 1], col_idx, values, scale, x, column, n); \
    finish_row(sums, OF_SUM(row), row, column, rows, n, relu, bias, y)
#endif
