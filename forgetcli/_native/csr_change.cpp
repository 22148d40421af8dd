// Looking entries up, counting, checking and removing them.
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <vector>

#include "csr.h"
#include "mix.h"

namespace forgetcli {

View::View(Int64s indptr, Int32s indices, Floats values, std::int64_t n_columns, int threads)
    : indptr_(std::move(indptr)), indices_(std::move(indices)), values_(std::move(values)), coded_(false),
      n_columns_(n_columns) {
    check(values_.size(), threads);
}

View::View(Int64s indptr, Int32s indices, Codes codes, const Floats& levels, std::int64_t n_columns, int threads)
    : indptr_(std::move(indptr)), indices_(std::move(indices)), codes_(std::move(codes)), coded_(true),
      n_columns_(n_columns) {
    require(levels.size() <= LEVELS, "more than 256 levels");
    std::copy(levels.data(), levels.data() + levels.size(), levels_);
    check(codes_.size(), threads);
}

void View::check(std::size_t n_values, int threads) const {
    require(indices_.size() == n_values, "indices and values differ in length");
    require(0 <= n_columns_ && n_columns_ <= MAX_ROWS, "the number of columns is out of range");
    const auto n = static_cast<std::int64_t>(indptr_.size());
    const std::int64_t* p = indptr_.data();
    require(n >= 1 && n - 1 <= MAX_ROWS, "indptr has the wrong length");
    require(p[0] == 0, "indptr does not start at 0");
    require(p[n - 1] == nnz(), "indptr does not end at the number of entries");
    bool falls = false;
    for (std::int64_t row = 1; row < n; ++row) falls |= p[row] < p[row - 1];
    require(!falls, "indptr decreases");
    const auto limit = static_cast<std::uint32_t>(n_columns_);
    const std::int32_t* columns = indices_.data();
    parallel_pieces(nnz(), threads, [=](std::int64_t begin, std::int64_t end) {
        bool outside = false;
        for (std::int64_t i = begin; i < end; ++i) outside |= static_cast<std::uint32_t>(columns[i]) >= limit;
        if (outside) throw std::invalid_argument("an index is outside the columns");
    });
}

bool Coder::encode(const Floats& values, Codes codes) {
    require(codes.size() == values.size(), "not one code for each value");
    std::uint8_t* to = codes.data();
    for (std::size_t i = 0; i < values.size(); ++i) {
        std::uint32_t bits;
        std::memcpy(&bits, values.data() + i, sizeof bits);
        std::uint32_t at = bits * 0x9e3779b1u >> (32 - SLOT_BITS);
        while (slots_[at].code >= 0 && slots_[at].bits != bits) at = (at + 1) % SLOTS;
        if (slots_[at].code < 0) {
            if (n_levels_ == View::LEVELS) return false;
            levels_[n_levels_] = values.data()[i];
            slots_[at] = {bits, n_levels_++};
        }
        to[i] = static_cast<std::uint8_t>(slots_[at].code);
    }
    return true;
}

Output<float, 1> Coder::levels() const {
    float* levels;
    auto out = new_vector<float>(n_levels_, &levels);
    std::copy(levels_, levels_ + n_levels_, levels);
    return out;
}

Output<float, 1> decode_values(const Codes& codes, const Floats& levels, int threads) {
    require(levels.size() <= View::LEVELS, "more than 256 levels");
    float table[View::LEVELS] = {};
    std::copy(levels.data(), levels.data() + levels.size(), table);
    float* values;
    auto result = new_vector<float>(codes.size(), &values);
    const std::uint8_t* from = codes.data();
    parallel_pieces(static_cast<std::int64_t>(codes.size()), threads, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) values[i] = table[from[i]];
    });
    return result;
}

void csr_validate(const View& view, int threads) {
    const std::int64_t* starts = view.indptr();
    const std::int32_t* columns = view.indices();
    parallel_rows(starts, view.n_rows(), 1, PIECE, threads, [&](std::int64_t begin, std::int64_t end, int) {
        bool unsorted = false;
        for (std::int64_t row = begin; row < end; ++row) {
            for (std::int64_t i = starts[row] + 1; i < starts[row + 1]; ++i) unsorted |= columns[i - 1] >= columns[i];
        }
        if (unsorted) throw std::invalid_argument("the indices of a row are not strictly increasing");
    });
    const float* values = view.codes() ? view.levels() : view.values();
    parallel_pieces(view.codes() ? View::LEVELS : view.nnz(), threads, [&](std::int64_t begin, std::int64_t end) {
        bool finite = true;
        for (std::int64_t i = begin; i < end; ++i) finite &= std::abs(values[i]) <= std::numeric_limits<float>::max();
        if (!finite) throw std::invalid_argument("a value is not a finite number");
    });
}

