// spike_join: the neurons of a, then those of b.
// Shapes:  a (count, ceil(k / 32)) words, b (count, ceil(m / 32)), spikes (count, ceil((k + m) / 32)),
//          bit i of word w is neuron 32 w + i; bits beyond the last neuron are 0
// Launch:  global (count * ceil((k + m) / 32) rounded up to GROUP), local (GROUP): a word per work-item
// Assumes: nothing
#ifndef GROUP
#define GROUP 256  // work-items per group; multiple of 64, at most 256
#endif

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void spike_join(const int count, const int k, const int m, __global const uint* restrict a,
                __global const uint* restrict b, __global uint* restrict spikes)
{
    const int at = get_global_id(0), words = (k + m + 31) / 32;
    if (at >= count * words) return;
    const int row = at / words, word = at % words;
    const int of_a = (k + 31) / 32, of_b = (m + 31) / 32;
    const int whole = k / 32, rest = k % 32;  // words of a that are full, neurons in its last
    uint made = word < of_a ? a[row * of_a + word] : 0;

    const int low = word - whole;  // word of b whose low bits come here, behind the rest
    if (low >= 0 && low < of_b) made |= b[row * of_b + low] << rest;
    if (rest && low >= 1 && low <= of_b) made |= b[row * of_b + low - 1] >> (32 - rest);
    spikes[at] = made;
}
