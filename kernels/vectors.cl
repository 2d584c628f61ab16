// The vector of VEC floats, and how it is loaded. kernels.source puts this text where it is included;
// the including file has defined VEC and ALIGNED.
#if VEC == 1
typedef float vec;
#else
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
typedef JOIN(float, VEC) vec;
#endif

// A load that asks for no more alignment than an element has, unless more is promised.
#if ALIGNED
#define LOAD(from) (*(__global const vec*)(from))
#else
typedef vec loose __attribute__((aligned(4)));
#define LOAD(from) (*(__global const loose*)(from))
#endif
