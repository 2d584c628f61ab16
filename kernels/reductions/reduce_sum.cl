// reduce_sum: y[o, i] = x[o, 0, i] + x[o, 1, i] + ...; the sum of nothing is 0.
// Shapes:  x (outer, length, inner), y (outer, parts, inner): part p is made of elements p * step to
//          (p + 1) * step of the middle axis; one part that takes all makes the result
// Launch:  reduce_sum        global (outer * parts * inner rounded up to GROUP), local (GROUP): a
//                            work-item per result
//          reduce_sum_along  inner is 1; global (outer * parts * LANES rounded up to GROUP), local (GROUP)
// Assumes: fewer than 2^31 elements; x and y do not overlap
#define FIRST 0.0f
#define JOIN(a, b) ((a) + (b))
#define FINISH(value) (value)
#include "reduce.cl"

#if ALONG
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void reduce_sum_along(const int outer, const int length, const int step, const int parts,
                      __global const float* restrict x, __global float* restrict y)
{
    REDUCE_ALONG(outer, length, step, parts, x, y);
}
#else
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void reduce_sum(const int outer, const int length, const int inner, const int step, const int parts,
                __global const float* restrict x, __global float* restrict y)
{
    REDUCE_ACROSS(outer, length, inner, step, parts, x, y);
}
#endif
