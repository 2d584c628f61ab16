// cast: y = x in another element type.
//       to bool: whether it is not zero; to integers: cut towards zero, saturated, NaN becomes 0;
//       to floats: nearest, ties to even. Subnormal floats may be read as zero.
// Shapes:  x (count,), y (count,), any rank flattened
// Launch:  global (count rounded up to GROUP), local (GROUP): one element per work-item
// Assumes: `to` is a place in bool u8 u16 u32 u64 i8 i16 i32 i64 f16 bf16 f32 f64; with DOUBLES 0
//          neither type is f64. All targets are one program, since a build takes far longer than the
//          uniform branch
#ifndef GROUP
#define GROUP 256  // work-items per group; multiple of 64, at most 256
#endif
#ifndef FROM
#define FROM float  // storage type of x; ushort for 16-bit floats, uchar for bool
#endif
#ifndef READ
#define READ 1  // how x is read: 0 an integer, 1 a float or double, 2 half, 3 upper half of a float
#endif
#ifndef DOUBLES
#define DOUBLES 1  // 1 when the device computes with 64-bit floats
#endif

#if DOUBLES
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
#endif

#if READ == 0
typedef FROM number;
#define VALUE x[i]
#define OR_ZERO(v) (v)
#else
#if READ == 1
typedef FROM number;
#define VALUE x[i]
#elif READ == 2
typedef float number;
#define VALUE vload_half(i, (__global const half*)x)
#else
typedef float number;
#define VALUE as_float((uint)x[i] << 16)
#endif
#define OR_ZERO(v) (isnan(v) ? 0 : (v))  // what NaN converts to is left to the implementation
#endif

// The upper half of a float, rounded to nearest even; a NaN keeps its sign and stays a NaN.
static ushort upper_half(const float value)
{
    const uint bits = as_uint(value);
    const uint rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return (ushort)(isnan(value) ? (bits >> 16) | 0x40u : rounded);
}

#define SATURATED(type) ((__global type*)y)[i] = convert_##type##_sat(OR_ZERO(v)); break

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void cast(const int count, const int to, __global const FROM* restrict x,
          __global uchar* restrict y)
{
    const int i = get_global_id(0);
    if (i >= count) return;

    const number v = VALUE;
    switch (to) {
    case 0: y[i] = v != 0; break;
    case 1: SATURATED(uchar);
    case 2: SATURATED(ushort);
    case 3: SATURATED(uint);
    case 4: SATURATED(ulong);
    case 5: SATURATED(char);
    case 6: SATURATED(short);
    case 7: SATURATED(int);
    case 8: SATURATED(long);
#if DOUBLES
    case 9: vstore_half_rte((double)v, i, (__global half*)y); break;
    case 12: ((__global double*)y)[i] = (double)v; break;
#else
    case 9: vstore_half_rte((float)v, i, (__global half*)y); break;
#endif
    case 10: ((__global ushort*)y)[i] = upper_half((float)v); break;
    case 11: ((__global float*)y)[i] = (float)v; break;
    }
}
