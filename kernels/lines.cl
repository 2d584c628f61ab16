// How spmm_csr and spmm_csc add up the elements begin to end - 1 of a row. kernels.source puts this
// text where they include it, after stored.cl.
//
// The including file says with SCALE_OF_COLUMN whether the scale of codes belongs to the columns of W
// (1), so that it multiplies each element, or to its rows (0).
#define EACH (VALUE == 8 && SCALE_OF_COLUMN)

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
#endif
