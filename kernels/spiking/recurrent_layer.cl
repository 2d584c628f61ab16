// recurrent_layer: a population over all steps whose neurons differ and read each other.
//   S = sum of the codes of the inputs that spike, + bias, + those of the synapses from neurons that spiked
//   u = (leak + decay (v - leak)) + (couple i + direct S * unit); i = synapse i + S * unit
//   spike = u > threshold (strictly); v = u - threshold (SUBTRACT 1) or reset where it spikes, else u
//   Stages follow each other in a step; synapses without a lag reach those after their neuron's own.
// Shapes:  spikes (n, steps, ceil(k / 32)) words; codes (k, m) int; bias (m,) int or null; neurons (7, m):
//          decay, leak, threshold, reset, synapse, couple, direct; starts (lags m + 1,), targets and wires:
//          synapses as CSR (lags m, m), row d m + j what neuron j sends after d steps; ends (stages,), the
//          neurons where they end; v, i (n, m) float or null for leak and 0; past (n, lags - 1, ceil(m / 32))
//          words or null for none; ring (n, lags, m) int, of no meaning before and after; fired as spikes
//          with m for k; *_next as what they follow
// Launch:  global (GROUP, n), local (GROUP, 1): a group per row, since every step follows from the last
// Assumes: bits past the last input or neuron are zero; targets in range; unit is a power of two
#ifndef GROUP
#define GROUP 256  // work-items of the group
#endif
#ifndef SUBTRACT
#define SUBTRACT 0  // 1: the threshold is subtracted after a spike, else the potential is reset
#endif
#ifndef INDEX
#define INDEX 32  // bits of a target
#endif
#if INDEX == 16
typedef ushort target_t;
#else
typedef int target_t;
#endif
#include "neurons.cl"
#define EACH(index, from, to) for (int index = (from) + (int)get_local_id(0); index < (to); index += GROUP)
#define MEET barrier(CLK_GLOBAL_MEM_FENCE | CLK_LOCAL_MEM_FENCE)

// What the spikes of some neurons send, from `least` steps after them on, added where it arrives.
static void send(__global const uint* fires, const int from, const int to, const int step, const int least,
                 const int lags, const int m, __global const int* starts, __global const target_t* targets,
                 __global const int* wires, __global int* ring)
{
    for (int w = from / 32; w < WORDS(to); ++w)
        for (uint left = fires[w]; left; left &= left - 1) {
            const int neuron = 32 * w + 31 - (int)clz(left & -left);
            if (neuron < from || neuron >= to) continue;
            for (int lag = least; lag < lags; ++lag) {
                const int line = lag * m + neuron, end = starts[line + 1];
                __global int* coming = ring + (step + lag) % lags * m;
                EACH(at, starts[line], end) atomic_add(coming + targets[at], wires[at]);
            }
        }
}

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void recurrent_layer(const int steps, const int k, const int m, const int lags, const int stages,
                     const float unit, __global const uint* restrict spikes,
                     __global const int* restrict codes, __global const int* restrict bias,
                     __global const float* restrict neurons, __global const int* restrict starts,
                     __global const target_t* restrict targets, __global const int* restrict wires,
                     __global const int* restrict ends, __global const float* restrict v,
                     __global const float* restrict i, __global const uint* restrict past,
                     __global int* restrict ring, __global uint* restrict fired,
                     __global float* restrict v_next, __global float* restrict i_next,
                     __global uint* restrict past_next)
{
    const int row = get_global_id(1), kept = (lags - 1) * WORDS(m);

    spikes += row * steps * WORDS(k), fired += row * steps * WORDS(m), ring += row * lags * m;
    past_next += row * kept, v_next += row * m, i_next += row * m;
    EACH(j, 0, m) v_next[j] = v ? v[row * m + j] : neurons[m + j], i_next[j] = i ? i[row * m + j] : 0.0f;
    EACH(at, 0, lags * m) ring[at] = 0;
    EACH(w, 0, steps * WORDS(m)) fired[w] = 0;
    MEET;
    if (past)
        for (int ago = 1; ago < lags; ++ago)
            send(past + row * kept + (lags - 1 - ago) * WORDS(m), 0, m, lags - ago, ago, lags, m, starts,
                 targets, wires, ring);
    MEET;
    for (int step = 0; step < steps; ++step) {
        __global const uint* arriving = spikes + step * WORDS(k);
        __global uint* fires = fired + step * WORDS(m);
        __global int* coming = ring + step % lags * m;

        for (int stage = 0; stage < stages; ++stage) {
            const int from = stage ? ends[stage - 1] : 0, to = ends[stage];

            EACH(j, from, to) {
                const int sum = arrived(arriving, WORDS(k), codes, m, j, 1, (bias ? bias[j] : 0) + coming[j]);
                const float now = (float)sum * unit, current = i_next[j];
                const float coupled = neurons[5 * m + j] * current, passed = neurons[6 * m + j] * now;
                const float u = before(v_next[j], neurons[j], neurons[m + j], coupled + passed);
                const float level = neurons[2 * m + j], left = neurons[4 * m + j] * current;
                const int spike = u > level;

                i_next[j] = left + now;
                v_next[j] = spike ? (SUBTRACT ? u - level : neurons[3 * m + j]) : u;
                if (spike) atomic_or(fires + j / 32, 1u << j % 32);
            }
            MEET;
            send(fires, from, to, step, 0, lags, m, starts, targets, wires, ring);
            MEET;
        }
        EACH(j, 0, m) coming[j] = 0;
        MEET;
    }
    EACH(w, 0, kept) {  // the last steps, of this call and, where it was short, of those before
        const int at = w + steps * WORDS(m) - kept;
        past_next[w] = at >= 0 ? fired[at] : past ? past[row * kept + w + steps * WORDS(m)] : 0;
    }
}
