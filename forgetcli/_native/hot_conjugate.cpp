// The kernels of conjugate.h for one instruction set. Each step goes over a row's entries where they lie in the table;
// after the first time a core's own cache holds them.
#include <limits>

#include "conjugate.h"

#include "hot_blocks.h"

namespace forgetcli {
namespace FORGETCLI_VARIANT {
namespace {

// What is gone over several times: half of a core's own cache.
constexpr int CACHED_BYTES = 512 * 1024;
constexpr int MIN_CACHED = 4 * BLOCK;
// Rows that are rotated together.
constexpr int ROTATED = 16;

template <typename T>
int cached(int width) {
    const int fits = CACHED_BYTES / static_cast<int>(width * sizeof(T)) / BLOCK * BLOCK;
    return fits < MIN_CACHED ? MIN_CACHED : fits;
}

// One row's iteration, cut from a piece of memory.
template <typename T>
struct State {
    static constexpr int PARTS = 6;
    T *x, *residual, *direction, *product;
    T *dense;    // the diagonal of the dense part, with the ridge
    T *inverse;  // of the preconditioner

    State(T* memory, int width)
        : x(memory), residual(x + width), direction(residual + width), product(direction + width),
          dense(product + width), inverse(dense + width) {}
};

template <typename T>
std::int64_t state_size(int width) {
    return State<T>::PARTS * static_cast<std::int64_t>(width);
}

// A thread's memory.
template <typename T>
struct Memory {
    T* state;       // of the row at hand
    T* sums;        // (width,)
    T* rows;        // (ROTATED, width)
    T* turned;      // (width, ROTATED)
    T* out;         // (ROTATED, width)

