// spike_unpack: y = 1 where a neuron spikes, else 0.
// Shapes:  spikes (count, ceil(k / 32)) words, bit i of word w is neuron 32 w + i; y (count, k) float
// Launch:  global (count * k rounded up to GROUP), local (GROUP): a neuron per work-item
// Assumes: nothing
#ifndef GROUP
#define GROUP 256  // work-items per group; multiple of 64, at most 256
#endif

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void spike_unpack(const int count, const int k, __global const uint* restrict spikes,
                  __global float* restrict y)
{
    const int at = get_global_id(0), words = (k + 31) / 32;
    if (at >= count * k) return;
    const int neuron = at % k;

    y[at] = spikes[at / k * words + neuron / 32] >> neuron % 32 & 1u;
}
