// The solution of LANES rows' normal equations at once, each in its own lane.
//
// One small system after the other is a chain of dependent steps (pivot, root, division, the next pivot) that leaves
// most of the machine idle. Side by side, every step is a vector operation without any sum across lanes. A lane's
// result does not depend on what is in the others.
#pragma once

#include "hot_cholesky.h"

namespace {

// The lower triangle of the systems, bordered by their right-hand sides as row d, in blocks of STEP rows: element
// (i, j) of all of them is vector `lane_offset(i, j)`, so that a column of a block is contiguous.
constexpr int STEP = 4;
// Columns of a square of STEP × STEP that are accumulated in registers together.
constexpr int STEP_COLUMNS = FORGETCLI_VECTOR_BYTES == 64 ? STEP : STEP / 2;

FORGETCLI_INLINE std::int64_t lane_block(int block) {
    return STEP * STEP * static_cast<std::int64_t>(block) * (block + 1) / 2;
}
FORGETCLI_INLINE std::int64_t lane_offset(int i, int j) { return lane_block(i / STEP) + j * STEP + i % STEP; }

template <typename T>
struct LaneSystems {
    static constexpr int L = LANES<T>;
    int d, blocks;
    T* matrix;    // vectors at lane_offset(i, j)
    T* diagonal;  // (d,) vectors: the diagonal before it is factored
    T* inverse;   // (d,) vectors: the inverse pivots
    T* rhs;       // (d,) vectors: the right-hand sides
    T* x;         // (d, to whole squares) vectors: the solutions

    static int blocks_of(int d) { return d / STEP + 1; }
    static int padded(int d) { return round_up(d, L > STEP ? L : STEP); }
    static std::int64_t elements(int d) { return (lane_block(blocks_of(d)) + 3 * d + padded(d)) * L; }

    LaneSystems(T* memory, int dimension) : d(dimension), blocks(blocks_of(d)), matrix(memory) {
        diagonal = matrix + lane_block(blocks) * L;
        inverse = diagonal + d * L;
        rhs = inverse + d * L;
        x = rhs + d * L;
    }

