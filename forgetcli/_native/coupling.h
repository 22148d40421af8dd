// The coupling kernel's border: a direction of the other side's parameters, and its product.
#pragma once

#include <cstdint>

#include "rows.h"

namespace forgetcli {

// The other side's factors x and a small change δ of them side by side, so that one look-up in memory brings both.
// Row j is x_j, padded with zeros to `width` elements, then δ_j likewise; width is a multiple of 16. In `half` they are
// stored as 16-bit floats, multiplied by powers of two that bring the largest of each near 1: 11 bits of a number that
// enters a small correction, for half of the memory traffic that bounds this kernel.
template <typename T>
struct PairTable {
    const void* rows;
    int width;
    bool half;
    T x_scale, delta_scale;
};

// The product with the mixed second derivative, halved: how a row's half gradient at p changes, to first order, when
// the other side moves along δ (and its biases along `delta_bias`); with `exactly`, to all orders, of which there are
// two. `gram` in the objective is background · Σ_all (x δᵀ + δ xᵀ).
template <typename T>
struct Coupling {
    RowObjective<T> objective;
    PairTable<T> pairs;
    const T* delta_bias;  // (n_other,) or null
    bool exactly;
};

template <typename T>
struct CouplingKernels {
    // Whether this instruction set stores pairs in 16 bits, for this type.
    bool has_half;
    // Fills rows [begin, end) of a pair table from x and δ, both (count, rank).
    void (*fill)(const PairTable<T>& table, const T* x, const T* delta, std::int64_t begin, std::int64_t end, int rank,
                 void* rows);
    // out (dimension,); scratch has 2 · width elements.
    void (*couple)(const Coupling<T>&, std::int64_t row, const T* factors, T bias, T* scratch, T* out);
};

#define FORGETCLI_DECLARE_COUPLING(variant)          \
    namespace variant {                              \
    const CouplingKernels<float>& coupling_float();   \
    const CouplingKernels<double>& coupling_double(); \
    }
FORGETCLI_DECLARE_COUPLING(portable)
FORGETCLI_DECLARE_COUPLING(avx2)
FORGETCLI_DECLARE_COUPLING(avx512)

}  // namespace forgetcli
