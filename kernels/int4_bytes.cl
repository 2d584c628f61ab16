// The kernels of gemm_i4 whose activations are bytes q: two products per instruction.
//
// With u = code + 8 of an even and an odd row of W in bits 0 to 3 and 16 to 19 of one operand, one
// mad24 adds u q of both rows to the halves of a 32-bit sum. A step's sum begins with
// -8 (q_0 + ... + q_31) in both halves, which `starts` holds, so it ends with the sums of
// (u - 8) q = code q. Until then each column adds -8 q or code q to a half, so a half stays within
// 32 * 8 * 127 < 2^15: a step's integers are exact, and only then do they meet a scale.
#define ACROSS 16  // items along W; each has 2 pairs of rows, 16 apart
#define TILE 64  // rows of x, and of W, per tile; an item has 4 rows of x, 16 apart
#if TILED
#undef XROWS
#undef WROWS
#define XROWS 4
#define WROWS 4
#endif
#define PAIRS (WROWS / 2)

static float even_of(const int sum) { return (float)(short)sum; }
static float odd_of(const int sum) { return (float)((sum - (short)sum) >> 16); }

#if TILED
typedef uint2 chunk;  // 8 columns of a row of x, or of a pair of rows of W
#define WORD(chunk, q) ((q) == 0 ? (chunk).x : (chunk).y)
#else
typedef uint4 chunk;  // 16 columns: one load
#define WORD(chunk, q) word_of(chunk, q)
#endif

// A chunk of XROWS rows of x times one of PAIRS pairs of rows of W. Column by column: an operand is
// taken out of its word where it is used, or half of the registers would hold operands that wait.
static void multiply_chunks(int both[XROWS][PAIRS], const chunk bytes[XROWS],
                            const chunk words[PAIRS])
{
    #pragma unroll
    for (int at = 0; at < (int)sizeof(chunk); ++at) {
        int q[XROWS];
        #pragma unroll
        for (int i = 0; i < XROWS; ++i)
            q[i] = (int)(WORD(bytes[i], at / 4) << (24 - 8 * (at % 4))) >> 24;
        #pragma unroll
        for (int p = 0; p < PAIRS; ++p) {
            const int u = WORD(words[p], at / 4) >> 4 * (at % 4) & 0x000f000f;
            #pragma unroll
            for (int i = 0; i < XROWS; ++i) both[i][p] = mad24(u, q[i], both[i][p]);
        }
    }
}