    Memory(T* memory, int width) {
        const std::int64_t w = width;
        state = memory;
        sums = state + state_size<T>(width);
        rows = sums + w;
        turned = rows + ROTATED * w;
        out = turned + ROTATED * w;
    }
};

template <typename T>
std::int64_t scratch_size(int width) {
    return (State<T>::PARTS + 1 + 3 * ROTATED) * static_cast<std::int64_t>(width);
}

// out (count, width) = rows times the matrix, for at most ROTATED rows that lie in columns.
template <typename T>
void rotate_turned(const Rotation<T>& by, const T* turned, int count, T* out) {
    for (std::int64_t j = 0; j < count * static_cast<std::int64_t>(by.width); j += LANES<T>) store<T>(out + j, zero<T>());
    full_update<T>(by.dimension, count, by.width, turned, ROTATED, by.matrix, by.width, out, by.width);
}

template <typename T>
void rotate(const Rotation<T>& by, const T* factors, const T* last, int rank, std::int64_t begin, std::int64_t end,
            T* scratch, T* out) {
    const Memory<T> memory(scratch, by.width);
    for (std::int64_t at = begin; at < end; at += ROTATED) {
        const int n = static_cast<int>(end - at < ROTATED ? end - at : ROTATED);
        for (int i = 0; i < n; ++i) {
            const T* row = factors + (at + i) * rank;
            for (int j = 0; j < rank; ++j) memory.turned[j * ROTATED + i] = row[j];
            if (by.dimension > rank) memory.turned[rank * ROTATED + i] = last ? last[at + i] : T(1);
        }
        rotate_turned(by, memory.turned, n, out + (at - begin) * by.width);
    }
}

// Writes a solution whose loss is there already; false: not finite.
template <typename T>
bool write_rotated(const RowObjective<T>& o, const T* p, ConjugateSolution<T> out) {
    double finite = 0 * *out.loss;
    for (int j = 0; j < o.rank; ++j) {
        out.factors[j] = p[j];
        finite += double(T(0) * p[j]);
    }
    *out.bias = o.with_bias ? p[o.rank] : T(0);
    return finite + double(T(0) * *out.bias) == 0;
}

template <typename T>
void clear(T* row, int width) {
    for (int j = 0; j < width; j += LANES<T>) store<T>(row + j, zero<T>());
}

template <typename T>
FORGETCLI_INLINE void add_row(T* to, const T* from, int width) {
    subtract_row<T>(to, T(-1), from, 0, width);
}

// What a block's entries ask for, with 0 for what fills its last group.
template <typename T>
struct BlockTerms {
    T weights[BLOCK], slopes[BLOCK];
};

// Reads the terms of the entries [begin, begin + n); returns Σ c t².
template <typename T>
FORGETCLI_INLINE double read_terms(const RowObjective<T>& o, std::int64_t begin, int n, BlockTerms<T>& terms) {
    const double constant = entry_terms(o, begin, n, terms.weights, terms.slopes);
    for (int e = n; e < whole_groups(n); ++e) terms.weights[e] = terms.slopes[e] = 0;
    return constant;
}

// products = slope − w · products; returns Σ c (t − y·x)² − background (y·x)² less Σ c t², which is
// −Σ y·x (2 slope − w y·x).
template <typename T>
FORGETCLI_INLINE double pull_rows(int n, const BlockTerms<T>& terms, T* products) {
    double losses[GROUP] = {};
    for (int e = 0; e < whole_groups(n); e += GROUP) {
        for (int i = 0; i < GROUP; ++i) {
            const double along = products[e + i], slope = terms.slopes[e + i];
            losses[i] -= along * (2 * slope - double(terms.weights[e + i]) * along);
        }
    }
    for (int e = 0; e < whole_groups(n); ++e) products[e] = terms.slopes[e] - terms.weights[e] * products[e];
    return (losses[0] + losses[2]) + (losses[1] + losses[3]);
}

// Calls block(first, n) on the blocks of [begin, end).
template <typename Block>
FORGETCLI_INLINE void in_blocks(std::int64_t begin, std::int64_t end, Block block) {
    for (std::int64_t at = begin; at < end; at += BLOCK) block(at, static_cast<int>(end - at < BLOCK ? end - at : BLOCK));
}

// Calls block(first, n, sums) on the blocks of [begin, end), and adds the sums of each piece to `out`.
template <typename T, typename Block>
FORGETCLI_INLINE void in_summed_blocks(std::int64_t begin, std::int64_t end, int width, T* sums, T* out, Block block) {
    for (std::int64_t at = begin; at < end; at += PIECE) {
        clear(sums, width);
        in_blocks(at, at + PIECE < end ? at + PIECE : end, block);
        add_row(out, sums, width);
    }
}

// out += Σ_e (slope_e − w_e y·x) y over the entries [begin, end); returns their loss.
template <typename T, int W>
double add_residual(const ConjugateSystem<T>& s, std::int64_t begin, std::int64_t end, const T* x, T* sums,
                         T* out) {
    const RowObjective<T>& o = s.objective;
    const int width = s.forth.width;
    double loss = 0;
    in_summed_blocks(begin, end, width, sums, out, [&](std::int64_t at, int n) FORGETCLI_INLINE_LAMBDA {
        const BlockRows<T, true> rows(o, s.table, width, at, n);
        BlockTerms<T> terms;
        T products[BLOCK];
        loss += read_terms(o, at, n, terms);
        row_products<T, W>(n, rows, width, x, products);
        loss += pull_rows(n, terms, products);
        add_rows<T, W>(n, rows, width, products, sums);
    });
    return loss;
}

// out += Σ_e w_e (y·p) y over the entries [begin, end). FETCH: a cache may not hold their rows.
template <typename T, int W, bool FETCH>
void add_product(const ConjugateSystem<T>& s, std::int64_t begin, std::int64_t end, const T* p, T* sums, T* out) {
    const RowObjective<T>& o = s.objective;
    const int width = s.forth.width;
    in_summed_blocks(begin, end, width, sums, out, [&](std::int64_t at, int n) FORGETCLI_INLINE_LAMBDA {
        const BlockRows<T, FETCH> rows(o, s.table, width, at, n);
        T products[BLOCK];
        row_products<T, W>(n, rows, width, p, products);
        for (int e = 0; e < n; ++e) {
            products[e] *= o.confidence_slope * T(value_of(o, at + e)) + o.confidence_offset - o.background;
        }
        for (int e = n; e < whole_groups(n); ++e) products[e] = 0;
        add_rows<T, W>(n, rows, width, products, sums);
    });
}

// The diagonals of a row of so many entries.
template <typename T>
void set_diagonals(const ConjugateSystem<T>& s, std::int64_t entries, const State<T>& state) {
    const T ridge = ridge_of(s.objective, entries), n = T(entries);
    for (int j = 0; j < s.forth.width; ++j) {
        state.dense[j] = s.dense[j] + ridge;
        state.inverse[j] = T(1) / (n * s.slope[j] + s.offset[j]);
    }
}

// The square of the residual in the preconditioner's norm.
template <typename T>
T residual_square(const State<T>& state, int width) {
    Vector<T> sum = zero<T>();
    for (int j = 0; j < width; j += LANES<T>) {
        const Vector<T> r = load<T>(state.residual + j);
        sum += r * (r * load<T>(state.inverse + j));
    }
    return sum_lanes<T>(sum);
}

// From the entries' part of the residual to the first direction. Padding is 0 in all of them.
template <typename T>
ConjugateProgress<T> begin_iteration(const ConjugateSystem<T>& s, const State<T>& state, double loss) {
    constexpr T EPSILON = sizeof(T) == 4 ? T(1.2e-7) : T(2.3e-16);
    constexpr int SUMS = 8;  // that are kept apart: a single one would be a chain of additions
    const int width = s.forth.width;
    double losses[SUMS] = {};
    for (int j = 0; j < width; j += SUMS) {
        for (int i = 0; i < SUMS; ++i) {
            const T pull = state.dense[j + i] * state.x[j + i];
            losses[i] += double(pull) * double(state.x[j + i]);
            state.residual[j + i] -= pull;
            state.direction[j + i] = state.residual[j + i] * state.inverse[j + i];
        }
    }
    for (const double each : losses) loss += each;
    const T square = residual_square(state, width);
    // What this precision cannot hold is no residual of 0: a loss that is no number says so.
    if (!(square <= std::numeric_limits<T>::max())) loss = std::numeric_limits<double>::quiet_NaN();
    return {square, square * EPSILON * EPSILON, loss};
}

// One step of preconditioned conjugate gradients (Hestenes & Stiefel 1952), given the entries' part of the product. It
// lowers the loss by the step's length times the residual's square.
template <typename T>
void take_step(const ConjugateSystem<T>& s, const State<T>& state, ConjugateProgress<T>& progress) {
    const int width = s.forth.width;
    for (int j = 0; j < width; ++j) state.product[j] += state.dense[j] * state.direction[j];
    const T curvature = dot_rows<T>(state.direction, state.product, 0, width);
    if (!(curvature > 0)) {
        progress.square = 0;
        return;
    }
    const T square = progress.square, length = square / curvature;
    subtract_row<T>(state.x, -length, state.direction, 0, width);
    subtract_row<T>(state.residual, length, state.product, 0, width);
    progress.loss -= double(length) * double(square);
    const T next = residual_square(state, width), turn = next / square;
    for (int j = 0; j < width; ++j) {
        state.direction[j] = state.residual[j] * state.inverse[j] + turn * state.direction[j];
    }
    progress.square = next;
}

// Solves a row from state.x in place; returns its part of the objective.
template <typename T, int W>
double solve_row(const ConjugateSystem<T>& s, std::int64_t begin, std::int64_t end, const State<T>& state,
                 const Memory<T>& memory) {
    const int width = s.forth.width;
    set_diagonals(s, end - begin, state);
    clear(state.residual, width);
    const double loss = add_residual<T, W>(s, begin, end, state.x, memory.sums, state.residual);
    ConjugateProgress<T> progress = begin_iteration(s, state, loss);
    for (int step = 0; step < s.steps && progress.unfinished(); ++step) {
        clear(state.product, width);
        add_product<T, W, false>(s, begin, end, state.direction, memory.sums, state.product);
        take_step(s, state, progress);
    }
    return progress.loss;
}

// Solves the rows at the positions [begin, begin + n), n ≤ ROTATED, that the range admits.
template <typename T, int W>
std::int64_t solve_together(const ConjugateSystem<T>& s, const RowRange& rows, std::int64_t begin, int n,
                            T* scratch, ConjugateSolution<T> first) {
    const RowObjective<T>& o = s.objective;
    const int width = s.forth.width;
    const Memory<T> memory(scratch, width);
    State<T> state(memory.state, width);
    rotate(s.forth, s.factors, s.bias, o.rank, begin, begin + n, scratch, memory.rows);
    bool admitted[ROTATED];
    for (int i = 0; i < n; ++i) {
        const std::int64_t row = rows.listed ? rows.listed[begin + i] : begin + i;
        const std::int64_t at = o.indptr[row], end = o.indptr[row + 1];
        admitted[i] = end - at <= rows.longest;
        state.x = memory.rows + i * width;
        if (!admitted[i] || at == end) {
            clear(state.x, width);
            if (admitted[i]) *solution_at(first, begin + i, o.rank).loss = 0;
        } else {
            *solution_at(first, begin + i, o.rank).loss = solve_row<T, W>(s, at, end, state, memory);
        }
        for (int j = 0; j < o.dimension(); ++j) memory.turned[j * ROTATED + i] = state.x[j];
    }
    rotate_turned(s.back, memory.turned, n, memory.out);
    std::int64_t failed = NO_ROW;
    for (int i = n - 1; i >= 0; --i) {
        if (!admitted[i]) continue;
        if (!write_rotated(o, memory.out + i * width, solution_at(first, begin + i, o.rank))) failed = begin + i;
    }
    return failed;
}

template <typename T>
std::int64_t solve(const ConjugateSystem<T>& s, const RowRange& rows, T* scratch, ConjugateSolution<T> first) {
    std::int64_t failed = NO_ROW;
    with_vectors<T>(s.forth.width, [&](auto w) {
        for (std::int64_t at = rows.begin; at < rows.end; at += ROTATED) {
            const int n = static_cast<int>(rows.end - at < ROTATED ? rows.end - at : ROTATED);
            const std::int64_t bad = solve_together<T, decltype(w)::value>(s, rows, at, n, scratch, first);
            failed = bad < failed ? bad : failed;
        }
    });
    return failed;
}

template <typename T>
void start(const ConjugateSystem<T>& s, std::int64_t position, T* scratch, T* state) {
    rotate(s.forth, s.factors, s.bias, s.objective.rank, position, position + 1, scratch, state);
}

// Calls work(part, begin, end) on the entries of all parts, those of a piece of the table before those of the next.
template <typename T, typename Work>
FORGETCLI_INLINE void in_tiles(const ConjugateSystem<T>& s, ConjugatePart<T>* parts, std::int64_t count, Work work) {
    const std::int32_t* indices = s.objective.indices;
    for (ConjugatePart<T>* part = parts; part < parts + count; ++part) {
        part->at = part->begin;
        clear(part->sums, s.forth.width);
        part->loss = 0;
    }
    const std::int64_t rows = cached<T>(s.forth.width);
    for (std::int64_t tile = rows; tile < s.objective.n_other + rows; tile += rows) {
        for (ConjugatePart<T>* part = parts; part < parts + count; ++part) {
            std::int64_t end = part->at;
            while (end < part->end && indices[end] < tile) ++end;
            if (end == part->at) continue;
            work(*part, part->at, end);
            part->at = end;
        }
    }
}

template <typename T>
void residuals(const ConjugateSystem<T>& s, ConjugatePart<T>* parts, std::int64_t count, T* scratch) {
    const int width = s.forth.width;
    T* sums = Memory<T>(scratch, width).sums;
    with_vectors<T>(width, [&](auto w) {
        in_tiles(s, parts, count, [&](ConjugatePart<T>& part, std::int64_t begin, std::int64_t end) {
            const T* x = State<T>(part.row->memory, width).x;
            part.loss += add_residual<T, decltype(w)::value>(s, begin, end, x, sums, part.sums);
        });
    });
}

template <typename T>
void products(const ConjugateSystem<T>& s, ConjugatePart<T>* parts, std::int64_t count, T* scratch) {
    const int width = s.forth.width;
    T* sums = Memory<T>(scratch, width).sums;
    with_vectors<T>(width, [&](auto w) {
        in_tiles(s, parts, count, [&](ConjugatePart<T>& part, std::int64_t begin, std::int64_t end) {
            if (!part.row->progress.unfinished()) return;
            const T* direction = State<T>(part.row->memory, width).direction;
            add_product<T, decltype(w)::value, true>(s, begin, end, direction, sums, part.sums);
        });
    });
}

template <typename T>
void add_parts(const ConjugatePart<T>* parts, std::int64_t count, int width, T* sum) {
    clear(sum, width);
    for (std::int64_t part = 0; part < count; ++part) add_row(sum, parts[part].sums, width);
}

template <typename T>
void begin(const ConjugateSystem<T>& s, std::int64_t entries, const ConjugatePart<T>* parts, std::int64_t count,
           ConjugateState<T>& row) {
    const State<T> state(row.memory, s.forth.width);
    set_diagonals(s, entries, state);
    add_parts(parts, count, s.forth.width, state.residual);
    double loss = 0;
    for (std::int64_t part = 0; part < count; ++part) loss += parts[part].loss;
    row.progress = begin_iteration(s, state, loss);
}

template <typename T>
void step(const ConjugateSystem<T>& s, const ConjugatePart<T>* parts, std::int64_t count, ConjugateState<T>& row) {
    if (!row.progress.unfinished()) return;
    const State<T> state(row.memory, s.forth.width);
    add_parts(parts, count, s.forth.width, state.product);
    take_step(s, state, row.progress);
}

template <typename T>
bool finish(const ConjugateSystem<T>& s, const ConjugateState<T>& row, T* scratch, ConjugateSolution<T> out) {
    const Memory<T> memory(scratch, s.forth.width);
    const T* x = State<T>(row.memory, s.forth.width).x;
    for (int j = 0; j < s.back.dimension; ++j) memory.turned[j * ROTATED] = x[j];
    rotate_turned(s.back, memory.turned, 1, memory.out);
    *out.loss = row.progress.loss;
    return write_rotated(s.objective, memory.out, out);
}

}  // namespace

template <typename T>
const ConjugateKernels<T>& conjugate_kernels() {
    static const ConjugateKernels<T> table{scratch_size<T>, state_size<T>, cached<T>,   rotate<T>, solve<T>, start<T>,
                                           residuals<T>,    begin<T>,      products<T>, step<T>,   finish<T>};
    return table;
}
FORGETCLI_OFFER_KERNELS(ConjugateKernels, conjugate_kernels)

}  // namespace FORGETCLI_VARIANT
}  // namespace forgetcli
