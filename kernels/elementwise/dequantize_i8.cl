// dequantize_i8: y = (x - zero) * scale.
// Shapes:  x (count,) signed bytes, y (count,) float, any rank flattened
// Launch:  global (ceil(count / 4) rounded up to GROUP), local (GROUP): four elements per work-item
// Assumes: buffers aligned to 16 bytes, and x is made of whole words; zero is -128 to 127
#ifndef GROUP
#define GROUP 256  // work-items per group; multiple of 64, at most 256
#endif

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void dequantize_i8(const int count, const float scale, const float zero,
                   __global const char* restrict x, __global float* restrict y)
{
    const int quad = get_global_id(0), first = 4 * quad;

    if (first >= count) return;
    const char4 v = ((__global const char4*)x)[quad];
    const float4 made = ((float4)(v.x, v.y, v.z, v.w) - zero) * scale;
    if (first + 4 <= count) {
        ((__global float4*)y)[quad] = made;
    } else {
        y[first] = made.x;
        if (first + 1 < count) y[first + 1] = made.y;
        if (first + 2 < count) y[first + 2] = made.z;
    }
}
