// spmm_sell: y = act(W x + bias), act the identity or max(., 0).
// Shapes:  W (rows, cols) in slices of 64 rows: starts (slices + 1,), lengths (rows,), order (rows,),
//          col_idx (stored,), values (stored,), and for codes scale (rows,). Place p of slice p / 64
//          holds row order[p] of W, whose element k lies at starts[p / 64] + 64 k + p % 64, so that
//          64 work-items read neighbours. x, bias and y as of spmm_csr
// Launch:  spmm_sell       global (rows * ceil(n / REACH) rounded up to GROUP), local (GROUP), where
//                          REACH = VEC * SPAN; if UNIFORM global (rows * GROUP,
//                          ceil(n / (GROUP * REACH))), local (GROUP, 1)
//          spmm_sell_rows  global (rows rounded up to GROUP, ceil(n / BATCH)), local (GROUP, 1); if
//                          LANES is 1 a work-item takes 16 places: global (ceil(rows / 16) rounded
//                          up to GROUP, ...)
// Assumes: column indices in range; lengths bound the rows: what a slice holds past them is never
//          used; starts are multiples of 64; fewer than 2^31 elements everywhere
#include "stored.cl"

#define SLICE 64
#define START(place) (starts[(place) / SLICE] + (place) % SLICE)

#if !NARROW
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void spmm_sell(SIZES, __global const int* restrict starts, __global const int* restrict lengths,
               __global const int* restrict order, __global const index_t* restrict col_idx,
               __global const stored_t* restrict values, UNUSED __global const float* restrict scale,
               __global const float* restrict x, __global const float* restrict bias,
               __global float* restrict y)
{
    const int place = ROW, column = COLUMN;
    if (place >= rows || column >= n) return;
    const int begin = START(place), row = order[place];
    const int end = begin + lengths[place] * SLICE;
    vec sums[SPAN];

    clear(sums);
    #pragma unroll 4
    for (int i = begin; i < end; i += SLICE)
        add_row(sums, value_at(values, i), x, index_at(col_idx, i), column, n);
    finish_row(sums, SCALE_OF(row), row, column, rows, n, relu, bias, y);
}
#elif LANES > 1
// A work-item per place: element k of 64 neighbours is one load.
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void spmm_sell_rows(SIZES, __global const int* restrict starts,
                    __global const int* restrict lengths, __global const int* restrict order,
                    __global const index_t* restrict col_idx,
                    __global const stored_t* restrict values,
                    UNUSED __global const float* restrict scale, __global const float* restrict x,
                    __global const float* restrict bias, __global float* restrict y)
{
    const int place = get_global_id(0);
    if (place >= rows) return;
    const int begin = START(place), row = order[place];
    const int end = begin + lengths[place] * SLICE;
    float sums[BATCH];
    POINT(from);

    clear(sums);
    int i = begin;
    for (; i + 3 * SLICE < end; i += 4 * SLICE) {
        int c[4];
        float w[4];
        #pragma unroll
        for (int u = 0; u < 4; ++u) {
            c[u] = index_at(col_idx, i + u * SLICE), w[u] = value_at(values, i + u * SLICE);
        }
        #pragma unroll
        for (int b = 0; b < BATCH; ++b)
            sums[b] += (w[0] * X(b, c[0]) + w[1] * X(b, c[1]))
                     + (w[2] * X(b, c[2]) + w[3] * X(b, c[3]));
    }
    for (; i < end; i += SLICE) {
        const int col = index_at(col_idx, i);
        const float w = value_at(values, i);
        #pragma unroll
        for (int b = 0; b < BATCH; ++b) sums[b] += w * X(b, col);
    }
    finish_row(sums, SCALE_OF(row), row, rows, n, relu, bias, y);
}
#else

// A processor's work-item takes PLACES neighbours at once, a vector of their elements per step.
#define PLACES 16

static float16 values16(__global const stored_t* values, const int i)
{
#if VALUE == 16
    return vload_half16(0, (__global const half*)(values + i));
#else
    return (float16)(value_at(values, i), value_at(values, i + 1), value_at(values, i + 2),
                     value_at(values, i + 3), value_at(values, i + 4), value_at(values, i + 5),
                     value_at(values, i + 6), value_at(values, i + 7), value_at(values, i + 8),
                     value_at(values, i + 9), value_at(values, i + 10), value_at(values, i + 11),
                     value_at(values, i + 12), value_at(values, i + 13), value_at(values, i + 14),
                     value_at(values, i + 15));
#endif
}

#define AT(j) X(b, index_at(col_idx, i + (j)))
#define GATHER16 (float16)(AT(0), AT(1), AT(2), AT(3), AT(4), AT(5), AT(6), AT(7), AT(8), AT(9), \
                           AT(10), AT(11), AT(12), AT(13), AT(14), AT(15))

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void spmm_sell_rows(SIZES, __global const int* restrict starts,
                    __global const int* restrict lengths, __global const int* restrict order,
                    __global const index_t* restrict col_idx,
                    __global const stored_t* restrict values,
                    UNUSED __global const float* restrict scale, __global const float* restrict x,
                    __global const float* restrict bias, __global float* restrict y)
{
    const int place = get_global_id(0) * PLACES;
    if (place >= rows) return;
    const int begin = START(place);
    int longest = 0, shortest = lengths[place];
    int own[PLACES];
    float16 sums[BATCH];
    POINT(from);

    #pragma unroll
    for (int j = 0; j < PLACES; ++j) {
        own[j] = place + j < rows ? lengths[place + j] : 0;
        longest = max(longest, own[j]), shortest = min(shortest, own[j]);
    }
    #pragma unroll
    for (int b = 0; b < BATCH; ++b) sums[b] = (float16)(0.0f);
    for (int k = 0; k < shortest; ++k) {
        const int i = begin + k * SLICE;
        const float16 w = values16(values, i);
        #pragma unroll
        for (int b = 0; b < BATCH; ++b) sums[b] += w * GATHER16;
    }
    for (int k = shortest; k < longest; ++k)
        #pragma unroll
        for (int j = 0; j < PLACES; ++j) {
            if (k >= own[j]) continue;
            const int i = begin + k * SLICE + j;
            #pragma unroll
            for (int b = 0; b < BATCH; ++b)
                ((float*)&sums[b])[j] += value_at(values, i) * X(b, index_at(col_idx, i));
        }
    #pragma unroll
    for (int b = 0; b < BATCH; ++b)
        #pragma unroll
        for (int j = 0; j < PLACES; ++j) {
            if (place + j >= rows || COLUMN + b >= n) continue;
            const int row = order[place + j];
            const float sum = SCALE_OF(row) * ((const float*)&sums[b])[j];
            finish(sum, row, COLUMN + b, rows, n, relu, bias, y);
        }
}
#endif
