// spike_rate: y = spikes of each neuron * share, share being 1 / steps.
// Shapes:  spikes (n, steps, ceil(k / 32)) words, bit i of word w is neuron 32 w + i; y (n, k) float
// Launch:  global (n * k rounded up to GROUP), local (GROUP): a neuron per work-item
// Assumes: nothing
#ifndef GROUP
#define GROUP 256  // work-items per group; multiple of 64, at most 256
#endif

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void spike_rate(const int n, const int steps, const int k, const float share,
                __global const uint* restrict spikes, __global float* restrict y)
{
    const int at = get_global_id(0), words = (k + 31) / 32;
    if (at >= n * k) return;
    const int row = at / k, neuron = at % k;
    __global const uint* from = spikes + row * steps * words + neuron / 32;
    int count = 0;

    for (int step = 0; step < steps; ++step) count += from[step * words] >> neuron % 32 & 1u;
    y[at] = (float)count * share;
}
