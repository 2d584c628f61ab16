// transpose: y[i_perm[0], i_perm[1], ...] = x[i_0, i_1, ...].
// Shapes:  transpose         x of up to 8 axes, y with the axes in another order
//          transpose_matrix  x (batch, rows, cols), y (batch, cols, rows)
// Launch:  transpose         global (count rounded up to GROUP), local (GROUP): one element of y each
//          transpose_matrix  global (ceil(cols / TILE) * GROUP, ceil(rows / TILE) * batch),
//                            local (GROUP, 1): a TILE x TILE tile per group, through local memory, so
//                            that reads and writes both run along rows
// Assumes: elements of 4 bytes, moved bit for bit; x and y do not overlap. sizes are the axes of y,
//          strides the distance in x of one step along each; unused leading axes have size 1
#ifndef MATRIX
#define MATRIX 0  // 0 builds transpose, 1 builds transpose_matrix
#endif
#ifndef GROUP
#define GROUP 256  // work-items per group; multiple of 64 and of TILE, at most 256
#endif
#ifndef TILE
#define TILE 32  // edge of a tile; local bytes: TILE * (TILE + 1) * 4
#endif

#if MATRIX
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void transpose_matrix(const int rows, const int cols,
                      __global const uint* restrict x, __global uint* restrict y)
{
    __local uint tile[TILE][TILE + 1];  // + 1: a column hits TILE different banks
    const int down = (rows + TILE - 1) / TILE, batch = get_global_id(1) / down;
    const int row0 = get_global_id(1) % down * TILE, col0 = get_group_id(0) * TILE;
    const int across = get_local_id(0) % TILE, first = get_local_id(0) / TILE;
    const int base = batch * rows * cols;

    for (int i = first; i < TILE; i += GROUP / TILE)
        if (row0 + i < rows && col0 + across < cols)
            tile[i][across] = x[base + (row0 + i) * cols + col0 + across];
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int i = first; i < TILE; i += GROUP / TILE)
        if (col0 + i < cols && row0 + across < rows)
            y[base + (col0 + i) * rows + row0 + across] = tile[across][i];
}
#else
// Splits off the index along one axis; `rest` keeps what is left for the axes before it.
static int along(int* rest, const int size, const int stride)
{
    const int index = *rest % size;
    *rest /= size;
    return index * stride;
}

__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void transpose(const int count, const int8 sizes, const int8 strides,
               __global const uint* restrict x, __global uint* restrict y)
{
    const int i = get_global_id(0);
    if (i >= count) return;

    int rest = i, from = along(&rest, sizes.s7, strides.s7);
    from += along(&rest, sizes.s6, strides.s6);
    from += along(&rest, sizes.s5, strides.s5);
    from += along(&rest, sizes.s4, strides.s4);
    from += along(&rest, sizes.s3, strides.s3);
    from += along(&rest, sizes.s2, strides.s2);
    from += along(&rest, sizes.s1, strides.s1);
    from += along(&rest, sizes.s0, strides.s0);
    y[i] = x[from];
}
#endif
