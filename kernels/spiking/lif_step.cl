// lif_step: u = v_rest + decay (v - v_rest) + gain current; spike = u > v_threshold (strictly);
//           v_next = v_reset where spike, else u.
// Shapes:  v, current, v_next, spikes (count,): a batch of populations, flattened
// Launch:  global (ceil(count / 4) rounded up to GROUP), local (GROUP): four neurons per work-item
// Assumes: buffers aligned to 16 bytes; no overlap. A potential within one rounding of the threshold
//          may fall on either side, since a device may round the products or not
#ifndef GROUP
#define GROUP 256  // work-items per group; multiple of 64, at most 256
#endif

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void lif_step(const int count, const float decay, const float gain, const float v_rest,
              const float v_threshold, const float v_reset,
              __global const float* restrict v, __global const float* restrict current,
              __global float* restrict v_next, __global float* restrict spikes)
{
    const int quad = get_global_id(0), first = 4 * quad;

    if (first + 4 <= count) {
        const float4 old = ((__global const float4*)v)[quad];
        const float4 leaked = decay * (old - v_rest) + v_rest;
        const float4 u = gain * ((__global const float4*)current)[quad] + leaked;
        const int4 spike = u > (float4)(v_threshold);
        ((__global float4*)v_next)[quad] = spike ? (float4)(v_reset) : u;
        ((__global float4*)spikes)[quad] = spike ? (float4)(1.0f) : (float4)(0.0f);
    } else {
        for (int i = first; i < count; ++i) {
            const float u = gain * current[i] + (decay * (v[i] - v_rest) + v_rest);
            v_next[i] = u > v_threshold ? v_reset : u;
            spikes[i] = u > v_threshold ? 1.0f : 0.0f;
        }
    }
}
