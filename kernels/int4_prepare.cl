// What gemm_i4 makes of x before it multiplies: x spread apart to whole steps, or rounded to bytes.
#include "rounding.cl"

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void gemm_i4_round(const int steps, const int k, const int group, const int width,
                   __global const float* restrict x, __global uint* restrict bytes,
                   __global int* restrict starts, __global float* restrict x_scale)
{
    __local uint largest[GROUP];
    const int item = get_local_id(0), row = get_group_id(0);
    __global const float* from = x + row * k;
    const uint most = most_of(largest, from, k);
    const int finite = most < 0x7f800000u;
    const float scale = step_of(most), inverse = 1.0f / scale;

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