Output<std::int64_t, 1> csr_find(const View& view, const Int64s& rows, const Int64s& columns, int threads) {
    require(rows.size() == columns.size(), "rows and columns differ in length");
    std::int64_t* found;
    auto result = new_vector<std::int64_t>(rows.size(), &found);
    parallel_pieces(static_cast<std::int64_t>(rows.size()), threads, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
            const std::int64_t row = rows.data()[i], column = columns.data()[i];
            found[i] = -1;
            if (row < 0 || row >= view.n_rows()) continue;
            const std::int32_t* first = view.indices() + view.indptr()[row];
            const std::int32_t* last = view.indices() + view.indptr()[row + 1];
            const std::int32_t* at = std::lower_bound(first, last, column);
            if (at != last && *at == column) found[i] = at - view.indices();
        }
    }, PIECE / 16);
    return result;
}

namespace {

// How often each of the numbers in [0, n) occurs.
template <typename Number>
Output<std::int64_t, 1> count_numbers(const Number* numbers, std::int64_t count, std::int64_t n, int threads) {
    std::int64_t* total;
    auto result = new_vector<std::int64_t>(n, &total);
    std::fill(total, total + n, 0);
    // A counter a number and worker: no more workers than their counters are worth.
    const auto workers = static_cast<int>(
        std::clamp<std::int64_t>(count / std::max<std::int64_t>(n, 1), 1, resolve_threads(threads)));
    std::vector<std::vector<std::int64_t>> counts(workers);
    parallel_for(pieces(count), workers, [&](std::int64_t piece, int worker) {
        auto& mine = counts[worker];
        mine.resize(n);
        const Number* end = numbers + std::min(count, (piece + 1) * PIECE);
        for (const Number* number = numbers + piece * PIECE; number != end; ++number) ++mine[*number];
    });
    for (const auto& mine : counts) {
        for (std::size_t number = 0; number < mine.size(); ++number) total[number] += mine[number];
    }
    return result;
}

}  // namespace

Output<std::int64_t, 1> csr_column_counts(const View& view, int threads) {
    return count_numbers(view.indices(), view.nnz(), view.n_columns(), threads);
}

Output<std::int64_t, 1> code_counts(const Codes& codes, int threads) {
    return count_numbers(codes.data(), static_cast<std::int64_t>(codes.size()), View::LEVELS, threads);
}