    FORGETCLI_INLINE T* at(int i, int j) const { return matrix + lane_offset(i, j) * L; }
    FORGETCLI_INLINE T* block(int i) const { return matrix + lane_block(i) * L; }
};

// Puts vector `from` of LANES systems, which lie `size` apart (the last repeated where there are fewer), into lanes.
template <typename T>
FORGETCLI_INLINE void gather_lanes(const T* from, std::int64_t size, int count, Vector<T>* lanes) {
    for (int l = 0; l < LANES<T>; ++l) lanes[l] = load<T>(from + (l < count ? l : count - 1) * size);
    transpose<T>(lanes);
}

// Lays `count` systems, turned as hot_update.h says, side by side.
template <typename T>
void load_systems(const Shape& s, const T* systems, std::int64_t size, int count, const LaneSystems<T>& to) {
    constexpr int L = LANES<T>;
    Vector<T> lanes[L];
    for (int column = 0; column < s.full; column += L) {
        for (int i = 0; i < column; ++i) {
            gather_lanes(systems + i * s.full + column, size, count, lanes);
            for (int l = 0; l < L; ++l) store<T>(to.at(column + l, i), lanes[l]);
        }
        for (int turn = 0; turn < TURNS<T>; ++turn) {
            gather_lanes(systems + (column + turn) * s.full + column, size, count, lanes);
            for (int l = 0; l < (2 * turn == L ? L / 2 : L); ++l) {
                const int other = (l + turn) % L;
                store<T>(to.at(column + (l > other ? l : other), column + (l < other ? l : other)), lanes[l]);
            }
        }
    }
    const T* lower = systems + s.full * s.full;
    for (int t = 0; t <= s.tail; ++t) {
        for (int column = 0; column <= s.full + t; column += L) {
            gather_lanes(lower + t * s.stride + column, size, count, lanes);
            for (int l = 0; l < L && column + l <= s.full + t; ++l) store<T>(to.at(s.full + t, column + l), lanes[l]);
        }
    }
}

// Adds a dense matrix (d, d) to every system and a ridge to each.
template <typename T>
void complete_systems(const T* dense, const T* ridges, const LaneSystems<T>& s) {
    constexpr int L = LANES<T>;
    const Vector<T> ridge = load<T>(ridges);
    for (int i = 0; i < s.d; ++i) {
        for (int j = 0; dense && j <= i; ++j) {
            Vector<T> sum = load<T>(s.at(i, j));
            sum += dense[i * static_cast<std::int64_t>(s.d) + j] * (zero<T>() + T(1));
            store<T>(s.at(i, j), sum);
        }
        Vector<T> sum = load<T>(s.at(i, i));
        sum += ridge;
        store<T>(s.at(i, i), sum);
        store<T>(s.diagonal + i * L, sum);
        store<T>(s.rhs + i * L, load<T>(s.at(s.d, i)));
    }
}

// square (rows of block `row`, of block `column`) − Σ_p row_p column_p over the columns left of it.
template <typename T>
FORGETCLI_INLINE void update_square(const T* row, const T* column, int columns, T* square) {
    constexpr int L = LANES<T>;
    for (int first = 0; first < STEP; first += STEP_COLUMNS) {
        Vector<T> sums[STEP_COLUMNS][STEP];
        for (auto& each : sums) {
            for (auto& sum : each) sum = zero<T>();
        }
        for (int p = 0; p < columns; ++p) {
            Vector<T> x[STEP];
            for (int r = 0; r < STEP; ++r) x[r] = load<T>(row + (p * STEP + r) * L);
            for (int c = 0; c < STEP_COLUMNS; ++c) {
                const Vector<T> y = load<T>(column + (p * STEP + first + c) * L);
                for (int r = 0; r < STEP; ++r) sums[c][r] += y * x[r];
            }
        }
        for (int c = 0; c < STEP_COLUMNS; ++c) {
            for (int r = 0; r < STEP; ++r) {
                T* at = square + ((first + c) * STEP + r) * L;
                Vector<T> old = load<T>(at);
                old -= sums[c][r];
                store<T>(at, old);
            }
        }
    }
}

// The square right of it all, on the diagonal: its own Cholesky factor, columns beyond d untouched. ok[l] becomes 0
// where lane l's pivot is not usable.
template <typename T>
FORGETCLI_INLINE void factor_square(const LaneSystems<T>& s, int first, T* square, T* ok) {
    constexpr int L = LANES<T>;
    Vector<T> v[STEP][STEP];
    for (int c = 0; c < STEP; ++c) {
        for (int r = c; r < STEP; ++r) v[c][r] = load<T>(square + (c * STEP + r) * L);
    }
    for (int c = 0; c < STEP && first + c < s.d; ++c) {
        for (int p = 0; p < c; ++p) {
            for (int r = c; r < STEP; ++r) v[c][r] -= v[p][c] * v[p][r];
        }
        T pivot[L], inverse[L];
        store<T>(pivot, v[c][c]);
        const T* diagonal = s.diagonal + (first + c) * L;
        for (int l = 0; l < L; ++l) {
            ok[l] = usable(pivot[l], diagonal[l]) ? ok[l] : T(0);
            inverse[l] = inverse_root(pivot[l]);
        }
        store<T>(s.inverse + (first + c) * L, load<T>(inverse));
        for (int r = c; r < STEP; ++r) {
            v[c][r] = v[c][r] * load<T>(inverse);
            store<T>(square + (c * STEP + r) * L, v[c][r]);
        }
    }
}

// A square below the factored square `own` of its columns: right division by its transpose.
template <typename T>
FORGETCLI_INLINE void divide_square(const T* own, const T* inverse, T* square) {
    constexpr int L = LANES<T>;
    Vector<T> v[STEP][STEP];
    for (int c = 0; c < STEP; ++c) {
        for (int r = 0; r < STEP; ++r) v[c][r] = load<T>(square + (c * STEP + r) * L);
        for (int p = 0; p < c; ++p) {
            const Vector<T> factor = load<T>(own + (p * STEP + c) * L);
            for (int r = 0; r < STEP; ++r) v[c][r] -= factor * v[p][r];
        }
        for (int r = 0; r < STEP; ++r) {
            v[c][r] = v[c][r] * load<T>(inverse + c * L);
            store<T>(square + (c * STEP + r) * L, v[c][r]);
        }
    }
}

// The Cholesky factors of the systems, in place; row d becomes the forward substitution of the right-hand sides.
template <typename T>
void factor_systems(const LaneSystems<T>& s, T* ok) {
    constexpr int SQUARE = STEP * STEP * LANES<T>;
    for (int i = 0; i < s.blocks; ++i) {
        T* row = s.block(i);
        for (int j = 0; j <= i; ++j) {
            T* square = row + j * SQUARE;
            update_square(row, s.block(j), j * STEP, square);
            if (j < i) {
                divide_square(s.block(j) + j * SQUARE, s.inverse + j * STEP * LANES<T>, square);
            } else {
                factor_square(s, i * STEP, square, ok);
            }
        }
    }
}

// The solutions of factored systems. ok[l] becomes 0 where lane l's is not finite.
template <typename T>
void solve_systems(const LaneSystems<T>& s, T* ok) {
    constexpr int L = LANES<T>;
    for (int i = 0; i < s.padded(s.d); ++i) store<T>(s.x + i * L, i < s.d ? load<T>(s.at(s.d, i)) : zero<T>());
    for (int block = (s.d - 1) / STEP; block >= 0; --block) {
        const T* row = s.block(block);
        const int first = block * STEP;
        Vector<T> x[STEP];
        for (int r = STEP - 1; r >= 0; --r) {
            x[r] = load<T>(s.x + (first + r) * L);
            if (first + r >= s.d) continue;
            for (int below = r + 1; below < STEP && first + below < s.d; ++below) {
                x[r] -= load<T>(row + ((first + r) * STEP + below) * L) * x[below];
            }
            x[r] = x[r] * load<T>(s.inverse + (first + r) * L);
            store<T>(s.x + (first + r) * L, x[r]);
        }
        for (int p = 0; p < first; ++p) {
            Vector<T> y = load<T>(s.x + p * L);
            for (int r = 0; r < STEP; ++r) y -= load<T>(row + (p * STEP + r) * L) * x[r];
            store<T>(s.x + p * L, y);
        }
    }
    for (int l = 0; l < L; ++l) {
        T finite = 0;
        for (int i = 0; i < s.d; ++i) finite += T(0) * s.x[i * L + l];
        if (!(finite == T(0))) ok[l] = 0;
    }
}

}  // namespace
