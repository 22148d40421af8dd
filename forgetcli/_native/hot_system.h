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

// What makes a value and the other side's bias an entry's terms: the objective's numbers without the rest.
template <typename T>
struct Coefficients {
    T confidence_slope, confidence_offset, target_slope, target_offset, background;

    FORGETCLI_INLINE explicit Coefficients(const RowObjective<T>& o)
        : confidence_slope(o.confidence_slope), confidence_offset(o.confidence_offset), target_slope(o.target_slope),
          target_offset(o.target_offset), background(o.background) {}
};

// An entry as the equations see it: weight w, and what the right-hand side takes of x.
template <typename T>
struct Terms {
    T confidence, target, weight, slope;

    FORGETCLI_INLINE Terms(const Coefficients<T>& c, T value, T bias) {
        confidence = c.confidence_slope * value + c.confidence_offset;
        target = c.target_slope * value + c.target_offset - bias;
        weight = confidence - c.background;
        slope = confidence * target;
    }
    FORGETCLI_INLINE Terms(const RowObjective<T>& o, std::int64_t e, std::int64_t index)
        : Terms(Coefficients<T>(o), T(value_of(o, e)), o.other_bias ? o.other_bias[index] : T(0)) {}
};

// Entries between the one that is gathered and the one whose row is fetched: some microseconds of memory latency. They
// lie in the following rows where this one is short.
constexpr int AHEAD = 128;
// Sums of Σ c t² that are kept apart: a single one would be a chain of additions.
constexpr int CONSTANTS = 8;

