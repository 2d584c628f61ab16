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
// Launch:  recurrent_layer  global (GROUP, n), local (GROUP, 1): a group per row does all steps
//          as many groups as there is work for, where neurons are many and rows are few:
//          recurrent_begin  global (whole groups, n); then for each step and stage
//          recurrent_fire   global (neurons of the stage in whole groups, n)
//          recurrent_send   global (GROUP times the words of its spikes, n), also for spikes of before;
//          recurrent_keep   global (words of past_next in whole groups, n)
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

#define POPULATION \
    const float unit, __global const int* restrict codes, __global const int* restrict bias, \
    __global const float* restrict neurons

// A neuron over a step: takes what came for it; whether it spikes.
static int spikes_now(const int j, const int k, const int m, __global const uint* arriving, POPULATION,
                      __global int* coming, __global float* v, __global float* i)
{
    const int sum = arrived(arriving, WORDS(k), codes, m, j, 1, (bias ? bias[j] : 0) + coming[j]);
    const float now = (float)sum * unit, current = i[j];
    const float coupled = neurons[5 * m + j] * current, passed = neurons[6 * m + j] * now;
    const float u = before(v[j], neurons[j], neurons[m + j], coupled + passed);
    const float level = neurons[2 * m + j], left = neurons[4 * m + j] * current;
    const int spike = u > level;

    coming[j] = 0;
    i[j] = left + now;
    v[j] = spike ? (SUBTRACT ? u - level : neurons[3 * m + j]) : u;
    return spike;
}

// What the spikes of a word of neurons send, from `least` steps after them on, added where it arrives.
// Within a step it arrives in later stages alone, which begin at `to`.
static void send(const uint word, const int first, const int to, const int step, const int least,
                 const int lags, const int m, __global const int* starts, __global const target_t* targets,
                 __global const int* wires, __global int* ring)
{
    for (uint left = word; left; left &= left - 1) {
        const int neuron = first + 31 - (int)clz(left & -left);

        for (int lag = least; lag < lags; ++lag) {
            const int line = lag * m + neuron, end = starts[line + 1];
            __global int* coming = ring + (step + lag) % lags * m;
            EACH(at, starts[line], end)
                if (lag || targets[at] >= to) atomic_add(coming + targets[at], wires[at]);
        }
    }
}

// The bits of a word that stand for neurons of a stage.
static uint within(const uint word, const int w, const int from, const int to)
{
    const uint late = from > 32 * w ? ~0u << (from - 32 * w) : ~0u;
    return word & late & (to < 32 * w + 32 ? ~(~0u << (to - 32 * w)) : ~0u);
}

// The word of spikes that goes with a row to the next call: of this one or, where it was short, of before.
static uint kept_word(const int w, const int kept, const int all, __global const uint* fired,
                      __global const uint* past)
{
    const int at = w + all - kept;
    return at >= 0 ? fired[at] : past ? past[w + all] : 0;
}

#define SYNAPSES \
    __global const int* restrict starts, __global const target_t* restrict targets, \
    __global const int* restrict wires

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void recurrent_layer(const int steps, const int k, const int m, const int lags, const int stages,
                     POPULATION, SYNAPSES, __global const uint* restrict spikes,
                     __global const int* restrict ends, __global const float* restrict v,
                     __global const float* restrict i, __global const uint* restrict past,
                     __global int* restrict ring, __global uint* restrict fired,
                     __global float* restrict v_next, __global float* restrict i_next,
                     __global uint* restrict past_next)
{
    const int row = get_global_id(1), kept = (lags - 1) * WORDS(m);

    spikes += row * steps * WORDS(k), fired += row * steps * WORDS(m), ring += row * lags * m;
    past_next += row * kept, v_next += row * m, i_next += row * m;
    if (past) past += row * kept;
    EACH(j, 0, m) v_next[j] = v ? v[row * m + j] : neurons[m + j], i_next[j] = i ? i[row * m + j] : 0.0f;
    EACH(at, 0, lags * m) ring[at] = 0;
    EACH(w, 0, steps * WORDS(m)) fired[w] = 0;
    MEET;
    for (int at = 0; past && at < kept; ++at) {
        const int ago = lags - 1 - at / WORDS(m);
        send(past[at], at % WORDS(m) * 32, m, lags - ago, ago, lags, m, starts, targets, wires, ring);
    }
    MEET;
    for (int step = 0; step < steps; ++step)
        for (int stage = 0; stage < stages; ++stage) {
            const int from = stage ? ends[stage - 1] : 0, to = ends[stage];
            __global uint* fires = fired + step * WORDS(m);

            EACH(j, from, to)
                if (spikes_now(j, k, m, spikes + step * WORDS(k), unit, codes, bias, neurons,
                               ring + step % lags * m, v_next, i_next))
                    atomic_or(fires + j / 32, 1u << j % 32);
            MEET;
            for (int w = from / 32; w < WORDS(to); ++w)
                send(within(fires[w], w, from, to), 32 * w, to, step, 0, lags, m, starts, targets, wires, ring);
            MEET;
        }
    EACH(w, 0, kept) past_next[w] = kept_word(w, kept, steps * WORDS(m), fired, past);
}

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void recurrent_begin(const int steps, const int m, const int lags, __global const float* restrict neurons,
                     __global const float* restrict v, __global const float* restrict i,
                     __global int* restrict ring, __global uint* restrict fired,
                     __global float* restrict v_next, __global float* restrict i_next)
{
    const int row = get_global_id(1), items = get_global_size(0), words = steps * WORDS(m);

    for (int j = get_global_id(0); j < m; j += items) {
        v_next[row * m + j] = v ? v[row * m + j] : neurons[m + j];
        i_next[row * m + j] = i ? i[row * m + j] : 0.0f;
    }
    for (int at = get_global_id(0); at < lags * m; at += items) ring[row * lags * m + at] = 0;
    for (int w = get_global_id(0); w < words; w += items) fired[row * words + w] = 0;
}

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void recurrent_fire(const int steps, const int k, const int m, const int lags, const int step, const int from,
                    const int to, POPULATION, __global const uint* restrict spikes,
                    __global int* restrict ring, __global uint* restrict fired, __global float* restrict v,
                    __global float* restrict i)
{
    const int row = get_global_id(1), j = from + get_global_id(0), at = row * steps + step;

    if (j < to && spikes_now(j, k, m, spikes + at * WORDS(k), unit, codes, bias, neurons,
                             ring + (row * lags + step % lags) * m, v + row * m, i + row * m))
        atomic_or(fired + at * WORDS(m) + j / 32, 1u << j % 32);
}

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void recurrent_send(const int m, const int lags, const int step, const int least, const int from, const int to,
                    const int line, const int lines, SYNAPSES, __global const uint* restrict fired,
                    __global int* restrict ring)
{
    const int row = get_global_id(1), w = from / 32 + get_group_id(0);
    const uint word = fired[(row * lines + line) * WORDS(m) + w];

    send(within(word, w, from, to), 32 * w, to, step, least, lags, m, starts, targets, wires,
         ring + row * lags * m);
}

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void recurrent_keep(const int steps, const int m, const int lags, __global const uint* restrict fired,
                    __global const uint* restrict past, __global uint* restrict past_next)
{
    const int row = get_global_id(1), w = get_global_id(0);
    const int kept = (lags - 1) * WORDS(m), all = steps * WORDS(m);

    if (w < kept)
        past_next[row * kept + w] = kept_word(w, kept, all, fired + row * all, past ? past + row * kept : past);
}
