// The border of the inexact row solver: a few conjugate gradient steps for each row, from where the row stands (Takács,
// Pilászy & Tikk 2011).
//
// All of it happens in other coordinates: y = Eᵀ x for an orthogonal E that makes the dense part of the rows' matrices
// diagonal. It then costs a row as much as its ridge does, and every row has a good diagonal preconditioner.
#pragma once

#include <cstdint>

#include "rows.h"

namespace forgetcli {

// A change of coordinates: rows of `dimension` elements times a matrix (dimension, width), whose columns from
// `dimension` on are 0; width is a multiple of 16.
template <typename T>
struct Rotation {
    const T* matrix;
    int dimension, width;
};

// The rows' systems. In the new coordinates the matrix of a row of n entries is
//
//     Σ_e w_e y yᵀ + diag(dense) + ridge I,        about diag(n · slope + offset),
//
// with its weights and its ridge as the objective has them, whose `gram` is not looked at.
template <typename T>
struct ConjugateSystem {
    RowObjective<T> objective;
    Rotation<T> forth, back;   // E and Eᵀ
    const T* table;            // (n_other, width): the other side's rows, the constant of a bias among them, times E
    const T* dense;            // (width,)
    const T* slope;            // (width,)
    const T* offset;           // (width,), above 0 also where padded
    const T* factors;          // (rows, rank): where each row starts
    const T* bias;             // (rows,), not looked at without biases
    int steps;
};

// Where solved rows go. `loss` gets the row's part of the objective at its solution.
template <typename T>
struct ConjugateSolution {
    T* factors;    // (rank,)
    T* bias;       // scalar
    double* loss;  // scalar
};

namespace {
// Where the solution of the i-th row behind `first` goes.
template <typename T>
inline ConjugateSolution<T> solution_at(const ConjugateSolution<T>& first, std::int64_t i, int rank) {
    return {first.factors + i * rank, first.bias + i, first.loss + i};
}
}  // namespace

// How far one row's iteration is.
template <typename T>
struct ConjugateProgress {
    T square;     // the residual's, in the preconditioner's norm
    T rounding;   // what is left of it when only rounding is: there is nothing more to do
    double loss;

    bool unfinished() const { return square > rounding; }
};

// One row's iteration, with memory of state_size elements.
template <typename T>
struct ConjugateState {
    T* memory;
    ConjugateProgress<T> progress;
};

// The entries [begin, end) of a row of many, and what they contribute.
template <typename T>
struct ConjugatePart {
    const ConjugateState<T>* row;
    std::int64_t begin, end;
    T* sums;      // (width,)
    double loss;
    std::int64_t at;  // the first entry that is yet to come
};

template <typename T>
struct ConjugateKernels {
    // Elements of scratch memory that one thread needs, and of a row's state.
    std::int64_t (*scratch_size)(int width);
    std::int64_t (*state_size)(int width);
    // Rows of the table that stay in the cache.
    int (*cached)(int width);

    // Rows [begin, end) of a matrix, (count, rank) with `last` behind each (null: a constant 1; neither where the
    // rotation has no room), rotated to out (end − begin, width).
    void (*rotate)(const Rotation<T>&, const T* factors, const T* last, int rank, std::int64_t begin, std::int64_t end,
                   T* scratch, T* out);
    // Solves whole rows; the row at position i starts from, and writes, the i-th one behind the first. The first
    // position whose solution is not finite, or NO_ROW.
    std::int64_t (*solve)(const ConjugateSystem<T>&, const RowRange&, T* scratch, ConjugateSolution<T> first);

    // The same for rows of many entries, several of them together: they meet in every piece of the table that the cache
    // holds. The row at `position` is rotated into its state;
    void (*start)(const ConjugateSystem<T>&, std::int64_t position, T* scratch, T* state);
    // the parts' contributions to their rows' first residuals, with their loss,
    void (*residuals)(const ConjugateSystem<T>&, ConjugatePart<T>* parts, std::int64_t count, T* scratch);
    // are added to a row's residual;
    void (*begin)(const ConjugateSystem<T>&, std::int64_t entries, const ConjugatePart<T>* parts, std::int64_t count,
                  ConjugateState<T>&);
    // those to the products of the rows' matrices with their directions
    void (*products)(const ConjugateSystem<T>&, ConjugatePart<T>* parts, std::int64_t count, T* scratch);
    // are added too, and a step is taken;
    void (*step)(const ConjugateSystem<T>&, const ConjugatePart<T>* parts, std::int64_t count, ConjugateState<T>&);
    // and the solution is written; false: not finite.
    bool (*finish)(const ConjugateSystem<T>&, const ConjugateState<T>&, T* scratch, ConjugateSolution<T> out);
};

FORGETCLI_DECLARE_KERNELS(ConjugateKernels, conjugate_kernels)

}  // namespace forgetcli
