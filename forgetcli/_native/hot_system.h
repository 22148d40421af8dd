// One row's normal equations: gathering its entries and accumulating their system.
#pragma once

#include "hot_cholesky.h"
#include "rows.h"

namespace forgetcli {
namespace {

// One block of gathered entries stays in the first-level cache.
constexpr int BLOCK_BYTES = 32 * 1024;
constexpr int MIN_BLOCK = 16, MAX_BLOCK = 256;

template <typename T>
FORGETCLI_INLINE int block_entries(const Shape& s) {
    const int fits = BLOCK_BYTES / static_cast<int>(s.stride * sizeof(T));
    return fits < MIN_BLOCK ? MIN_BLOCK : fits > MAX_BLOCK ? MAX_BLOCK : fits;
}

// A thread's memory, cut from one piece.
template <typename T>
struct Scratch {
    T* gathered;    // (block, stride): x_e
    T* weighted;    // (block, stride): w_e x_e, where the weights are not all 1
    T* slopes;      // (block,): w_e t_e + background t_e, what the right-hand side takes of x_e
    T* system;      // one partial
    T* rhs;         // (stride,)
    T* work;        // (3 · stride,)
    T* x;           // (stride,)

    Scratch(T* memory, const Shape& s) {
        const std::int64_t block = block_entries<T>(s) * static_cast<std::int64_t>(s.stride);
        gathered = memory;
        weighted = gathered + block;
        slopes = weighted + block;
        rhs = slopes + MAX_BLOCK;
        work = rhs + s.stride;
        x = work + 3 * s.stride;
        system = x + s.stride;
    }
};

template <typename T>
std::int64_t partial_elements(const Shape& s) {
    return s.full * static_cast<std::int64_t>(s.full) + (s.tail + 1) * static_cast<std::int64_t>(s.stride) + LANES<T>;
}

template <typename T>
std::int64_t partial_size(int dimension) {
    return partial_elements<T>(shape_of<T>(dimension));
}

template <typename T>
std::int64_t scratch_size(int dimension) {
    const Shape s = shape_of<T>(dimension);
    return 2 * block_entries<T>(s) * static_cast<std::int64_t>(s.stride) + MAX_BLOCK + 5 * s.stride +
           partial_elements<T>(s);
}

// The parts of a partial: the system of hot_cholesky.h and Σ c t², in two pieces that keep a double's digits.
template <typename T>
struct Partial {
    T* matrix;
    T* lower;
    T* constant;

    Partial(T* memory, const Shape& s)
        : matrix(memory),
          lower(matrix + s.full * static_cast<std::int64_t>(s.full)),
          constant(lower + (s.tail + 1) * s.stride) {}

    T* rhs(const Shape& s) const { return lower + s.tail * s.stride; }
    double read_constant() const { return double(constant[0]) + double(constant[1]); }
    void write_constant(double value) const {
        constant[0] = T(value);
        constant[1] = T(value - double(T(value)));
    }
};

template <typename T>
FORGETCLI_INLINE bool unit_weights(const RowObjective<T>& o) {
    return o.confidence_slope == T(0) && o.confidence_offset - o.background == T(1);
}

// Brings the other side's rows of the coming entries into the cache, a few between one tile and the next.
template <typename T>
struct EntryPrefetch {
    const RowObjective<T>& o;
    std::int64_t next, end;
    int stride;

    EntryPrefetch(const RowObjective<T>& objective, std::int64_t begin, std::int64_t count, int tiles)
        : o(objective), next(begin), end(begin + count < o.nnz ? begin + count : o.nnz) {
        stride = static_cast<int>((count + tiles - 1) / tiles);
        if (!o.indices) end = next;
    }

    FORGETCLI_INLINE void step() {
        const std::int64_t until = next + stride < end ? next + stride : end;
        for (; next < until; ++next) {
            const char* x = reinterpret_cast<const char*>(o.other + o.indices[next] * static_cast<std::int64_t>(o.rank));
            for (int byte = 0; byte < static_cast<int>(o.rank * sizeof(T)); byte += 64) FORGETCLI_PREFETCH(x + byte);
        }
    }
};

// Copies row `index` of x (count, rank) to `out`, which has a whole number of vectors; nothing is read past x's end.
template <typename T>
FORGETCLI_INLINE void copy_row(const T* from, std::int64_t count, int rank, std::int64_t index, T* out) {
    constexpr int L = LANES<T>;
    const std::int64_t at = index * rank;
    const T* x = from + at;
    const int whole = rank / L * L;
    for (int j = 0; j < whole; j += L) store<T>(out + j, load<T>(x + j));
    if (whole == rank) return;
    if (at + whole + L <= count * rank) {
        store<T>(out + whole, load<T>(x + whole));
    } else {
        for (int j = whole; j < rank; ++j) out[j] = x[j];
    }
}

// Copies x_e into `out` (stride elements): factors, the constant, then whatever.
template <typename T>
FORGETCLI_INLINE void gather_entry(const RowObjective<T>& o, std::int64_t index, T* out) {
    copy_row(o.other, o.n_other, o.rank, index, out);
    if (o.with_bias) out[o.rank] = T(1);
}

// Entry e as the equations see it: weight w, and what the right-hand side takes of x.
template <typename T>
struct Terms {
    T confidence, target, weight, slope;

