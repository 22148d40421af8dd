// The kernels that pass over the entries without forming a row's matrix, as Python functions: gradients, Newton's steps,
// the linearised half-sweep.
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

// A pair table and its memory; whole rows without δ that need no padding are used where they are.
template <typename T>
class FilledPairs {
  public:
    FilledPairs(const RowObjective<T>& o, const T* delta, bool half, int threads) : kernels_(coupling_kernels<T>()) {
        const T* x = o.other;
        const std::int64_t count = o.n_other;
        const int rank = o.rank;
        table_.half = half && kernels_.has_half;
        table_.width = (rank + WIDTH_STEP - 1) / WIDTH_STEP * WIDTH_STEP;
        table_.stride = delta ? 2 * table_.width : table_.width;
        table_.x_scale = table_.half ? scale_to_one(x, count * rank) : T(1);
        table_.delta_scale = table_.half && delta ? scale_to_one(delta, count * rank) : T(1);
        table_.x_unscale = 1 / table_.x_scale;
        table_.delta_unscale = 1 / table_.delta_scale;
        table_.rows = x;
        if (!table_.half && table_.stride == rank) return;
        memory_.reset(new_buffer<char>(count * table_.stride * static_cast<std::int64_t>(table_.half ? 2 : sizeof(T))));
        table_.rows = memory_.get();
        parallel_for((count + FILL_ROWS - 1) / FILL_ROWS, threads, [&](std::int64_t t, int) {
            kernels_.fill(table_, x, delta, t * FILL_ROWS,
                          std::min(count, (t + 1) * FILL_ROWS), rank, memory_.get());
        });
    }
    const PairTable<T>& table() const { return table_; }

  private:
    const CouplingKernels<T>& kernels_;
    PairTable<T> table_{};
    std::unique_ptr<char, ReturnBuffer> memory_;
};

// Rows are worked on in balanced ranges, whatever their number of entries.
template <typename T, typename Task>
void for_all_rows(const RowObjective<T>& o, const RowList& list, int threads, Task task) {
    const std::int64_t d = o.dimension();
    for_rows(o, list, 16 * d, 8 * d * d, threads, [](std::int64_t) { return true; }, task);
}

