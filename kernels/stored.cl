// What the products with sparse weights share: how a stored value and an index are read, where x is
// read and how y is finished. kernels.source puts this text where they include it.
//
// y = act(W x + bias) is cut in one of two ways. NARROW 1, for few columns of x: a work-item, or
// LANES of them together, sum up a row of W for BATCH columns. NARROW 0, for many: a work-item takes
// a row of W and SPAN loads of VEC columns of x (cols, n).
#ifndef NARROW
#define NARROW 0  // 1 builds the kernel for few columns, whose name ends in _rows
#endif
#ifndef VALUE
#define VALUE 32  // bits of a stored value: 32 float, 16 half, 8 signed code that a scale multiplies
#endif
#ifndef INDEX
#define INDEX 32  // bits of a stored index: 32 int, 16 ushort
#endif
#ifndef BATCH_FIRST
#define BATCH_FIRST 0  // 1: y is (n, rows), and x is (n, cols) if NARROW; else y is (rows, n)
#endif
#ifndef GROUP
#define GROUP 64  // work-items per group; multiple of 64, at most 256
#endif
#ifndef LANES
#define LANES 64  // work-items that share a row; 1, or a power of two that divides GROUP
#endif
#ifndef BATCH
#define BATCH 1  // columns of x per work-item if NARROW
#endif
#ifndef UNIFORM
#define UNIFORM 0  // 1: a group is one row, so a card reads W through its scalar unit; else a group
#endif             // holds as many rows as n leaves room for
#ifndef VEC
#define VEC 4  // columns of x per load if not NARROW: 1, 2, 4, 8 or 16, at most n
#endif
#ifndef SPAN
#define SPAN 1  // loads of x per work-item and element of W
#endif
#ifndef ALIGNED
#define ALIGNED 1  // 1 promises n % VEC == 0, 0 allows any n
#endif
#ifndef WORDS
#define WORDS 1  // 1 reads what is below 32 bits by whole words, 0 element by element
#endif

#define UNUSED __attribute__((unused))  // a parameter that only some variants need

// Every product takes these first: W (rows, cols), columns of x, and whether act is max(., 0).
#define SIZES const int rows, UNUSED const int cols, const int n, const int relu
#define SCALE_OF(line) (VALUE == 8 ? scale[line] : 1.0f)

#if VALUE == 32
typedef float stored_t;
#elif VALUE == 16
typedef ushort stored_t;  // the bits of a half
#else
typedef char stored_t;
#endif
#if INDEX == 32
typedef int index_t;
#else
typedef ushort index_t;
#endif

// Four codes from the bytes of a word.
static float4 codes4(const uint four)
{
#if WORDS
    const char4 c = as_char4(four);
    return (float4)(c.x, c.y, c.z, c.w);
#else  // code + 128 as the last bits of 2^23: vectors all the way, and as exact
    const uint4 bytes = ((uint4)(four) >> (uint4)(0, 8, 16, 24) & 0xff) ^ 0x80;
    return as_float4(bytes | 0x4b000000) - 8388736.0f;
#endif
}

// Stored value i, without its scale.
static float value_at(__global const stored_t* values, const int i)
{
#if VALUE == 16 && WORDS
    const ushort bits = ((__global const uint*)values)[i >> 1] >> ((i & 1) * 16);
    return vload_half(0, (const half*)&bits);
#elif VALUE == 16
    return vload_half(i, (__global const half*)values);
#elif VALUE == 8 && WORDS
    return (int)(((__global const uint*)values)[i >> 2] << (24 - (i & 3) * 8)) >> 24;
#else
    return values[i];
#endif
}

// Stored values 4 q to 4 q + 3.
static float4 values_at(__global const stored_t* values, const int q)
{
#if VALUE == 32
    return ((__global const float4*)values)[q];
#elif VALUE == 16
    const uint2 two = ((__global const uint2*)values)[q];
    return vload_half4(0, (const half*)&two);
#else
    return codes4(((__global const uint*)values)[q]);
#endif
}

static int index_at(__global const index_t* indices, const int i)
{
#if INDEX == 16 && WORDS
    return ((__global const uint*)indices)[i >> 1] >> ((i & 1) * 16) & 0xffff;
#else
    return indices[i];
#endif
}

