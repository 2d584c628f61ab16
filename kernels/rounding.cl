// Rows of x to bytes: the nearest integer of a quotient, and the largest element of a row.
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

// The bits of the largest |x| of a row, in every work-item of its group; as integers, NaN is above
// infinity and that above every number.
static uint most_of(__local uint* largest, __global const float* from, const int k)
{
    const int item = get_local_id(0);
    uint most = 0;

    for (int i = item; i < k; i += GROUP) most = max(most, as_uint(from[i]) & 0x7fffffffu);
    largest[item] = most;
    for (int stride = GROUP / 2; stride > 0; stride /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < stride) largest[item] = max(largest[item], largest[item + stride]);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    return largest[0];
}

// The step of a row whose largest |x| has these bits; senseless where that is not finite.
static float step_of(const uint most)
{
    return max(as_float(most) * 0.0078740157f, 0x1p-126f);  // 1 / 127
}