Output<std::int64_t, 1> csr_entries_of_columns(const View& view, const Bools& wanted, int threads) {
    require(static_cast<std::int64_t>(wanted.size()) == view.n_columns(), "not one mark for each column");
    const std::int64_t nnz = view.nnz();
    std::vector<std::vector<std::int64_t>> found(pieces(nnz));
    parallel_for(pieces(nnz), threads, [&](std::int64_t piece, int) {
        const std::int64_t end = std::min(nnz, (piece + 1) * PIECE);
        for (std::int64_t i = piece * PIECE; i < end; ++i) {
            if (wanted.data()[view.indices()[i]]) found[piece].push_back(i);
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

void check_removal(const View& view, const Int64s& entries, const std::optional<Int32s>& column_map) {
    const std::int64_t* p = entries.data();
    const auto n = static_cast<std::int64_t>(entries.size());
    bool unsorted = false;
    for (std::int64_t i = 1; i < n; ++i) unsorted |= p[i - 1] >= p[i];
    require(!unsorted, "the entries to remove are not strictly increasing");
    require(n == 0 || (p[0] >= 0 && p[n - 1] < view.nnz()), "an entry to remove is out of range");
    require(!column_map || static_cast<std::int64_t>(column_map->size()) == view.n_columns(),
            "not one number for each column");
}

// Where the rows begin when the entries have gone.
Output<std::int64_t, 1> offsets_without(const View& view, const Int64s& entries) {
    std::int64_t* left;
    auto offsets = new_vector<std::int64_t>(view.n_rows() + 1, &left);
    const std::int64_t *gone = entries.data(), *const end = gone + entries.size();
    for (std::int64_t row = 0; row <= view.n_rows(); ++row) {
        while (gone != end && *gone < view.indptr()[row]) ++gone;
        left[row] = view.indptr()[row] - (gone - entries.data());
    }
    return offsets;
}

// Moves what is left of the entries [begin, end) to its place, forwards, so that it may be the same array; each element
// becomes what `change` makes of it.
template <typename Element, typename Change>
void move_kept(const Int64s& entries, std::int64_t begin, std::int64_t end, const Element* from, Element* to,
               const Change& change) {
    const std::int64_t* const removed_end = entries.data() + entries.size();
    const std::int64_t* next_gone = std::lower_bound(entries.data(), removed_end, begin);
    to += begin - (next_gone - entries.data());
    for (std::int64_t at = begin; at < end; ++at) {
        const std::int64_t stop = next_gone != removed_end && *next_gone < end ? *next_gone++ : end;
        to = change(from + at, from + stop, to);
        at = stop;
    }
}

// What move_kept does with values, and with columns that keep their numbers.
struct Kept {
    template <typename Element>
    Element* operator()(const Element* begin, const Element* end, Element* to) const {
        std::memmove(to, begin, static_cast<std::size_t>(end - begin) * sizeof(Element));
        return to + (end - begin);
    }
};

// And with columns that do not.
struct Renumbered {
    const std::int32_t* numbers;

    std::int32_t* operator()(const std::int32_t* begin, const std::int32_t* end, std::int32_t* to) const {
        return std::transform(begin, end, to, [this](std::int32_t column) { return numbers[column]; });
    }
};

// Moves a piece of the columns and the values or codes.
template <typename Value>
void move_piece(const View& view, const Int64s& entries, const std::optional<Int32s>& column_map, std::int64_t begin,
                std::int64_t end, const Value* values, std::int32_t* new_indices, Value* new_values) {
    if (column_map) {
        move_kept(entries, begin, end, view.indices(), new_indices, Renumbered{column_map->data()});
    } else {
        move_kept(entries, begin, end, view.indices(), new_indices, Kept());
    }
    move_kept(entries, begin, end, values, new_values, Kept());
}

template <typename Value>
nb::tuple removed(const View& view, const Value* values, const Int64s& entries, const std::optional<Int32s>& column_map,
                  int threads) {
    const auto left = static_cast<std::size_t>(view.nnz()) - entries.size();
    std::int32_t* new_indices;
    Value* new_values;
    auto kept_indices = new_vector<std::int32_t>(left, &new_indices);
    auto kept_values = new_vector<Value>(left, &new_values);
    parallel_pieces(view.nnz(), threads, [&](std::int64_t begin, std::int64_t end) {
        move_piece(view, entries, column_map, begin, end, values, new_indices, new_values);
    });
    return nb::make_tuple(offsets_without(view, entries), kept_indices, kept_values);
}

}  // namespace

nb::tuple csr_remove(const View& view, const Int64s& entries, const std::optional<Int32s>& column_map, int threads) {
    check_removal(view, entries, column_map);
    return view.codes() ? removed(view, view.codes(), entries, column_map, threads)
                        : removed(view, view.values(), entries, column_map, threads);
}

Output<std::int64_t, 1> csr_remove_in_place(const View& view, const Int64s& entries,
                                            const std::optional<Int32s>& column_map) {
    check_removal(view, entries, column_map);
    const std::int64_t first = column_map || entries.size() == 0 ? 0 : entries.data()[0];
    auto* const indices = const_cast<std::int32_t*>(view.indices());
    parallel_for(1, 1, [&](std::int64_t, int) {
        if (view.codes()) {
            auto* const codes = const_cast<std::uint8_t*>(view.codes());
            move_piece<std::uint8_t>(view, entries, column_map, first, view.nnz(), codes, indices, codes);
        } else {
            auto* const values = const_cast<float*>(view.values());
            move_piece<float>(view, entries, column_map, first, view.nnz(), values, indices, values);
        }
    });
    return offsets_without(view, entries);
}

Output<std::int64_t, 1> csr_holdout(const View& view, const Keys& row_keys, const Keys& column_keys, std::uint64_t seed,
                                    double fraction) {
    require(static_cast<std::int64_t>(row_keys.size()) == view.n_rows(), "rows and their keys differ in number");
    require(static_cast<std::int64_t>(column_keys.size()) == view.n_columns(),
            "columns and their keys differ in number");
    std::vector<std::int64_t> taken;
    parallel_for(1, 1, [&](std::int64_t, int) {
        std::vector<std::int64_t> left(view.n_columns(), 0);
        for (std::int64_t i = 0; i < view.nnz(); ++i) ++left[view.indices()[i]];
        for (std::int64_t row = 0; row < view.n_rows(); ++row) {
            const std::uint64_t row_key = mix(mix(seed) ^ row_keys.data()[row]);
            std::int64_t row_left = view.indptr()[row + 1] - view.indptr()[row];
            for (std::int64_t i = view.indptr()[row]; i < view.indptr()[row + 1]; ++i) {
                const std::int32_t column = view.indices()[i];
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
