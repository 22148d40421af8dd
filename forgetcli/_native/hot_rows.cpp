// The row kernels of rows.h for one instruction set.
#include "hot_cholesky.h"
#include "rows.h"

namespace forgetcli {
namespace FORGETCLI_VARIANT {
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

// Copies x_e into `out` (stride elements): factors, the constant, then whatever; nothing is read past the factors'
// end.
template <typename T>
FORGETCLI_INLINE void gather_entry(const RowObjective<T>& o, std::int64_t index, T* out) {
    constexpr int L = LANES<T>;
    const std::int64_t at = index * o.rank;
    const T* x = o.other + at;
    const int whole = o.rank / L * L;
    for (int j = 0; j < whole; j += L) store<T>(out + j, load<T>(x + j));
    if (whole < o.rank) {
        if (at + whole + L <= o.n_other * o.rank) {
            store<T>(out + whole, load<T>(x + whole));
        } else {
            for (int j = whole; j < o.rank; ++j) out[j] = x[j];
        }
    }
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

template <typename T>
void write_solution(const RowObjective<T>& o, const T* x, RowSolution<T> out) {
    for (int j = 0; j < o.rank; ++j) out.factors[j] = x[j];
    if (out.bias) *out.bias = o.with_bias ? x[o.rank] : T(0);
}

// Solves the system in scratch memory. At the solution the row's part of the objective is Σ c t² − rhs · x.
template <typename T>
bool finish_row(const RowObjective<T>& o, const Shape& s, std::int64_t entries, const Scratch<T>& scratch,
                RowSolution<T> out) {
    const Partial<T> system(scratch.system, s);
    complete_system(o, s, entries, system);
    for (int j = 0; j < s.d; ++j) scratch.rhs[j] = system.rhs(s)[j];
    if (!solve_system(s, system.matrix, system.lower, scratch.work, scratch.x)) return false;
    write_solution(o, scratch.x, out);
    if (out.loss) {
        double product = 0;
        for (int j = 0; j < s.d; ++j) product += double(scratch.rhs[j]) * double(scratch.x[j]);
        *out.loss = system.read_constant() - product;
    }
    return true;
}

// A row without entries asks for nothing: its solution is 0, whatever its regularisation.
template <typename T>
bool solve_empty(const RowObjective<T>& o, RowSolution<T> out) {
    for (int j = 0; j < o.rank; ++j) out.factors[j] = 0;
    if (out.bias) *out.bias = 0;
    if (out.loss) *out.loss = 0;
    return true;
}

template <typename T>
bool solve(const RowObjective<T>& o, std::int64_t row, T* memory, RowSolution<T> out) {
    const std::int64_t begin = o.indptr[row], end = o.indptr[row + 1];
    if (begin == end) return solve_empty(o, out);
    const Shape s = shape_of<T>(o.dimension());
    const Scratch<T> scratch(memory, s);
    accumulate(o, begin, end, memory, scratch.system);
    return finish_row(o, s, end - begin, scratch, out);
}

template <typename T>
bool solve_partials(const RowObjective<T>& o, std::int64_t row, const T* partials, std::int64_t count, T* memory,
                    RowSolution<T> out) {
    const Shape s = shape_of<T>(o.dimension());
    const Scratch<T> scratch(memory, s);
    const std::int64_t size = partial_elements<T>(s);
    double constant = 0;
    for (std::int64_t j = 0; j < size; ++j) scratch.system[j] = 0;
    for (std::int64_t p = 0; p < count; ++p) {
        T* partial = const_cast<T*>(partials) + p * size;
        constant += Partial<T>(partial, s).read_constant();
        for (std::int64_t j = 0; j < size; ++j) scratch.system[j] += partial[j];
    }
    Partial<T>(scratch.system, s).write_constant(constant);
    return finish_row(o, s, o.indptr[row + 1] - o.indptr[row], scratch, out);
}

// gradient += Σ_e slope_e x_e over a gathered block, where slope_e = w_e (x_e·p) − c_e t_e; returns Σ_e of the
// entries' part of the objective.
template <typename T>
double gradient_block(const RowObjective<T>& o, const Shape& s, std::int64_t begin, int n, const T* p,
                      const Scratch<T>& scratch, T* gradient) {
    double loss = 0;
    for (int e = 0; e < n; ++e) {
        const std::int64_t index = o.indices[begin + e];
        const Terms<T> terms(o, begin + e, index);
        const T* x = scratch.gathered + e * s.stride;
        const T prediction = dot_rows(x, p, 0, s.stride);
        const T error = terms.target - prediction;
        loss += double(terms.confidence) * double(error) * double(error) -
                double(o.background) * double(prediction) * double(prediction);
        subtract_row(gradient, terms.slope - terms.weight * prediction, x, 0, s.stride);
    }
    return loss;
}

template <typename T>
void gradient(const RowObjective<T>& o, std::int64_t row, const T* factors, T bias, T* memory, T* out, double* loss) {
    const Shape s = shape_of<T>(o.dimension());
    const Scratch<T> scratch(memory, s);
    T* p = scratch.x;
    T* sums = scratch.rhs;
    for (int j = 0; j < s.stride; ++j) p[j] = sums[j] = 0;
    for (int j = 0; j < o.rank; ++j) p[j] = factors[j];
    if (o.with_bias) p[o.rank] = bias;

    double total = 0;
    const std::int64_t begin = o.indptr[row], end = o.indptr[row + 1];
    const int block = block_entries<T>(s);
    for (int j = 0; j < block * s.stride; ++j) scratch.gathered[j] = 0;
    for (std::int64_t at = begin; at < end; at += block) {
        const int n = static_cast<int>(end - at < block ? end - at : block);
        gather_block(o, s, at, n, true, scratch);
        total += gradient_block(o, s, at, n, p, scratch, sums);
    }
    const T ridge = T(o.reg * (o.reg_by_count ? double(end - begin) : 1.0));
    for (int i = 0; i < s.d; ++i) {
        T dense = ridge * p[i];
        if (o.gram) {
            for (int j = 0; j < o.rank; ++j) dense += o.gram[i * static_cast<std::int64_t>(o.rank) + j] * p[j];
        }
        total += double(dense) * double(p[i]);
        out[i] = sums[i] + dense;
    }
    *loss = total;
}

template <typename T>
void gram(const T* x, std::int64_t n, int rank, T* memory, T* out) {
    const RowObjective<T> all{nullptr, nullptr, nullptr, n, x, nullptr, n, rank, false, nullptr, 0, 1, 0, 0, 0, 0, false};
    const Shape s = shape_of<T>(rank);
    const Scratch<T> scratch(memory, s);
    accumulate(all, std::int64_t{0}, n, memory, scratch.system);
    const Partial<T> sums(scratch.system, s);
    for (int i = 0; i < rank; ++i) {
        for (int j = 0; j <= i; ++j) {
            const T value = i < s.full ? sums.matrix[j * static_cast<std::int64_t>(s.full) + i]
                                       : sums.lower[(i - s.full) * s.stride + j];
            out[i * static_cast<std::int64_t>(rank) + j] = out[j * static_cast<std::int64_t>(rank) + i] = value;
        }
    }
}

template <typename T>
const RowKernels<T>& kernels() {
    static const RowKernels<T> table{scratch_size<T>, partial_size<T>, accumulate<T>, solve_partials<T>,
                                     solve<T>,        gradient<T>,     gram<T>};
    return table;
}

}  // namespace

const RowKernels<float>& rows_float() { return kernels<float>(); }
const RowKernels<double>& rows_double() { return kernels<double>(); }

}  // namespace FORGETCLI_VARIANT
}  // namespace forgetcli
