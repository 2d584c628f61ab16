// The obvious kernel of each product: one work-item per element of y, one element at a time.
// What a first draft would be; `bench kernels` holds ours beside it.
// Shapes:  W (rows, cols) in the layout's own parts, x (cols, n), y (rows, n), row-major
// Launch:  global (n, rows)

__kernel void naive_csr(const int n, __global const int* indptr, __global const int* indices,
                        __global const float* values, __global const float* x, __global float* y)
{
    const int column = get_global_id(0), row = get_global_id(1);
    float sum = 0.0f;
    for (int i = indptr[row]; i < indptr[row + 1]; ++i) sum += values[i] * x[indices[i] * n + column];
    y[row * n + column] = sum;
}

__kernel void naive_sell(const int n, __global const int* starts, __global const int* lengths,
                         __global const int* order, __global const int* indices,
                         __global const float* values, __global const float* x, __global float* y)
{
    const int column = get_global_id(0), place = get_global_id(1);
    const int from = starts[place / 64] + place % 64;
    float sum = 0.0f;
    for (int k = 0; k < lengths[place]; ++k)
        sum += values[from + 64 * k] * x[indices[from + 64 * k] * n + column];
    y[order[place] * n + column] = sum;
}

__kernel void naive_block(const int n, const int height, const int width, const int cols,
                          __global const int* indptr, __global const int* indices,
                          __global const float* values, __global const float* x, __global float* y)
{
    const int column = get_global_id(0), row = get_global_id(1), inner = row % height;
    float sum = 0.0f;
    for (int b = indptr[row / height]; b < indptr[row / height + 1]; ++b)
        for (int j = 0; j < width && indices[b] * width + j < cols; ++j)
            sum += values[(b * height + inner) * width + j] * x[(indices[b] * width + j) * n + column];
    y[row * n + column] = sum;
}

__kernel void naive_bitmask(const int n, const int words, __global const uint* masks,
                            __global const int* starts, __global const float* values,
                            __global const float* x, __global float* y)
{
    const int column = get_global_id(0), row = get_global_id(1);
    int at = starts[row];
    float sum = 0.0f;
    for (int w = 0; w < words; ++w)
        for (int bit = 0; bit < 32; ++bit)
            if (masks[row * words + w] >> bit & 1) sum += values[at++] * x[(32 * w + bit) * n + column];
    y[row * n + column] = sum;
}

__kernel void naive_nm(const int n, const int kept, const int some, const int of,
                       __global const uchar* positions, __global const float* values,
                       __global const float* x, __global float* y)
{
    const int column = get_global_id(0), row = get_global_id(1);
    float sum = 0.0f;
    for (int k = 0; k < kept; ++k) {
        const int inside = positions[row * ((kept + 1) / 2) + k / 2] >> (k % 2 * 4) & 15;
        sum += values[row * kept + k] * x[(k / some * of + inside) * n + column];
    }
    y[row * n + column] = sum;
}

// Dense: x (n, k), W (m, k), y (n, m). Launch: global (m, n)
__kernel void naive_gemm_f32(const int m, const int k, __global const float* x,
                             __global const float* weight, __global float* y)
{
    const int column = get_global_id(0), row = get_global_id(1);
    float sum = 0.0f;
    for (int i = 0; i < k; ++i) sum += x[row * k + i] * weight[column * k + i];
    y[row * m + column] = sum;
}

__kernel void naive_gemm_i8(const int m, const int k, __global const float* x,
                            __global const char* codes, __global const float* scale,
                            __global float* y)
{
    const int column = get_global_id(0), row = get_global_id(1);
    float sum = 0.0f;
    for (int i = 0; i < k; ++i) sum += x[row * k + i] * codes[column * k + i];
    y[row * m + column] = sum * scale[column];
}

__kernel void naive_gemm_i4(const int m, const int k, const int group, __global const float* x,
                            __global const uchar* codes, __global const float* scale,
                            __global float* y)
{
    const int column = get_global_id(0), row = get_global_id(1);
    float sum = 0.0f;
    for (int i = 0; i < k; ++i) {
        const int code = codes[column * ((k + 1) / 2) + i / 2] >> (i % 2 * 4) & 15;
        sum += x[row * k + i] * ((code ^ 8) - 8) * scale[column * (k / group) + i / group];
    }
    y[row * m + column] = sum;
}
