// Looking entries up, counting, checking and removing them.
#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "csr.h"
#include "mix.h"

namespace forgetcli {

void check_indptr(const Int64s& indptr, std::int64_t nnz) {
    const auto n = static_cast<std::int64_t>(indptr.size());
    const std::int64_t* p = indptr.data();
    require(n >= 1 && n - 1 <= MAX_ROWS, "indptr has the wrong length");
    require(p[0] == 0, "indptr does not start at 0");
    require(p[n - 1] == nnz, "indptr does not end at the number of entries");
    bool falls = false;
    for (std::int64_t row = 1; row < n; ++row) falls |= p[row] < p[row - 1];
    require(!falls, "indptr decreases");
}

void check_indices(const Int32s& indices, std::int64_t n_columns, int threads) {
    require(0 <= n_columns && n_columns <= MAX_ROWS, "the number of columns is out of range");
    require_below(indices.data(), static_cast<std::int64_t>(indices.size()), n_columns, threads,
                  "an index is outside the columns");
}

void csr_validate(const Int64s& indptr, const Int32s& indices, const Floats& values, std::int64_t n_columns,
                  int threads) {
    const auto nnz = static_cast<std::int64_t>(indices.size());
    require(values.size() == indices.size(), "indices and values differ in length");
    check_indptr(indptr, nnz);
    check_indices(indices, n_columns, threads);
    const auto n_rows = static_cast<std::int64_t>(indptr.size()) - 1;
    const std::int64_t* starts = indptr.data();
    const std::int32_t* columns = indices.data();
    parallel_rows(starts, n_rows, 1, PIECE, threads, [&](std::int64_t begin, std::int64_t end, int) {
        bool unsorted = false;
        for (std::int64_t row = begin; row < end; ++row) {
            for (std::int64_t i = starts[row] + 1; i < starts[row + 1]; ++i) unsorted |= columns[i - 1] >= columns[i];
        }
        if (unsorted) throw std::invalid_argument("the indices of a row are not strictly increasing");
    });
    check_finite(values, threads);
}

void check_finite(const Floats& values, int threads) {
    const float* p = values.data();
    parallel_pieces(static_cast<std::int64_t>(values.size()), threads, [&](std::int64_t begin, std::int64_t end) {
        bool finite = true;
        for (std::int64_t i = begin; i < end; ++i) finite &= std::abs(p[i]) <= std::numeric_limits<float>::max();
        if (!finite) throw std::invalid_argument("a value is not a finite number");
    });
}

Output<std::int64_t, 1> csr_find(const Int64s& indptr, const Int32s& indices, const Int64s& rows,
                                 const Int64s& columns, int threads) {
    check_indptr(indptr, static_cast<std::int64_t>(indices.size()));
    require(rows.size() == columns.size(), "rows and columns differ in length");
    const auto n_rows = static_cast<std::int64_t>(indptr.size()) - 1;
    std::int64_t* found;
    auto result = new_vector<std::int64_t>(rows.size(), &found);
    parallel_pieces(static_cast<std::int64_t>(rows.size()), threads, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
            const std::int64_t row = rows.data()[i], column = columns.data()[i];
            found[i] = -1;
            if (row < 0 || row >= n_rows) continue;
            const std::int32_t* first = indices.data() + indptr.data()[row];
            const std::int32_t* last = indices.data() + indptr.data()[row + 1];
            const std::int32_t* at = std::lower_bound(first, last, column);
            if (at != last && *at == column) found[i] = at - indices.data();
        }
    }, PIECE / 16);
    return result;
}

Output<std::int64_t, 1> csr_column_counts(const Int32s& indices, std::int64_t n_columns, int threads) {
    check_indices(indices, n_columns, threads);
    const auto nnz = static_cast<std::int64_t>(indices.size());
    std::int64_t* total;
    auto result = new_vector<std::int64_t>(n_columns, &total);
    std::fill(total, total + n_columns, 0);
    // A counter a column and worker: no more workers than their counters are worth.
    const auto workers = static_cast<int>(
        std::clamp<std::int64_t>(nnz / std::max<std::int64_t>(n_columns, 1), 1, resolve_threads(threads)));
    std::vector<std::vector<std::int64_t>> counts(workers);
    parallel_for(pieces(nnz), workers, [&](std::int64_t piece, int worker) {
        auto& mine = counts[worker];
        mine.resize(n_columns);
        const std::int32_t* end = indices.data() + std::min(nnz, (piece + 1) * PIECE);
        for (const std::int32_t* column = indices.data() + piece * PIECE; column != end; ++column) ++mine[*column];
    });
    for (const auto& mine : counts) {
        for (std::size_t column = 0; column < mine.size(); ++column) total[column] += mine[column];
    }
    return result;
}

