// The solution of one row's normal equations by Cholesky factors.
#pragma once

#include <math.h>

#include "hot_update.h"

namespace {

// A (d × d) symmetric system, cut where the last whole vector ends, with d = full + tail:
//
//     matrix  (full, full)         upper triangle, by whole vectors
//     lower   (tail + 1, stride)   the remaining rows, each of d columns, and the right-hand side below them
//
// So the remainder costs `tail` rows instead of a whole vector column, and its rows are right-hand sides to the
// factorisation of the rest.
struct Shape {
    int d, full, tail, stride;
};

template <typename T>
FORGETCLI_INLINE Shape shape_of(int d) {
    constexpr int L = LANES<T>;
    return {d, d / L * L, d % L, round_up(d, L)};
}

constexpr int PANEL = 16;

// A pivot below this fraction of its diagonal element is rounding error: the system is singular at this precision.
template <typename T>
constexpr T PIVOT_FLOOR = sizeof(T) == 4 ? T(1e-7) : T(1e-15);

template <typename T>
FORGETCLI_INLINE bool usable(T pivot, T diagonal) {
    return pivot > PIVOT_FLOOR<T> * diagonal && pivot < T(INFINITY);
}

template <typename T>
FORGETCLI_INLINE T inverse_root(T x) {
    return T(1) / (sizeof(T) == 4 ? T(sqrtf(float(x))) : T(sqrt(double(x))));
}

// row[from, to) −= factor · source[from, to), by whole vectors.
template <typename T>
FORGETCLI_INLINE void subtract_row(T* row, T factor, const T* source, int from, int to) {
    for (int j = from; j < to; j += LANES<T>) {
        Vector<T> r = load<T>(row + j);
        r -= factor * load<T>(source + j);
        store<T>(row + j, r);
    }
}

template <typename T>
FORGETCLI_INLINE T dot_rows(const T* x, const T* y, int from, int to) {
    Vector<T> sum = zero<T>();
    for (int j = from; j < to; j += LANES<T>) sum += load<T>(x + j) * load<T>(y + j);
    return sum_lanes<T>(sum);
}

// Turns rows [begin, end) of the matrix into rows of the factor R (matrix = Rᵀ R), and the same columns of the lower
// rows into R⁻ᵀ lowerᵀ. Elements left of the diagonal in its vector become 0. pivots[i] = 1 / R_ii.
template <typename T>
bool factor_panel(const Shape& s, int begin, int end, T* matrix, T* lower, const T* diagonal, T* pivots) {
    constexpr int L = LANES<T>;
    for (int i = begin; i < end; ++i) {
        T* row = matrix + i * static_cast<std::int64_t>(s.full);
        if (!usable(row[i], diagonal[i])) return false;
        const T inverse = inverse_root(row[i]);
        pivots[i] = inverse;
        const int first = i / L * L;
        for (int j = first; j < i; ++j) row[j] = 0;
        for (int j = first; j < s.full; j += L) store<T>(row + j, inverse * load<T>(row + j));
        for (int q = i + 1; q < end; ++q) {
            subtract_row(matrix + q * static_cast<std::int64_t>(s.full), row[q], row, q / L * L, s.full);
        }
        for (int t = 0; t <= s.tail; ++t) {
            T* extra = lower + t * s.stride;
            const T solved = extra[i] * inverse;
            subtract_row(extra, solved, row, first, s.full);
            extra[i] = solved;
        }
    }
    return true;
}

// Solves the (tail × tail) system that is left of the lower rows once the rest is eliminated; x has s.tail elements.
template <typename T>
bool solve_corner(const Shape& s, const T* lower, const T* diagonal, T* x) {
    T corner[LANES<T>][LANES<T>];
    const T* rhs = lower + s.tail * s.stride;
    for (int i = 0; i < s.tail; ++i) {
        const T* row = lower + i * s.stride;
        for (int j = 0; j <= i; ++j) {
            corner[i][j] = row[s.full + j] - dot_rows(row, lower + j * s.stride, 0, s.full);
        }
        x[i] = rhs[s.full + i] - dot_rows(row, rhs, 0, s.full);
    }
    for (int i = 0; i < s.tail; ++i) {
        for (int j = 0; j <= i; ++j) {
            T sum = corner[i][j];
            for (int p = 0; p < j; ++p) sum -= corner[i][p] * corner[j][p];
            if (i == j) {
                if (!usable(sum, diagonal[s.full + i])) return false;
                corner[i][i] = inverse_root(sum);
            } else {
                corner[i][j] = sum * corner[j][j];
            }
        }
        for (int p = 0; p < i; ++p) x[i] -= corner[i][p] * x[p];
        x[i] *= corner[i][i];
    }
    for (int i = s.tail - 1; i >= 0; --i) {
        for (int p = i + 1; p < s.tail; ++p) x[i] -= corner[p][i] * x[p];
        x[i] *= corner[i][i];
    }
    return true;
}

// x[0, full) from R x = y, y being the first `full` elements of x on entry.
template <typename T>
void substitute_back(const Shape& s, const T* matrix, const T* pivots, T* x) {
    for (int end = s.full; end > 0;) {
        const int begin = (end - 1) / PANEL * PANEL;
        for (int i = begin; i < end; ++i) {
            x[i] -= dot_rows(matrix + i * static_cast<std::int64_t>(s.full), x, end, s.full);
        }
        for (int i = end - 1; i >= begin; --i) {
            const T* row = matrix + i * static_cast<std::int64_t>(s.full);
            T sum = x[i];
            for (int j = i + 1; j < end; ++j) sum -= row[j] * x[j];
            x[i] = sum * pivots[i];
        }
        end = begin;
    }
}

// Solves the system in place; `work` has 3 · stride elements, x gets d. False: singular, or not finite.
template <typename T>
bool solve_system(const Shape& s, T* matrix, T* lower, T* work, T* x) {
    T* diagonal = work;
    T* pivots = work + s.stride;
    for (int i = 0; i < s.full; ++i) diagonal[i] = matrix[i * (static_cast<std::int64_t>(s.full) + 1)];
    for (int i = 0; i < s.tail; ++i) diagonal[s.full + i] = lower[i * s.stride + s.full + i];

    NoPrefetch none;
    for (int begin = 0; begin < s.full; begin += PANEL) {
        const int end = begin + PANEL < s.full ? begin + PANEL : s.full;
        if (!factor_panel(s, begin, end, matrix, lower, diagonal, pivots)) return false;
        const T* panel = matrix + begin * static_cast<std::int64_t>(s.full) + end;
        symmetric_update<T, true>(end - begin, s.full - end, panel, s.full, panel, s.full,
                                  matrix + end * (static_cast<std::int64_t>(s.full) + 1), s.full, none);
    }
    if (!solve_corner(s, lower, diagonal, x + s.full)) return false;
    const T* rhs = lower + s.tail * s.stride;
    for (int j = 0; j < s.full; ++j) x[j] = rhs[j];
    for (int t = 0; t < s.tail; ++t) subtract_row(x, x[s.full + t], lower + t * s.stride, 0, s.full);
    substitute_back(s, matrix, pivots, x);
    T finite = 0;
    for (int j = 0; j < s.d; ++j) finite += T(0) * x[j];
    return finite == T(0);
}

}  // namespace
