// The row kernels of rows.h for one instruction set.
#include "hot_system.h"

namespace forgetcli {
namespace FORGETCLI_VARIANT {
namespace {

template <typename T>
void write_solution(const RowObjective<T>& o, const T* x, RowSolution<T> out) {
    for (int j = 0; j < o.rank; ++j) out.factors[j] = x[j];
    if (out.bias) *out.bias = o.with_bias ? x[o.rank] : T(0);
}

// Solves the system in scratch memory. At the solution the row's part of the objective is Σ c t² − rhs · x.
template <typename T>
bool finish_row(const RowObjective<T>& o, const Shape& s, std::int64_t entries, const Scratch<T>& scratch,
                RowSolution<T> out) {
    const Partial<T> system(scratch.system, s);
    complete_system(o, s, entries, system);
    T* rhs = system.rhs(s);
    T* pivots = scratch.work + s.stride;
    for (int j = 0; j < s.d; ++j) scratch.rhs[j] = rhs[j];
    if (!factor_system(s, system.matrix, system.lower, scratch.work, pivots)) return false;
    for (int j = 0; j < s.stride; ++j) scratch.x[j] = rhs[j];
    if (!solve_factored(s, system.matrix, system.lower, pivots, scratch.x)) return false;
    write_solution(o, scratch.x, out);
    double product = 0;
    for (int j = 0; j < s.d; ++j) product += double(scratch.rhs[j]) * double(scratch.x[j]);
    *out.product = product;
    *out.loss = system.read_constant() - product;
    return true;
}

// A row without entries asks for nothing: its solution is 0, whatever its regularisation.
template <typename T>
bool solve_empty(const RowObjective<T>& o, RowSolution<T> out) {
    for (int j = 0; j < o.rank; ++j) out.factors[j] = 0;
    if (out.bias) *out.bias = 0;
    *out.loss = *out.product = 0;
    return true;
}

template <typename T>
bool solve(const RowObjective<T>& o, std::int64_t row, T* memory, RowSolution<T> out) {
    const std::int64_t begin = o.indptr[row], end = o.indptr[row + 1];
    if (begin == end) return solve_empty(o, out);
    const Shape s = shape_of<T>(o.dimension());
    const Scratch<T> scratch(memory, s);
    accumulate(o, begin, end, memory, scratch.system);
    return finish_row(o, s, end - begin, scratch, out);
}

template <typename T>
bool solve_partials(const RowObjective<T>& o, std::int64_t row, const T* partials, std::int64_t count, T* memory,
                    RowSolution<T> out) {
    const Shape s = shape_of<T>(o.dimension());
    const Scratch<T> scratch(memory, s);
    const std::int64_t size = partial_elements<T>(s);
    double constant = 0;
    for (std::int64_t j = 0; j < size; ++j) scratch.system[j] = 0;
    for (std::int64_t p = 0; p < count; ++p) {
        T* partial = const_cast<T*>(partials) + p * size;
        constant += Partial<T>(partial, s).read_constant();
        for (std::int64_t j = 0; j < size; ++j) scratch.system[j] += partial[j];
    }
    Partial<T>(scratch.system, s).write_constant(constant);
    return finish_row(o, s, o.indptr[row + 1] - o.indptr[row], scratch, out);
}

template <typename T>
void gram(const T* x, std::int64_t n, int rank, T* memory, T* out) {
    const RowObjective<T> all{nullptr, nullptr, nullptr, n, x, nullptr, n, rank, false, nullptr, 0, 1, 0, 0, 0, 0, false};
    const Shape s = shape_of<T>(rank);
    const Scratch<T> scratch(memory, s);
    accumulate(all, std::int64_t{0}, n, memory, scratch.system);
    const Partial<T> sums(scratch.system, s);
    for (int i = 0; i < rank; ++i) {
        for (int j = 0; j <= i; ++j) {
            const T value = i < s.full ? sums.matrix[j * static_cast<std::int64_t>(s.full) + i]
                                       : sums.lower[(i - s.full) * s.stride + j];
            out[i * static_cast<std::int64_t>(rank) + j] = out[j * static_cast<std::int64_t>(rank) + i] = value;
        }
    }
}

template <typename T>
const RowKernels<T>& kernels() {
    static const RowKernels<T> table{scratch_size<T>, partial_size<T>, accumulate<T>, solve_partials<T>,
                                     solve<T>,        gram<T>};
    return table;
}

}  // namespace

const RowKernels<float>& rows_float() { return kernels<float>(); }
const RowKernels<double>& rows_double() { return kernels<double>(); }

}  // namespace FORGETCLI_VARIANT
}  // namespace forgetcli
