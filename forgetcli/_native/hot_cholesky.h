// The solution of one row's normal equations by Cholesky factors.
#pragma once

#include <math.h>

#include "hot_update.h"

namespace {

// A (d × d) symmetric system, cut where the last whole vector ends, with d = full + tail:
//
//     matrix  (full, full)      upper triangle, by whole vectors
//     lower   (tail, stride)    the remaining rows, each of d columns
//
// So the remainder costs `tail` rows instead of a whole vector column, and its rows are right-hand sides to the
// factorisation of the rest. Once factored, the system is RᵀR: `matrix` holds R's rows, `lower` the columns of R that
// belong to the remainder, with the factor of the remainder's own corner in its last `tail` columns. `pivots` are the
// inverses of R's diagonal.
struct Shape {
    int d, full, tail, stride;
};

template <typename T>
FORGETCLI_INLINE Shape shape_of(int d) {
    constexpr int L = LANES<T>;
    return {d, d / L * L, d % L, round_up(d + 1, L)};
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

// One step of forward substitution on y, whose elements before i are done: y_i, and its part in the later ones.
// Elements of `row` left of its diagonal are 0 in its vector.
template <typename T>
FORGETCLI_INLINE void forward_step(T* y, int i, T pivot, const T* row, int full) {
    const T solved = y[i] * pivot;
    subtract_row(y, solved, row, i / LANES<T> * LANES<T>, full);
    y[i] = solved;
}

// Turns rows [begin, end) of the matrix into rows of R, and the same columns of the lower rows (the remainder's and
// any right-hand sides below them) into R⁻ᵀ lowerᵀ.
template <typename T>
bool factor_panel(const Shape& s, int begin, int end, T* matrix, T* lower, int lower_rows, const T* diagonal,
                  T* pivots) {
    constexpr int L = LANES<T>;
    const auto rows = [&](int i) { return matrix + i * static_cast<std::int64_t>(s.full); };
    for (int i = begin; i < end; ++i) {
        T* row = rows(i);
        if (!usable(row[i], diagonal[i])) return false;
        const T inverse = inverse_root(row[i]);
        pivots[i] = inverse;
        const int first = i / L * L;
        for (int j = first; j < i; ++j) row[j] = 0;
        for (int j = first; j < s.full; j += L) store<T>(row + j, inverse * load<T>(row + j));
        for (int q = i + 1; q < end; ++q) subtract_row(rows(q), row[q], row, q / L * L, s.full);
        for (int t = 0; t < lower_rows; ++t) forward_step(lower + t * s.stride, i, inverse, row, s.full);
    }
    return true;
}

// Factors what is left of the remainder's rows once the rest is eliminated, in place.
template <typename T>
bool factor_corner(const Shape& s, T* lower, const T* diagonal, T* pivots) {
    for (int i = 0; i < s.tail; ++i) {
        T* row = lower + i * s.stride;
        for (int j = 0; j <= i; ++j) {
            const T* other = lower + j * s.stride;
            T sum = row[s.full + j] - dot_rows(row, other, 0, s.full);
            for (int p = 0; p < j; ++p) sum -= row[s.full + p] * other[s.full + p];
            if (i == j) {
                if (!usable(sum, diagonal[s.full + i])) return false;
                pivots[s.full + i] = inverse_root(sum);
            } else {
                row[s.full + j] = sum * pivots[s.full + j];
            }
        }
    }
    return true;
}

// Factors the system in place and takes the right-hand side, in row `tail` of `lower`, through the forward
// substitution of the matrix. `diagonal` and `pivots` have `stride` elements. False: singular, or not finite.
template <typename T>
bool factor_system(const Shape& s, T* matrix, T* lower, T* diagonal, T* pivots) {
    for (int i = 0; i < s.full; ++i) diagonal[i] = matrix[i * (static_cast<std::int64_t>(s.full) + 1)];
    for (int i = 0; i < s.tail; ++i) diagonal[s.full + i] = lower[i * s.stride + s.full + i];
    for (int begin = 0; begin < s.full; begin += PANEL) {
        const int end = begin + PANEL < s.full ? begin + PANEL : s.full;
        if (!factor_panel(s, begin, end, matrix, lower, s.tail + 1, diagonal, pivots)) return false;
        const T* panel = matrix + begin * static_cast<std::int64_t>(s.full) + end;
        symmetric_update<T, true, true>(end - begin, s.full - end, panel, s.full, panel, s.full,
                                  matrix + end * (static_cast<std::int64_t>(s.full) + 1), s.full);
    }
    return factor_corner(s, lower, diagonal, pivots);
}

// x[0, full) from R x = y, y being x's own elements on entry.
template <typename T>
void substitute_back(const Shape& s, const T* matrix, const T* pivots, T* x) {
    const auto rows = [&](int i) { return matrix + i * static_cast<std::int64_t>(s.full); };
    for (int end = s.full; end > 0;) {
        const int begin = (end - 1) / PANEL * PANEL;
        for (int i = begin; i < end; ++i) x[i] -= dot_rows<T>(rows(i), x, end, s.full);
        for (int i = end - 1; i >= begin; --i) {
            const T* row = rows(i);
            T sum = x[i];
            for (int j = i + 1; j < end; ++j) sum -= row[j] * x[j];
            x[i] = sum * pivots[i];
        }
        end = begin;
    }
}

// Solves a factored system; x holds the right-hand side, taken through the matrix's forward substitution (its first
// `full` elements), on entry, and the solution's d elements on return. False: not finite.
template <typename T>
bool solve_factored(const Shape& s, const T* matrix, const T* lower, const T* pivots, T* x) {
    T* corner = x + s.full;
    for (int i = 0; i < s.tail; ++i) {
        const T* row = lower + i * s.stride;
        T sum = corner[i] - dot_rows<T>(row, x, 0, s.full);
        for (int p = 0; p < i; ++p) sum -= row[s.full + p] * corner[p];
        corner[i] = sum * pivots[s.full + i];
    }
    for (int i = s.tail - 1; i >= 0; --i) {
        for (int p = i + 1; p < s.tail; ++p) corner[i] -= lower[p * s.stride + s.full + i] * corner[p];
        corner[i] *= pivots[s.full + i];
    }
    for (int t = 0; t < s.tail; ++t) subtract_row(x, corner[t], lower + t * s.stride, 0, s.full);
    substitute_back(s, matrix, pivots, x);
    T finite = 0;
    for (int j = 0; j < s.d; ++j) finite += T(0) * x[j];
    return finite == T(0);
}

}  // namespace
