// rate_encode: numbers of 0..1 as spikes, with P = round(x 2^24). Evenly: neuron i spikes in step t when
//              (phase_i + t P) / 2^24 passes a whole number; at random: when a hash of seed, t and i, cut
//              to 24 bits, lies below P.
// Shapes:  x (n, k) float, spikes (n, steps, ceil(k / 32)) words: bit i of word w is neuron 32 w + i
// Launch:  global (n * steps * ceil(k / 32) rounded up to GROUP), local (GROUP): a word per work-item
// Assumes: nothing of x: NaN counts as 0, others as the nearer end
#ifndef GROUP
#define GROUP 256  // work-items per group; multiple of 64, at most 256
#endif
#ifndef RANDOM
#define RANDOM 0
#endif
#define WHOLE (1u << 24)

// The finaliser of MurmurHash3.
static uint mixed(uint h)
{
    h = (h ^ h >> 16) * 0x85ebca6bu;
    h = (h ^ h >> 13) * 0xc2b2ae35u;
    return h ^ h >> 16;
}

static uint share_of(const float x)
{
    const float known = isnan(x) ? 0.0f : clamp(x, 0.0f, 1.0f);
    return (uint)rint(known * (float)WHOLE);
}

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void rate_encode(const int n, const int steps, const int k, const int seed,
                 __global const float* restrict x, __global uint* restrict spikes)
{
    const int words = (k + 31) / 32, at = get_global_id(0);
    if (at >= n * steps * words) return;
    const int word = at % words, step = at / words % steps, row = at / words / steps;
    uint made = 0;

    for (int bit = 0; bit < 32 && 32 * word + bit < k; ++bit) {
        const int neuron = 32 * word + bit;
        const uint share = share_of(x[row * k + neuron]);
#if RANDOM
        const uint time = (uint)(step + 1) * 0x9e3779b9u + (uint)seed;
        const uint drawn = mixed(time ^ mixed((uint)neuron + 1)) >> 8;
        const uint spike = drawn < share;
#else
        (void)seed;
        const uint phase = mixed((uint)neuron) >> 8;  // a whole number was passed if little is left
        const uint spike = ((phase + (uint)(step + 1) * share) & (WHOLE - 1)) < share;
#endif
        made |= spike << bit;
    }
    spikes[at] = made;
}
