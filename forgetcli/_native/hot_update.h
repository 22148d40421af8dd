// The symmetric rank update that nearly all the arithmetic of ALS goes through, in register tiles.
#pragma once

#include "simd.h"

namespace {

// Rows of a register tile: as many as leave the accumulators, the column vectors and a broadcast in registers.
#if defined(__AVX512F__)
template <int VECTORS>
constexpr int TILE_ROWS = VECTORS == 1 ? 16 : 8;
#else
template <int VECTORS>
constexpr int TILE_ROWS = VECTORS == 1 ? 8 : 4;
#endif

// c (ROWS × VECTORS vectors) ± Σ_e a_e b_eᵀ over n entries; a holds scalars, b vectors, both with a stride per entry.
template <typename T, int ROWS, int VECTORS, bool SUBTRACT>
FORGETCLI_INLINE void tile(int n, const T* a, int a_stride, const T* b, int b_stride, T* c, int c_stride) {
    constexpr int L = LANES<T>;
    Vector<T> sums[ROWS][VECTORS];
    for (int i = 0; i < ROWS; ++i) {
        for (int v = 0; v < VECTORS; ++v) sums[i][v] = zero<T>();
    }
    for (int e = 0; e < n; ++e, a += a_stride, b += b_stride) {
        Vector<T> columns[VECTORS];
        for (int v = 0; v < VECTORS; ++v) columns[v] = load<T>(b + v * L);
        for (int i = 0; i < ROWS; ++i) {
            for (int v = 0; v < VECTORS; ++v) sums[i][v] += a[i] * columns[v];
        }
    }
    for (int i = 0; i < ROWS; ++i) {
        for (int v = 0; v < VECTORS; ++v) {
            T* at = c + i * c_stride + v * L;
            Vector<T> old = load<T>(at);
            if (SUBTRACT) {
                old -= sums[i][v];
            } else {
                old += sums[i][v];
            }
            store<T>(at, old);
        }
    }
}

// The same for the 1 to MOST rows that whole tiles leave over: together, because a row alone is a chain of additions.
template <typename T, int MOST, int VECTORS, bool SUBTRACT>
FORGETCLI_INLINE void tile_rest(int rows, int n, const T* a, int a_stride, const T* b, int b_stride, T* c,
                                int c_stride) {
    if (rows == MOST) {
        tile<T, MOST, VECTORS, SUBTRACT>(n, a, a_stride, b, b_stride, c, c_stride);
    } else if constexpr (MOST > 1) {
        tile_rest<T, MOST - 1, VECTORS, SUBTRACT>(rows, n, a, a_stride, b, b_stride, c, c_stride);
    }
}

// The same for any number of rows.
template <typename T, int VECTORS, bool SUBTRACT>
void tile_rows(int rows, int n, const T* a, int a_stride, const T* b, int b_stride, T* c, int c_stride) {
    constexpr int R = TILE_ROWS<VECTORS>, HALF = R / 2;
    int i = 0;
    for (; i + R <= rows; i += R) {
        tile<T, R, VECTORS, SUBTRACT>(n, a + i, a_stride, b, b_stride, c + i * c_stride, c_stride);
    }
    if (HALF > 4 && i + HALF <= rows) {
        tile<T, HALF, VECTORS, SUBTRACT>(n, a + i, a_stride, b, b_stride, c + i * c_stride, c_stride);
        i += HALF;
    }
    tile_rest<T, (HALF > 4 ? HALF : R) - 1, VECTORS, SUBTRACT>(rows - i, n, a + i, a_stride, b, b_stride,
                                                               c + i * c_stride, c_stride);
}

// The upper triangle, by whole vectors, of c ± Σ_e a_e b_eᵀ; c is (columns, columns), columns a multiple of LANES.
// Without the diagonal: only the squares of LANES × LANES beside those that the diagonal runs through.
template <typename T, bool SUBTRACT, bool DIAGONAL>
void symmetric_update(int n, int columns, const T* a, int a_stride, const T* b, int b_stride, T* c, int c_stride) {
    constexpr int L = LANES<T>;
    constexpr int OWN = DIAGONAL ? L : 0;
    int j = 0;
    for (; j + 2 * L <= columns; j += 2 * L) {
        tile_rows<T, 2, SUBTRACT>(j + OWN, n, a, a_stride, b + j, b_stride, c + j, c_stride);
        tile_rows<T, 1, SUBTRACT>(L, n, a + j + OWN, a_stride, b + j + L, b_stride,
                                  c + (j + OWN) * static_cast<std::int64_t>(c_stride) + j + L, c_stride);
    }
    if (j < columns) {
        tile_rows<T, 1, SUBTRACT>(j + OWN, n, a, a_stride, b + j, b_stride, c + j, c_stride);
    }
}

template <typename T>
FORGETCLI_INLINE void add_to(T* at, Vector<T> sum) {
    sum += load<T>(at);
    store<T>(at, sum);
}

// A symmetric product x xᵀ of LANES elements by rotations: turn t holds x_i x_(i+t) (indices mod LANES) in lane i, and
// the turns up to LANES / 2 hold every pair. That is about half the multiplications of the whole square.
template <typename T>
constexpr int TURNS = LANES<T> / 2 + 1;

template <typename T, int... TURN>
FORGETCLI_INLINE void add_turns(Vector<T>* sums, Vector<T> a, Vector<T> b, std::integer_sequence<int, TURN...>) {
    ((sums[TURN] += a * rotate<T, TURN>(b)), ...);
}

// The turns of Σ_e a_e b_eᵀ are added to TURNS rows of c, where a_e is b_e times a scalar. With `scalars`, BORDER of
// them an entry, Σ_e s_e b_e is added to as many rows of `lower`; and with CORNER, Σ_e s_e y_e of the vectors at `tail`
// to the same rows at `corner`. Sums of a single vector are chains of additions: together they cost little more.
template <typename T, int BORDER, bool CORNER>
FORGETCLI_INLINE void diagonal_update(int n, const T* a, const T* b, const T* scalars, const T* tail, int stride, T* c,
                                      int c_stride, T* lower, T* corner, int lower_stride) {
    constexpr int CORNERS = CORNER ? BORDER : 0;
    Vector<T> turns[TURNS<T>], sums[BORDER + 1], corners[CORNERS + 1];
    for (int t = 0; t < TURNS<T>; ++t) turns[t] = zero<T>();
    for (int t = 0; t < BORDER; ++t) sums[t] = corners[CORNER ? t : 0] = zero<T>();
    for (int e = 0; e < n; ++e, a += stride, b += stride, scalars += stride, tail += stride) {
        const Vector<T> x = load<T>(b);
        add_turns<T>(turns, load<T>(a), x, std::make_integer_sequence<int, TURNS<T>>());
        for (int t = 0; t < BORDER; ++t) sums[t] += scalars[t] * x;
        for (int t = 0; t < CORNERS; ++t) corners[t] += scalars[t] * load<T>(tail);
    }
    for (int t = 0; t < TURNS<T>; ++t) add_to(c + t * c_stride, turns[t]);
    for (int t = 0; t < BORDER; ++t) add_to(lower + t * lower_stride, sums[t]);
    for (int t = 0; t < CORNERS; ++t) add_to(corner + t * lower_stride, corners[t]);
}

// c (rows, width) + Σ_e a_e b_eᵀ, all of it; width a multiple of LANES.
template <typename T>
void full_update(int n, int rows, int width, const T* a, int a_stride, const T* b, int b_stride, T* c, int c_stride) {
    constexpr int L = LANES<T>;
    int j = 0;
    for (; j + 4 * L <= width && rows < TILE_ROWS<2> / 2; j += 4 * L) {
        tile_rest<T, TILE_ROWS<2> / 2 - 1, 4, false>(rows, n, a, a_stride, b + j, b_stride, c + j, c_stride);
    }
    for (; j + 2 * L <= width; j += 2 * L) {
        tile_rows<T, 2, false>(rows, n, a, a_stride, b + j, b_stride, c + j, c_stride);
    }
    if (j < width) tile_rows<T, 1, false>(rows, n, a, a_stride, b + j, b_stride, c + j, c_stride);
}

}  // namespace
