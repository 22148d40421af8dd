// What the bindings of the row kernels share: the objective's arguments and their checks, lists of rows, scratch memory,
// balanced ranges, rows without solution.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "csr.h"
#include "parallel.h"
#include "pieces.h"
#include "rows.h"
#include "variant.h"

namespace forgetcli {

// Rows are handed out in ranges that weigh about so many multiplications.
constexpr std::int64_t RANGE_WORK = 1 << 26;
// Rows of vectors are padded to whole numbers of the widest ones, and of cache lines.
constexpr int WIDTH_STEP = 16;

inline int to_width(int elements) { return (elements + WIDTH_STEP - 1) / WIDTH_STEP * WIDTH_STEP; }

// One scratch memory a thread, made when the thread first asks.
template <typename T>
class ScratchPool {
  public:
    ScratchPool(int threads, std::int64_t elements) : memory_(resolve_threads(threads)), elements_(elements) {}
    T* of(int worker) {
        auto& piece = memory_[worker];
        if (!piece) piece = make_buffer<T>(elements_);
        return piece.get();
    }

  private:
    std::vector<Buffer<T>> memory_;
    std::int64_t elements_;
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

using Pair = std::pair<double, double>;

// The arguments that describe one side's objective; the arrays stay alive as long as this does.
template <typename T>
struct Arguments {
    const View& view;
    Input<T, 2> other;
    std::optional<Input<T, 1>> other_bias;
    std::optional<Input<T, 2>> gram;
    bool with_bias;
    Pair confidence, target;
    double background, reg;
    bool reg_by_count;
    mutable Buffer<T> aligned = nullptr;  // a copy of `other`, where that is misplaced

    // Raises unless the arrays belong together. looked_up: rows of `other` will be looked up where they are.
    RowObjective<T> checked(bool looked_up = true) const {
        const std::int64_t n_other = static_cast<std::int64_t>(other.shape(0));
        require(n_other == view.n_columns(), "other must have a row for each column");
        require(!other_bias || static_cast<std::int64_t>(other_bias->shape(0)) == n_other,
                "other and other_bias differ in length");
        const std::size_t rank = other.shape(1);
        require(rank >= 1 && rank <= 4096, "the rank must be from 1 to 4096");
        require(!gram || (gram->shape(0) == rank && gram->shape(1) == rank), "gram must be (rank, rank)");
        require(!gram || !with_bias, "a dense Gram and a bias do not go together");
        return {view.indptr(),
                view.indices(),
                view.values(),
                view.codes(),
                view.levels(),
                view.nnz(),
                looked_up ? on_cache_lines() : other.data(),
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

  private:
    // The rows of `other`, each on as few cache lines as can be: NumPy's own arrays begin a few bytes behind a line, and
    // a row that is looked up then costs one more, which nobody fetched ahead.
    const T* on_cache_lines() const {
        const std::size_t count = other.shape(0) * other.shape(1);
        const bool placed = reinterpret_cast<std::uintptr_t>(other.data()) % CACHE_LINE == 0;
        if (placed || other.shape(1) * sizeof(T) % CACHE_LINE != 0) return other.data();
        aligned = make_buffer<T>(count);
        std::copy(other.data(), other.data() + count, aligned.get());
        return aligned.get();
    }
};

// Refuses parameters that are not one row each for the rows of the list.
template <typename T>
void require_own(const RowObjective<T>& o, const RowList& list, const Input<T, 2>& factors, const Input<T, 1>& bias) {
    require(static_cast<std::int64_t>(factors.shape(0)) == list.count && static_cast<int>(factors.shape(1)) == o.rank,
            "factors must be (rows, rank)");
    require(static_cast<std::int64_t>(bias.shape(0)) == list.count, "bias must be (rows,)");
}

// The first of the rows without solution, whichever thread finds it first.
class FirstFailed {
  public:
    void record(std::int64_t position) {
        std::int64_t first = first_.load();
        while (position < first && !first_.compare_exchange_weak(first, position)) {
        }
    }

    // The number of the row at that position in the list, or -1.
    std::int64_t in(const RowList& rows) const { return first_ == NO_ROW ? -1 : rows[first_]; }

  private:
    std::atomic<std::int64_t> first_{NO_ROW};
};

// Runs task(begin, end, worker) on ranges of the list that are balanced by the rows that `wanted` admits.
template <typename T, typename Wanted, typename Task>
void for_ranges(const RowObjective<T>& o, const RowList& rows, std::int64_t entry_work, std::int64_t row_work,
                int threads, Wanted wanted, Task task) {
    std::vector<std::int64_t> offsets(rows.count + 1, 0);
    for (std::int64_t i = 0; i < rows.count; ++i) {
        const std::int64_t entries = o.indptr[rows[i] + 1] - o.indptr[rows[i]];
        offsets[i + 1] = offsets[i] + (wanted(entries) ? entries * entry_work : 0);
    }
    parallel_rows(offsets.data(), rows.count, row_work, RANGE_WORK, threads, task);
}

// Runs task(position in the list, worker) on all rows of the list that `wanted` admits, in balanced ranges.
template <typename T, typename Wanted, typename Task>
void for_rows(const RowObjective<T>& o, const RowList& rows, std::int64_t entry_work, std::int64_t row_work,
              int threads, Wanted wanted, Task task) {
    for_ranges(o, rows, entry_work, row_work, threads, wanted,
               [&](std::int64_t begin, std::int64_t end, int worker) {
                   for (std::int64_t i = begin; i < end; ++i) {
                       const std::int64_t row = rows[i];
                       if (wanted(o.indptr[row + 1] - o.indptr[row])) task(i, worker);
                   }
               });
}

}  // namespace forgetcli
