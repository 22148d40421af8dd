// The kernels of conjugate.h for one instruction set. A row's entries are gathered once, into a buffer that stays in the
// cache: each step then goes over them there.
#include "conjugate.h"

#include "hot_pass.h"

namespace forgetcli {
namespace FORGETCLI_VARIANT {
namespace {

// What is gone over several times: half of a core's own cache. A row of more entries than the buffer holds keeps the
// others where they are.
constexpr int CACHED_BYTES = 512 * 1024;
constexpr int MIN_CACHED = 64;
// Entries that are gathered and gone over at once.
constexpr int GATHERED = 64;
// Rows that are rotated together.
constexpr int ROTATED = 16;

template <typename T>
int cached(int width) {
    const int fits = CACHED_BYTES / static_cast<int>(width * sizeof(T)) / GATHERED * GATHERED;
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
    T* gathered;    // (cached, width)
    T* weights;     // (cached,)
    T* state;       // of the row at hand
    T* sums;        // (width,)
    T* rows;        // (ROTATED, width)
    T* turned;      // (width, ROTATED)
    T* out;         // (ROTATED, width)

    Memory(T* memory, int width) {
        const std::int64_t w = width;
        gathered = memory;
        weights = gathered + cached<T>(width) * w;
        state = weights + cached<T>(width);
        sums = state + state_size<T>(width);
        rows = sums + w;
        turned = rows + ROTATED * w;
        out = turned + ROTATED * w;
    }
};

template <typename T>
std::int64_t scratch_size(int width) {
    return (cached<T>(width) + State<T>::PARTS + 1 + 3 * ROTATED) * static_cast<std::int64_t>(width) +
           cached<T>(width);
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

// Fetches the rows of the entries to come and copies those of [begin, begin + n).
template <typename T>
FORGETCLI_INLINE void gather(const ConjugateSystem<T>& s, std::int64_t begin, int n, T* to) {
    constexpr int LINE = 64 / sizeof(T);
    const RowObjective<T>& o = s.objective;
    const int width = s.forth.width;
    const std::int32_t* indices = o.indices + begin;
    const std::int32_t* ahead = begin + n + AHEAD <= o.nnz ? indices + AHEAD : indices;
    for (int e = 0; e < n; ++e) {
        const T* coming = s.table + ahead[e] * static_cast<std::int64_t>(width);
        for (int j = 0; j < width; j += LINE) FORGETCLI_PREFETCH(coming + j);
        const T* from = s.table + indices[e] * static_cast<std::int64_t>(width);
        T* row = to + e * static_cast<std::int64_t>(width);
        for (int j = 0; j < width; j += LANES<T>) store<T>(row + j, load<T>(from + j));
    }
}

// Entries in the order of some table, which may be the buffer.
template <typename T>
PairTable<T> whole_table(const T* rows, int width) {
    return {rows, width, width, false, 1, 1, 1, 1};
}

template <typename T>
FORGETCLI_INLINE void add_row(T* to, const T* from, int width) {
    subtract_row<T>(to, T(-1), from, 0, width);
}

// An entry's part of the loss, which is added, and its pull.
template <typename T>
FORGETCLI_INLINE T pull_of(const Terms<T>& terms, T background, T prediction, double& loss) {
    const double error = double(terms.target) - double(prediction);
    loss += double(terms.confidence) * error * error - double(background) * double(prediction) * double(prediction);
    return terms.slope - terms.weight * prediction;
}

// out += Σ_e (slope_e − w_e y·x) y over entries that stay where they are; returns their loss.
template <typename T, int W>
double residual_in_place(const ConjugateSystem<T>& s, std::int64_t begin, std::int64_t end, const T* x, T* sums,
                         T* out) {
    const RowObjective<T>& o = s.objective;
    const PairTable<T> table = whole_table(s.table, s.forth.width);
    double loss = 0;
    for (std::int64_t at = begin; at < end; at += PIECE) {
        pull_piece<T, Whole<T>, W>(o, table, true, at, at + PIECE < end ? at + PIECE : end, x, T(0), sums,
                                   [&](std::int64_t e, T prediction) FORGETCLI_INLINE_LAMBDA {
                                       return pull_of(Terms<T>(o, e, o.indices[e]), o.background, prediction, loss);
                                   });
        add_row(out, sums, table.width);
    }
    return loss;
}

// out += Σ_e w_e (y·p) y over entries that stay where they are.
template <typename T, int W>
void product_in_place(const ConjugateSystem<T>& s, std::int64_t begin, std::int64_t end, const T* p, T* sums, T* out) {
    const RowObjective<T>& o = s.objective;
    const PairTable<T> table = whole_table(s.table, s.forth.width);
    for (std::int64_t at = begin; at < end; at += PIECE) {
        pull_piece<T, Whole<T>, W>(o, table, true, at, at + PIECE < end ? at + PIECE : end, p, T(0), sums,
                                   [&](std::int64_t e, T along) FORGETCLI_INLINE_LAMBDA {
                                       return (o.confidence_slope * T(o.values[e]) + o.confidence_offset -
                                               o.background) * along;
                                   });
        add_row(out, sums, table.width);
    }
}

// The entries of a row that lie in the buffer, as if they were all there is.
template <typename T>
struct Buffer {
    RowObjective<T> entries;
    PairTable<T> table;
    const T* weights;

    Buffer(const ConjugateSystem<T>& s, const Memory<T>& memory, std::int64_t count)
        : entries(s.objective), table(whole_table(memory.gathered, s.forth.width)), weights(memory.weights) {
        entries.indices = s.count;
        entries.nnz = count;
    }
};

// Gathers the entries [begin, begin + buffer.entries.nnz); out += their part of the first residual.
template <typename T, int W>
double residual_gathering(const ConjugateSystem<T>& s, const Buffer<T>& buffer, std::int64_t begin, const T* x,
                          const Memory<T>& memory, T* out) {
    const RowObjective<T>& o = s.objective;
    const int width = s.forth.width;
    double loss = 0;
    for (std::int64_t at = 0; at < buffer.entries.nnz; at += GATHERED) {
        const std::int64_t end = at + GATHERED < buffer.entries.nnz ? at + GATHERED : buffer.entries.nnz;
        gather(s, begin + at, static_cast<int>(end - at), memory.gathered + at * width);
        pull_piece<T, Whole<T>, W>(buffer.entries, buffer.table, false, at, end, x, T(0), memory.sums,
                                   [&](std::int64_t e, T prediction) FORGETCLI_INLINE_LAMBDA {
                                       const Terms<T> terms(o, begin + e, o.indices[begin + e]);
                                       memory.weights[e] = terms.weight;
                                       return pull_of(terms, o.background, prediction, loss);
                                   });
        add_row(out, memory.sums, width);
    }
    return loss;
}

template <typename T, int W>
void product_gathered(const Buffer<T>& buffer, const T* p, T* sums, T* out) {
    const std::int64_t count = buffer.entries.nnz;
    for (std::int64_t at = 0; at < count; at += PIECE) {
        pull_piece<T, Whole<T>, W>(
            buffer.entries, buffer.table, false, at, at + PIECE < count ? at + PIECE : count, p, T(0), sums,
            [&](std::int64_t e, T along) FORGETCLI_INLINE_LAMBDA { return buffer.weights[e] * along; });
        add_row(out, sums, buffer.table.width);
    }
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
    const int width = s.forth.width;
    for (int j = 0; j < width; ++j) {
        const T pull = state.dense[j] * state.x[j];
        loss += double(pull) * double(state.x[j]);
        state.residual[j] -= pull;
        state.direction[j] = state.residual[j] * state.inverse[j];
    }
    const T square = residual_square(state, width);
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

template <typename T>
void clear(T* row, int width) {
    for (int j = 0; j < width; j += LANES<T>) store<T>(row + j, zero<T>());
}

// Solves a row from state.x in place; returns its part of the objective.
template <typename T, int W>
double solve_row(const ConjugateSystem<T>& s, std::int64_t begin, std::int64_t end, const State<T>& state,
                 const Memory<T>& memory) {
    const int width = s.forth.width;
    const std::int64_t fits = cached<T>(width), count = end - begin < fits ? end - begin : fits;
    const Buffer<T> buffer(s, memory, count);
    set_diagonals(s, end - begin, state);
    clear(state.residual, width);
    double loss = residual_gathering<T, W>(s, buffer, begin, state.x, memory, state.residual);
    loss += residual_in_place<T, W>(s, begin + count, end, state.x, memory.sums, state.residual);
    ConjugateProgress<T> progress = begin_iteration(s, state, loss);
    for (int step = 0; step < s.steps && progress.unfinished(); ++step) {
        clear(state.product, width);
        product_gathered<T, W>(buffer, state.direction, memory.sums, state.product);
        product_in_place<T, W>(s, begin + count, end, state.direction, memory.sums, state.product);
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
    for_vectors<T>(s.forth.width, [&](auto w) {
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
    for_vectors<T>(width, [&](auto w) {
        in_tiles(s, parts, count, [&](ConjugatePart<T>& part, std::int64_t begin, std::int64_t end) {
            const T* x = State<T>(part.row->memory, width).x;
            part.loss += residual_in_place<T, decltype(w)::value>(s, begin, end, x, sums, part.sums);
        });
    });
}

template <typename T>
void products(const ConjugateSystem<T>& s, ConjugatePart<T>* parts, std::int64_t count, T* scratch) {
    const int width = s.forth.width;
    T* sums = Memory<T>(scratch, width).sums;
    for_vectors<T>(width, [&](auto w) {
        in_tiles(s, parts, count, [&](ConjugatePart<T>& part, std::int64_t begin, std::int64_t end) {
            if (!part.row->progress.unfinished()) return;
            const T* direction = State<T>(part.row->memory, width).direction;
            product_in_place<T, decltype(w)::value>(s, begin, end, direction, sums, part.sums);
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
