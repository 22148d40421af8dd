// The border of the kernels that pass over the entries without forming a row's matrix: gradients, the product with a
// direction of the other side's parameters, and the normal matrices' inverses.
#pragma once

#include <cstdint>

#include "rows.h"

namespace forgetcli {

// The other side's factors x, and for the coupling a small change δ of them side by side with it, so that one look-up in
// memory brings both. Row j, of `stride` elements, is x_j, padded with zeros to `width` of them, then δ_j likewise; width
// is a multiple of 16. In `half` they are
// stored as 16-bit floats, multiplied by powers of two that bring the largest of each near 1: 11 bits of a number that
// enters a small correction, for half of the memory traffic that bounds this kernel.
template <typename T>
struct PairTable {
    const void* rows;
    int width, stride;
    bool half;
    T x_scale, delta_scale;      // powers of two,
    T x_unscale, delta_unscale;  // and their inverses
};

// The product with the mixed second derivative, halved: how a row's half gradient at p changes, to first order, when
// the other side moves along δ (and its biases along `delta_bias`).
template <typename T>
struct Coupling {
    RowObjective<T> objective;
    PairTable<T> pairs;
    const T* delta_bias;      // (n_other,) or null
    const T* direction_gram;  // background · Σ_all (x δᵀ + δ xᵀ), or null where the background is 0
};

// Where a row's derivatives at its own parameters p go.
template <typename T>
struct RowGradient {
    T* gradient;     // (dimension,), halved
    double* loss;    // scalar, the row's part of the objective
    double* square;  // scalar, p's square in the norm of the row's normal matrix
};

// The normal matrices of the rows, for the method of conjugate gradients, preconditioned by one shared pencil: a row of
// n entries has about E (n · slope + offset) Eᵀ for its inverse, inverted in the middle, with the columns of E for
// eigenvectors. `gram` in the objective is background · Σ_all x xᵀ.
template <typename T>
struct NormalSystem {
    RowObjective<T> objective;
    PairTable<T> table;
    const T* vectors;             // E, (dimension, padded), and Eᵀ likewise: rows padded with zeros
    const T* vectors_transposed;
    const T* slope;               // (padded,)
    const T* offset;              // (padded,), above 0 also where padded
    int padded;                   // dimension, rounded up to a multiple of 16
    T tolerance;                  // stop at this residual, relative to the first, in the preconditioner's norm
    int max_iterations;
};

template <typename T>
struct CouplingKernels {
    // Whether this instruction set stores pairs in 16 bits, for this type.
    bool has_half;
    // Fills rows [begin, end) of a table from x and, where its stride has room, δ, both (count, rank).
    void (*fill)(const PairTable<T>& table, const T* x, const T* delta, std::int64_t begin, std::int64_t end, int rank,
                 void* rows);
    // The half gradient at p, from a table that is not in 16 bits; scratch has 2 · width elements.
    void (*gradient)(const RowObjective<T>&, const PairTable<T>&, std::int64_t row, const T* factors, T bias,
                     T* scratch, RowGradient<T>);
    // out (dimension,); scratch has 2 · width elements.
    void (*couple)(const Coupling<T>&, std::int64_t row, const T* factors, T bias, T* scratch, T* out);
    // Solves a row's system for rhs (dimension,) into out (dimension,); scratch has 7 · padded elements.
    void (*solve)(const NormalSystem<T>&, std::int64_t row, const T* rhs, T* scratch, T* out);
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
