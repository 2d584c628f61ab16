// spmm_csr: y = act(W x + bias), act the identity or max(., 0).
// Shapes:  W (rows, cols) as CSR: row_ptr (rows + 1,), col_idx (nnz,), values (nnz,); bias (rows,)
//          or null; element (row, column) of y lies at row * y_row + column * y_col, so y may be
//          (rows, n) or, batch first, (n, rows)
//          spmm_csr       x (cols, n) row-major
//          spmm_csr_rows  element (col, column) of x lies at col * x_col + column * x_batch
// Launch:  spmm_csr       global (rows * ceil(n / VEC) rounded up to GROUP), local (GROUP): a work-item
//                         per row and VEC columns, neighbours share the row's elements
//          spmm_csr_rows  global (rows * LANES rounded up to GROUP, n), local (GROUP, 1): LANES
//                         work-items per row, for few columns
// Assumes: column indices in range; rows may be empty; ALIGNED promises n % VEC == 0 and buffers
//          aligned to VEC floats; fewer than 2^31 elements everywhere
#ifndef COLUMNS
#define COLUMNS 1  // 1 builds spmm_csr, 0 builds spmm_csr_rows
#endif
#ifndef GROUP
#define GROUP 64  // work-items per group; multiple of 64, at most 256
#endif
#ifndef VEC
#define VEC 4  // columns of x per work-item and load: 4, 8 or 16
#endif
#ifndef ALIGNED
#define ALIGNED 1  // 0 allows any n
#endif
#ifndef LANES
#define LANES 64  // work-items that share a row; 1, or a power of two that divides GROUP
#endif

static void finish(float sum, const int row, const int relu, __global const float* bias,
                   __global float* to)
{
    if (bias) sum += bias[row];
    *to = relu && sum < 0.0f ? 0.0f : sum;
}

#if COLUMNS
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
typedef JOIN(float, VEC) vec;

// A load that asks for no more alignment than an element has, unless more is promised.
#if ALIGNED
#define LOAD(from) (*(__global const vec*)(from))
#else
typedef vec loose __attribute__((aligned(4)));
#define LOAD(from) (*(__global const loose*)(from))
#endif

#define STORE(lane) finish(sum.s##lane, row, relu, bias, to + 0x##lane * y_col)

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void spmm_csr(const int rows, const int n, const int relu, const int y_row, const int y_col,
              __global const int* restrict row_ptr, __global const int* restrict col_idx,
              __global const float* restrict values, __global const float* restrict x,
              __global const float* restrict bias, __global float* restrict y)
{
    const int across = (n + VEC - 1) / VEC;
    const int row = get_global_id(0) / across, column = get_global_id(0) % across * VEC;
    if (row >= rows) return;
    const int begin = row_ptr[row], end = row_ptr[row + 1];
    __global float* to = y + row * y_row + column * y_col;

    if (column + VEC <= n) {
        vec sum = (vec)(0.0f);
        for (int i = begin; i < end; ++i) sum += values[i] * LOAD(x + col_idx[i] * n + column);
        STORE(0), STORE(1), STORE(2), STORE(3);
#if VEC >= 8
        STORE(4), STORE(5), STORE(6), STORE(7);
#endif
#if VEC == 16
        STORE(8), STORE(9), STORE(a), STORE(b), STORE(c), STORE(d), STORE(e), STORE(f);
#endif
    } else {
        for (int c = column; c < n; ++c) {
            float sum = 0.0f;
            for (int i = begin; i < end; ++i) sum += values[i] * x[col_idx[i] * n + c];
            finish(sum, row, relu, bias, y + row * y_row + c * y_col);
        }
    }
}
#else

// x at the columns of four elements of W, LANES apart.
#define GATHER(i) (float4)(from[col_idx[i] * x_col], from[col_idx[i + LANES] * x_col], \
                           from[col_idx[i + 2 * LANES] * x_col], \
                           from[col_idx[i + 3 * LANES] * x_col])

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void spmm_csr_rows(const int rows, const int relu, const int x_col, const int x_batch,
                   const int y_row, const int y_col,
                   __global const int* restrict row_ptr, __global const int* restrict col_idx,
                   __global const float* restrict values, __global const float* restrict x,
                   __global const float* restrict bias, __global float* restrict y)
{
    const int item = get_local_id(0), lane = item % LANES;
    const int row = get_global_id(0) / LANES, column = get_group_id(1);
    const int begin = row < rows ? row_ptr[row] : 0, end = row < rows ? row_ptr[row + 1] : 0;
    __global const float* from = x + column * x_batch;
    float4 four = (float4)(0.0f);
    int i = begin + lane;

    for (; i + 3 * LANES < end; i += 4 * LANES)
        four += (float4)(values[i], values[i + LANES], values[i + 2 * LANES],
                         values[i + 3 * LANES]) * GATHER(i);
    float sum = (four.x + four.y) + (four.z + four.w);
    for (; i < end; i += LANES) sum += values[i] * from[col_idx[i] * x_col];

#if LANES > 1
    __local float partial[GROUP];
    partial[item] = sum;
    for (int stride = LANES / 2; stride > 0; stride /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (lane < stride) partial[item] += partial[item + stride];
    }
    sum = partial[item];
#endif
    if (lane == 0 && row < rows)
        finish(sum, row, relu, bias, y + row * y_row + column * y_col);
}
#endif
