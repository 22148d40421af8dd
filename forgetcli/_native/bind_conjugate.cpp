// The inexact row solver as Python functions: threads, heavy rows, checks; and the eigenvectors that it works with.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/tuple.h>

#include <tuple>

#include "conjugate.h"
#include "eigen.h"
#include "row_border.h"

namespace forgetcli {

namespace {

// Rows with at least so many entries for each piece of the table that the cache holds are solved together, piece by
// piece: reading the row's own vectors then costs little beside its entries.
constexpr std::int64_t ENTRIES_A_TILE = 8;
// Of a table of so few pieces, which the cache that cores share holds, each row is read on its own.
constexpr std::int64_t SHARED_TILES = 16;
// A part of a row has at most so many entries, and parts that go over the table together at most about so many in all,
// tens of milliseconds of work; of few entries, each thread gets so many groups of parts.
constexpr std::int64_t PART = 1 << 16, PARTS_TOGETHER = 1 << 20, GROUPS_A_THREAD = 2;
// What the states and parts of the rows that are solved together may take.
constexpr std::int64_t STATES_BYTES = 64 << 20;
// What one pass over an element of an entry weighs in multiplications of an exact solution: the memory sets the time.
constexpr std::int64_t PASS_WORK = 8;
// More steps than these are rarely taken: rows are balanced as if there were no more.
constexpr int USUAL_STEPS = 64;
// Rows of the table that one task rotates.
constexpr std::int64_t TABLE_ROWS = 256;

FORGETCLI_CHOOSE_KERNELS(ConjugateKernels, conjugate_kernels)

auto eigen() {
    switch (current_variant()) {
        FORGETCLI_CASE_avx512(eigen_symmetric)
        FORGETCLI_CASE_avx2(eigen_symmetric)
        default: return portable::eigen_symmetric;
    }
}

// A vector or matrix of d columns with its rows padded to whole vectors.
template <typename T>
std::vector<T> padded(const T* rows, int count, int d, int width, T filler) {
    std::vector<T> out(static_cast<std::size_t>(count) * width, filler);
    for (int i = 0; i < count; ++i) std::copy(rows + i * d, rows + (i + 1) * d, out.begin() + i * width);
    return out;
}

template <typename T>
class ConjugateSolver {
  public:
    ConjugateSolver(const ConjugateSystem<T>& system, const RowList& rows, ConjugateSolution<T> first, int threads)
        : s_(system), o_(s_.objective), kernels_(conjugate_kernels<T>()), rows_(rows), first_(first),
          threads_(threads), scratch_(threads, kernels_.scratch_size(width())) {
        rotate_table();
    }

    // The first row in the list that has no solution, or -1.
    std::int64_t run() {
        const std::int64_t passes = std::min(s_.steps, USUAL_STEPS) + 1, w = width(), cached = kernels_.cached(width());
        const std::int64_t tiles = pieces(o_.n_other, cached);
        const std::int64_t longest =
            tiles <= SHARED_TILES ? PART : std::min(PART, std::max(cached, ENTRIES_A_TILE * tiles));
        heavy(longest);
        for_ranges(o_, rows_, PASS_WORK * w * passes, 2 * w * (w + PASS_WORK * passes), threads_,
                   [=](std::int64_t entries) { return entries <= longest; },
                   [&](std::int64_t begin, std::int64_t end, int worker) {
                       failed_.record(
                           kernels_.solve(s_, {rows_.listed, begin, end, longest}, scratch_.of(worker), first_));
                   });
        return failed_.in(rows_);
    }

  private:
    struct Heavy {
        std::int64_t position, entries, first_part, parts;
        ConjugateState<T> state;
    };

    int width() const { return s_.forth.width; }

    void rotate_table() {
        table_ = make_buffer<T>(o_.n_other * static_cast<std::int64_t>(width()));
        s_.table = table_.get();
        parallel_for(pieces(o_.n_other, TABLE_ROWS), threads_, [&](std::int64_t t, int worker) {
            const std::int64_t begin = t * TABLE_ROWS, end = std::min(o_.n_other, begin + TABLE_ROWS);
            kernels_.rotate(s_.forth, o_.other, nullptr, o_.rank, begin, end, scratch_.of(worker),
                            table_.get() + begin * width());
        });
    }

