// spmm_bitmask: y = act(W x + bias), act the identity or max(., 0).
// Shapes:  W (rows, cols): words (rows, ceil(cols / 32)), whose bit i of word w says that column
//          32 w + i is stored; row_ptr (rows + 1,), values (nnz,) by rows and then columns, and for
//          codes scale (rows,). x, bias and y as of spmm_csr
// Launch:  spmm_bitmask       global (rows * ceil(n / REACH) rounded up to GROUP), local (GROUP),
//                             where REACH = VEC * SPAN; if UNIFORM global (rows * GROUP,
//                             ceil(n / (GROUP * REACH))), local (GROUP, 1)
//          spmm_bitmask_rows  global (rows * LANES rounded up to GROUP, ceil(n / BATCH)),
//                             local (GROUP, 1)
// Assumes: bits from column cols on are 0; fewer than 2^31 elements everywhere
#include "stored.cl"

#define LOWEST(word) (31 - (int)clz((word) & -(word)))  // place of the lowest bit of a word with one

#if NARROW
#if LANES > 1
// Elements in the words of the neighbours before this one; *all is that of all LANES.
static int counted_before(const int count, __local int* counts, int* all)
{
    const int item = get_local_id(0), lane = item % LANES;
    int sum = count;

    barrier(CLK_LOCAL_MEM_FENCE);  // the counts of the step before are read
    counts[item] = sum;
    for (int stride = 1; stride < LANES; stride *= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        const int more = lane >= stride ? counts[item - stride] : 0;
        barrier(CLK_LOCAL_MEM_FENCE);
        counts[item] = sum += more;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    *all = counts[item - lane + LANES - 1];
    return sum - count;
}
#endif

// Neighbours take neighbouring words, so where a word's values begin is a sum over those before.
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void spmm_bitmask_rows(SIZES, __global const uint* restrict words,
                       __global const int* restrict row_ptr,
                       __global const stored_t* restrict values,
                       UNUSED __global const float* restrict scale,
                       __global const float* restrict x, __global const float* restrict bias,
                       __global float* restrict y)
{
    const int lane = get_local_id(0) % LANES, row = get_global_id(0) / LANES;
    const int across = (cols + 31) / 32;
    int start = row < rows ? row_ptr[row] : 0;
    float sums[BATCH];
    POINT(from);
#if LANES > 1
    __local int counts[GROUP];
#endif

    clear(sums);
    for (int step = 0; step < across; step += LANES) {
        const int at = step + lane;
        uint word = row < rows && at < across ? words[row * across + at] : 0;
        int all = popcount(word);
#if LANES > 1
        int i = start + counted_before(all, counts, &all);
#else
        int i = start;
#endif
        for (; word; word &= word - 1, ++i) {
            const int col = at * 32 + LOWEST(word);
            const float w = value_at(values, i);
            #pragma unroll
            for (int b = 0; b < BATCH; ++b) sums[b] += w * X(b, col);
        }
        start += all;
    }
    SHARE(sums);
    if (lane == 0 && row < rows) finish_row(sums, SCALE_OF(row), row, rows, n, relu, bias, y);
}
#else

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void spmm_bitmask(SIZES, __global const uint* restrict words, __global const int* restrict row_ptr,
                  __global const stored_t* restrict values,
                  UNUSED __global const float* restrict scale, __global const float* restrict x,
                  __global const float* restrict bias, __global float* restrict y)
{
    const int row = ROW, column = COLUMN, across = (cols + 31) / 32;
    if (row >= rows || column >= n) return;
    int i = row_ptr[row];
    vec sums[SPAN];

    clear(sums);
    for (int at = 0; at < across; ++at)
        for (uint word = words[row * across + at]; word; word &= word - 1, ++i)
            add_row(sums, value_at(values, i), x, at * 32 + LOWEST(word), column, n);
    finish_row(sums, SCALE_OF(row), row, column, rows, n, relu, bias, y);
}
#endif