template <typename T>
void require_own(const RowObjective<T>& o, const RowList& list, const Input<T, 2>& factors, const Input<T, 1>& bias) {
    require(static_cast<std::int64_t>(factors.shape(0)) == list.count && static_cast<int>(factors.shape(1)) == o.rank,
            "factors must be (rows, rank)");
    require(static_cast<std::int64_t>(bias.shape(0)) == list.count, "bias must be (rows,)");
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

// The arguments that describe the shared preconditioner and the iteration; see NormalSystem.
template <typename T>
struct Iteration {
    Input<T, 2> vectors;
    Input<T, 1> slope, offset;
    double tolerance;
    int max_iterations;
};

// The inverses of the rows' normal matrices, ready to be applied.
template <typename T>
class Inverses {
  public:
    Inverses(const RowObjective<T>& o, const PairTable<T>& table, const Iteration<T>& iteration, int threads)
        : padded_((o.dimension() + WIDTH_STEP - 1) / WIDTH_STEP * WIDTH_STEP), kernels_(coupling_kernels<T>()),
          scratch_(threads, 7 * padded_ + 2 * table.width) {
        const int d = o.dimension();
        require(static_cast<int>(iteration.vectors.shape(0)) == d && static_cast<int>(iteration.vectors.shape(1)) == d &&
                    static_cast<int>(iteration.slope.shape(0)) == d && static_cast<int>(iteration.offset.shape(0)) == d,
                "the preconditioner must have the rows' dimension");
        forward_ = padded_rows(iteration.vectors, padded_, false);
        backward_ = padded_rows(iteration.vectors, padded_, true);
        slopes_ = padded_row(iteration.slope, padded_, T(0));
        offsets_ = padded_row(iteration.offset, padded_, T(1));
        system_ = {o,       table,   forward_.data(), backward_.data(), slopes_.data(), offsets_.data(),
                   padded_, T(iteration.tolerance), iteration.max_iterations};
    }

    // A row's inverse times rhs (dimension,) into factors (rank,) and bias.
    void apply(std::int64_t row, const T* rhs, int worker, T* factors, T* bias) {
        const RowObjective<T>& o = system_.objective;
        T* solution = scratch_.of(worker) + 6 * padded_;
        kernels_.solve(system_, row, rhs, scratch_.of(worker), solution);
        std::copy(solution, solution + o.rank, factors);
        *bias = o.with_bias ? solution[o.rank] : T(0);
    }

    // 2 · width elements that `apply` does not use.
    T* spare(int worker) { return scratch_.of(worker) + 7 * padded_; }

  private:
    int padded_;
    const CouplingKernels<T>& kernels_;
    ScratchPool<T> scratch_;
    std::vector<T> forward_, backward_, slopes_, offsets_;
    NormalSystem<T> system_;
};

template <typename T>
std::tuple<Output<T, 2>, Output<double, 1>, Output<double, 1>> row_gradients(
    Input<std::int64_t, 1> indptr, Input<std::int32_t, 1> indices, Input<float, 1> values, Input<T, 2> other,
    std::optional<Input<T, 1>> other_bias, std::optional<Input<T, 2>> gram, bool with_bias, Pair confidence,
    Pair target, double background, double reg, bool reg_by_count, Input<T, 2> factors, Input<T, 1> bias,
    std::optional<Input<std::int64_t, 1>> rows, int threads) {
    const Arguments<T> arguments{indptr,    indices,    values, other,      other_bias, gram,
                                 with_bias, confidence, target, background, reg,        reg_by_count};
    const RowObjective<T> o = arguments.checked();
    const RowList list = RowList::of(rows, arguments.n_rows());
    require_own(o, list, factors, bias);
    RowGradient<T> first;
    const int d = o.dimension();
    auto gradient = new_matrix<T>(list.count, d, &first.gradient);
    auto loss = new_vector<double>(list.count, &first.loss);
    auto square = new_vector<double>(list.count, &first.square);
    const FilledPairs<T> whole(o, nullptr, false, threads);
    ScratchPool<T> scratch(threads, 2 * whole.table().width);
    const CouplingKernels<T>& kernels = coupling_kernels<T>();
    for_all_rows(o, list, threads, [&](std::int64_t i, int worker) {
        kernels.gradient(o, whole.table(), list[i], factors.data() + i * o.rank, bias.data()[i], scratch.of(worker),
                         {first.gradient + i * d, first.loss + i, first.square + i});
    });
    return {gradient, loss, square};
}

// The rows' gradients at their parameters, and Newton's steps: the inverses of the normal matrices times them.
template <typename T>
std::tuple<Output<T, 2>, Output<double, 1>, Output<double, 1>, Output<T, 2>, Output<T, 1>> newton_rows(
    Input<std::int64_t, 1> indptr, Input<std::int32_t, 1> indices, Input<float, 1> values, Input<T, 2> other,
    std::optional<Input<T, 1>> other_bias, std::optional<Input<T, 2>> gram, bool with_bias, Pair confidence,
    Pair target, double background, double reg, bool reg_by_count, Input<T, 2> factors, Input<T, 1> bias,
    Input<T, 2> vectors, Input<T, 1> slope, Input<T, 1> offset, double tolerance, int max_iterations,
    std::optional<Input<std::int64_t, 1>> rows, int threads) {
    const Arguments<T> arguments{indptr,    indices,    values, other,      other_bias, gram,
                                 with_bias, confidence, target, background, reg,        reg_by_count};
    const RowObjective<T> o = arguments.checked();
    const RowList list = RowList::of(rows, arguments.n_rows());
    require_own(o, list, factors, bias);
    RowGradient<T> first;
    T *step, *bias_step;
    const int d = o.dimension();
    auto gradient = new_matrix<T>(list.count, d, &first.gradient);
    auto loss = new_vector<double>(list.count, &first.loss);
    auto square = new_vector<double>(list.count, &first.square);
    auto step_out = new_matrix<T>(list.count, o.rank, &step);
    auto bias_out = new_vector<T>(list.count, &bias_step);
    const FilledPairs<T> whole(o, nullptr, false, threads);
    Inverses<T> inverses(o, whole.table(), {vectors, slope, offset, tolerance, max_iterations}, threads);
    const CouplingKernels<T>& kernels = coupling_kernels<T>();
    for_all_rows(o, list, threads, [&](std::int64_t i, int worker) {
        kernels.gradient(o, whole.table(), list[i], factors.data() + i * o.rank, bias.data()[i],
                         inverses.spare(worker), {first.gradient + i * d, first.loss + i, first.square + i});
        inverses.apply(list[i], first.gradient + i * d, worker, step + i * o.rank, bias_step + i);
    });
    return {gradient, loss, square, step_out, bias_out};
}

// How the rows' half gradients change along a direction of the other side, and the inverses of the normal matrices
// times that.
template <typename T>
std::tuple<Output<T, 2>, Output<T, 2>, Output<T, 1>> solve_coupled(
    Input<std::int64_t, 1> indptr, Input<std::int32_t, 1> indices, Input<float, 1> values, Input<T, 2> other,
    std::optional<Input<T, 1>> other_bias, std::optional<Input<T, 2>> gram, bool with_bias, Pair confidence,
    Pair target, double background, double reg, bool reg_by_count, Input<T, 2> factors, Input<T, 1> bias,
    Input<T, 2> direction, std::optional<Input<T, 1>> direction_bias, std::optional<Input<T, 2>> direction_gram,
    Input<T, 2> vectors, Input<T, 1> slope, Input<T, 1> offset, double tolerance, int max_iterations, bool half,
    int threads) {
    const Arguments<T> arguments{indptr,    indices,    values, other,      other_bias, gram,
                                 with_bias, confidence, target, background, reg,        reg_by_count};
    const RowObjective<T> o = arguments.checked();
    const RowList list{nullptr, arguments.n_rows()};
    require_own(o, list, factors, bias);
    require(direction.shape(0) == other.shape(0) && direction.shape(1) == other.shape(1),
            "direction must have the shape of other");
    require(!direction_bias || direction_bias->shape(0) == direction.shape(0),
            "direction_bias must have a value for each row of direction");
    require(!direction_gram || (direction_gram->shape(0) == other.shape(1) && direction_gram->shape(1) == other.shape(1)),
            "direction_gram must be (rank, rank)");
    T *product, *solution, *bias_solution;
    const int d = o.dimension();
    auto product_out = new_matrix<T>(list.count, d, &product);
    auto solution_out = new_matrix<T>(list.count, o.rank, &solution);
    auto bias_out = new_vector<T>(list.count, &bias_solution);
    const FilledPairs<T> pairs(o, direction.data(), half, threads);
    const Coupling<T> coupling{o, pairs.table(), direction_bias ? direction_bias->data() : nullptr,
                               direction_gram ? direction_gram->data() : nullptr};
    Inverses<T> inverses(o, pairs.table(), {vectors, slope, offset, tolerance, max_iterations}, threads);
    const CouplingKernels<T>& kernels = coupling_kernels<T>();
    for_all_rows(o, list, threads, [&](std::int64_t row, int worker) {
        kernels.couple(coupling, row, factors.data() + row * o.rank, bias.data()[row], inverses.spare(worker),
                       product + row * d);
        inverses.apply(row, product + row * d, worker, solution + row * o.rank, bias_solution + row);
    });
    return {product_out, solution_out, bias_out};
}

// The inverses of the rows' normal matrices times a right-hand side for each.
template <typename T>
std::tuple<Output<T, 2>, Output<T, 1>> solve_normal(
    Input<std::int64_t, 1> indptr, Input<std::int32_t, 1> indices, Input<float, 1> values, Input<T, 2> other,
    std::optional<Input<T, 2>> gram, bool with_bias, Pair confidence, double background, double reg, bool reg_by_count,
    Input<T, 2> rhs, Input<T, 2> vectors, Input<T, 1> slope, Input<T, 1> offset, double tolerance, int max_iterations,
    std::optional<Input<std::int64_t, 1>> rows, int threads) {
    const Arguments<T> arguments{indptr,    indices,    values,     other,      std::nullopt, gram,
                                 with_bias, confidence, {0.0, 0.0}, background, reg,          reg_by_count};
    const RowObjective<T> o = arguments.checked();
    const RowList list = RowList::of(rows, arguments.n_rows());
    const int d = o.dimension();
    require(static_cast<std::int64_t>(rhs.shape(0)) == list.count && static_cast<int>(rhs.shape(1)) == d,
            "rhs must be (rows, rank), or rank + 1 with a bias");
    T *solution, *bias_solution;
    auto solution_out = new_matrix<T>(list.count, o.rank, &solution);
    auto bias_out = new_vector<T>(list.count, &bias_solution);
    const FilledPairs<T> whole(o, nullptr, false, threads);
    Inverses<T> inverses(o, whole.table(), {vectors, slope, offset, tolerance, max_iterations}, threads);
    for_all_rows(o, list, threads, [&](std::int64_t i, int worker) {
        inverses.apply(list[i], rhs.data() + i * d, worker, solution + i * o.rank, bias_solution + i);
    });
    return {solution_out, bias_out};
}

template <typename T>
void bind(nb::module_& m) {
    using namespace nb::literals;
    m.def("row_gradients", &row_gradients<T>, nb::kw_only(), "indptr"_a, "indices"_a, "values"_a,
          "other"_a.noconvert(), "other_bias"_a.none(), "gram"_a.none(), "with_bias"_a, "confidence"_a, "target"_a,
          "background"_a, "reg"_a, "reg_by_count"_a, "factors"_a.noconvert(), "bias"_a.noconvert(), "rows"_a.none(),
          "threads"_a);
    m.def("newton_rows", &newton_rows<T>, nb::kw_only(), "indptr"_a, "indices"_a, "values"_a, "other"_a.noconvert(),
          "other_bias"_a.none(), "gram"_a.none(), "with_bias"_a, "confidence"_a, "target"_a, "background"_a, "reg"_a,
          "reg_by_count"_a, "factors"_a.noconvert(), "bias"_a.noconvert(), "vectors"_a.noconvert(),
          "slope"_a.noconvert(), "offset"_a.noconvert(), "tolerance"_a, "max_iterations"_a, "rows"_a.none(),
          "threads"_a);
    m.def("solve_coupled", &solve_coupled<T>, nb::kw_only(), "indptr"_a, "indices"_a, "values"_a,
          "other"_a.noconvert(), "other_bias"_a.none(), "gram"_a.none(), "with_bias"_a, "confidence"_a, "target"_a,
          "background"_a, "reg"_a, "reg_by_count"_a, "factors"_a.noconvert(), "bias"_a.noconvert(),
          "direction"_a.noconvert(), "direction_bias"_a.none(), "direction_gram"_a.none(), "vectors"_a.noconvert(),
          "slope"_a.noconvert(), "offset"_a.noconvert(), "tolerance"_a, "max_iterations"_a, "half"_a, "threads"_a);
    m.def("solve_normal", &solve_normal<T>, nb::kw_only(), "indptr"_a, "indices"_a, "values"_a, "other"_a.noconvert(),
          "gram"_a.none(), "with_bias"_a, "confidence"_a, "background"_a, "reg"_a, "reg_by_count"_a,
          "rhs"_a.noconvert(), "vectors"_a.noconvert(), "slope"_a.noconvert(), "offset"_a.noconvert(), "tolerance"_a,
          "max_iterations"_a, "rows"_a.none(), "threads"_a);
}

}  // namespace

void bind_coupling(nb::module_& m) {
    bind<float>(m);
    bind<double>(m);
}

}  // namespace forgetcli