    // Rows of more than `longest` entries, as many at a time as there is memory for.
    void heavy(std::int64_t longest) {
        const std::int64_t bytes = static_cast<std::int64_t>(sizeof(T)) * (kernels_.state_size(width()) + width());
        std::vector<Heavy> rows;
        std::int64_t parts = 0;
        for (std::int64_t i = 0; i < rows_.count; ++i) {
            const std::int64_t entries = o_.indptr[rows_[i] + 1] - o_.indptr[rows_[i]];
            if (entries <= longest) continue;
            rows.push_back({i, entries, parts, pieces(entries, PART), {}});
            parts += rows.back().parts;
            if (parts * bytes >= STATES_BYTES) {
                solve_heavy(rows, parts);
                rows.clear();
                parts = 0;
            }
        }
        if (!rows.empty()) solve_heavy(rows, parts);
    }

    void solve_heavy(std::vector<Heavy>& rows, std::int64_t count) {
        const std::int64_t size = kernels_.state_size(width());
        ScratchPool<T> states(1, static_cast<std::int64_t>(rows.size()) * size), sums(1, count * width());
        std::vector<ConjugatePart<T>> parts;
        std::vector<std::int64_t> groups{0};  // where each group of parts begins: a matter of time alone
        std::int64_t together = 0, entries = 0;
        for (const Heavy& row : rows) entries += row.entries;
        const std::int64_t most = std::min(PARTS_TOGETHER, entries / (GROUPS_A_THREAD * resolve_threads(threads_)));
        for (std::size_t i = 0; i < rows.size(); ++i) {
            rows[i].state.memory = states.of(0) + static_cast<std::int64_t>(i) * size;
            const std::int64_t first = o_.indptr[rows_[rows[i].position]];
            for (std::int64_t at = 0; at < rows[i].entries; at += PART) {
                const std::int64_t end = std::min(at + PART, rows[i].entries);
                T* own = sums.of(0) + static_cast<std::int64_t>(parts.size()) * width();
                parts.push_back({&rows[i].state, first + at, first + end, own, 0, 0});
                if ((together += end - at) < most) continue;
                groups.push_back(static_cast<std::int64_t>(parts.size()));
                together = 0;
            }
        }
        if (groups.back() < count) groups.push_back(count);
        const auto each_group = [&](auto pass) {
            parallel_for(static_cast<std::int64_t>(groups.size()) - 1, threads_, [&](std::int64_t g, int worker) {
                pass(s_, parts.data() + groups[g], groups[g + 1] - groups[g], scratch_.of(worker));
            });
        };
        const auto each_row = [&](auto work) {
            parallel_for(static_cast<std::int64_t>(rows.size()), threads_, [&](std::int64_t i, int worker) {
                work(rows[i], parts.data() + rows[i].first_part, scratch_.of(worker));
            });
        };
        each_row([&](Heavy& row, const ConjugatePart<T>*, T* scratch) {
            kernels_.start(s_, row.position, scratch, row.state.memory);
        });
        each_group(kernels_.residuals);
        each_row([&](Heavy& row, const ConjugatePart<T>* own, T*) {
            kernels_.begin(s_, row.entries, own, row.parts, row.state);
        });
        const auto unfinished = [](const Heavy& row) { return row.state.progress.unfinished(); };
        for (int step = 0; step < s_.steps && std::any_of(rows.begin(), rows.end(), unfinished); ++step) {
            each_group(kernels_.products);
            each_row([&](Heavy& row, const ConjugatePart<T>* own, T*) {
                kernels_.step(s_, own, row.parts, row.state);
            });
        }
        each_row([&](Heavy& row, const ConjugatePart<T>*, T* scratch) {
            if (!kernels_.finish(s_, row.state, scratch, solution_at(first_, row.position, o_.rank))) {
                failed_.record(row.position);
            }
        });
    }

