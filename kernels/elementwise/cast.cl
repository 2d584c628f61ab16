// cast: y = x in another element type.
//       to bool: whether it is not zero; to integers: cut towards zero, saturated, NaN becomes 0;
//       to floats: nearest, ties to even.
// Shapes:  x (count,), y (count,), any rank flattened
// Launch:  global (count rounded up to GROUP), local (GROUP): one element per work-item
// Assumes: FROM and TO differ or the cast is a copy; DOUBLES when either is double
#ifndef GROUP
#define GROUP 256  // work-items per group; multiple of 64, at most 256
#endif
#ifndef FROM
#define FROM float  // storage type of x; ushort for 16-bit floats, uchar for bool
#endif
#ifndef TO
#define TO int  // storage type of y, likewise
#endif
#ifndef READ
#define READ 0  // how x is read: 0 as stored, 1 half, 2 upper half of a float
#endif
#ifndef WRITE
#define WRITE 0  // how y is written: 0 converted, 1 half, 2 upper half of a float, 3 bool, 4 saturated
#endif

#define JOIN_(a, b, c) a##b##c
#define JOIN(a, b, c) JOIN_(a, b, c)
#ifdef DOUBLES
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
#endif

#if WRITE == 2
// The upper half of a float, rounded to nearest even; a NaN keeps its sign and stays a NaN.
static ushort upper_half(const float value)
{
    const uint bits = as_uint(value);
    const uint rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return (ushort)(isnan(value) ? (bits >> 16) | 0x40u : rounded);
}
#endif

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void cast(const int count, __global const FROM* restrict x, __global TO* restrict y)
{
    const int i = get_global_id(0);
    if (i >= count) return;

#if READ == 1
    const float v = vload_half(i, (__global const half*)x);
#elif READ == 2
    const float v = as_float((uint)x[i] << 16);
#else
    const FROM v = x[i];
#endif

#if WRITE == 1 && defined(DOUBLES)
    vstore_half_rte((double)v, i, (__global half*)y);
#elif WRITE == 1
    vstore_half_rte((float)v, i, (__global half*)y);
#elif WRITE == 2
    y[i] = upper_half((float)v);
#elif WRITE == 3
    y[i] = v != 0;
#elif WRITE == 4
    y[i] = v != v ? 0 : JOIN(convert_, TO, _sat)(v);  // NaN is implementation-defined otherwise
#else
    y[i] = (TO)v;
#endif
}
