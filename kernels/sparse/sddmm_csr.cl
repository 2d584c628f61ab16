// sddmm_csr: out[e] = a[row of e] . b[column of e] for every stored element e of a pattern.
// Shapes:  pattern (rows, cols) as CSR: row_ptr (rows + 1,), col_idx (nnz,); a (rows, k) and b (cols, k)
//          row-major; out (nnz,)
// Launch:  global (rows * GROUP), local (GROUP): a group per row, LANES work-items per element; if
//          LANES is 1 a work-item per row, global (rows rounded up to GROUP)
// Assumes: column indices in range; ALIGNED promises k % VEC == 0; fewer than 2^31 elements
//          everywhere
#define NARROW 1
#include "stored.cl"

static float folded(const vec v)
{
#if VEC == 16
    const float8 eight = v.lo + v.hi;
    const float4 four = eight.lo + eight.hi;
#else
    const float4 four = v;
#endif
    return (four.x + four.y) + (four.z + four.w);
}

// What work-item `lane` of `lanes` adds up of a dot product of k elements.
static float dot_part(__global const float* left, __global const float* right, const int k,
                      const int lane)
{
    const int whole = k / VEC * VEC;
    vec sum = (vec)(0.0f);

    for (int at = lane * VEC; at < whole; at += LANES * VEC)
        sum += LOAD(left + at) * LOAD(right + at);
    float one = folded(sum);
    for (int at = whole + lane; at < k; at += LANES) one += left[at] * right[at];
    return one;
}

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void sddmm_csr(UNUSED const int rows, const int k, __global const int* restrict row_ptr,
               __global const index_t* restrict col_idx, __global const float* restrict a,
               __global const float* restrict b, __global float* restrict out)
{
#if LANES > 1
    __local float partial[GROUP];
    const int lane = get_local_id(0) % LANES, row = get_group_id(0);
    const int end = row_ptr[row + 1];

    for (int base = row_ptr[row]; base < end; base += GROUP / LANES) {
        const int e = base + (int)get_local_id(0) / LANES;
        const int col = e < end ? index_at(col_idx, e) : 0;
        const float part = e < end ? dot_part(a + row * k, b + col * k, k, lane) : 0.0f;
        const float sum = shared_sum(part, partial);
        if (lane == 0 && e < end) out[e] = sum;
        barrier(CLK_LOCAL_MEM_FENCE);  // before the next step writes what this one reads
    }
#else
    const int row = get_global_id(0);
    if (row >= rows) return;
    const int end = row_ptr[row + 1];

    for (int e = row_ptr[row]; e < end; ++e)
        out[e] = dot_part(a + row * k, b + index_at(col_idx, e) * k, k, 0);
#endif
}
