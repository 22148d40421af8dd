// The kernels of the linearised half-sweep as Python functions: the coupling product, and the normal matrices' inverses.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/tuple.h>

#include <cmath>
#include <tuple>

#include "coupling.h"
#include "row_border.h"

namespace forgetcli {

namespace {

// Rows of a pair table that one task fills.
constexpr std::int64_t FILL_ROWS = 2048;
// A table's rows are whole numbers of the widest vectors, and of cache lines.
constexpr int WIDTH_STEP = 16;

template <typename T>
const CouplingKernels<T>& coupling_kernels() {
    switch (current_variant()) {
#ifdef FORGETCLI_HAS_avx512
        case Variant::avx512: return choose<T>(avx512::coupling_float(), avx512::coupling_double());
#endif
#ifdef FORGETCLI_HAS_avx2
        case Variant::avx2: return choose<T>(avx2::coupling_float(), avx2::coupling_double());
#endif
        default: return choose<T>(portable::coupling_float(), portable::coupling_double());
    }
}

// The power of two that brings the largest magnitude into [1, 2).
template <typename T>
T scale_to_one(const T* x, std::int64_t count) {
    T largest = 0;
    for (std::int64_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(x[i]));
    if (!(largest > 0) || !std::isfinite(largest)) return T(1);
    int exponent;
    std::frexp(largest, &exponent);
    return std::ldexp(T(1), 1 - std::clamp(exponent, -100, 100));
}

// A pair table and its memory.
template <typename T>
class FilledPairs {
  public:
    FilledPairs(Input<T, 2> x, std::optional<Input<T, 2>> delta, bool half, int threads)
        : kernels_(coupling_kernels<T>()), count_(static_cast<std::int64_t>(x.shape(0))) {
        const int rank = static_cast<int>(x.shape(1));
        table_.half = half && kernels_.has_half;
        table_.width = (rank + WIDTH_STEP - 1) / WIDTH_STEP * WIDTH_STEP;
        table_.stride = delta ? 2 * table_.width : table_.width;
        table_.x_scale = table_.half ? scale_to_one(x.data(), count_ * rank) : T(1);
        table_.delta_scale = table_.half && delta ? scale_to_one(delta->data(), count_ * rank) : T(1);
        table_.x_unscale = 1 / table_.x_scale;
        table_.delta_unscale = 1 / table_.delta_scale;
        const std::int64_t bytes = count_ * table_.stride * static_cast<std::int64_t>(table_.half ? 2 : sizeof(T));
        memory_.reset(new_buffer<char>(bytes));
        table_.rows = memory_.get();
        parallel_for((count_ + FILL_ROWS - 1) / FILL_ROWS, threads, [&](std::int64_t t, int) {
            kernels_.fill(table_, x.data(), delta ? delta->data() : nullptr, t * FILL_ROWS, std::min(count_, (t + 1) * FILL_ROWS), rank,
                          memory_.get());
        });
    }
    const PairTable<T>& table() const { return table_; }

