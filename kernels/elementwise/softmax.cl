// softmax: y = exp(x - max) / sum(exp(x - max)) over the last axis.
// Shapes:  x (rows, cols), y (rows, cols), row-major, leading axes flattened
// Launch:  global (rows * LANES rounded up to GROUP), local (GROUP): LANES work-items per row
// Assumes: cols >= 1; x and y do not overlap; a row with NaN becomes all NaN
#ifndef GROUP
#define GROUP 64  // work-items per group; multiple of 64, at most 256
#endif
#ifndef LANES
#define LANES 64  // work-items that share a row; 1, or a power of two that divides GROUP
#endif

#if LANES > 1
// Sum (or largest) over the lanes of a row; every lane gets it.
static float across(float value, const int largest, __local float* partial)
{
    const int item = get_local_id(0), lane = item % LANES;

    barrier(CLK_LOCAL_MEM_FENCE);  // the array may still be read by the last call
    partial[item] = value;
    for (int stride = LANES / 2; stride > 0; stride /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (lane < stride) {
            const float mine = partial[item], other = partial[item + stride];
            partial[item] = !largest ? mine + other : mine > other ? mine : other;
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    return partial[item - lane];
}
#else
#define across(value, largest, partial) (value)
#endif

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void softmax(const int rows, const int cols,
             __global const float* restrict x, __global float* restrict y)
{
#if LANES > 1
    __local float partial[GROUP];
#endif
    const int lane = get_global_id(0) % LANES, row = get_global_id(0) / LANES;
    const int end = row < rows ? cols : 0;  // rows past the last still meet the barriers
    __global const float* from = x + row * cols;
    float largest = -INFINITY, sum = 0.0f;

    for (int i = lane; i < end; i += LANES) largest = from[i] > largest ? from[i] : largest;
    largest = across(largest, 1, partial);
    for (int i = lane; i < end; i += LANES) sum += exp(from[i] - largest);
    sum = across(sum, 0, partial);
    for (int i = lane; i < end; i += LANES) y[row * cols + i] = exp(from[i] - largest) / sum;
}
