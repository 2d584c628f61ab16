// stdp_update: x = decay_pre pre_trace; y = decay_post post_trace;
//              weight_next[j, i] = clip(w[j, i] + a_plus post_spikes[j] x[i]
//                                               - a_minus y[j] pre_spikes[i], w_min, w_max);
//              pre_trace_next = x + pre_spikes; post_trace_next = y + post_spikes.
// Shapes:  weight, weight_next (post, pre) row-major; the others (pre,) or (post,)
// Launch:  global (max(ceil(pre / PER_ITEM), 1) rounded up to GROUP, max(post, 1)), local (GROUP, 1):
//          a group row per postsynaptic neuron, PER_ITEM synapses per work-item
// Assumes: no overlap; ALIGNED promises pre % 4 == 0 and buffers aligned to 16 bytes
#ifndef GROUP
#define GROUP 64  // work-items per group; multiple of 64, at most 256
#endif
#ifndef ALIGNED
#define ALIGNED 1  // 1 moves four synapses as one 128-bit access, 0 one at a time
#endif

#if ALIGNED
#define PER_ITEM 4
typedef float4 reals;
#else
#define PER_ITEM 1
typedef float reals;
#endif

// min(max(w, low), high) that keeps NaN, which clamp need not.
static reals bounded(reals w, const reals low, const reals high)
{
    w = w < low ? low : w;
    return w > high ? high : w;
}

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void stdp_update(const int post, const int pre, const float a_plus, const float a_minus,
                 const float decay_pre, const float decay_post,
                 const float w_min, const float w_max,
                 __global const float* restrict weight,
                 __global const float* restrict pre_spikes,
                 __global const float* restrict post_spikes,
                 __global const float* restrict pre_trace,
                 __global const float* restrict post_trace,
                 __global float* restrict weight_next,
                 __global float* restrict pre_trace_next,
                 __global float* restrict post_trace_next)
{
    const int item = get_global_id(0), row = get_global_id(1), cols = pre / PER_ITEM;

    if (row < post && item == 0)
        post_trace_next[row] = decay_post * post_trace[row] + post_spikes[row];
    if (item >= cols) return;
    const reals spike = ((__global const reals*)pre_spikes)[item];
    const reals trace = decay_pre * ((__global const reals*)pre_trace)[item];
    if (row == 0) ((__global reals*)pre_trace_next)[item] = trace + spike;
    if (row >= post) return;
    const float gain = a_plus * post_spikes[row], loss = a_minus * (decay_post * post_trace[row]);
    const reals old = ((__global const reals*)weight)[row * cols + item];
    const reals moved = old + gain * trace - loss * spike;
    ((__global reals*)weight_next)[row * cols + item] =
        bounded(moved, (reals)(w_min), (reals)(w_max));
}