  private:
    struct Free {
        void operator()(char* p) const { ::operator delete(p, std::align_val_t(CACHE_LINE)); }
    };
    const CouplingKernels<T>& kernels_;
    std::int64_t count_;
    PairTable<T> table_{};
    std::unique_ptr<char, Free> memory_;
};

template <typename T>
Output<T, 2> couple_rows(Input<std::int64_t, 1> indptr, Input<std::int32_t, 1> indices, Input<float, 1> values,
                         Input<T, 2> other, std::optional<Input<T, 1>> other_bias,
                         std::optional<Input<T, 2>> direction_gram, bool with_bias, Pair confidence, Pair target,
                         double background, Input<T, 2> factors, Input<T, 1> bias, Input<T, 2> direction,
                         std::optional<Input<T, 1>> direction_bias, bool half, int threads) {
    const Arguments<T> arguments{indptr,    indices,    values, other,      other_bias, direction_gram,
                                 with_bias, confidence, target, background, 0.0,        false};
    const RowObjective<T> o = arguments.checked();
    const std::int64_t n_rows = arguments.n_rows();
    require(static_cast<std::int64_t>(factors.shape(0)) == n_rows && static_cast<int>(factors.shape(1)) == o.rank,
            "factors must be (rows, rank)");
    require(static_cast<std::int64_t>(bias.shape(0)) == n_rows, "bias must be (rows,)");
    require(direction.shape(0) == other.shape(0) && direction.shape(1) == other.shape(1),
            "direction must have the shape of other");
    require(!direction_bias || direction_bias->shape(0) == direction.shape(0),
            "direction_bias must have a value for each row of direction");
    const int d = o.dimension();
    T* product;
    auto out = new_matrix<T>(n_rows, d, &product);
    const FilledPairs<T> pairs(other, direction, half, threads);
    const Coupling<T> coupling{o, pairs.table(), direction_bias ? direction_bias->data() : nullptr};
    const CouplingKernels<T>& kernels = coupling_kernels<T>();
    ScratchPool<T> scratch(threads, 2 * pairs.table().width);
    for_rows(o, RowList{nullptr, n_rows}, 16 * d, o.gram ? d * d : d, threads, [](std::int64_t) { return true; },
             [&](std::int64_t row, int worker) {
                 kernels.couple(coupling, row, factors.data() + row * o.rank, bias.data()[row], scratch.of(worker),
                                product + row * d);
             });
    return out;
}

// A matrix, transposed or not, with its rows padded by zeros.
template <typename T>
std::vector<T> padded_rows(const Input<T, 2>& matrix, int padded, bool transposed) {
    const int d = static_cast<int>(matrix.shape(0));
    std::vector<T> out(static_cast<std::size_t>(d) * padded, T(0));
    for (int i = 0; i < d; ++i) {
        for (int j = 0; j < d; ++j) out[i * padded + j] = matrix.data()[transposed ? j * d + i : i * d + j];
    }
    return out;
}

template <typename T>
std::vector<T> padded_row(const Input<T, 1>& row, int padded, T filler) {
    std::vector<T> out(padded, filler);
    std::copy(row.data(), row.data() + row.shape(0), out.begin());
    return out;
}

// Solves each row's normal equations for a new right-hand side, by preconditioned conjugate gradients.
template <typename T>
std::tuple<Output<T, 2>, Output<T, 1>> solve_normal(
    Input<std::int64_t, 1> indptr, Input<std::int32_t, 1> indices, Input<float, 1> values, Input<T, 2> other,
    std::optional<Input<T, 2>> gram, bool with_bias, Pair confidence, double background, double reg, bool reg_by_count,
    Input<T, 2> rhs, Input<T, 2> vectors, Input<T, 1> slope, Input<T, 1> offset, double tolerance, int max_iterations,
    bool half, int threads) {
    const Arguments<T> arguments{indptr,    indices,    values,     other,      std::nullopt, gram,
                                 with_bias, confidence, {0.0, 0.0}, background, reg,          reg_by_count};
    const RowObjective<T> o = arguments.checked();
    const std::int64_t n_rows = arguments.n_rows();
    const int d = o.dimension(), padded = (d + WIDTH_STEP - 1) / WIDTH_STEP * WIDTH_STEP;
    require(static_cast<std::int64_t>(rhs.shape(0)) == n_rows && static_cast<int>(rhs.shape(1)) == d,
            "rhs must be (rows, rank), or rank + 1 with a bias");
    require(static_cast<int>(vectors.shape(0)) == d && static_cast<int>(vectors.shape(1)) == d &&
                static_cast<int>(slope.shape(0)) == d && static_cast<int>(offset.shape(0)) == d,
            "the preconditioner must have the rows' dimension");
    const FilledPairs<T> table(other, std::nullopt, half, threads);
    const std::vector<T> forward = padded_rows(vectors, padded, false), backward = padded_rows(vectors, padded, true);
    const std::vector<T> slopes = padded_row(slope, padded, T(0)), offsets = padded_row(offset, padded, T(1));
    const NormalSystem<T> system{o,      table.table(),   forward.data(), backward.data(), slopes.data(), offsets.data(),
                                 padded, T(tolerance), max_iterations};
    T *factors, *bias;
    auto factors_out = new_matrix<T>(n_rows, o.rank, &factors);
    auto bias_out = new_vector<T>(n_rows, &bias);
    const CouplingKernels<T>& kernels = coupling_kernels<T>();
    ScratchPool<T> scratch(threads, 7 * padded);
    for_rows(o, RowList{nullptr, n_rows}, 16 * d, 8 * d * d, threads, [](std::int64_t) { return true; },
             [&](std::int64_t row, int worker) {
                 T* solution = scratch.of(worker) + 6 * padded;
                 kernels.solve(system, row, rhs.data() + row * d, scratch.of(worker), solution);
                 std::copy(solution, solution + o.rank, factors + row * o.rank);
                 bias[row] = o.with_bias ? solution[o.rank] : T(0);
             });
    return {factors_out, bias_out};
}

template <typename T>
void bind(nb::module_& m) {
    using namespace nb::literals;
    m.def("couple_rows", &couple_rows<T>, nb::kw_only(), "indptr"_a, "indices"_a, "values"_a, "other"_a.noconvert(),
          "other_bias"_a.none(), "direction_gram"_a.none(), "with_bias"_a, "confidence"_a, "target"_a, "background"_a,
          "factors"_a.noconvert(), "bias"_a.noconvert(), "direction"_a.noconvert(), "direction_bias"_a.none(),
          "half"_a, "threads"_a);
    m.def("solve_normal", &solve_normal<T>, nb::kw_only(), "indptr"_a, "indices"_a, "values"_a, "other"_a.noconvert(),
          "gram"_a.none(), "with_bias"_a, "confidence"_a, "background"_a, "reg"_a, "reg_by_count"_a,
          "rhs"_a.noconvert(), "vectors"_a.noconvert(), "slope"_a.noconvert(), "offset"_a.noconvert(), "tolerance"_a,
          "max_iterations"_a, "half"_a, "threads"_a);
}

}  // namespace

void bind_coupling(nb::module_& m) {
    bind<float>(m);
    bind<double>(m);
}

}  // namespace forgetcli
