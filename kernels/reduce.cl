// What reduce_sum, reduce_mean and reduce_max share: how x is cut, and how items add up.
//
// x is (outer, length, inner); its middle axis goes. A long axis with few results is cut into `parts`
// of `step` elements: y is then (outer, parts, inner), and a second launch takes the parts.
// The including file defines FIRST, what a sum begins with; JOIN(a, b), which adds one more; and
// FINISH(value), what becomes of a total.
#ifndef ALONG
#define ALONG 0  // 1 builds the kernel for inner 1, whose name ends in _along: rows are shared
#endif
#ifndef GROUP
#define GROUP 64  // work-items per group; multiple of 64, at most 256
#endif
#ifndef LANES
#define LANES 64  // work-items that share a row of the _along kernel; 1, or a power of two up to GROUP
#endif

#if ALONG
// The total of elements first, first + LANES ... below end; four sums, so that they need not wait
// for each other.
static float along(__global const float* x, const int first, const int end)
{
    float4 four = (float4)(FIRST);
    int i = first;

    for (; i + 3 * LANES < end; i += 4 * LANES) {
        four.x = JOIN(four.x, x[i]), four.y = JOIN(four.y, x[i + LANES]);
        four.z = JOIN(four.z, x[i + 2 * LANES]), four.w = JOIN(four.w, x[i + 3 * LANES]);
    }
    for (; i < end; i += LANES) four.x = JOIN(four.x, x[i]);
    const float low = JOIN(four.x, four.y), high = JOIN(four.z, four.w);
    return JOIN(low, high);
}

// The total over the lanes of a row; the first lane gets it.
static float over_lanes(const float value, __local float* partial)
{
#if LANES > 1
    const int item = get_local_id(0), lane = item % LANES;

    partial[item] = value;
    for (int stride = LANES / 2; stride > 0; stride /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (lane < stride) partial[item] = JOIN(partial[item], partial[item + stride]);
    }
    return partial[item];
#else
    return value;
#endif
}

// Reduces (rows, length) to (rows, parts); row and part of this work-item follow from its number.
#define REDUCE_ALONG(rows, length, step, parts, x, y) \
    __local float partial[GROUP]; \
    const int lane = get_global_id(0) % LANES, at = get_global_id(0) / LANES; \
    const int row = at / parts, from = at % parts * step; \
    const int end = row < rows ? min(from + step, length) : 0;  /* none still meets barriers */ \
    const float total = over_lanes(along(x + row * length, from + lane, end), partial); \
    if (lane == 0 && row < rows) y[at] = FINISH(total)
#else
// Reduces (outer, length, inner) to (outer, parts, inner), a work-item per result: neighbours read
// neighbours. Four sums, so that they need not wait for each other.
#define REDUCE_ACROSS(outer, length, inner, step, parts, x, y) \
    const int at = get_global_id(0), place = at % inner, part = at / inner % parts; \
    if (at >= outer * parts * inner) return; \
    const int end = min((part + 1) * step, length); \
    __global const float* from = x + at / inner / parts * length * inner + place; \
    float4 four = (float4)(FIRST); \
    int i = part * step; \
    for (; i + 3 < end; i += 4) { \
        four.x = JOIN(four.x, from[i * inner]), four.y = JOIN(four.y, from[(i + 1) * inner]); \
        four.z = JOIN(four.z, from[(i + 2) * inner]), four.w = JOIN(four.w, from[(i + 3) * inner]); \
    } \
    for (; i < end; ++i) four.x = JOIN(four.x, from[i * inner]); \
    const float low = JOIN(four.x, four.y), high = JOIN(four.z, four.w); \
    const float total = JOIN(low, high); \
    y[at] = FINISH(total)
#endif