// Weights and slopes of the entries [begin, begin + n); returns Σ c t².
template <typename T>
double entry_terms(const RowObjective<T>& o, std::int64_t begin, int n, T* weights, T* slopes) {
    const Coefficients<T> coefficients(o);  // a copy, which the stores below cannot change
    const float* const given = o.values ? o.values + begin : nullptr;
    const std::uint8_t* const codes = o.codes ? o.codes + begin : nullptr;
    const float* const levels = o.levels;
    const std::int32_t* const indices = o.other_bias ? o.indices + begin : nullptr;
    T values[MAX_BLOCK], biases[MAX_BLOCK], targets[MAX_BLOCK];  // what is looked up first, so that the rest is vectors
    for (int e = 0; e < n; ++e) values[e] = codes ? T(levels[codes[e]]) : given ? T(given[e]) : T(0);
    for (int e = 0; e < n; ++e) biases[e] = indices ? o.other_bias[indices[e]] : T(0);
    for (int e = 0; e < n; ++e) {
        const Terms<T> terms(coefficients, values[e], biases[e]);
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

// Fetches the row of a later entry.
template <typename T>
FORGETCLI_INLINE void fetch_row(const T* row, int rank) {
    for (int j = 0; j < rank; j += 64 / sizeof(T)) FORGETCLI_PREFETCH(row + j);
    if (rank * sizeof(T) % 64) FORGETCLI_PREFETCH(row + rank - 1);  // else it begins on a line, and ends with one
}

// The indices of the entries that are fetched while those from `begin` are read; where the table ends, the latter.
template <typename T>
FORGETCLI_INLINE const std::int32_t* indices_ahead(const RowObjective<T>& o, std::int64_t begin, int n) {
    return o.indices + begin + (begin + n + AHEAD <= o.nnz ? AHEAD : 0);
}

// A block's entries: weights and slopes (n,), and where their rows go, stride elements apart: x_e to `gathered`, and
// where the weights are not all 1, w_e x_e to `weighted`.
template <typename T>
struct Block {
    T weights[MAX_BLOCK], slopes[MAX_BLOCK];
    T* gathered;
    T* weighted;
};

// Copies the other side's rows of the entries [begin, begin + n): factors, the constant where there is a bias, the
// slope; and fetches those of later entries. A row is WHOLE vectors (0: any number of them), and with PARTIAL some
// elements more.
template <typename T, int WHOLE, bool PARTIAL, bool WEIGHTED>
void gather_rows(const RowObjective<T>& o, const Shape& s, std::int64_t begin, int n, const Block<T>& block) {
    constexpr int L = LANES<T>;
    const T* const other = o.other;
    const std::int32_t* const indices = o.indices + begin;
    const std::int32_t* const ahead = indices_ahead(o, begin, n);
    const int whole = WHOLE ? WHOLE * L : o.rank / L * L, rank = PARTIAL ? o.rank : whole;
    const int stride = s.stride, d = s.d;
    const RowEnd<T> rest(rank - whole);
    for (int e = 0; e < n; ++e) {
        fetch_row(other + ahead[e] * static_cast<std::int64_t>(rank), rank);
        const T* row = other + indices[e] * static_cast<std::int64_t>(rank);
        T* out = block.gathered + e * stride;
        T* weighted = WEIGHTED ? block.weighted + e * stride : out;
        const auto copy = [&](int j, const Vector<T>& x) FORGETCLI_INLINE_LAMBDA {
            store<T>(out + j, x);
            if (WEIGHTED) store<T>(weighted + j, block.weights[e] * x);
        };
        for (int j = 0; j < whole; j += L) copy(j, load<T>(row + j));
        if (PARTIAL) copy(whole, rest.read(row + rank));
        out[rank] = T(1);  // without a bias, the slope's place
        out[d] = block.slopes[e];
        if (WEIGHTED) {
            weighted[rank] = block.weights[e];
            weighted[d] = block.slopes[e];
        }
    }
}

// The same for rows of less than one vector, which is read whole where the table goes on so far.
template <typename T>
void gather_short_rows(const RowObjective<T>& o, const Shape& s, std::int64_t begin, int n, const Block<T>& block) {
    constexpr int L = LANES<T>;
    const T* const other = o.other;
    const std::int32_t* const indices = o.indices + begin;
    const std::int32_t* const ahead = indices_ahead(o, begin, n);
    const int rank = o.rank, stride = s.stride, d = s.d;
    const std::int64_t readable = o.n_other * rank - L;
    for (int e = 0; e < n; ++e) {
        fetch_row(other + ahead[e] * static_cast<std::int64_t>(rank), L);
        const std::int64_t at = indices[e] * static_cast<std::int64_t>(rank);
        T* out = block.gathered + e * stride;
        if (at <= readable) {
            store<T>(out, load<T>(other + at));
        } else {
            for (int j = 0; j < rank; ++j) out[j] = other[at + j];
        }
        out[rank] = T(1);
        out[d] = block.slopes[e];
    }
}

// The same for rows that follow one another in the table.
template <typename T>
void gather_all(const RowObjective<T>& o, const Shape& s, std::int64_t begin, int n, const Block<T>& block) {
    for (int e = 0; e < n; ++e) {
        T* out = block.gathered + e * s.stride;
        for (int j = 0; j < o.rank; ++j) out[j] = o.other[(begin + e) * o.rank + j];
        out[o.rank] = T(1);
        out[s.d] = block.slopes[e];
    }
}

template <typename T, bool PARTIAL, bool WEIGHTED>
auto gather_rows_of(int whole_vectors) {
    switch (whole_vectors) {
        case 1: return gather_rows<T, 1, PARTIAL, WEIGHTED>;
        case 2: return gather_rows<T, 2, PARTIAL, WEIGHTED>;
        case 3: return gather_rows<T, 3, PARTIAL, WEIGHTED>;
        case 4: return gather_rows<T, 4, PARTIAL, WEIGHTED>;
        default: return gather_rows<T, 0, PARTIAL, WEIGHTED>;
    }
}

// Fills a block with the entries [begin, begin + n).
template <typename T>
void gather_block(const RowObjective<T>& o, const Shape& s, std::int64_t begin, int n, bool unit,
                  const Block<T>& block) {
    const int whole = o.rank / LANES<T>;
    if (o.indices && whole > 0) {
        const auto gather = o.rank % LANES<T> ? unit ? gather_rows_of<T, true, false>(whole)
                                                     : gather_rows_of<T, true, true>(whole)
                            : unit            ? gather_rows_of<T, false, false>(whole)
                                              : gather_rows_of<T, false, true>(whole);
        return gather(o, s, begin, n, block);
    }
    (o.indices ? gather_short_rows<T> : gather_all<T>)(o, s, begin, n, block);
    if (unit) return;
    const int stride = s.stride, d = s.d;
    for (int e = 0; e < n; ++e) {
        const T* x = block.gathered + e * stride;
        T* wx = block.weighted + e * stride;
        for (int j = 0; j < d; j += LANES<T>) store<T>(wx + j, block.weights[e] * load<T>(x + j));
        wx[d] = block.slopes[e];
    }
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

// The lower rows that direct_update can take along in registers.
constexpr int DIRECT_BORDER = FORGETCLI_VECTOR_BYTES == 64 ? 8 : 3;

// Σ x.
template <typename T>
FORGETCLI_INLINE T total(const T* x, int n) {
    Vector<T> sum = zero<T>();
    int e = 0;
    for (; e + LANES<T> <= n; e += LANES<T>) sum += load<T>(x + e);
    T rest = sum_lanes<T>(sum);
    for (; e < n; ++e) rest += x[e];
    return rest;
}

// Adds the entries [begin, begin + n) to a turned system of one vector's square and BORDER lower rows, the last of them
// the right-hand side, straight from the table: there is too little arithmetic to pay for a copy.
template <typename T, int BORDER, bool BIAS>
void direct_update(const RowObjective<T>& o, const Shape& s, std::int64_t begin, int n, const Block<T>& block,
                   const Partial<T>& system) {
    constexpr int L = LANES<T>, ROWS = BORDER - 1, ELEMENTS = ROWS - BIAS;  // a row is L + ELEMENTS factors
    constexpr std::int64_t RANK = L + ELEMENTS;
    const T* const other = o.other;
    const std::int32_t* const indices = o.indices + begin;
    const std::int32_t* const ahead = indices_ahead(o, begin, n);
    const RowEnd<T> rest(ELEMENTS);
    T constant[L];
    store<T>(constant, zero<T>());
    constant[ELEMENTS] = BIAS ? T(1) : T(0);
    const Vector<T> one = load<T>(constant);
    Vector<T> turns[TURNS<T>], sums[BORDER], corners[BORDER];
    for (auto& turn : turns) turn = zero<T>();
    for (int t = 0; t < BORDER; ++t) sums[t] = corners[t] = zero<T>();
    for (int e = 0; e < n; ++e) {
        fetch_row(other + ahead[e] * RANK, RANK);
        const T* row = other + indices[e] * RANK;
        const T weight = block.weights[e], slope = block.slopes[e];
        const Vector<T> x = load<T>(row), wx = weight * x;
        add_turns<T>(turns, wx, x, std::make_integer_sequence<int, TURNS<T>>());
        for (int t = 0; t < ELEMENTS; ++t) sums[t] += row[L + t] * wx;
        if (BIAS) sums[ELEMENTS] += wx;
        sums[ROWS] += slope * x;
        if (ELEMENTS == 0) continue;
        const Vector<T> y = one + rest.read(row + RANK);
        const Vector<T> wy = weight * y;
        for (int t = 0; t < ELEMENTS; ++t) corners[t] += row[L + t] * wy;
        if (BIAS) corners[ELEMENTS] += wy;
        corners[ROWS] += slope * y;
    }
    for (int t = 0; t < TURNS<T>; ++t) add_to(system.matrix + t * L, turns[t]);
    for (int t = 0; t < BORDER; ++t) {
        add_to(system.lower + t * s.stride, sums[t]);
        if (ELEMENTS > 0) add_to(system.lower + t * s.stride + L, corners[t]);
    }
    if (ELEMENTS == 0 && BIAS) {
        system.lower[L] += total(block.weights, n);
        system.lower[s.stride + L] += total(block.slopes, n);
    }
}

template <typename T>
using Direct = void (*)(const RowObjective<T>&, const Shape&, std::int64_t, int, const Block<T>&, const Partial<T>&);

template <typename T, bool BIAS, int... BORDER>
Direct<T> direct_rows_of(int border, std::integer_sequence<int, BORDER...>) {
    static constexpr Direct<T> updates[] = {direct_update<T, BORDER + 1 + BIAS, BIAS>...};
    return updates[border - 1 - BIAS];
}

// The update for systems of this shape, or null where it is another one's business.
template <typename T>
Direct<T> direct_rows(const RowObjective<T>& o, const Shape& s) {
    const int border = s.tail + 1;
    if (o.rank / LANES<T> != 1 || s.full != LANES<T> || border > DIRECT_BORDER) return nullptr;
    return o.with_bias ? direct_rows_of<T, true>(border, std::make_integer_sequence<int, DIRECT_BORDER - 1>())
                       : direct_rows_of<T, false>(border, std::make_integer_sequence<int, DIRECT_BORDER>());
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
    const auto direct = turned && o.indices ? direct_rows<T>(o, s) : nullptr;
    double constant = 0;
    const int most = direct ? MAX_BLOCK : block_entries<T>(s);
    Block<T> block;
    block.gathered = scratch.gathered;
    block.weighted = scratch.weighted;
    for (std::int64_t at = begin; at < end; at += most) {
        const int n = static_cast<int>(end - at < most ? end - at : most);
        constant += entry_terms(o, at, n, block.weights, block.slopes);
        if (direct) {
            direct(o, s, at, n, block, partial);
        } else {
            gather_block(o, s, at, n, unit, block);
            add(s, n, unit ? block.gathered : block.weighted, block.gathered, partial);
        }
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
