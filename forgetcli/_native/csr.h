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
using Bools = Input<bool, 1>;
using Keys = Input<std::uint64_t, 1>;

constexpr std::int64_t MAX_ROWS = 0x7fffffff;

// Refuses offsets that do not run from 0 to nnz without a step back: after it, every row's range can be read.
void check_indptr(const Int64s& indptr, std::int64_t nnz);

// Refuses an index outside [0, n_columns).
void check_indices(const Int32s& indices, std::int64_t n_columns, int threads);

void check_finite(const Floats& values, int threads);

// Refuses what is not a matrix with n_columns columns, strictly increasing in each row, and finite values.
void csr_validate(const Int64s& indptr, const Int32s& indices, const Floats& values, std::int64_t n_columns,
                  int threads);

// (indptr, indices, values, kept rows, kept columns); the kept ones are None when no row or column is empty.
nb::tuple csr_from_pairs(const Int32s& rows, const Int32s& columns, const Floats& values,
                         const std::optional<Int64s>& timestamps, std::int64_t n_rows, std::int64_t n_columns,
                         const char* duplicates, int threads);

// (indptr, indices, values) of the transpose, n_columns rows.
nb::tuple csr_transpose(const Int64s& indptr, const Int32s& indices, const Floats& values, std::int64_t n_columns,
                        int threads);

// The position of each pair's entry, -1 where there is none.
Output<std::int64_t, 1> csr_find(const Int64s& indptr, const Int32s& indices, const Int64s& rows,
                                 const Int64s& columns, int threads);

// How often each column occurs.
Output<std::int64_t, 1> csr_column_counts(const Int32s& indices, std::int64_t n_columns, int threads);

// The positions, increasing, of the entries whose column is wanted.
Output<std::int64_t, 1> csr_entries_of_columns(const Int32s& indices, const Bools& wanted, int threads);

// (indptr, indices, values) without the entries at the given positions; column_map gives columns new numbers.
// Rows that lose all their entries stay, empty.
nb::tuple csr_remove(const Int64s& indptr, const Int32s& indices, const Floats& values, const Int64s& entries,
                     const std::optional<Int32s>& column_map, int threads);

// The positions, increasing, of about a fraction of the entries, chosen by a hash of (seed, row key, column key).
// A row's or column's last entry is never among them.
Output<std::int64_t, 1> csr_holdout(const Int64s& indptr, const Int32s& indices, const Keys& row_keys,
                                    const Keys& column_keys, std::uint64_t seed, double fraction);

}  // namespace forgetcli
