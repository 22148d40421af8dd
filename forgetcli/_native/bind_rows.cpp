// The row kernels as Python functions: threads, heavy rows, checks.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/tuple.h>

#include <tuple>

#include "row_border.h"

namespace forgetcli {

namespace {

// A row with more entries than this is accumulated in chunks of this size, by all threads, and the chunks are added
// in their order: the same sum for any number of threads.
constexpr std::int64_t CHUNK = 1 << 15;
// So many partial sums are held at a time, but no more than either this memory or the threads need.
constexpr std::int64_t MOST_PARTIALS = 64, PARTIAL_BYTES = 256 << 20;
// Rows of x that one task of the dense Gram takes.
constexpr std::int64_t GRAM_ROWS = 4096;

FORGETCLI_CHOOSE_KERNELS(RowKernels, row_kernels)

std::int64_t partials_at_once(std::int64_t bytes, int threads) {
    return std::min(MOST_PARTIALS, std::max<std::int64_t>(PARTIAL_BYTES / bytes, resolve_threads(threads)));
}

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
                       failed_.record(kernels_.solve(o_, {rows_.listed, begin, end, CHUNK}, scratch_.of(worker), first_));
                   });
        return failed_.in(rows_);
    }

  private:
    // Entries of the row at a position in the list.
    struct Chunk {
        std::int64_t position, begin, end;
    };
    // Partials of one row, one behind the other.
    struct Sum {
        std::int64_t position, first, count;
        bool complete;
    };

    // Rows of many chunks. Whatever rows they belong to, a window of the chunks is accumulated at a time, and each row's
    // are added to its first; behind the window before is a place for what a row has there already.
    void heavy() {
        std::vector<Chunk> chunks;
        for (std::int64_t i = 0; i < rows_.count; ++i) {
            const std::int64_t begin = o_.indptr[rows_[i]], end = o_.indptr[rows_[i] + 1];
            if (end - begin <= CHUNK) continue;
            for (std::int64_t at = begin; at < end; at += CHUNK) chunks.push_back({i, at, std::min(at + CHUNK, end)});
        }
        if (chunks.empty()) return;
        const std::int64_t count = static_cast<std::int64_t>(chunks.size()), size = kernels_.partial_size(o_.dimension());
        const std::int64_t window =
            std::min(count, partials_at_once(size * static_cast<std::int64_t>(sizeof(T)), threads_));
        ScratchPool<T> memory(1, (window + 1) * size);
        T* const partials = memory.of(0);
        for (std::int64_t begin = 0; begin < count; begin += window) {
            const std::int64_t end = std::min(begin + window, count);
            parallel_for(end - begin, threads_, [&](std::int64_t c, int worker) {
                const Chunk& chunk = chunks[begin + c];
                kernels_.accumulate(o_, chunk.begin, chunk.end, scratch_.of(worker), partials + (c + 1) * size);
            });
            const std::vector<Sum> sums = sums_of(chunks, begin, end);
            parallel_for(static_cast<std::int64_t>(sums.size()), threads_, [&](std::int64_t i, int worker) {
                add_up(sums[i], size, partials, scratch_.of(worker));
            });
            const T* const last = partials + sums.back().first * size;
            if (!sums.back().complete && last != partials) std::copy(last, last + size, partials);
        }
    }

    // Chunk c of the window [begin, end) is partial c − begin + 1; partial 0 is the sum of those before the window.
    static std::vector<Sum> sums_of(const std::vector<Chunk>& chunks, std::int64_t begin, std::int64_t end) {
        std::vector<Sum> sums;
        for (std::int64_t c = begin; c < end; ++c) {
            const std::int64_t position = chunks[c].position;
            const bool goes_on = c > 0 && chunks[c - 1].position == position;
            if (!goes_on) {
                sums.push_back({position, c - begin + 1, 1, true});
            } else if (c == begin) {
                sums.push_back({position, 0, 2, true});
            } else {
                ++sums.back().count;
            }
        }
        sums.back().complete = end == static_cast<std::int64_t>(chunks.size()) || chunks[end].position != sums.back().position;
        return sums;
    }

    void add_up(const Sum& row, std::int64_t size, T* partials, T* scratch) {
        T* const sum = partials + row.first * size;
        for (std::int64_t i = 1; i < row.count; ++i) kernels_.add_partial(o_.dimension(), sum + i * size, sum);
        if (!row.complete) return;
        const RowSolution<T> out = solution_at(first_, row.position, o_.rank);
        if (!kernels_.solve_sum(o_, rows_[row.position], sum, scratch, out)) failed_.record(row.position);
    }

    const RowObjective<T>& o_;
    const RowKernels<T>& kernels_;
    RowList rows_;
    RowSolution<T> first_;
    int threads_;
    ScratchPool<T> scratch_;
    FirstFailed failed_;
};

template <typename T>
std::tuple<Output<T, 2>, Output<T, 1>, Output<double, 1>, Output<double, 1>, std::int64_t>
solve_rows(
    const View& view, Input<T, 2> other,
    std::optional<Input<T, 1>> other_bias, std::optional<Input<T, 2>> gram, bool with_bias, Pair confidence,
    Pair target, double background, double reg, bool reg_by_count, std::optional<Input<std::int64_t, 1>> rows,
    int threads) {
    const Arguments<T> arguments{view,      other,      other_bias, gram,
                                 with_bias, confidence, target, background, reg,        reg_by_count};
    const RowList list = RowList::of(rows, view.n_rows());
    const RowObjective<T> objective = arguments.checked();
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
    require(x.shape(1) >= 1 && x.shape(1) <= 8192, "the columns must be from 1 to 8192");
    const int rank = static_cast<int>(x.shape(1));
    const RowKernels<T>& kernels = row_kernels<T>();
    ScratchPool<T> scratch(threads, kernels.scratch_size(rank));
    T* sum;
    auto out = new_matrix<T>(rank, rank, &sum);
    std::fill(sum, sum + size, T(0));
    const std::int64_t tasks = pieces(n, GRAM_ROWS);
    const std::int64_t window =
        std::min(tasks, partials_at_once(size * static_cast<std::int64_t>(sizeof(T)), threads));
    ScratchPool<T> partials(1, window * size);
    for (std::int64_t first = 0; first < tasks; first += window) {
        const std::int64_t count = std::min(window, tasks - first);
        T* const memory = partials.of(0);
        parallel_for(count, threads, [&](std::int64_t t, int worker) {
            const std::int64_t begin = (first + t) * GRAM_ROWS;
            kernels.gram(x.data() + begin * rank, std::min(GRAM_ROWS, n - begin), rank, scratch.of(worker),
                         memory + t * size);
        });
        parallel_pieces(size, threads, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t t = 0; t < count; ++t) {
                for (std::int64_t j = begin; j < end; ++j) sum[j] += memory[t * size + j];
            }
        });
    }
    return out;
}

template <typename T>
void bind(nb::module_& m) {
    using namespace nb::literals;
    m.def("solve_rows", &solve_rows<T>, nb::kw_only(), "view"_a, "other"_a.noconvert(),
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
