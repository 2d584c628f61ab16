// plastic_layer: a layer of neurons that competes and learns from one stream as it runs.
//   u = (leak + decay (v - leak)) + S * unit, S the sum of the codes of the inputs that spike, + bias
//   fires where u - (threshold + theta) > 0; ALONE 1: only the first of the largest margins
//   v = reset where it fires, else u, less inhibition where any fires; theta decays, + theta_plus
//   traces decay; weights of neurons that fire change by a_plus (pre - offset), then those of inputs that
//   spike by -a_minus post, both clipped to w_min..w_max; at last spikes mark their traces
// Shapes:  spikes (steps, ceil(k / 32)) words; weight (m, k); bias (m,) int or null; v, theta, post (m,) and
//          pre (k,) float or null for leak and 0; fired as spikes with m for k; *_next as what they follow
// Launch:  global (GROUP), local (GROUP): one group does it all, since every step follows from the last
// Assumes: bits past the last input are zero; scale is a power of two, and unit its reciprocal
#ifndef GROUP
#define GROUP 256  // work-items of the group; a power of two
#endif
#ifndef ALONE
#define ALONE 0  // 1: at most one neuron fires in a step
#endif
#ifndef NEAREST
#define NEAREST 0  // 1: of pairs of spikes only the nearest count
#endif
#include "neurons.cl"
#define EACH(index, count) for (int index = get_local_id(0); index < (count); index += GROUP)
#define MEET barrier(CLK_GLOBAL_MEM_FENCE | CLK_LOCAL_MEM_FENCE)
#define BIT(words, at) ((words)[(at) / 32] >> (at) % 32 & 1)
#if ALONE
#define FIRES(j) ((j) == winner)
#define FIRING(j) for (int j = winner; j < min(winner + 1, m); ++j)
#else
#define FIRES(j) BIT(fires, j)
#define FIRING(j) for (int j = 0; j < m; ++j) if (BIT(fires, j))
#endif

static int code(const float weight, const float scale)
{
    const float scaled = weight * scale;
    return isnan(scaled) ? 0 : convert_int_sat_rte(scaled);
}

static float clipped(const float weight, const float low, const float high)
{
    return weight < low ? low : weight > high ? high : weight;
}

// What arrives at a neuron in a step.
static int sum_of(__global const uint* spikes, const int k, __global const float* row, const float scale,
                  const int constant_part)
{
    int sum = constant_part;

    for (int w = 0; w < WORDS(k); ++w)
        for (uint left = spikes[w]; left; left &= left - 1)
            sum += code(row[32 * w + 31 - (int)clz(left & -left)], scale);
    return sum;
}

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void plastic_layer(const int steps, const int k, const int m, const float decay, const float leak,
                   const float threshold, const float reset, const float unit, const float scale,
                   const float theta_plus, const float theta_decay, const float inhibition,
                   const float a_plus, const float a_minus, const float offset, const float w_min,
                   const float w_max, const float decay_pre, const float decay_post,
                   __global const uint* restrict spikes, __global const float* restrict weight,
                   __global const int* restrict bias, __global const float* restrict v,
                   __global const float* restrict theta, __global const float* restrict pre,
                   __global const float* restrict post, __global uint* restrict fired,
                   __global float* restrict weight_next, __global float* restrict v_next,
                   __global float* restrict theta_next, __global float* restrict pre_next,
                   __global float* restrict post_next)
{
    __local float margins[GROUP];
    __local int neurons[GROUP];
    const int item = get_local_id(0);

    EACH(at, m * k) weight_next[at] = weight[at];
    EACH(j, m) v_next[j] = v ? v[j] : leak, theta_next[j] = theta ? theta[j] : 0.0f;
    EACH(j, m) post_next[j] = post ? post[j] : 0.0f;
    EACH(i, k) pre_next[i] = pre ? pre[i] : 0.0f;
    EACH(w, steps * WORDS(m)) fired[w] = 0;
    MEET;
    for (int step = 0; step < steps; ++step) {
        __global const uint* arriving = spikes + step * WORDS(k);
        __global uint* fires = fired + step * WORDS(m);

        margins[item] = 0.0f, neurons[item] = m;
        EACH(j, m) {
            const int sum = sum_of(arriving, k, weight_next + j * k, scale, bias ? bias[j] : 0);
            const float u = before(v_next[j], decay, leak, (float)sum * unit);
            const float level = threshold + theta_next[j], margin = u - level;

            v_next[j] = u;
            if (margin > margins[item]) margins[item] = margin, neurons[item] = j;
#if !ALONE
            if (margin > 0.0f) atomic_or(fires + j / 32, 1u << j % 32);
#endif
        }
        for (int apart = GROUP / 2; apart > 0; apart /= 2) {  // the largest margin, of equals the first
            barrier(CLK_LOCAL_MEM_FENCE);
            if (item < apart) {
                const float mine = margins[item], other = margins[item + apart];
                const int first = min(neurons[item], neurons[item + apart]);
                neurons[item] = other > mine ? neurons[item + apart] : other < mine ? neurons[item] : first;
                margins[item] = fmax(mine, other);
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        const int winner = neurons[0], any = winner < m;
#if ALONE
        EACH(w, WORDS(m)) fires[w] = w == winner / 32 && any ? 1u << winner % 32 : 0;
#endif
        MEET;
        EACH(j, m) {
            const float tired = theta_decay * theta_next[j];

            post_next[j] *= decay_post;
            if (FIRES(j)) v_next[j] = reset, theta_next[j] = tired + theta_plus;
            else v_next[j] -= any ? inhibition : 0.0f, theta_next[j] = tired;
        }
        EACH(i, k) pre_next[i] *= decay_pre;
        MEET;
        // Not skipped where none fires: PoCL 3.0 loses barriers behind a branch on what was just found out.
        if (a_plus != 0.0f)
            FIRING(j) EACH(i, k) {
                const float above = pre_next[i] - offset, gained = a_plus * above;
                weight_next[j * k + i] = clipped(weight_next[j * k + i] + gained, w_min, w_max);
            }
        MEET;
        if (a_minus != 0.0f)
            for (int i = 0; i < k; ++i)
                if (BIT(arriving, i)) EACH(j, m) {
                    const float lost = a_minus * post_next[j];
                    weight_next[j * k + i] = clipped(weight_next[j * k + i] - lost, w_min, w_max);
                }
        MEET;
        EACH(i, k) if (BIT(arriving, i)) pre_next[i] = NEAREST ? 1.0f : pre_next[i] + 1.0f;
        EACH(j, m) if (FIRES(j)) post_next[j] = NEAREST ? 1.0f : post_next[j] + 1.0f;
        MEET;
    }
}
