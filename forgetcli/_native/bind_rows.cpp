// The row kernels as Python functions: threads, heavy rows, checks.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/tuple.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "arrays.h"
#include "parallel.h"
#include "rows.h"
#include "variant.h"

namespace forgetcli {

namespace {

// A row with more entries than this is accumulated in chunks of this size, by all threads, and the chunks are added
// in their order: the same sum for any number of threads.
constexpr std::int64_t CHUNK = 1 << 15;
// So many partial systems of chunks are held at a time.
constexpr std::int64_t PARTIALS_AT_ONCE = 64;
// Rows are handed out in ranges that weigh about so many multiplications.
constexpr std::int64_t RANGE_WORK = 1 << 26;
// Rows of x that one task of the dense Gram takes.
constexpr std::int64_t GRAM_ROWS = 4096;

template <typename T>
const RowKernels<T>& choose(const RowKernels<float>& single, const RowKernels<double>& twofold) {
    if constexpr (sizeof(T) == 4) {
        return single;
    } else {
        return twofold;
    }
}

template <typename T>
const RowKernels<T>& row_kernels() {
    switch (current_variant()) {
#ifdef FORGETCLI_HAS_avx512
        case Variant::avx512: return choose<T>(avx512::rows_float(), avx512::rows_double());
#endif
#ifdef FORGETCLI_HAS_avx2
        case Variant::avx2: return choose<T>(avx2::rows_float(), avx2::rows_double());
#endif
        default: return choose<T>(portable::rows_float(), portable::rows_double());
    }
}

// One scratch memory a thread, made when the thread first asks.
template <typename T>
class ScratchPool {
  public:
    ScratchPool(int threads, std::int64_t elements) : memory_(resolve_threads(threads)), elements_(elements) {}
    T* of(int worker) {
        auto& piece = memory_[worker];
        if (!piece) piece.reset(new_buffer<T>(elements_));
        return piece.get();
    }

  private:
    struct Free {
        void operator()(T* p) const { ::operator delete(p, std::align_val_t(CACHE_LINE)); }
    };
    std::vector<std::unique_ptr<T, Free>> memory_;
    std::int64_t elements_;
};

using Pair = std::pair<double, double>;

// The arguments that describe one side's objective; the arrays stay alive as long as this does.
template <typename T>
struct Arguments {
    Input<std::int64_t, 1> indptr;
    Input<std::int32_t, 1> indices;
    Input<float, 1> values;
    Input<T, 2> other;
    std::optional<Input<T, 1>> other_bias;
    std::optional<Input<T, 2>> gram;
    bool with_bias;
    Pair confidence, target;
    double background, reg;
    bool reg_by_count;

    std::int64_t n_rows() const { return static_cast<std::int64_t>(indptr.shape(0)) - 1; }

    RowObjective<T> checked() const {
        require(indptr.shape(0) >= 1 && indptr.data()[0] == 0, "indptr must start at 0");
        require(indices.shape(0) == values.shape(0), "indices and values differ in length");
        const std::int64_t nnz = static_cast<std::int64_t>(indices.shape(0));
        const std::int64_t* offsets = indptr.data();
        require(offsets[n_rows()] == nnz, "indptr must end at the number of entries");
        require(std::is_sorted(offsets, offsets + n_rows() + 1), "indptr must not decrease");
        const std::int64_t n_other = static_cast<std::int64_t>(other.shape(0));
        const auto [low, high] = std::minmax_element(indices.data(), indices.data() + nnz);
        require(nnz == 0 || (*low >= 0 && *high < n_other), "an index is outside the other side's rows");
        require(!other_bias || static_cast<std::int64_t>(other_bias->shape(0)) == n_other,
                "other and other_bias differ in length");
        const std::size_t rank = other.shape(1);
        require(rank >= 1 && rank <= 4096, "the rank must be from 1 to 4096");
        require(!gram || (gram->shape(0) == rank && gram->shape(1) == rank), "gram must be (rank, rank)");
        require(!gram || !with_bias, "a dense Gram and a bias do not go together");
        return {offsets,
                indices.data(),
                values.data(),
                nnz,
                other.data(),
                other_bias ? other_bias->data() : nullptr,
                n_other,
                static_cast<int>(rank),
                with_bias,
                gram ? gram->data() : nullptr,
                T(confidence.first),
                T(confidence.second),
                T(target.first),
                T(target.second),
                T(background),
                reg,
                reg_by_count};
    }
};

// The rows to work on: all of them, or those listed.
struct RowList {
    const std::int64_t* listed;
    std::int64_t count;