// Indices 4 q to 4 q + 3.
static int4 indices_at(__global const index_t* indices, const int q)
{
#if INDEX == 32
    return ((__global const int4*)indices)[q];
#else
    const ushort4 four = ((__global const ushort4*)indices)[q];
    return (int4)(four.x, four.y, four.z, four.w);
#endif
}

// Writes one output.
static void finish(float sum, const int row, const int column, const int rows, const int n,
                          const int relu, __global const float* bias, __global float* y)
{
    if (bias) sum += bias[row];
    y[BATCH_FIRST ? column * rows + row : row * n + column] = relu && sum < 0.0f ? 0.0f : sum;
}

#include "vectors.cl"

#if NARROW
// A work-item's columns of x: X(b, col) is element `col` of its b-th. Those past n repeat the last
// one and are not written.
#define COLUMN ((int)get_global_id(1) * BATCH)
#define X(b, col) from[b][(col) * (BATCH_FIRST ? 1 : n)]
#define POINT(from) \
    __global const float* from[BATCH]; \
    _Pragma("unroll") \
    for (int b = 0; b < BATCH; ++b) \
        from[b] = x + min(COLUMN + b, n - 1) * (BATCH_FIRST ? cols : 1)
#define FROM __global const float* const* from, UNUSED const int n  // the same as parameters

static void clear(float* sums)
{
    #pragma unroll
    for (int b = 0; b < BATCH; ++b) sums[b] = 0.0f;
}

// Adds up what LANES neighbours hold of a sum; the first of them has the whole.
#if LANES > 1
static float shared_sum(const float sum, __local float* partial)
{
    const int item = get_local_id(0), lane = item % LANES;

    partial[item] = sum;
    for (int stride = LANES / 2; stride > 0; stride /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (lane < stride) partial[item] += partial[item + stride];
    }
    return partial[item];
}
#define SHARE(sums) \
    __local float partial[BATCH][GROUP]; \
    _Pragma("unroll") \
    for (int b = 0; b < BATCH; ++b) sums[b] = shared_sum(sums[b], partial[b])
#else
#define SHARE(sums)
#endif

static void finish_row(const float* sums, const float scale, const int row, const int rows,
                              const int n, const int relu, __global const float* bias,
                              __global float* y)
{
    #pragma unroll
    for (int b = 0; b < BATCH; ++b)
        if (COLUMN + b < n) finish(scale * sums[b], row, COLUMN + b, rows, n, relu, bias, y);
}
#else

// A work-item's row and first column. A load that would reach past column n reads the last VEC
// columns instead, and only those of them that are its own are written.
#define REACH (VEC * SPAN)
#if UNIFORM
#define ROW ((int)get_group_id(0))
#define COLUMN ((int)get_global_id(1) * GROUP * REACH + (int)get_local_id(0) * REACH)
#else
#define ACROSS ((n + REACH - 1) / REACH)
#define ROW ((int)get_global_id(0) / ACROSS)
#define COLUMN ((int)get_global_id(0) % ACROSS * REACH)
#endif
#define PLACE(s, column, n) min((column) + (s) * VEC, (n) - VEC)

static void clear(vec* sums)
{
    #pragma unroll
    for (int s = 0; s < SPAN; ++s) sums[s] = (vec)(0.0f);
}

// sums += value * row `col` of x, at a work-item's columns.
static void add_row(vec* sums, const float value, __global const float* x, const int col,
                           const int column, const int n)
{
    #pragma unroll
    for (int s = 0; s < SPAN; ++s) sums[s] += value * LOAD(x + col * n + PLACE(s, column, n));
}

static void finish_row(const vec* sums, const float scale, const int row, const int column,
                              const int rows, const int n, const int relu,
                              __global const float* bias, __global float* y)
{
    #pragma unroll
    for (int s = 0; s < SPAN; ++s)
        #pragma unroll
        for (int j = 0; j < VEC; ++j) {
            const int at = PLACE(s, column, n) + j;
            const float sum = ((const float*)&sums[s])[j];
            if (at >= column + s * VEC) finish(scale * sum, row, at, rows, n, relu, bias, y);
        }
}
#endif
