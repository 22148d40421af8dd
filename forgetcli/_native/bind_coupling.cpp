// The kernels of the linearised half-sweep as Python functions: the coupling product, and kept factors applied.
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
    FilledPairs(Input<T, 2> x, Input<T, 2> delta, bool half, int threads)
        : kernels_(coupling_kernels<T>()), count_(static_cast<std::int64_t>(x.shape(0))) {
        const int rank = static_cast<int>(x.shape(1));
        table_.half = half && kernels_.has_half;
        table_.width = (rank + WIDTH_STEP - 1) / WIDTH_STEP * WIDTH_STEP;
        table_.x_scale = table_.half ? scale_to_one(x.data(), count_ * rank) : T(1);
        table_.delta_scale = table_.half ? scale_to_one(delta.data(), count_ * rank) : T(1);
        const std::int64_t bytes = count_ * 2 * table_.width * static_cast<std::int64_t>(table_.half ? 2 : sizeof(T));
        memory_.reset(new_buffer<char>(bytes));
        table_.rows = memory_.get();
        parallel_for((count_ + FILL_ROWS - 1) / FILL_ROWS, threads, [&](std::int64_t t, int) {
            kernels_.fill(table_, x.data(), delta.data(), t * FILL_ROWS, std::min(count_, (t + 1) * FILL_ROWS), rank,
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
                         std::optional<Input<T, 1>> direction_bias, bool exactly, bool half, int threads) {
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
    const Coupling<T> coupling{o, pairs.table(), direction_bias ? direction_bias->data() : nullptr, exactly};
    const CouplingKernels<T>& kernels = coupling_kernels<T>();
    ScratchPool<T> scratch(threads, 2 * pairs.table().width);
    for_rows(o, RowList{nullptr, n_rows}, 16 * d, o.gram ? d * d : d, threads, [](std::int64_t) { return true; },
             [&](std::int64_t row, int worker) {
                 kernels.couple(coupling, row, factors.data() + row * o.rank, bias.data()[row], scratch.of(worker),
                                product + row * d);
             });
    return out;
}

// Solves each row's system, by its kept factor, for a new right-hand side.
template <typename T>
std::tuple<Output<T, 2>, Output<T, 1>> apply_kept(Input<T, 2> kept, Input<T, 2> rhs, int rank, int threads) {
    const std::int64_t n_rows = static_cast<std::int64_t>(rhs.shape(0));
    const int d = static_cast<int>(rhs.shape(1));
    require(rank >= 1 && rank <= 4096 && (d == rank || d == rank + 1), "rhs must have rank or rank + 1 columns");
    const RowKernels<T>& kernels = row_kernels<T>();
    const std::int64_t size = kernels.kept_size(d);
    require(kept.shape(0) == rhs.shape(0) && static_cast<std::int64_t>(kept.shape(1)) == size,
            "kept must be what solve_rows kept, for the same instruction set");
    T *factors, *bias;
    auto factors_out = new_matrix<T>(n_rows, rank, &factors);
    auto bias_out = new_vector<T>(n_rows, &bias);
    ScratchPool<T> scratch(threads, kernels.scratch_size(d) + d);
    const std::int64_t rows_a_task = std::max<std::int64_t>(1, (1 << 20) / size);
    parallel_for((n_rows + rows_a_task - 1) / rows_a_task, threads, [&](std::int64_t t, int worker) {
        T* solution = scratch.of(worker) + kernels.scratch_size(d);
        const std::int64_t end = std::min(n_rows, (t + 1) * rows_a_task);
        for (std::int64_t row = t * rows_a_task; row < end; ++row) {
            kernels.apply_kept(kept.data() + row * size, d, rhs.data() + row * d, scratch.of(worker), solution);
            std::copy(solution, solution + rank, factors + row * rank);
            bias[row] = d > rank ? solution[rank] : T(0);
        }
    });
    return {factors_out, bias_out};
}

template <typename T>
void bind(nb::module_& m) {
    using namespace nb::literals;
    m.def("couple_rows", &couple_rows<T>, nb::kw_only(), "indptr"_a, "indices"_a, "values"_a, "other"_a.noconvert(),
          "other_bias"_a.none(), "direction_gram"_a.none(), "with_bias"_a, "confidence"_a, "target"_a, "background"_a,
          "factors"_a.noconvert(), "bias"_a.noconvert(), "direction"_a.noconvert(), "direction_bias"_a.none(),
          "exactly"_a, "half"_a, "threads"_a);
    m.def("apply_kept", &apply_kept<T>, "kept"_a.noconvert(), "rhs"_a.noconvert(), "rank"_a, "threads"_a);
}

}  // namespace

void bind_coupling(nb::module_& m) {
    bind<float>(m);
    bind<double>(m);
}

}  // namespace forgetcli
