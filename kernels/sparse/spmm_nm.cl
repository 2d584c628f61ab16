// spmm_nm: y = act(W x + bias), act the identity or max(., 0).
// Shapes:  W (rows, cols), of whose every M neighbours in a row N are stored: kept = ceil(cols / M) N
//          of them per row, in runs of 8. places (rows, runs) holds 8 nibbles each, from the lowest;
//          nibble j of run r is the offset of element k = 8 r + j inside group k / N. values
//          (rows, 8 runs), and for codes scale (rows,). x, bias and y as of spmm_csr
// Launch:  spmm_nm       global (rows * ceil(n / REACH) rounded up to GROUP), local (GROUP), where
//                        REACH = VEC * SPAN; if UNIFORM global (rows * GROUP,
//                        ceil(n / (GROUP * REACH))), local (GROUP, 1)
//          spmm_nm_rows  global (rows * LANES rounded up to GROUP, ceil(n / BATCH)), local (GROUP, 1)
// Assumes: places point inside the matrix; what a row holds past `kept` is never used; fewer than
//          2^31 elements everywhere
#ifndef N
#define N 2  // elements stored of each group; 1 to M
#endif
#ifndef M
#define M 4  // columns of a group; at most 16
#endif
#include "stored.cl"

#define RUN 8
// Column of element k + j, whose nibble is the j-th of `places`.
#define COLUMN_OF_PLACE(places, k, j) (((k) + (j)) / N * M + (int)((places) >> (4 * (j)) & 15))

// Element j of the two halves of a run; j is known when the loop over it is unrolled.
static float element(const float4 low, const float4 high, const int j)
{
    const float4 v = j < 4 ? low : high;
    return j % 4 == 0 ? v.x : j % 4 == 1 ? v.y : j % 4 == 2 ? v.z : v.w;
}

#if NARROW
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void spmm_nm_rows(SIZES, __global const uint* restrict places,
                  __global const stored_t* restrict values,
                  UNUSED __global const float* restrict scale, __global const float* restrict x,
                  __global const float* restrict bias, __global float* restrict y)
{
    const int lane = get_local_id(0) % LANES, row = get_global_id(0) / LANES;
    const int kept = row < rows ? (cols + M - 1) / M * N : 0;
    const int runs = ((cols + M - 1) / M * N + RUN - 1) / RUN;
    float sums[BATCH];
    POINT(from);

    clear(sums);
    for (int run = lane; run * RUN < kept; run += LANES) {
        const int at = row * runs + run;
        uint eight = places[at];
        #pragma unroll 1
        for (int half_run = 0; half_run < 2; ++half_run, eight >>= 16) {
            const int k = run * RUN + half_run * 4;
            const float4 w = values_at(values, at * 2 + half_run);
            if (k + 4 <= kept) {
                #pragma unroll
                for (int b = 0; b < BATCH; ++b)
                    sums[b] += (w.x * X(b, COLUMN_OF_PLACE(eight, k, 0))
                                + w.y * X(b, COLUMN_OF_PLACE(eight, k, 1)))
                             + (w.z * X(b, COLUMN_OF_PLACE(eight, k, 2))
                                + w.w * X(b, COLUMN_OF_PLACE(eight, k, 3)));
            } else {
                #pragma unroll
                for (int j = 0; j < 4; ++j)
                    if (k + j < kept)
                        #pragma unroll
                        for (int b = 0; b < BATCH; ++b)
                            sums[b] += element(w, w, j) * X(b, COLUMN_OF_PLACE(eight, k, j));
            }
        }
    }
    SHARE(sums);
    if (lane == 0 && row < rows) finish_row(sums, SCALE_OF(row), row, rows, n, relu, bias, y);
}
#else

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void spmm_nm(SIZES, __global const uint* restrict places, __global const stored_t* restrict values,
             UNUSED __global const float* restrict scale, __global const float* restrict x,
             __global const float* restrict bias, __global float* restrict y)
{
    const int row = ROW, column = COLUMN, kept = (cols + M - 1) / M * N;
    if (row >= rows || column >= n) return;
    const int runs = (kept + RUN - 1) / RUN, whole = kept / RUN;
    vec sums[SPAN];

    clear(sums);
    for (int run = 0; run < whole; ++run) {
        const int at = row * runs + run;
        const uint eight = places[at];
        const float4 low = values_at(values, at * 2), high = values_at(values, at * 2 + 1);
        #pragma unroll
        for (int j = 0; j < RUN; ++j)
            add_row(sums, element(low, high, j), x, COLUMN_OF_PLACE(eight, run * RUN, j), column, n);
    }
    for (int k = whole * RUN; k < kept; ++k) {
        const uint eight = places[row * runs + whole];
        const int col = COLUMN_OF_PLACE(eight, whole * RUN, k % RUN);
        add_row(sums, value_at(values, row * runs * RUN + k), x, col, column, n);
    }
    finish_row(sums, SCALE_OF(row), row, column, rows, n, relu, bias, y);
}
#endif