    std::int64_t operator[](std::int64_t i) const { return listed ? listed[i] : i; }

    static RowList of(const std::optional<Input<std::int64_t, 1>>& rows, std::int64_t n_rows) {
        if (!rows) return {nullptr, n_rows};
        const RowList list{rows->data(), static_cast<std::int64_t>(rows->shape(0))};
        for (std::int64_t i = 0; i < list.count; ++i) {
            require(list.listed[i] >= 0 && list.listed[i] < n_rows, "a listed row does not exist");
        }
        return list;
    }
};

// Runs task(position in the list, worker) on all rows of the list that `wanted` admits, in balanced ranges.
template <typename T, typename Wanted, typename Task>
void for_rows(const RowObjective<T>& o, const RowList& rows, std::int64_t entry_work, std::int64_t row_work,
              int threads, Wanted wanted, Task task) {
    std::vector<std::int64_t> offsets(rows.count + 1, 0);
    for (std::int64_t i = 0; i < rows.count; ++i) {
        const std::int64_t entries = o.indptr[rows[i] + 1] - o.indptr[rows[i]];
        offsets[i + 1] = offsets[i] + (wanted(entries) ? entries * entry_work : 0);
    }
    parallel_rows(offsets.data(), rows.count, row_work, RANGE_WORK, threads,
                  [&](std::int64_t begin, std::int64_t end, int worker) {
                      for (std::int64_t i = begin; i < end; ++i) {
                          const std::int64_t row = rows[i];
                          if (wanted(o.indptr[row + 1] - o.indptr[row])) task(i, worker);
                      }
                  });
}

template <typename T>
class RowSolver {
  public:
    // `first` is where the first row's solution goes; each further one goes behind it.
    RowSolver(const RowObjective<T>& objective, const RowList& rows, RowSolution<T> first, int threads)
        : o_(objective), kernels_(row_kernels<T>()), rows_(rows), first_(first), threads_(threads),
          kept_size_(kernels_.kept_size(objective.dimension())),
          scratch_(threads, kernels_.scratch_size(objective.dimension())) {}

    // The first row in the list that has no solution, or -1.
    std::int64_t run() {
        heavy();
        const std::int64_t d = o_.dimension();
        for_rows(o_, rows_, d * d, d * d * d / 3, threads_, [](std::int64_t entries) { return entries <= CHUNK; },
                 [&](std::int64_t i, int worker) {
                     record(i, kernels_.solve(o_, rows_[i], scratch_.of(worker), solution(i)));
                 });
        return failed_ == NONE ? -1 : rows_[failed_];
    }

  private:
    struct Heavy {
        std::int64_t position, row, first_partial, partials;
    };

    // Rows of many chunks, a group of them at a time.
    void heavy() {
        std::vector<Heavy> group;
        std::int64_t partials = 0;
        for (std::int64_t i = 0; i < rows_.count; ++i) {
            const std::int64_t row = rows_[i], entries = o_.indptr[row + 1] - o_.indptr[row];
            if (entries <= CHUNK) continue;
            group.push_back({i, row, partials, (entries + CHUNK - 1) / CHUNK});
            partials += group.back().partials;
            if (partials >= PARTIALS_AT_ONCE) {
                solve_group(group, partials);
                group.clear();
                partials = 0;
            }
        }
        if (!group.empty()) solve_group(group, partials);
    }

    void solve_group(const std::vector<Heavy>& group, std::int64_t count) {
        const std::int64_t size = kernels_.partial_size(o_.dimension());
        std::vector<std::pair<std::int64_t, std::int64_t>> chunks;
        for (const Heavy& each : group) {
            const std::int64_t begin = o_.indptr[each.row], end = o_.indptr[each.row + 1];
            for (std::int64_t at = begin; at < end; at += CHUNK) chunks.emplace_back(at, std::min(at + CHUNK, end));
        }
        ScratchPool<T> partials(1, count * size);
        T* memory = partials.of(0);
        parallel_for(count, threads_, [&](std::int64_t c, int worker) {
            kernels_.accumulate(o_, chunks[c].first, chunks[c].second, scratch_.of(worker), memory + c * size);
        });
        parallel_for(static_cast<std::int64_t>(group.size()), threads_, [&](std::int64_t g, int worker) {
            const Heavy& each = group[g];
            record(each.position, kernels_.solve_partials(o_, each.row, memory + each.first_partial * size,
                                                          each.partials, scratch_.of(worker), solution(each.position)));
        });
    }

