// quantize_i8: y = saturate(round_half_even(x * inverse) + zero), NaN becomes zero.
// Shapes:  x (count,) float, y (count,) signed bytes, any rank flattened
// Launch:  global (ceil(count / 4) rounded up to GROUP), local (GROUP): four elements per work-item
// Assumes: buffers aligned to 16 bytes, and y is made of whole words; zero is -128 to 127
#ifndef GROUP
#define GROUP 256  // work-items per group; multiple of 64, at most 256
#endif

static char rounded(const float scaled, const float zero)
{
    const float whole = isnan(scaled) ? 0.0f : rint(scaled);
    return (char)(clamp(whole, -128.0f - zero, 127.0f - zero) + zero);
}

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void quantize_i8(const int count, const float inverse, const float zero,
                 __global const float* restrict x, __global char* restrict y)
{
    const int quad = get_global_id(0), first = 4 * quad;

    if (first + 4 <= count) {
        const float4 v = ((__global const float4*)x)[quad] * inverse;
        ((__global char4*)y)[quad] =
            (char4)(rounded(v.x, zero), rounded(v.y, zero), rounded(v.z, zero), rounded(v.w, zero));
    } else {
        for (int i = first; i < count; ++i) y[i] = rounded(x[i] * inverse, zero);
    }
}