#if TILED
__kernel __attribute__((reqd_work_group_size(256, 1, 1)))
void gemm_i4_bytes(const int n, const int m, const int steps, const int shift, const int relu,
                   __global const uint4* restrict bytes, __global const int* restrict starts,
                   __global const float* restrict x_scale, __global const uint4* restrict codes,
                   __global const float* restrict scale, __global const float* restrict bias,
                   __global float* restrict y)
{
    __local chunk xs[4][TILE], ws[4][TILE / 2];  // quarters of a step: 8 columns
    __local int begin[TILE];
    __local float factor[TILE] __attribute__((aligned(8)));
    const int item = get_local_id(0), place = item % TILE;
    const int right = item % ACROSS, down = item / ACROSS;
    const int row0 = get_global_id(1) * TILE, pair0 = get_group_id(0) * (TILE / 2);
    const int groups = ((steps - 1) >> shift) + 1;
    const int x_row = min(row0 + place, n - 1), w_row = min(2 * pair0 + place, m - 1);
    const int pair = min(pair0 + place % (TILE / 2), (m - 1) / 2);
    const int of_x = item < 2 * TILE, height = of_x ? TILE : TILE / 2;
    const int half_step = of_x ? item / TILE : place / height;
    __global const uint4* from = half_step + (of_x ? bytes + x_row * steps * 2
                                                   : codes + pair * steps * 2);
    __local chunk* to = (of_x ? xs[0] : ws[0]) + 2 * half_step * height + place % height;
    float sum[4][4];

    #pragma unroll
    for (int i = 0; i < 4; ++i)
        #pragma unroll
        for (int j = 0; j < 4; ++j) sum[i][j] = 0.0f;

    for (int step = 0; step < steps; ++step) {
        if (item < 3 * TILE) {
            const uint4 columns = from[2 * step];
            to[0] = columns.lo, to[height] = columns.hi;
        } else {
            begin[place] = starts[x_row * steps + step];
            factor[place] = scale[w_row * groups + (step >> shift)];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        int both[XROWS][PAIRS];
        #pragma unroll
        for (int i = 0; i < XROWS; ++i) both[i][0] = both[i][1] = begin[down + 16 * i];
        #pragma unroll 1
        for (int quarter = 0; quarter < 4; ++quarter) {
            chunk v[XROWS], w[PAIRS];
            #pragma unroll
            for (int i = 0; i < XROWS; ++i) v[i] = xs[quarter][down + 16 * i];
            #pragma unroll
            for (int p = 0; p < PAIRS; ++p) w[p] = ws[quarter][right + ACROSS * p];
            multiply_chunks(both, v, w);
        }
        #pragma unroll
        for (int j = 0; j < 2; ++j) {
            const float2 of = *(__local const float2*)(factor + 2 * (right + ACROSS * j));
            #pragma unroll
            for (int i = 0; i < 4; ++i) {
                sum[i][2 * j] += even_of(both[i][j]) * of.x;
                sum[i][2 * j + 1] += odd_of(both[i][j]) * of.y;
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    #pragma unroll
    for (int i = 0; i < 4; ++i) {
        const int row = row0 + down + 16 * i;
        const float by = x_scale[min(row, n - 1)];
        #pragma unroll
        for (int j = 0; j < 4; ++j)
            FINISH(sum[i][j] * by, row, 2 * (pair0 + right + ACROSS * (j / 2)) + j % 2);
    }
}
#else

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void gemm_i4_bytes_rows(const int n, const int m, const int steps, const int shift,
                        const int relu, __global const uint4* restrict bytes,
                        __global const int* restrict starts, __global const float* restrict x_scale,
                        __global const uint4* restrict codes, __global const float* restrict scale,
                        __global const float* restrict bias, __global float* restrict y)
{
    const int lane = get_local_id(0) % LANES, block = get_global_id(0) / LANES;
    const int across = (n + XROWS - 1) / XROWS, groups = ((steps - 1) >> shift) + 1;
    const int row = block % across * XROWS, col = block / across * WROWS;
    const int end = col < m ? steps : 0;  // blocks past the last do nothing
    float sum[XROWS][WROWS];

    #pragma unroll
    for (int i = 0; i < XROWS; ++i)
        #pragma unroll
        for (int j = 0; j < WROWS; ++j) sum[i][j] = 0.0f;

    for (int step = lane; step < end; step += LANES) {
        int both[XROWS][PAIRS];
        #pragma unroll
        for (int i = 0; i < XROWS; ++i)
            #pragma unroll
            for (int p = 0; p < PAIRS; ++p)
                both[i][p] = starts[min(row + i, n - 1) * steps + step];
        #pragma unroll 1
        for (int h = 0; h < 2; ++h) {
            chunk v[XROWS], w[PAIRS];
            #pragma unroll
            for (int i = 0; i < XROWS; ++i)
                v[i] = bytes[(min(row + i, n - 1) * steps + step) * 2 + h];
            #pragma unroll
            for (int p = 0; p < PAIRS; ++p)
                w[p] = codes[(min(col / 2 + p, (m - 1) / 2) * steps + step) * 2 + h];
            multiply_chunks(both, v, w);
        }
        #pragma unroll
        for (int j = 0; j < WROWS; ++j) {
            const float by = scale[min(col + j, m - 1) * groups + (step >> shift)];
            #pragma unroll
            for (int i = 0; i < XROWS; ++i)
                sum[i][j] += (j % 2 ? odd_of(both[i][j / 2]) : even_of(both[i][j / 2])) * by;
        }
    }
    #pragma unroll
    for (int i = 0; i < XROWS; ++i)
        #pragma unroll
        for (int j = 0; j < WROWS; ++j) sum[i][j] *= x_scale[min(row + i, n - 1)];
    FINISH_BLOCK(sum, row, col);
}
#endif