    FORGETCLI_INLINE Terms(const RowObjective<T>& o, std::int64_t e, std::int64_t index) {
        const T value = o.values ? T(o.values[e]) : T(0);
        confidence = o.confidence_slope * value + o.confidence_offset;
        target = o.target_slope * value + o.target_offset - (o.other_bias ? o.other_bias[index] : T(0));
        weight = confidence - o.background;
        slope = confidence * target;
    }
};

// Gathers the entries [begin, begin + n) and returns Σ c t².
template <typename T>
FORGETCLI_INLINE double gather_block(const RowObjective<T>& o, const Shape& s, std::int64_t begin, int n, bool unit,
                                     const Scratch<T>& scratch) {
    double constant = 0;
    for (int e = 0; e < n; ++e) {
        const std::int64_t index = o.indices ? o.indices[begin + e] : begin + e;
        const Terms<T> terms(o, begin + e, index);
        T* x = scratch.gathered + e * s.stride;
        gather_entry(o, index, x);
        if (!unit) {
            T* wx = scratch.weighted + e * s.stride;
            for (int j = 0; j < s.stride; j += LANES<T>) store<T>(wx + j, terms.weight * load<T>(x + j));
        }
        scratch.slopes[e] = terms.slope;
        constant += double(terms.slope) * double(terms.target);
    }
    return constant;
}

template <typename T>
void accumulate_block(const RowObjective<T>& o, const Shape& s, int n, bool unit, std::int64_t next,
                      const Scratch<T>& scratch, const Partial<T>& partial) {
    const T* a = unit ? scratch.gathered : scratch.weighted;
    const T* b = scratch.gathered;
    const int tiles = (s.full / (2 * LANES<T>) + 1) * (s.full / (2 * TILE_ROWS<2>)) + 1;
    EntryPrefetch<T> prefetch(o, next, n, tiles);
    symmetric_update<T, false>(n, s.full, a, s.stride, b, s.stride, partial.matrix, s.full, prefetch);
    if (s.tail) full_update(n, s.tail, s.stride, a + s.full, s.stride, b, s.stride, partial.lower, s.stride, prefetch);
    full_update(n, 1, s.stride, scratch.slopes, 1, b, s.stride, partial.rhs(s), s.stride, prefetch);
}

template <typename T>
void accumulate(const RowObjective<T>& o, std::int64_t begin, std::int64_t end, T* memory, T* out) {
    const Shape s = shape_of<T>(o.dimension());
    const Scratch<T> scratch(memory, s);
    const Partial<T> partial(out, s);
    const bool unit = unit_weights(o);
    const std::int64_t size = partial_elements<T>(s);
    for (std::int64_t j = 0; j + LANES<T> <= size; j += LANES<T>) store<T>(out + j, zero<T>());
    for (std::int64_t j = size / LANES<T> * LANES<T>; j < size; ++j) out[j] = 0;

    double constant = 0;
    const int block = block_entries<T>(s);
    for (std::int64_t at = begin; at < end; at += block) {
        const int n = static_cast<int>(end - at < block ? end - at : block);
        constant += gather_block(o, s, at, n, unit, scratch);
        accumulate_block(o, s, n, unit, at + n, scratch, partial);
    }
    partial.write_constant(constant);
}

// Adds background · Σ x xᵀ and the ridge to a row's system.
template <typename T>
void complete_system(const RowObjective<T>& o, const Shape& s, std::int64_t entries, const Partial<T>& system) {
    const T ridge = T(o.reg * (o.reg_by_count ? double(entries) : 1.0));
    for (int i = 0; i < s.full; ++i) {
        T* row = system.matrix + i * static_cast<std::int64_t>(s.full);
        if (o.gram) {
            for (int j = i; j < s.full; ++j) row[j] += o.gram[i * static_cast<std::int64_t>(o.rank) + j];
        }
        row[i] += ridge;
    }
    for (int i = 0; i < s.tail; ++i) {
        T* row = system.lower + i * s.stride;
        if (o.gram) {
            for (int j = 0; j < s.d; ++j) row[j] += o.gram[(s.full + i) * static_cast<std::int64_t>(o.rank) + j];
        }
        row[s.full + i] += ridge;
    }
}

}  // namespace
}  // namespace forgetcli
