// The row kernels' border: what the binding hands to the variants compiled for each instruction set.
#pragma once

#include <cstdint>

#include "kernels.h"

namespace forgetcli {

// One side's half of the objective, seen from that side's rows. Row a has the entries e in
// [indptr[a], indptr[a + 1]); entry e sees x_e, the other side's factors at indices[e] with a constant 1 appended
// when `with_bias`. With p the row's own parameters (factors, then its bias), the row's part of the objective is
//
//     Σ_e c_e (t_e − x_e·p)²  −  background Σ_e (x_e·p)²  +  pᵀ gram p  +  ridge |p|²
//
// with c_e = confidence_slope · value + confidence_offset, t_e = target_slope · value + target_offset − the other
// side's bias, and ridge = reg · (number of entries, if reg_by_count). `gram` is the dense part
// background · Σ_all x xᵀ, or null where the background is 0. Values are in memory as they are, or in a byte each: their
// number among at most 256 levels.
template <typename T>
struct RowObjective {
    const std::int64_t* indptr;
    const std::int32_t* indices;
    const float* values;        // (nnz,), or null where there are
    const std::uint8_t* codes;  // (nnz,)
    const float* levels;        // (256,)
    std::int64_t nnz;
    const T* other;       // (n_other, rank)
    const T* other_bias;  // (n_other,) or null
    std::int64_t n_other;
    int rank;
    bool with_bias;
    const T* gram;  // (rank, rank) or null
    T confidence_slope, confidence_offset;
    T target_slope, target_offset;
    T background;
    double reg;
    bool reg_by_count;

    int dimension() const { return rank + (with_bias ? 1 : 0); }
};

// Where a solved row goes. `loss` gets the row's part of the objective at the solution, `product` the right-hand side
// times the solution: the solution's square in the norm of its normal matrix.
template <typename T>
struct RowSolution {
    T* factors;    // (rank,)
    T* bias;       // scalar, or null
    double* loss;     // scalar
    double* product;  // scalar
};

namespace {
// The value of an entry.
template <typename T>
inline float value_of(const RowObjective<T>& o, std::int64_t entry) {
    return o.codes ? o.levels[o.codes[entry]] : o.values[entry];
}

// Where the solution of the i-th row behind `first` goes.
template <typename T>
inline RowSolution<T> solution_at(const RowSolution<T>& first, std::int64_t i, int rank) {
    return {first.factors + i * rank, first.bias ? first.bias + i : nullptr, first.loss + i, first.product + i};
}
}  // namespace

constexpr std::int64_t NO_ROW = INT64_MAX;

// The rows at the positions [begin, end) of a list (null: of all rows, in order) that have at most `longest` entries.
struct RowRange {
    const std::int64_t* listed;
    std::int64_t begin, end, longest;
};

// The hot loops of one instruction set.
template <typename T>
struct RowKernels {
    // Elements of scratch memory that one thread needs for rows of this dimension, and that `accumulate` fills.
    std::int64_t (*scratch_size)(int dimension);
    std::int64_t (*partial_size)(int dimension);

    // Normal equations of a part of one row: entries [begin, end), written to partial[0, partial_size).
    void (*accumulate)(const RowObjective<T>&, std::int64_t begin, std::int64_t end, T* scratch, T* partial);
    // Adds what another part of the row contributes to a sum of partials.
    void (*add_partial)(int dimension, const T* partial, T* sum);
    // Solves a row whose parts have been added up; false: singular or not finite.
    bool (*solve_sum)(const RowObjective<T>&, std::int64_t row, const T* sum, T* scratch, RowSolution<T>);
    // Accumulates and solves whole rows; the one at position i writes behind `first`. The first position whose row is
    // singular or not finite, or NO_ROW.
    std::int64_t (*solve)(const RowObjective<T>&, const RowRange&, T* scratch, RowSolution<T> first);
    // Σ x xᵀ over n contiguous rows of x (n, rank), into partial (rank, rank), the lower triangle mirrored.
    void (*gram)(const T* x, std::int64_t n, int rank, T* scratch, T* partial);
};

FORGETCLI_DECLARE_KERNELS(RowKernels, row_kernels)

}  // namespace forgetcli
