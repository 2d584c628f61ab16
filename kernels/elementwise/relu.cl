// relu: y = max(x, 0), NaN stays NaN.
// Shapes:  x (count,), y (count,), any rank flattened
// Launch:  global (ceil(count / 4) rounded up to GROUP), local (GROUP): four elements per work-item
// Assumes: buffers aligned to 16 bytes; x and y do not overlap
#ifndef GROUP
#define GROUP 256  // work-items per group; multiple of 64, at most 256
#endif

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void relu(const int count, __global const float* restrict x, __global float* restrict y)
{
    const int quad = get_global_id(0), first = 4 * quad;

    if (first + 4 <= count) {
        const float4 v = ((__global const float4*)x)[quad];
        ((__global float4*)y)[quad] = v < (float4)(0.0f) ? (float4)(0.0f) : v;
    } else {
        for (int i = first; i < count; ++i) y[i] = x[i] < 0.0f ? 0.0f : x[i];
    }
}
