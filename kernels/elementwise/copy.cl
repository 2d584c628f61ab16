// copy: y = x, bit for bit; the plainest stream, so its rate is the device's bandwidth.
// Shapes:  x (count,), y (count,), any rank flattened
// Launch:  global (ceil(count / 4) rounded up to GROUP), local (GROUP): four elements per work-item
// Assumes: buffers aligned to 16 bytes; x and y do not overlap
#ifndef GROUP
#define GROUP 256  // work-items per group; multiple of 64, at most 256
#endif

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void copy(const int count, __global const uint* restrict x, __global uint* restrict y)
{
    const int quad = get_global_id(0), first = 4 * quad;

    if (first + 4 <= count) {
        ((__global uint4*)y)[quad] = ((__global const uint4*)x)[quad];
    } else {
        for (int i = first; i < count; ++i) y[i] = x[i];
    }
}
