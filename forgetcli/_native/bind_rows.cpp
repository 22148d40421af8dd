// The row kernels as Python functions: threads, heavy rows, checks.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/tuple.h>

#include <atomic>
#include <tuple>

#include "row_border.h"

namespace forgetcli {

namespace {

// A row with more entries than this is accumulated in chunks of this size, by all threads, and the chunks are added
// in their order: the same sum for any number of threads.
constexpr std::int64_t CHUNK = 1 << 15;
// So many partial systems of chunks are held at a time.
constexpr std::int64_t PARTIALS_AT_ONCE = 64;
// Rows of x that one task of the dense Gram takes.
constexpr std::int64_t GRAM_ROWS = 4096;

template <typename T>
class RowSolver {
  public:
    // `first` is where the first row's solution goes; each further one goes behind it.
    RowSolver(const RowObjective<T>& objective, const RowList& rows, RowSolution<T> first, int threads)
        : o_(objective), kernels_(row_kernels<T>()), rows_(rows), first_(first), threads_(threads),
          scratch_(threads, kernels_.scratch_size(objective.dimension())) {}

    // The first row in the list that has no solution, or -1.
    std::int64_t run() {
        heavy();
        const std::int64_t d = o_.dimension();
        for_ranges(o_, rows_, d * d, d * d * d / 3, threads_, [](std::int64_t entries) { return entries <= CHUNK; },
                   [&](std::int64_t begin, std::int64_t end, int worker) {
                       record(kernels_.solve(o_, {rows_.listed, begin, end, CHUNK}, scratch_.of(worker), first_));
                   });
        return failed_ == NO_ROW ? -1 : rows_[failed_];
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
            const bool solved = kernels_.solve_partials(o_, each.row, memory + each.first_partial * size, each.partials,
                                                        scratch_.of(worker), solution_at(first_, each.position, o_.rank));
            if (!solved) record(each.position);
        });
    }

    // Keeps the first of the rows without solution.
    void record(std::int64_t position) {
        std::int64_t first = failed_.load();
        while (position < first && !failed_.compare_exchange_weak(first, position)) {
        }
    }

    const RowObjective<T>& o_;
    const RowKernels<T>& kernels_;
    RowList rows_;
    RowSolution<T> first_;
    int threads_;
    ScratchPool<T> scratch_;
    std::atomic<std::int64_t> failed_{NO_ROW};
};

template <typename T>
std::tuple<Output<T, 2>, Output<T, 1>, Output<double, 1>, Output<double, 1>, std::int64_t>
solve_rows(
    Input<std::int64_t, 1> indptr, Input<std::int32_t, 1> indices, Input<float, 1> values, Input<T, 2> other,
    std::optional<Input<T, 1>> other_bias, std::optional<Input<T, 2>> gram, bool with_bias, Pair confidence,
    Pair target, double background, double reg, bool reg_by_count, std::optional<Input<std::int64_t, 1>> rows,
    int threads) {
    const Arguments<T> arguments{indptr,    indices,    values, other,      other_bias, gram,
                                 with_bias, confidence, target, background, reg,        reg_by_count};
    const RowObjective<T> objective = arguments.checked(threads);
    const RowList list = RowList::of(rows, arguments.n_rows());
    RowSolution<T> first{};
    auto factors = new_matrix<T>(list.count, objective.rank, &first.factors);
    auto bias = new_vector<T>(list.count, &first.bias);
    auto loss = new_vector<double>(list.count, &first.loss);
    auto product = new_vector<double>(list.count, &first.product);
    const std::int64_t failed = RowSolver<T>(objective, list, first, threads).run();
    return {factors, bias, loss, product, failed};
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
          "reg_by_count"_a, "rows"_a.none(), "threads"_a);
    m.def("gram", &gram<T>, "x"_a.noconvert(), "threads"_a);
}

}  // namespace

void bind_rows(nb::module_& m) {
    bind<float>(m);
    bind<double>(m);
}

}  // namespace forgetcli
