// Passes over a row's entries by blocks that stay in the first-level cache between the two looks at them: the products
// of the entries' rows with a vector, and the sum of the rows times what is made of those. For the inexact row solver.
#pragma once

#include "hot_pass.h"

namespace forgetcli {
namespace FORGETCLI_VARIANT {
namespace {

// Entries of a block, whose last group is filled up with rows that count for nothing.
constexpr int BLOCK = 16;
// Vectors that a sum or a factor keeps in registers.
constexpr int REGISTERS = FORGETCLI_VECTOR_BYTES == 64 ? 8 : 4;

FORGETCLI_INLINE int whole_groups(int n) { return (n + GROUP - 1) / GROUP * GROUP; }

// The rows of a block of n entries where they lie in the table. The last one fills the last group. FETCH: while they are
// read, those of the entries to come are fetched, as near as they can be.
template <typename T, bool FETCH>
class BlockRows {
  public:
    BlockRows(const RowObjective<T>& o, const T* table, int width, std::int64_t begin, int n)
        : table_(table), width_(width), fetched_(begin + AHEAD + BLOCK <= o.nnz ? BLOCK : 0),
          coming_(o.indices + begin + (fetched_ ? AHEAD : 0)) {
        for (int e = 0; e < BLOCK; ++e) rows_[e] = row(o.indices[begin + (e < n ? e : n - 1)]);
    }

    FORGETCLI_INLINE Vector<T> read(int e, int j) const { return load<T>(rows_[e] + j); }

    FORGETCLI_INLINE void fetch(int first) const {
        constexpr int LINE = 64 / sizeof(T);
        for (int e = first; FETCH && e < first + GROUP && e < fetched_; ++e) {
            const T* coming = row(coming_[e]);
            for (int j = 0; j < width_; j += LINE) FORGETCLI_PREFETCH_NEAR(coming + j);
        }
    }

  private:
    FORGETCLI_INLINE const T* row(std::int32_t index) const { return table_ + index * static_cast<std::int64_t>(width_); }

    const T* table_;
    int width_, fetched_;
    const std::int32_t* coming_;
    const T* rows_[BLOCK];
};

// products[e] = row e · p, over whole groups.
template <typename T, int W, typename Rows>
FORGETCLI_INLINE void row_products(int n, const Rows& rows, int width, const T* p, T* products) {
    constexpr int L = LANES<T>;
    const int w = vectors<T, W>(width);
    Vector<T> own[W > 0 ? W : 1];
    for (int j = 0; j < W; ++j) own[j] = load<T>(p + j * L);
    for (int e = 0; e < n; e += GROUP) {
        rows.fetch(e);
        Vector<T> dots[GROUP];
        for (auto& dot : dots) dot = zero<T>();
        for (int j = 0; j < w; ++j) {
            const Vector<T> x = W > 0 ? own[j] : load<T>(p + j * L);
            for (int i = 0; i < GROUP; ++i) dots[i] += x * rows.read(e + i, j * L);
        }
        sum_each<T, GROUP>(dots, products + e);
    }
}

// sums[first, first + V vectors) += Σ_e pulls[e] row e, over whole groups.
template <typename T, int V, typename Rows>
FORGETCLI_INLINE void add_columns(int n, const Rows& rows, const T* pulls, int first, T* sums) {
    constexpr int L = LANES<T>;
    constexpr int CHAINS = V > REGISTERS / 2 ? 1 : V > REGISTERS / 4 ? 2 : GROUP;  // sums that are kept apart
    Vector<T> parts[CHAINS][V];
    for (auto& part : parts) {
        for (auto& sum : part) sum = zero<T>();
    }
    for (int e = 0; e < n; e += GROUP) {
        for (int i = 0; i < GROUP; ++i) {
            const T pull = pulls[e + i];
            for (int v = 0; v < V; ++v) parts[i % CHAINS][v] += pull * rows.read(e + i, first + v * L);
        }
    }
    for (int step = CHAINS / 2; step > 0; step /= 2) {
        for (int i = 0; i < step; ++i) {
            for (int v = 0; v < V; ++v) parts[i][v] += parts[i + step][v];
        }
    }
    for (int v = 0; v < V; ++v) add_to(sums + first + v * L, parts[0][v]);
}

template <typename T, int MOST, typename Rows>
FORGETCLI_INLINE void add_rest(int count, int n, const Rows& rows, const T* pulls, int first, T* sums) {
    if (count == MOST) {
        add_columns<T, MOST>(n, rows, pulls, first, sums);
    } else if constexpr (MOST > 1) {
        add_rest<T, MOST - 1>(count, n, rows, pulls, first, sums);
    }
}

// sums += Σ_e pulls[e] row e, over whole groups.
template <typename T, int W, typename Rows>
FORGETCLI_INLINE void add_rows(int n, const Rows& rows, int width, const T* pulls, T* sums) {
    if constexpr (W > 0) {
        add_columns<T, W>(n, rows, pulls, 0, sums);
    } else {
        constexpr int L = LANES<T>;
        int j = 0;
        for (; j + REGISTERS * L <= width; j += REGISTERS * L) add_columns<T, REGISTERS>(n, rows, pulls, j, sums);
        add_rest<T, REGISTERS - 1>((width - j) / L, n, rows, pulls, j, sums);
    }
}

// Calls run with the number of a row's vectors as a constant where registers hold them, else 0.
template <typename T, int MOST = REGISTERS, typename Run>
FORGETCLI_INLINE void with_vectors(int width, Run run) {
    if (width == MOST * LANES<T>) {
        run(std::integral_constant<int, MOST>());
    } else if constexpr (MOST > 1) {
        with_vectors<T, MOST - 1>(width, run);
    } else {
        run(std::integral_constant<int, 0>());
    }
}

}  // namespace
}  // namespace FORGETCLI_VARIANT
}  // namespace forgetcli
