// One row's normal equations: gathering its entries and accumulating their system.
#pragma once

#include "hot_lanes.h"
#include "rows.h"

namespace forgetcli {
namespace {

// One block of gathered entries stays in the first-level cache.
constexpr int BLOCK_BYTES = 32 * 1024;
constexpr int MIN_BLOCK = 16, MAX_BLOCK = 64;

template <typename T>
FORGETCLI_INLINE int block_entries(const Shape& s) {
    const int fits = BLOCK_BYTES / static_cast<int>(s.stride * sizeof(T));
    return fits < MIN_BLOCK ? MIN_BLOCK : fits > MAX_BLOCK ? MAX_BLOCK : fits;
}

// Rows of at most this dimension are solved LANES at a time. Beyond it their systems leave the second-level cache, and
// a system alone has enough columns to keep the machine busy.
constexpr int MAX_LANE_DIMENSION = 144;

FORGETCLI_INLINE bool in_lanes(const Shape& s) { return s.d <= MAX_LANE_DIMENSION; }

template <typename T>
std::int64_t partial_elements(const Shape& s) {
    return s.full * static_cast<std::int64_t>(s.full) + (s.tail + 1) * static_cast<std::int64_t>(s.stride) + LANES<T>;
}

// A thread's memory, cut from one piece.
template <typename T>
struct Scratch {
    T* gathered;    // (block, stride): x_e
    T* weighted;    // (block, stride): w_e x_e, where the weights are not all 1
    T* systems;     // one partial; LANES of them where rows are solved together
    T* lanes;       // LaneSystems' memory, and the ridges (LANES,) and solutions (LANES, d to whole squares)
    T* rhs;         // (stride,)
    T* work;        // (3 · stride,)
    T* x;           // (stride,)

