// Interactions in compressed sparse rows: what the files that make, change and bind them share.
#pragma once

#include <nanobind/nanobind.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>

#include "arrays.h"
#include "pieces.h"

namespace forgetcli {

using Int32s = Input<std::int32_t, 1>;
using Int64s = Input<std::int64_t, 1>;
using Floats = Input<float, 1>;
using Codes = Input<std::uint8_t, 1>;
using Bools = Input<bool, 1>;
using Keys = Input<std::uint64_t, 1>;

constexpr std::int64_t MAX_ROWS = 0x7fffffff;

// A matrix in compressed rows, as everything here reads it. Its arrays are checked once, when it is made: then each row's
// range lies within the others, and each index is a column's. Whoever made it leaves them as they are.
class View {
  public:
    View(Int64s indptr, Int32s indices, Floats values, std::int64_t n_columns, int threads);
    // Each value is that level of which its code is the number.
    View(Int64s indptr, Int32s indices, Codes codes, const Floats& levels, std::int64_t n_columns, int threads);

    std::int64_t n_rows() const { return static_cast<std::int64_t>(indptr_.size()) - 1; }
    std::int64_t n_columns() const { return n_columns_; }
    std::int64_t nnz() const { return static_cast<std::int64_t>(indices_.size()); }
    const std::int64_t* indptr() const { return indptr_.data(); }
    const std::int32_t* indices() const { return indices_.data(); }
    const float* values() const { return coded_ ? nullptr : values_.data(); }
    const std::uint8_t* codes() const { return coded_ ? codes_.data() : nullptr; }
    const float* levels() const { return coded_ ? levels_ : nullptr; }  // (LEVELS,), zeros behind those that there are

    static constexpr int LEVELS = 256;

  private:
    void check(std::size_t n_values, int threads) const;

    Int64s indptr_;
    Int32s indices_;
    Floats values_;
    Codes codes_;
    bool coded_;
    float levels_[LEVELS] = {};
    std::int64_t n_columns_;
};

// Codes for values that come piece by piece, as long as no more than View::LEVELS different ones do.
class Coder {
  public:
    using Codes = nb::ndarray<std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

    Coder() { std::fill(slots_, slots_ + SLOTS, Slot{0, -1}); }

    // Writes the values' codes. False where a value is one too many.
    bool encode(const Floats& values, Codes codes);

    // In the order in which they came.
    Output<float, 1> levels() const;

  private:
    static constexpr int SLOT_BITS = 10;  // four times as many as levels: most are found where they are looked for first
    static constexpr int SLOTS = 1 << SLOT_BITS;
    struct Slot {
        std::uint32_t bits;
        std::int32_t code;  // -1: free
    };
    Slot slots_[SLOTS];
    float levels_[View::LEVELS];
    int n_levels_ = 0;
};

// Refuses rows whose indices are not strictly increasing, and values that are not finite.
void csr_validate(const View& view, int threads);

// (indptr, indices, values, kept rows, kept columns); the kept ones are None when no row or column is empty.
nb::tuple csr_from_pairs(const Int32s& rows, const Int32s& columns, const Floats& values,
                         const std::optional<Int64s>& timestamps, std::int64_t n_rows, std::int64_t n_columns,
                         const char* duplicates, int threads);

// (indptr, indices, values or codes) of the transpose.
nb::tuple csr_transpose(const View& view, int threads);

// The position of each pair's entry, -1 where there is none.
Output<std::int64_t, 1> csr_find(const View& view, const Int64s& rows, const Int64s& columns, int threads);

// How often each column occurs.
Output<std::int64_t, 1> csr_column_counts(const View& view, int threads);

// (n,) the values that the codes stand for.
Output<float, 1> decode_values(const Codes& codes, const Floats& levels, int threads);

// (View::LEVELS,) how often each code occurs.
Output<std::int64_t, 1> code_counts(const Codes& codes, int threads);

// The positions, increasing, of the entries whose column is wanted.
Output<std::int64_t, 1> csr_entries_of_columns(const View& view, const Bools& wanted, int threads);

// (indptr, indices, values or codes) without the entries at the given positions; column_map gives columns new numbers.
// Rows that lose all their entries stay, empty.
nb::tuple csr_remove(const View& view, const Int64s& entries, const std::optional<Int32s>& column_map, int threads);

// The same where the arrays are, whose first elements are then the result's; its indptr is new. The view is of no use
// afterwards.
Output<std::int64_t, 1> csr_remove_in_place(const View& view, const Int64s& entries,
                                            const std::optional<Int32s>& column_map);

// The positions, increasing, of about a fraction of the entries, chosen by a hash of (seed, row key, column key).
// A row's or column's last entry is never among them.
Output<std::int64_t, 1> csr_holdout(const View& view, const Keys& row_keys, const Keys& column_keys, std::uint64_t seed,
                                    double fraction);

}  // namespace forgetcli
