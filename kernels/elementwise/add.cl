// add: y = a + b, where b has a's shape, is one row repeated along the last axis, or one value.
// Shapes:  a (count,), b (period,), y (count,), any rank flattened; element i of a meets i mod period
// Launch:  global (ceil(count / 4) rounded up to GROUP), local (GROUP): four elements per work-item
// Assumes: buffers aligned to 16 bytes; count is a multiple of period; period >= 1
#ifndef GROUP
#define GROUP 256  // work-items per group; multiple of 64, at most 256
#endif

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void add(const int count, const int period,
        __global const float* restrict a, __global const float* restrict b,
        __global float* restrict y)
{
    const int quad = get_global_id(0), first = 4 * quad;

    if (period == count && first + 4 <= count) {  // same shape: two streams
        ((__global float4*)y)[quad] =
            ((__global const float4*)a)[quad] + ((__global const float4*)b)[quad];
    } else if (period % 4 == 0 && first + 4 <= count) {  // a quad never crosses a row of b
        ((__global float4*)y)[quad] =
            ((__global const float4*)a)[quad] + ((__global const float4*)b)[quad % (period / 4)];
    } else {
        for (int i = first; i < first + 4 && i < count; ++i) y[i] = a[i] + b[i % period];
    }
}
