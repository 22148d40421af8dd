// The border of the kernels that pass over the entries without forming a row's matrix: gradients, the product with a
// direction of the other side's parameters, and the normal matrices' inverses.
#pragma once

#include <cstdint>

#include "rows.h"

namespace forgetcli {

// The other side's factors x, and for the coupling a small change δ of them side by side with it, so that one look-up in
// memory brings both. Row j, of `stride` elements, is x_j, padded with zeros to `width` of them, then δ_j likewise; width
// is a multiple of 16. In `half` they are stored as 16-bit floats, multiplied by powers of two that bring the largest of
// each near 1: 11 bits of a number that enters a small correction, for half of the memory traffic.
template <typename T>
struct PairTable {
    const void* rows;
    int width, stride;
    bool half;
    T x_scale, delta_scale;      // powers of two,
    T x_unscale, delta_unscale;  // and their inverses
    int padded = 0;  // a row's parameters, a bias behind its factors, are padded with zeros to so many, a multiple of 16
};

// The product with the mixed second derivative, halved: how a row's half gradient at p changes, to first order, when
// the other side moves along δ (and its biases along `delta_bias`).
template <typename T>
struct Coupling {
    RowObjective<T> objective;
    PairTable<T> pairs;
    const T* delta_bias;      // (n_other,) or null
    const T* direction_gram;  // (rank, rank): background · Σ_all (x δᵀ + δ xᵀ), or null where the background is 0
};

// What a row's derivatives at its own parameters are, but for its half gradient.
struct RowValue {
    double loss;    // the row's part of the objective
    double square;  // p's square in the norm of the row's normal matrix
};

// The normal matrices of the rows, for the method of conjugate gradients, in coordinates x̃ = Eᵀ x where the part of the
// unobserved pairs is diagonal, and the mean matrix of an entry is nearly so: a row of n entries has
//
//     Σ_e w_e x̃_e x̃_eᵀ  +  dense  +  ridge I,    preconditioned by   n [ mean  border ]  +  dense  +  ridge I
//                                                                       [ borderᵀ  · ]
//
// with the bias, where there is one, as the last row and column. The table is of x̃; the objective's `gram` is not used.
template <typename T>
struct NormalSystem {
    RowObjective<T> objective;
    PairTable<T> table;
    const T* mean;    // (padded,), the diagonal of Σ w x̃ x̃ᵀ, over all entries, by their number
    const T* border;  // (padded,), Σ w x̃ likewise; 0 without biases
    const T* dense;   // (padded,)
    T tolerance;      // stop at this residual, relative to the first, in the preconditioner's norm,
    T floor;          // or where the square of that norm is no more than this for each of the row's entries
    int max_iterations;
};

// Parameters and gradients are `padded` elements, each in the coordinates that the table is in.
template <typename T>
struct CouplingKernels {
    // Whether this instruction set stores pairs in 16 bits, for this type.
    bool has_half;
    // out = vᵀ M, (width,), a multiple of 16: v has `rows` elements, M (rows, width).
    void (*multiply)(const T* v, const T* matrix, int rows, int width, T* out);
    // Fills rows [begin, end) of a table from x and, where its stride has room, δ, both (count, rank), each times
    // `vectors` (rank, width) unless that is null; scratch has `width` elements.
    void (*fill)(const PairTable<T>& table, const T* vectors, const T* x, const T* delta, std::int64_t begin,
                 std::int64_t end, int rank, T* scratch, void* rows);
    // The half gradient at p, from a table that is not in 16 bits; scratch has `width` elements. `diagonal` (padded,) is
    // the dense part where the objective has no Gram, or null.
    RowValue (*gradient)(const RowObjective<T>&, const PairTable<T>&, std::int64_t row, const T* diagonal, const T* p,
                         T* scratch, T* out);
    // The row's part of the objective at p, from such a table; scratch has `width` elements.
    double (*loss)(const RowObjective<T>&, const PairTable<T>&, std::int64_t row, const T* p, T* scratch);
    // Scratch has `width` elements.
    void (*couple)(const Coupling<T>&, std::int64_t row, const T* p, T* scratch, T* out);
    // The square of a right-hand side in the norm of the row's preconditioner; scratch has 5 · padded elements.
    double (*weigh)(const NormalSystem<T>&, std::int64_t row, const T* rhs, T* scratch);
    // Solves a row's system; its right-hand side is used up, scratch has 6 · padded elements.
    void (*solve)(const NormalSystem<T>&, std::int64_t row, T* rhs, T* scratch, T* out);
};

FORGETCLI_DECLARE_KERNELS(CouplingKernels, coupling_kernels)

}  // namespace forgetcli
