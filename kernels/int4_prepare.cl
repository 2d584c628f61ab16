// What gemm_i4 makes of x before it multiplies: x spread apart to whole steps, or rounded to bytes.
#ifndef GROUP
#define GROUP 64  // work-items per group; multiple of 64, at most 256
#endif

// |x| / scale to the nearest integer, ties to even, exactly; `inverse` is about 1 / scale. A device's
// division may be off by two units, which next to a tie is the other integer: hence the comparison of
// 2 |x| with the two ties around the guess, in integers, after both mantissas are brought to one
// exponent. |x| is at most 127.5 scale, so nothing exceeds 32 bits.
static int nearest(const float x, const float scale, const float inverse)
{
    const uint bits = as_uint(x) & 0x7fffffffu, unit = as_uint(scale);
    const int apart = (int)(bits >> 23) - (int)(unit >> 23);
    if (apart < -2 || bits < 0x800000u) return 0;  // less than half a step, or subnormal

    const uint twice = ((bits & 0x7fffffu) | 0x800000u) << (apart > 0 ? apart + 1 : 1);
    const uint step = ((unit & 0x7fffffu) | 0x800000u) << (apart < 0 ? -apart : 0);
    int q = min((int)(as_float(bits) * inverse + 0.5f), 127);
    const uint above = (uint)(2 * q + 1) * step, below = (uint)(2 * max(q, 1) - 1) * step;
    const int odd = q & 1;
    if (twice > above || (twice == above && odd)) ++q;
    else if (q > 0 && (twice < below || (twice == below && odd))) --q;
    q = min(q, 127);
    return as_uint(x) >> 31 ? -q : q;
}

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void gemm_i4_round(const int steps, const int k, const int group, const int width,
                   __global const float* restrict x, __global uint* restrict bytes,
                   __global int* restrict starts, __global float* restrict x_scale)
{
    __local uint largest[GROUP];
    const int item = get_local_id(0), row = get_group_id(0);
    __global const float* from = x + row * k;
    uint most = 0;

    for (int i = item; i < k; i += GROUP) most = max(most, as_uint(from[i]) & 0x7fffffffu);
    largest[item] = most;  // as integers, NaN is above infinity and that above every number
    for (int stride = GROUP / 2; stride > 0; stride /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < stride) largest[item] = max(largest[item], largest[item + stride]);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    most = largest[0];
    const int finite = most < 0x7f800000u;
    const float scale = max(as_float(most) * 0.0078740157f, 0x1p-126f);  // 1 / 127
    const float inverse = 1.0f / scale;

    for (int step = item; step < steps; step += GROUP) {
        const int first = step * COLUMNS_PER_STEP / width * group;
        const int inside = step * COLUMNS_PER_STEP % width;
        int sum = 0;
        for (int word = 0; word < COLUMNS_PER_STEP / 4; ++word) {
            uint four = 0;
            for (int i = 0; i < 4; ++i) {
                const int at = inside + 4 * word + i;
                const int q = finite && at < group ? nearest(from[first + at], scale, inverse) : 0;
                four |= ((uint)q & 0xffu) << 8 * i, sum += q;
            }
            bytes[(row * steps + step) * (COLUMNS_PER_STEP / 4) + word] = four;
        }
        starts[row * steps + step] = -8 * sum * 0x10001;  // see int4_bytes.cl
    }
    if (item == 0) x_scale[row] = finite ? scale : NAN;
}

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void gemm_i4_spread(const int steps, const int k, const int group, const int width,
                    __global const float* restrict x, __global float* restrict spread)
{
    const int at = get_global_id(0), row = get_global_id(1), whole = at / width;
    const int inside = at - whole * width, columns = steps * COLUMNS_PER_STEP;
    if (at >= columns) return;

    spread[row * columns + at] = inside < group ? x[row * k + whole * group + inside] : 0.0f;
}