    Scratch(T* memory, const Shape& s) {
        const std::int64_t block = block_entries<T>(s) * static_cast<std::int64_t>(s.stride);
        gathered = memory;
        weighted = gathered + block;
        rhs = weighted + block;
        work = rhs + s.stride;
        x = work + 3 * s.stride;
        systems = x + s.stride;
        lanes = systems + (in_lanes(s) ? LANES<T> : 1) * partial_elements<T>(s);
    }
};

template <typename T>
std::int64_t partial_size(int dimension) {
    return partial_elements<T>(shape_of<T>(dimension));
}

template <typename T>
std::int64_t scratch_size(int dimension) {
    const Shape s = shape_of<T>(dimension);
    const std::int64_t shared = 2 * block_entries<T>(s) * static_cast<std::int64_t>(s.stride) + 5 * s.stride;
    if (!in_lanes(s)) return shared + partial_elements<T>(s);
    return shared + LANES<T> * (partial_elements<T>(s) + 1 + LaneSystems<T>::padded(s.d)) +
           LaneSystems<T>::elements(s.d);
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

// Entries between the one that is gathered and the one whose row is fetched: some microseconds of memory latency. They
// lie in the following rows where this one is short.
constexpr int AHEAD = 128;
// Sums of Σ c t² that are kept apart: a single one would be a chain of additions.
constexpr int CONSTANTS = 8;

// Weights and slopes of the entries [begin, begin + n); returns Σ c t².
template <typename T>
double entry_terms(const RowObjective<T>& objective, std::int64_t begin, int n, T* weights, T* slopes) {
    const RowObjective<T> o = objective;  // a copy, which the stores below cannot change
    T targets[MAX_BLOCK];
    for (int e = 0; e < n; ++e) {
        const Terms<T> terms(o, begin + e, o.indices ? o.indices[begin + e] : begin + e);
        weights[e] = terms.weight;
        slopes[e] = terms.slope;
        targets[e] = terms.target;
    }
    double constants[CONSTANTS] = {};
    int e = 0;
    for (; e + CONSTANTS <= n; e += CONSTANTS) {
        for (int i = 0; i < CONSTANTS; ++i) constants[i] += double(slopes[e + i]) * double(targets[e + i]);
    }
    for (int i = 0; e < n; ++e, ++i) constants[i] += double(slopes[e]) * double(targets[e]);
    double sum = 0;
    for (const double constant : constants) sum += constant;
    return sum;
}

// Copies the other side's rows of the entries [begin, begin + n) to `gathered`: factors, the constant where there is a
// bias, the slope, then whatever; and fetches those of later entries. A row is WHOLE vectors (0: any number of them),
// with PARTIAL one more that it does not fill.
template <typename T, int WHOLE, bool PARTIAL>
void gather_rows(const RowObjective<T>& o, const Shape& s, std::int64_t begin, int n, const T* slopes, T* gathered) {
    constexpr int L = LANES<T>, LINE = 64 / sizeof(T);
    const T* const other = o.other;
    const std::int32_t* const indices = o.indices + begin;
    const std::int32_t* const ahead = indices + (begin + n + AHEAD <= o.nnz ? AHEAD : 0);
    const int whole = WHOLE ? WHOLE * L : o.rank / L * L, rank = PARTIAL ? o.rank : whole;
    const int stride = s.stride, d = s.d;
    // Up to here a row's partial vector can be read whole: the table goes on behind it.
    const std::int64_t readable = o.n_other * rank - whole - L;
    for (int e = 0; e < n; ++e) {
        const T* coming = other + ahead[e] * static_cast<std::int64_t>(rank);
        for (int j = 0; j < whole; j += LINE) FORGETCLI_PREFETCH(coming + j);
        if (PARTIAL) {
            FORGETCLI_PREFETCH(coming + whole);
            FORGETCLI_PREFETCH(coming + rank - 1);
        }
        const std::int64_t at = indices[e] * static_cast<std::int64_t>(rank);
        T* out = gathered + e * stride;
        for (int j = 0; j < whole; j += L) store<T>(out + j, load<T>(other + at + j));
        if (PARTIAL) {
            if (at <= readable) {
                store<T>(out + whole, load<T>(other + at + whole));
            } else {
                for (int j = whole; j < rank; ++j) out[j] = other[at + j];
            }
        }
        out[rank] = T(1);  // without a bias, the slope's place
        out[d] = slopes[e];
    }
}

template <typename T, bool PARTIAL>
auto gather_rows_of(int whole_vectors) {
    switch (whole_vectors) {
        case 1: return gather_rows<T, 1, PARTIAL>;
        case 2: return gather_rows<T, 2, PARTIAL>;
        case 3: return gather_rows<T, 3, PARTIAL>;
        case 4: return gather_rows<T, 4, PARTIAL>;
        default: return gather_rows<T, 0, PARTIAL>;
    }
}

// The same for rows that follow one another in the table.
template <typename T>
void gather_all(const RowObjective<T>& o, const Shape& s, std::int64_t begin, int n, const T* slopes, T* gathered) {
    for (int e = 0; e < n; ++e) {
        T* out = gathered + e * s.stride;
        for (int j = 0; j < o.rank; ++j) out[j] = o.other[(begin + e) * o.rank + j];
        out[o.rank] = T(1);
        out[s.d] = slopes[e];
    }
}

// Gathers the entries [begin, begin + n), weighted where the weights are not all 1, with their slopes in column d;
// returns Σ c t².
template <typename T>
double gather_block(const RowObjective<T>& o, const Shape& s, std::int64_t begin, int n, bool unit,
                    const Scratch<T>& scratch) {
    T weights[MAX_BLOCK], slopes[MAX_BLOCK];
    const double constant = entry_terms(o, begin, n, weights, slopes);
    const int whole = o.rank / LANES<T>;
    const auto gather = !o.indices            ? gather_all<T>
                        : o.rank % LANES<T> ? gather_rows_of<T, true>(whole)
                                            : gather_rows_of<T, false>(whole);
    gather(o, s, begin, n, slopes, scratch.gathered);
    if (unit) return constant;
    const int stride = s.stride, d = s.d;
    for (int e = 0; e < n; ++e) {
        const T* x = scratch.gathered + e * stride;
        T* wx = scratch.weighted + e * stride;
        for (int j = 0; j < d; j += LANES<T>) store<T>(wx + j, weights[e] * load<T>(x + j));
        wx[d] = slopes[e];
    }
    return constant;
}

// Adds a gathered block of n entries to a system. The last tail + 1 columns of `a` are the scalars of the lower rows.
template <typename T>
void add_block(const Shape& s, int n, const T* a, const T* b, const Partial<T>& system) {
    symmetric_update<T, false, true>(n, s.full, a, s.stride, b, s.stride, system.matrix, s.full);
    full_update(n, s.tail + 1, round_up(s.d, LANES<T>), a + s.full, s.stride, b, s.stride, system.lower, s.stride);
}

// The same for a system whose squares on the diagonal are held as turns (hot_update.h); BORDER is the number of lower
// rows where they are few, and go along with the diagonal, else 0.
template <typename T, int BORDER>
void add_block_turned(const Shape& s, int n, const T* a, const T* b, const Partial<T>& system) {
    const T* scalars = a + s.full;
    T* corner = system.lower + s.full;
    for (int j = 0; j < s.full; j += LANES<T>) {
        const auto update = BORDER > 1 && j == 0 ? diagonal_update<T, BORDER, true> : diagonal_update<T, BORDER, false>;
        update(n, a + j, b + j, scalars, b + s.full, s.stride, system.matrix + j * (s.full + 1), s.full,
               system.lower + j, corner, s.stride);
    }
    symmetric_update<T, false, false>(n, s.full, a, s.stride, b, s.stride, system.matrix, s.full);
    if (BORDER == 0) {
        full_update(n, s.tail + 1, round_up(s.d, LANES<T>), scalars, s.stride, b, s.stride, system.lower, s.stride);
    } else if (BORDER > 1 && s.full == 0) {
        full_update(n, BORDER, LANES<T>, scalars, s.stride, b, s.stride, corner, s.stride);
    }
}

// The normal equations of the entries [begin, end), turned or not.
template <typename T>
void accumulate_entries(const RowObjective<T>& o, const Shape& s, std::int64_t begin, std::int64_t end, bool turned,
                        const Scratch<T>& scratch, T* out) {
    const Partial<T> partial(out, s);
    const bool unit = unit_weights(o);
    const std::int64_t size = partial_elements<T>(s);
    for (std::int64_t j = 0; j + LANES<T> <= size; j += LANES<T>) store<T>(out + j, zero<T>());
    for (std::int64_t j = size / LANES<T> * LANES<T>; j < size; ++j) out[j] = 0;

    const auto add = !turned       ? add_block<T>
                     : s.tail == 0 ? add_block_turned<T, 1>
                     : s.tail == 1 ? add_block_turned<T, 2>
                     : s.tail == 2 ? add_block_turned<T, 3>
                                   : add_block_turned<T, 0>;
    double constant = 0;
    const int block = block_entries<T>(s);
    for (std::int64_t at = begin; at < end; at += block) {
        const int n = static_cast<int>(end - at < block ? end - at : block);
        constant += gather_block(o, s, at, n, unit, scratch);
        add(s, n, unit ? scratch.gathered : scratch.weighted, scratch.gathered, partial);
    }
    partial.write_constant(constant);
}

template <typename T>
FORGETCLI_INLINE T ridge_of(const RowObjective<T>& o, std::int64_t entries) {
    return T(o.reg * (o.reg_by_count ? double(entries) : 1.0));
}

// Adds background · Σ x xᵀ and the ridge to a row's system.
template <typename T>
void complete_system(const RowObjective<T>& o, const Shape& s, std::int64_t entries, const Partial<T>& system) {
    const T ridge = ridge_of(o, entries);
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
