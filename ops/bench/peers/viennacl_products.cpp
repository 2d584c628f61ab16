// ViennaCL's sparse products behind four C functions; compiled by viennacl_products.py.
#define VIENNACL_WITH_OPENCL
#define CL_TARGET_OPENCL_VERSION 120
#include <viennacl/compressed_matrix.hpp>
#include <viennacl/linalg/prod.hpp>
#include <viennacl/linalg/sparse_matrix_operations.hpp>
#include <viennacl/matrix.hpp>
#include <viennacl/vector.hpp>

#include <memory>
#include <vector>

namespace {

using Matrix = viennacl::matrix_base<float>;

struct Product {
    viennacl::compressed_matrix<float> weight;
    viennacl::vector<float> x, y;            // one column
    viennacl::matrix<float> columns, result;  // several, row-major
    int rows, n;
};

std::unique_ptr<Product> held;

}  // namespace

extern "C" {

void prepare(const int rows, const int cols, const int stored, const int n, const unsigned* indptr,
             const unsigned* indices, const float* values, const float* x)
{
    held.reset(new Product());
    held->rows = rows, held->n = n;
    held->weight.set(indptr, indices, values, rows, cols, stored);
    if (n == 1) {
        held->x.resize(cols, false), held->y.resize(rows, false);
        viennacl::fast_copy(x, x + cols, held->x.begin());
    } else {
        std::vector<std::vector<float>> lines(cols, std::vector<float>(n));
        for (int i = 0; i < cols; ++i)
            for (int j = 0; j < n; ++j) lines[i][j] = x[i * n + j];
        held->columns.resize(cols, n, false), held->result.resize(rows, n, false);
        viennacl::copy(lines, held->columns);
    }
    viennacl::backend::finish();
}

void multiply()
{
    if (held->n == 1)
        held->y = viennacl::linalg::prod(held->weight, held->x);
    else
        viennacl::linalg::prod_impl(held->weight, static_cast<const Matrix&>(held->columns),
                                    static_cast<Matrix&>(held->result));
    viennacl::backend::finish();
}

void read(float* y)
{
    if (held->n == 1) {
        viennacl::fast_copy(held->y.begin(), held->y.end(), y);
        return;
    }
    std::vector<std::vector<float>> lines(held->rows, std::vector<float>(held->n));
    viennacl::copy(held->result, lines);
    for (int i = 0; i < held->rows; ++i)
        for (int j = 0; j < held->n; ++j) y[i * held->n + j] = lines[i][j];
}

const char* device()
{
    static const std::string name = viennacl::ocl::current_device().name();
    return name.c_str();
}

}
