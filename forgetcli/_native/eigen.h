// The eigenvectors of a symmetric matrix, by one thread in one order. LAPACK's are not the same bits for any number of
// its threads, and what is trained with them would not be either.
#pragma once

#include <cstdint>

namespace forgetcli {

namespace {
// Elements of `work`.
inline std::int64_t eigen_work(int n) { return static_cast<std::int64_t>(n) * (n + 3); }
}  // namespace

// `matrix` (n, n), row by row, of which both triangles are read, becomes the eigenvectors, one a row, of the eigenvalues
// in `values` (n,), in no order. A matrix that is not finite gives values that are not.
#define FORGETCLI_DECLARE_EIGEN(variant)                                       \
    namespace variant {                                                        \
    void eigen_symmetric(int n, double* matrix, double* values, double* work); \
    }
FORGETCLI_DECLARE_EIGEN(portable)
FORGETCLI_DECLARE_EIGEN(avx2)
FORGETCLI_DECLARE_EIGEN(avx512)

}  // namespace forgetcli
