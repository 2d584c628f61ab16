// clip: y = min(max(x, low), high), NaN stays NaN.
// Shapes:  x (count,), y (count,), any rank flattened
// Launch:  global (ceil(count / 4) rounded up to GROUP), local (GROUP): four elements per work-item
// Assumes: buffers aligned to 16 bytes; x and y do not overlap; low <= high
#ifndef GROUP
#define GROUP 256  // work-items per group; multiple of 64, at most 256
#endif

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void clip(const int count, const float low, const float high,
          __global const float* restrict x, __global float* restrict y)
{
    const int quad = get_global_id(0), first = 4 * quad;

    if (first + 4 <= count) {
        float4 v = ((__global const float4*)x)[quad];
        v = v < (float4)(low) ? (float4)(low) : v;  // a comparison with NaN is false
        ((__global float4*)y)[quad] = v > (float4)(high) ? (float4)(high) : v;
    } else {
        for (int i = first; i < count; ++i)
            y[i] = x[i] < low ? low : x[i] > high ? high : x[i];
    }
}
