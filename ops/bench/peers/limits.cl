// What a device can do at most: float32 multiply-adds on registers alone.
// Launch: global any multiple of the group; each item does ROUNDS * 64 * 2 flops on VEC lanes
#ifndef ROUNDS
#define ROUNDS 256
#endif
#ifndef VEC
#define VEC 4  // floats per item and chain: 4 for a card, 16 for a processor
#endif
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
typedef JOIN(float, VEC) vec;

__kernel void multiply_adds(const float a, __global float* y)
{
    vec s[8];
    for (int chain = 0; chain < 8; ++chain) s[chain] = (vec)(get_global_id(0) + chain);
    for (int round = 0; round < ROUNDS; ++round) {
        #pragma unroll
        for (int step = 0; step < 8; ++step)
            #pragma unroll
            for (int chain = 0; chain < 8; ++chain) s[chain] = s[chain] * a + a;
    }
    vec sum = (vec)(0.0f);
    for (int chain = 0; chain < 8; ++chain) sum += s[chain];
    y[get_global_id(0)] = sum.s0 + sum.s1 + sum.s2 + sum.s3;
}
