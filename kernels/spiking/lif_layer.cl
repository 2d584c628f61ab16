// lif_layer: a layer of neurons over all steps. S = sum of the codes of the inputs that spike, + bias;
//            u = (leak + decay (v - leak)) + S * unit; spike = u > threshold (strictly);
//            v = u - threshold (SUBTRACT 1) or reset where it spikes, else u.
// Shapes:  spikes (n, steps, ceil(k / 32)) words, bit i of word w is input 32 w + i; codes (k, m) int;
//          bias (m,) int or null; v (n, m) float or null for leak; fired as spikes with m for k;
//          v_next (n, m)
// Launch:  lif_layer        global (ceil(m / GROUP) * GROUP, n), local (GROUP, 1): a neuron each
//          lif_layer_codes  global (k m rounded up to GROUP), local (GROUP): weight (m, k) float to
//                           whole numbers, (k, m), saturated, NaN as 0
// Assumes: bits past the last input are zero; scale is a power of two, and unit its reciprocal
#ifndef CODES
#define CODES 0  // 1 builds the kernel that prepares weights
#endif
#include "neurons.cl"

#if CODES
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void lif_layer_codes(const int m, const int k, const float scale,
                     __global const float* restrict weight, __global int* restrict codes)
{
    const int at = get_global_id(0);
    if (at >= m * k) return;

    const float w = weight[at % m * k + at / m] * scale;
    codes[at] = isnan(w) ? 0 : convert_int_sat_rte(w);
}
#else
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void lif_layer(const int steps, const int k, const int m, const float decay, const float leak,
               const float threshold, const float reset, const float unit,
               __global const uint* restrict spikes, __global const int* restrict codes,
               __global const int* restrict bias, __global const float* restrict v,
               __global uint* restrict fired, __global float* restrict v_next)
{
    __local uint shared[GROUP / 32];
    const int neuron = get_global_id(0), row = get_global_id(1), there = neuron < m;
    const int first = get_group_id(0) * (GROUP / 32), words = min(GROUP / 32, WORDS(m) - first);
    const int constant_part = bias && there ? bias[neuron] : 0;
    float potential = v && there ? v[row * m + neuron] : leak;

    for (int step = 0; step < steps; ++step) {
        const int at = row * steps + step;
        const int sum = arrived(spikes + at * WORDS(k), WORDS(k), codes, m, neuron, there, constant_part);
        const float u = before(potential, decay, leak, (float)sum * unit);
        const int spike = there && u > threshold;

        potential = spike ? (SUBTRACT ? u - threshold : reset) : u;
        mark(shared, spike, fired + at * WORDS(m) + first, words);
    }
    if (there) v_next[row * m + neuron] = potential;
}
#endif
