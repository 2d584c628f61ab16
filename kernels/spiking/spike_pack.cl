// spike_pack: numbers as spikes, one where x is above a half; NaN is none.
// Shapes:  x (count, k) float, spikes (count, ceil(k / 32)) words, bit i of word w is number 32 w + i
// Launch:  global (count * ceil(k / 32) rounded up to GROUP), local (GROUP): a word per work-item
// Assumes: nothing
#ifndef GROUP
#define GROUP 256  // work-items per group; multiple of 64, at most 256
#endif

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void spike_pack(const int count, const int k, __global const float* restrict x,
                __global uint* restrict spikes)
{
    const int at = get_global_id(0), words = (k + 31) / 32;
    if (at >= count * words) return;
    const int first = at % words * 32;
    __global const float* from = x + at / words * k + first;
    uint made = 0;

    for (int bit = 0; bit < 32 && first + bit < k; ++bit) made |= (uint)(from[bit] > 0.5f) << bit;
    spikes[at] = made;
}