    ConjugateSystem<T> s_;
    const RowObjective<T>& o_;
    const ConjugateKernels<T>& kernels_;
    RowList rows_;
    ConjugateSolution<T> first_;
    int threads_;
    ScratchPool<T> scratch_;
    Buffer<T> table_;
    FirstFailed failed_;
};

template <typename T>
std::tuple<Output<T, 2>, Output<T, 1>, Output<double, 1>, std::int64_t> conjugate_rows(
    const View& view, Input<T, 2> other,
    std::optional<Input<T, 1>> other_bias, bool with_bias, Pair confidence, Pair target, double background, double reg,
    bool reg_by_count, Input<T, 2> factors, Input<T, 1> bias, Input<T, 2> vectors, Input<T, 1> dense,
    Input<T, 1> slope, Input<T, 1> offset, int steps, std::optional<Input<std::int64_t, 1>> rows, int threads) {
    const Arguments<T> arguments{view,      other,      other_bias, std::nullopt,
                                 with_bias, confidence, target, background, reg,        reg_by_count};
    const RowList list = RowList::of(rows, view.n_rows());
    const RowObjective<T> o = arguments.checked();
    const std::size_t d = o.dimension();
    require_own(o, list, factors, bias);
    require(vectors.shape(0) == d && vectors.shape(1) == d, "vectors must have the rows' dimension");
    require(dense.shape(0) == d && slope.shape(0) == d && offset.shape(0) == d,
            "the diagonals must have the rows' dimension");
    require(steps >= 1, "steps must be at least 1");

    const int n = static_cast<int>(d), width = to_width(n);
    std::vector<T> transposed(d * d);
    for (int i = 0; i < n; ++i) {
        for (int j = 0; j < n; ++j) transposed[j * n + i] = vectors.data()[i * n + j];
    }
    const std::vector<T> forth = padded(vectors.data(), n, n, width, T(0));
    const std::vector<T> back = padded(transposed.data(), n, n, width, T(0));
    const std::vector<T> denses = padded(dense.data(), 1, n, width, T(0));
    const std::vector<T> slopes = padded(slope.data(), 1, n, width, T(0));
    const std::vector<T> offsets = padded(offset.data(), 1, n, width, T(1));
    const ConjugateSystem<T> system{o,
                                    {forth.data(), n, width},
                                    {back.data(), n, width},
                                    nullptr,
                                    denses.data(),
                                    slopes.data(),
                                    offsets.data(),
                                    factors.data(),
                                    bias.data(),
                                    steps};
    ConjugateSolution<T> first{};
    auto factors_out = new_matrix<T>(list.count, o.rank, &first.factors);
    auto bias_out = new_vector<T>(list.count, &first.bias);
    auto loss = new_vector<double>(list.count, &first.loss);
    const std::int64_t failed = ConjugateSolver<T>(system, list, first, threads).run();
    return {factors_out, bias_out, loss, failed};
}

std::tuple<Output<double, 1>, Output<double, 2>> symmetric_eigen(Input<double, 2> matrix) {
    const std::size_t n = matrix.shape(0);
    require(n >= 1 && n <= 4097 && matrix.shape(1) == n, "the matrix must be square, of 1 to 4097 rows");
    double *values, *vectors;
    auto values_out = new_vector<double>(n, &values);
    auto vectors_out = new_matrix<double>(n, n, &vectors);
    std::copy(matrix.data(), matrix.data() + n * n, vectors);
    nb::gil_scoped_release released;
    const std::unique_ptr<double, ReturnBuffer> work(new_buffer<double>(eigen_work(static_cast<int>(n))));
    eigen()(static_cast<int>(n), vectors, values, work.get());
    return {values_out, vectors_out};
}

template <typename T>
void bind(nb::module_& m) {
    using namespace nb::literals;
    m.def("conjugate_rows", &conjugate_rows<T>, nb::kw_only(), "view"_a,
          "other"_a.noconvert(), "other_bias"_a.none(), "with_bias"_a, "confidence"_a, "target"_a, "background"_a,
          "reg"_a, "reg_by_count"_a, "factors"_a.noconvert(), "bias"_a.noconvert(), "vectors"_a.noconvert(),
          "dense"_a.noconvert(), "slope"_a.noconvert(), "offset"_a.noconvert(), "steps"_a, "rows"_a.none(),
          "threads"_a);
}

}  // namespace

void bind_conjugate(nb::module_& m) {
    bind<float>(m);
    bind<double>(m);
    m.def("symmetric_eigen", &symmetric_eigen, nb::arg("matrix").noconvert());
}

}  // namespace forgetcli
