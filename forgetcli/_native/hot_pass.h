// Passes over a row's entries that form no matrix: the products of the entries' rows with a vector, and the sum of the
// rows times what is made of those. For the hot_*.cpp files alone, as hot_system.h.
#pragma once

#include <type_traits>

#include "coupling.h"
#include "hot_system.h"

namespace forgetcli {
namespace FORGETCLI_VARIANT {
namespace {

// Entries that are gone over together, so that their dot products' chains of additions overlap.
constexpr int GROUP = 4;
// Entries between the one that is computed and the one that is fetched: some microseconds of memory latency.
constexpr int AHEAD = 24;

// How the elements of a table are stored.
template <typename T>
struct Whole {
    using Element = T;
    static FORGETCLI_INLINE Vector<T> read(const T* p) { return load<T>(p); }
    static FORGETCLI_INLINE void write(T* p, Vector<T> v) { store<T>(p, v); }
};

template <typename T, typename Storage>
FORGETCLI_INLINE const typename Storage::Element* row_of(const PairTable<T>& table, std::int64_t index) {
    return static_cast<const typename Storage::Element*>(table.rows) + table.stride * index;
}

// A sum of rows: in registers where the number W of their vectors is known at compile time, else (W = 0) in memory.
template <typename T, int W>
class Sums {
  public:
    Sums(T* memory, int) : memory_(memory) {
        for (int j = 0; j < W; ++j) parts_[j] = zero<T>();
    }
    FORGETCLI_INLINE void add(int j, Vector<T> v) { parts_[j] += v; }
    void finish() {
        for (int j = 0; j < W; ++j) store<T>(memory_ + j * LANES<T>, parts_[j]);
    }

  private:
    T* memory_;
    Vector<T> parts_[W];
};

template <typename T>
class Sums<T, 0> {
  public:
    Sums(T* memory, int width) : memory_(memory) {
        for (int j = 0; j < width; ++j) memory_[j] = 0;
    }
    FORGETCLI_INLINE void add(int j, Vector<T> v) {
        store<T>(memory_ + j * LANES<T>, load<T>(memory_ + j * LANES<T>) + v);
    }
    void finish() {}

  private:
    T* memory_;
};

// The number of a row's vectors.
template <typename T, int W>
FORGETCLI_INLINE int vectors(int width) {
    return W > 0 ? W : width / LANES<T>;
}

// Calls group(first entry, its size as a constant) on the entries [begin, end). `ahead`: fetches the rows of the entries
// to come from memory, of each `parts` times W vectors.
template <typename T, typename Storage, int W, int SIZE, typename Group>
FORGETCLI_INLINE void in_groups(const RowObjective<T>& o, const PairTable<T>& table, int parts, bool ahead,
                                std::int64_t begin, std::int64_t end, Group group) {
    constexpr int LINE = 64;
    const int bytes = parts * vectors<T, W>(table.width) * LANES<T> * static_cast<int>(sizeof(typename Storage::Element));
    std::int64_t e = begin;
    for (; e + SIZE <= end; e += SIZE) {
        if (ahead) {
            const std::int64_t first = e + AHEAD + SIZE <= o.nnz ? e + AHEAD : begin;
            for (int i = 0; i < SIZE; ++i) {
                const char* row = reinterpret_cast<const char*>(row_of<T, Storage>(table, o.indices[first + i]));
                for (int at = 0; at < bytes; at += LINE) FORGETCLI_PREFETCH(row + at);
            }
        }
        group(e, std::integral_constant<int, SIZE>());
    }
    for (; e < end; ++e) group(e, std::integral_constant<int, 1>());
}

// Sums of at most so many entries are added to the row's: rounding grows with the number of sums, not of entries.
constexpr int PIECE = 512;

// Calls piece(begin, end) on the pieces of a row.
template <typename T, typename Piece>
FORGETCLI_INLINE void in_pieces(const RowObjective<T>& o, std::int64_t row, Piece piece) {
    const std::int64_t end = o.indptr[row + 1];
    for (std::int64_t begin = o.indptr[row]; begin < end; begin += PIECE) {
        piece(begin, begin + PIECE < end ? begin + PIECE : end);
    }
}

// The products of p with the rows of so many entries, and where those are.
template <typename T, typename Storage, int COUNT>
FORGETCLI_INLINE void products_with(const PairTable<T>& table, const std::int32_t* indices, const T* p, int vectors,
                                    const typename Storage::Element** rows, T* products) {
    Vector<T> dots[COUNT];
    for (int e = 0; e < COUNT; ++e) {
        rows[e] = row_of<T, Storage>(table, indices[e]);
        dots[e] = zero<T>();
    }
    for (int j = 0; j < vectors; ++j) {
        const Vector<T> own = load<T>(p + j * LANES<T>);
        for (int e = 0; e < COUNT; ++e) dots[e] += own * Storage::read(rows[e] + j * LANES<T>);
    }
    sum_each<T, COUNT>(dots, products);
    for (int e = 0; e < COUNT; ++e) products[e] *= table.x_unscale;
}

// Passes over a piece's entries with p: sums = Σ_e pull_e x_e, where pull_e = pull(e, x_e·p + bias); returns Σ_e pull_e.
template <typename T, typename Storage, int W, typename Pull>
FORGETCLI_INLINE T pull_piece(const RowObjective<T>& o, const PairTable<T>& table, bool ahead, std::int64_t begin,
                              std::int64_t end, const T* p, T bias, T* memory, Pull pull) {
    constexpr int L = LANES<T>;
    const int w = vectors<T, W>(table.width);
    Sums<T, W> sums(memory, table.width);
    T bias_sum = 0;
    in_groups<T, Storage, W, GROUP>(o, table, 1, ahead, begin, end, [&](std::int64_t first, auto size) FORGETCLI_INLINE_LAMBDA {
        constexpr int COUNT = decltype(size)::value;
        const typename Storage::Element* rows[COUNT];
        T pulls[COUNT];
        products_with<T, Storage, COUNT>(table, o.indices + first, p, w, rows, pulls);
        for (int e = 0; e < COUNT; ++e) {
            pulls[e] = pull(first + e, pulls[e] + bias);
            bias_sum += pulls[e];
            pulls[e] *= table.x_unscale;
        }
        for (int j = 0; j < w; ++j) {
            Vector<T> sum = zero<T>();
            for (int e = 0; e < COUNT; ++e) sum += pulls[e] * Storage::read(rows[e] + j * L);
            sums.add(j, sum);
        }
    });
    sums.finish();
    return bias_sum;
}

// Calls run with the number of a row's vectors as a constant: exact up to four, which registers hold, else 0.
template <typename T, typename Run>
FORGETCLI_INLINE void for_vectors(int width, Run run) {
    switch (width / LANES<T>) {
        case 1: return run(std::integral_constant<int, 1>());
        case 2: return run(std::integral_constant<int, 2>());
        case 3: return run(std::integral_constant<int, 3>());
        case 4: return run(std::integral_constant<int, 4>());
        default: return run(std::integral_constant<int, 0>());
    }
}

}  // namespace
}  // namespace FORGETCLI_VARIANT
}  // namespace forgetcli