Output<std::int64_t, 1> csr_entries_of_columns(const Int32s& indices, const Bools& wanted, int threads) {
    check_indices(indices, static_cast<std::int64_t>(wanted.size()), threads);
    const auto nnz = static_cast<std::int64_t>(indices.size());
    std::vector<std::vector<std::int64_t>> found(pieces(nnz));
    parallel_for(pieces(nnz), threads, [&](std::int64_t piece, int) {
        const std::int64_t end = std::min(nnz, (piece + 1) * PIECE);
        for (std::int64_t i = piece * PIECE; i < end; ++i) {
            if (wanted.data()[indices.data()[i]]) found[piece].push_back(i);
        }
    });
    std::size_t count = 0;
    for (const auto& some : found) count += some.size();
    std::int64_t* positions;
    auto result = new_vector<std::int64_t>(count, &positions);
    for (const auto& some : found) positions = std::copy(some.begin(), some.end(), positions);
    return result;
}

namespace {

void check_entries(const Int64s& entries, std::int64_t nnz) {
    const std::int64_t* p = entries.data();
    const auto n = static_cast<std::int64_t>(entries.size());
    bool unsorted = false;
    for (std::int64_t i = 1; i < n; ++i) unsorted |= p[i - 1] >= p[i];
    require(!unsorted, "the entries to remove are not strictly increasing");
    require(n == 0 || (p[0] >= 0 && p[n - 1] < nnz), "an entry to remove is out of range");
}

}  // namespace

nb::tuple csr_remove(const Int64s& indptr, const Int32s& indices, const Floats& values, const Int64s& entries,
                     const std::optional<Int32s>& column_map, int threads) {
    const auto nnz = static_cast<std::int64_t>(indices.size());
    require(values.size() == indices.size(), "indices and values differ in length");
    check_indptr(indptr, nnz);
    check_entries(entries, nnz);
    if (column_map) check_indices(indices, static_cast<std::int64_t>(column_map->size()), threads);
    const std::int64_t* const removed = entries.data();
    const std::int64_t* const removed_end = removed + entries.size();
    std::int64_t* new_indptr;
    std::int32_t* new_indices;
    float* new_values;
    auto kept_indptr = new_vector<std::int64_t>(indptr.size(), &new_indptr);
    auto kept_indices = new_vector<std::int32_t>(nnz - entries.size(), &new_indices);
    auto kept_values = new_vector<float>(nnz - entries.size(), &new_values);
    const std::int64_t* gone = removed;
    for (std::size_t row = 0; row < indptr.size(); ++row) {
        while (gone != removed_end && *gone < indptr.data()[row]) ++gone;
        new_indptr[row] = indptr.data()[row] - (gone - removed);
    }
    parallel_pieces(nnz, threads, [&](std::int64_t begin, std::int64_t end) {
        const std::int64_t* next_gone = std::lower_bound(removed, removed_end, begin);
        std::int64_t to = begin - (next_gone - removed);
        for (std::int64_t from = begin; from < end; ++from) {
            const std::int64_t stop = next_gone != removed_end && *next_gone < end ? *next_gone++ : end;
            std::copy(values.data() + from, values.data() + stop, new_values + to);
            if (column_map) {
                std::transform(indices.data() + from, indices.data() + stop, new_indices + to,
                               [&](std::int32_t column) { return column_map->data()[column]; });
            } else {
                std::copy(indices.data() + from, indices.data() + stop, new_indices + to);
            }
            to += stop - from;
            from = stop;
        }
    });
    return nb::make_tuple(kept_indptr, kept_indices, kept_values);
}

Output<std::int64_t, 1> csr_holdout(const Int64s& indptr, const Int32s& indices, const Keys& row_keys,
                                    const Keys& column_keys, std::uint64_t seed, double fraction) {
    const auto nnz = static_cast<std::int64_t>(indices.size());
    check_indptr(indptr, nnz);
    const auto n_rows = static_cast<std::int64_t>(indptr.size()) - 1;
    const auto n_columns = static_cast<std::int64_t>(column_keys.size());
    require(static_cast<std::int64_t>(row_keys.size()) == n_rows, "rows and their keys differ in number");
    check_indices(indices, n_columns, 1);
    std::vector<std::int64_t> taken;
    parallel_for(1, 1, [&](std::int64_t, int) {
        std::vector<std::int64_t> left(n_columns, 0);
        for (std::int64_t i = 0; i < nnz; ++i) ++left[indices.data()[i]];
        for (std::int64_t row = 0; row < n_rows; ++row) {
            const std::uint64_t row_key = mix(mix(seed) ^ row_keys.data()[row]);
            std::int64_t row_left = indptr.data()[row + 1] - indptr.data()[row];
            for (std::int64_t i = indptr.data()[row]; i < indptr.data()[row + 1]; ++i) {
                const std::int32_t column = indices.data()[i];
                if (unit_interval(mix(row_key ^ column_keys.data()[column])) >= fraction) continue;
                if (row_left == 1 || left[column] == 1) continue;
                --row_left;
                --left[column];
                taken.push_back(i);
            }
        }
    });
    std::int64_t* positions;
    auto result = new_vector<std::int64_t>(taken.size(), &positions);
    std::copy(taken.begin(), taken.end(), positions);
    return result;
}

}  // namespace forgetcli
