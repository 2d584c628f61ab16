// cuba_layer: lif_layer with synaptic currents: u = (leak + decay (v - leak)) + (couple i + direct a),
//             i = synapse i + a, where a = S * unit is what arrives in a step.
// Shapes:  as lif_layer; i (n, m) float or null for none, i_next (n, m)
// Launch:  global (ceil(m / GROUP) * GROUP, n), local (GROUP, 1): a neuron per work-item; lif_layer_codes
//          prepares the weights
// Assumes: bits past the last input are zero
#include "neurons.cl"

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void cuba_layer(const int steps, const int k, const int m, const float decay, const float leak,
                const float threshold, const float reset, const float unit, const float synapse,
                const float couple, const float direct, __global const uint* restrict spikes,
                __global const int* restrict codes, __global const int* restrict bias,
                __global const float* restrict v, __global const float* restrict i,
                __global uint* restrict fired, __global float* restrict v_next,
                __global float* restrict i_next)
{
    __local uint shared[GROUP / 32];
    const int neuron = get_global_id(0), row = get_global_id(1), there = neuron < m;
    const int first = get_group_id(0) * (GROUP / 32), words = min(GROUP / 32, WORDS(m) - first);
    const int constant_part = bias && there ? bias[neuron] : 0;
    float potential = v && there ? v[row * m + neuron] : leak;
    float current = i && there ? i[row * m + neuron] : 0.0f;

    for (int step = 0; step < steps; ++step) {
        const int at = row * steps + step;
        const int sum = arrived(spikes + at * WORDS(k), WORDS(k), codes, m, neuron, there, constant_part);
        const float now = (float)sum * unit, coupled = couple * current, passed = direct * now;
        const float u = before(potential, decay, leak, coupled + passed), left = synapse * current;
        const int spike = there && u > threshold;

        current = left + now;
        potential = spike ? (SUBTRACT ? u - threshold : reset) : u;
        mark(shared, spike, fired + at * WORDS(m) + first, words);
    }
    if (!there) return;
    v_next[row * m + neuron] = potential;
    i_next[row * m + neuron] = current;
}