    RowSolution<T> solution(std::int64_t i) const {
        return {first_.factors + i * o_.rank, first_.bias + i, first_.loss + i,
                first_.kept ? first_.kept + i * kept_size_ : nullptr,
                first_.rhs ? first_.rhs + i * o_.dimension() : nullptr};
    }

    void record(std::int64_t i, bool solved) {
        if (solved) return;
        std::int64_t first = failed_.load();
        while (i < first && !failed_.compare_exchange_weak(first, i)) {
        }
    }

    static constexpr std::int64_t NONE = INT64_MAX;
    const RowObjective<T>& o_;
    const RowKernels<T>& kernels_;
    RowList rows_;
    RowSolution<T> first_;
    int threads_;
    std::int64_t kept_size_;
    ScratchPool<T> scratch_;
    std::atomic<std::int64_t> failed_{NONE};
};

template <typename T>
std::tuple<Output<T, 2>, Output<T, 1>, Output<double, 1>, std::optional<Output<T, 2>>, std::int64_t> solve_rows(
    Input<std::int64_t, 1> indptr, Input<std::int32_t, 1> indices, Input<float, 1> values, Input<T, 2> other,
    std::optional<Input<T, 1>> other_bias, std::optional<Input<T, 2>> gram, bool with_bias, Pair confidence,
    Pair target, double background, double reg, bool reg_by_count, std::optional<Input<std::int64_t, 1>> rows,
    std::optional<Input<T, 2>> rhs, bool keep, int threads) {
    const Arguments<T> arguments{indptr,    indices,    values, other,      other_bias, gram,
                                 with_bias, confidence, target, background, reg,        reg_by_count};
    const RowObjective<T> objective = arguments.checked();
    const RowList list = RowList::of(rows, arguments.n_rows());
    RowSolution<T> first{};
    auto factors = new_matrix<T>(list.count, objective.rank, &first.factors);
    auto bias = new_vector<T>(list.count, &first.bias);
    auto loss = new_vector<double>(list.count, &first.loss);
    std::optional<Output<T, 2>> kept;
    if (rhs) {
        require(static_cast<std::int64_t>(rhs->shape(0)) == list.count &&
                    static_cast<int>(rhs->shape(1)) == objective.dimension(),
                "rhs must have a row for each row that is solved");
        first.rhs = rhs->data();
    }
    if (keep) kept = new_matrix<T>(list.count, row_kernels<T>().kept_size(objective.dimension()), &first.kept);
    const std::int64_t failed = RowSolver<T>(objective, list, first, threads).run();
    return {factors, bias, loss, kept, failed};
}

template <typename T>
std::tuple<Output<T, 2>, Output<double, 1>> row_gradients(
    Input<std::int64_t, 1> indptr, Input<std::int32_t, 1> indices, Input<float, 1> values, Input<T, 2> other,
    std::optional<Input<T, 1>> other_bias, std::optional<Input<T, 2>> gram, bool with_bias, Pair confidence,
    Pair target, double background, double reg, bool reg_by_count, Input<T, 2> factors, Input<T, 1> bias,
    int threads) {
    const Arguments<T> arguments{indptr,    indices,    values, other,      other_bias, gram,
                                 with_bias, confidence, target, background, reg,        reg_by_count};
    const RowObjective<T> o = arguments.checked();
    const std::int64_t n_rows = arguments.n_rows();
    require(static_cast<std::int64_t>(factors.shape(0)) == n_rows && static_cast<int>(factors.shape(1)) == o.rank,
            "factors must be (rows, rank)");
    require(static_cast<std::int64_t>(bias.shape(0)) == n_rows, "bias must be (rows,)");
    const int d = o.dimension();
    T* gradient;
    double* loss;
    auto gradient_out = new_matrix<T>(n_rows, d, &gradient);
    auto loss_out = new_vector<double>(n_rows, &loss);
    const RowKernels<T>& kernels = row_kernels<T>();
    ScratchPool<T> scratch(threads, kernels.scratch_size(d));
    for_rows(o, RowList{nullptr, n_rows}, 8 * d, o.gram ? d * d : d, threads, [](std::int64_t) { return true; },
             [&](std::int64_t row, int worker) {
                 kernels.gradient(o, row, factors.data() + row * o.rank, bias.data()[row], scratch.of(worker),
                                  gradient + row * d, loss + row);
             });
    return {gradient_out, loss_out};
}

// The linearised half-sweep's product: what a direction of the other side's parameters adds to this side's half
// gradient.
template <typename T>
Output<T, 2> couple_rows(Input<std::int64_t, 1> indptr, Input<std::int32_t, 1> indices, Input<float, 1> values,
                         Input<T, 2> other, std::optional<Input<T, 1>> other_bias,
                         std::optional<Input<T, 2>> direction_gram, bool with_bias, Pair confidence, Pair target,
                         double background, Input<T, 2> factors, Input<T, 1> bias, Input<T, 2> direction,
                         std::optional<Input<T, 1>> direction_bias, int threads) {
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
    const Direction<T> along{direction.data(), direction_bias ? direction_bias->data() : nullptr, o.n_other, o.gram};
    const int d = o.dimension();
    T* product;
    auto out = new_matrix<T>(n_rows, d, &product);
    const RowKernels<T>& kernels = row_kernels<T>();
    ScratchPool<T> scratch(threads, kernels.scratch_size(d));
    for_rows(o, RowList{nullptr, n_rows}, 16 * d, o.gram ? d * d : d, threads, [](std::int64_t) { return true; },
             [&](std::int64_t row, int worker) {
                 kernels.couple(o, along, row, factors.data() + row * o.rank, bias.data()[row], scratch.of(worker),
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
Output<T, 2> gram(Input<T, 2> x, int threads) {
    const std::int64_t n = static_cast<std::int64_t>(x.shape(0)), size = x.shape(1) * x.shape(1);
    require(x.shape(1) >= 1 && x.shape(1) <= 4096, "the rank must be from 1 to 4096");
    const int rank = static_cast<int>(x.shape(1));
    const RowKernels<T>& kernels = row_kernels<T>();
    ScratchPool<T> scratch(threads, kernels.scratch_size(rank));
    T* sum;
    auto out = new_matrix<T>(rank, rank, &sum);
    std::fill(sum, sum + size, T(0));
    const std::int64_t tasks = (n + GRAM_ROWS - 1) / GRAM_ROWS;
    for (std::int64_t first = 0; first < tasks; first += PARTIALS_AT_ONCE) {
        const std::int64_t count = std::min(PARTIALS_AT_ONCE, tasks - first);
        ScratchPool<T> partials(1, count * size);
        T* memory = partials.of(0);
        parallel_for(count, threads, [&](std::int64_t t, int worker) {
            const std::int64_t begin = (first + t) * GRAM_ROWS;
            kernels.gram(x.data() + begin * rank, std::min(GRAM_ROWS, n - begin), rank, scratch.of(worker),
                         memory + t * size);
        });
        for (std::int64_t t = 0; t < count; ++t) {
            for (std::int64_t j = 0; j < size; ++j) sum[j] += memory[t * size + j];
        }
    }
    return out;
}

template <typename T>
void bind(nb::module_& m) {
    using namespace nb::literals;
    m.def("solve_rows", &solve_rows<T>, nb::kw_only(), "indptr"_a, "indices"_a, "values"_a, "other"_a.noconvert(),
          "other_bias"_a.none(), "gram"_a.none(), "with_bias"_a, "confidence"_a, "target"_a, "background"_a, "reg"_a,
          "reg_by_count"_a, "rows"_a.none(), "rhs"_a.noconvert().none(),
          "keep"_a, "threads"_a);
    m.def("row_gradients", &row_gradients<T>, nb::kw_only(), "indptr"_a, "indices"_a, "values"_a,
          "other"_a.noconvert(), "other_bias"_a.none(), "gram"_a.none(), "with_bias"_a, "confidence"_a, "target"_a,
          "background"_a, "reg"_a, "reg_by_count"_a, "factors"_a.noconvert(), "bias"_a.noconvert(), "threads"_a);
    m.def("couple_rows", &couple_rows<T>, nb::kw_only(), "indptr"_a, "indices"_a, "values"_a, "other"_a.noconvert(),
          "other_bias"_a.none(), "direction_gram"_a.none(), "with_bias"_a, "confidence"_a, "target"_a, "background"_a,
          "factors"_a.noconvert(), "bias"_a.noconvert(), "direction"_a.noconvert(), "direction_bias"_a.none(),
          "threads"_a);
    m.def("apply_kept", &apply_kept<T>, "kept"_a.noconvert(), "rhs"_a.noconvert(), "rank"_a, "threads"_a);
    m.def("gram", &gram<T>, "x"_a.noconvert(), "threads"_a);
}

}  // namespace

void bind_rows(nb::module_& m) {
    bind<float>(m);
    bind<double>(m);
}

}  // namespace forgetcli
