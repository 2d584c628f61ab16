// What lif_layer and cuba_layer share: all steps of a layer, a neuron per work-item. kernels.source puts
// this text where they include it.
//
// The neurons of a group read the same words, so the loop over inputs that spike is the same for all of
// them and silence costs a word per 32 inputs; their codes lie side by side. Sums are whole numbers, and
// products are not contracted, so that every device makes the same spikes.
#ifndef GROUP
#define GROUP 64  // work-items per group; multiple of 64, at most 256
#endif
#ifndef SUBTRACT
#define SUBTRACT 0  // 1: the threshold is subtracted after a spike, else the potential is reset
#endif
#pragma OPENCL FP_CONTRACT OFF
#define WORDS(neurons) (((neurons) + 31) / 32)

// The codes of the inputs that spike in a step, and the constant part.
static int arrived(__global const uint* from, const int words, __global const int* codes, const int m,
                   const int neuron, const int there, const int constant_part)
{
    int sum = constant_part;

    for (int w = 0; w < words; ++w)
        for (uint left = from[w]; left; left &= left - 1) {
            const int input = 32 * w + 31 - (int)clz(left & -left);
            if (there) sum += codes[input * m + neuron];
        }
    return sum;
}

// Writes a bit per neuron of the group.
static void mark(__local uint* shared, const int spike, __global uint* to, const int words)
{
    const int item = get_local_id(0);

    if (item < GROUP / 32) shared[item] = 0;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (spike) atomic_or(shared + item / 32, 1u << item % 32);
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item < words) to[item] = shared[item];
    barrier(CLK_LOCAL_MEM_FENCE);
}

// The potential before the reset, from the one of the last step.
static float before(const float potential, const float decay, const float leak, const float driven)
{
    const float leaked = decay * (potential - leak), kept = leak + leaked;
    return kept + driven;
}
