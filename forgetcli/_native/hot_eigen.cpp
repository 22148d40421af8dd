// The eigenvectors of eigen.h for one instruction set: no operation is fused with another, so that all of them give the
// same bits.
#include "eigen.h"

#include <math.h>

#include <cfloat>
#include <cstdint>

namespace forgetcli {
namespace FORGETCLI_VARIANT {
namespace {

// Sums that are kept apart: a single one would be a chain of additions.
constexpr int SUMS = 8;
// QL steps for one eigenvalue before its matrix counts as not finite; two or three are usual.
constexpr int MOST_STEPS = 60;

double dot(const double* x, const double* y, int from, int to) {
    double sums[SUMS] = {};
    int j = from;
    for (; j + SUMS <= to; j += SUMS) {
        for (int i = 0; i < SUMS; ++i) sums[i] += x[j + i] * y[j + i];
    }
    for (; j < to; ++j) sums[0] += x[j] * y[j];
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

// √(x² + y²), from operations that every machine rounds alike, as a library's hypot need not.
double hypotenuse(double x, double y) { return sqrt(x * x + y * y); }

// A matrix by its rows.
struct Square {
    int n;
    double* data;
    double* row(int i) const { return data + i * static_cast<std::int64_t>(n); }
};

// Reduces a symmetric matrix to the tridiagonal Q a Qᵀ by Householder's reflections I − v vᵀ · scale (Golub & Van Loan,
// algorithm 8.3.1). Row i of a holds the reflection that cleared it; row i of q becomes row i of Q.
void tridiagonalise(const Square& a, const Square& q, double* diagonal, double* beside, double* p, double* scales) {
    const int n = a.n;
    for (int i = 0; i < n; ++i) scales[i] = 0;
    for (int i = 0; i + 2 < n; ++i) {
        double* v = a.row(i);
        const double length = sqrt(dot(v, v, i + 1, n)), head = v[i + 1];
        diagonal[i] = v[i];
        beside[i] = head > 0 ? -length : length;
        if (!(length > 0)) continue;
        v[i + 1] = head - beside[i];
        const double scale = scales[i] = 1 / (length * (length + fabs(head)));
        for (int j = i + 1; j < n; ++j) p[j] = scale * dot(a.row(j), v, i + 1, n);
        const double half = scale * dot(p, v, i + 1, n) / 2;
        for (int j = i + 1; j < n; ++j) p[j] -= half * v[j];
        for (int j = i + 1; j < n; ++j) {
            double* row = a.row(j);
            const double vj = v[j], pj = p[j];
            for (int k = i + 1; k < n; ++k) row[k] -= vj * p[k] + pj * v[k];
        }
    }
    if (n > 1) {
        diagonal[n - 2] = a.row(n - 2)[n - 2];
        beside[n - 2] = a.row(n - 2)[n - 1];
    }
    diagonal[n - 1] = a.row(n - 1)[n - 1];
    for (int i = 0; i < n; ++i) {
        for (int j = 0; j < n; ++j) q.row(i)[j] = i == j;
    }
    // The last reflection first: the rows above what is left of it are still those of the identity.
    for (int i = n - 3; i >= 0; --i) {
        const double* v = a.row(i);
        if (!(scales[i] > 0)) continue;
        for (int j = i + 1; j < n; ++j) {
            double* row = q.row(j);
            const double along = scales[i] * dot(row, v, i + 1, n);
            for (int k = i + 1; k < n; ++k) row[k] -= along * v[k];
        }
    }
}

// The eigenvalues of a tridiagonal matrix by QL steps with implicit shifts (Golub & Van Loan, §8.3.3; Bowdler, Martin,
// Reinsch & Wilkinson 1968). The rows of q are rotated along. False: they do not converge.
bool diagonalise(const Square& q, double* d, double* e) {
    const int n = q.n;
    e[n - 1] = 0;
    for (int first = 0; first < n; ++first) {
        for (int step = 0;; ++step) {
            int last = first;
            for (; last + 1 < n; ++last) {
                const double size = fabs(d[last]) + fabs(d[last + 1]);
                if (fabs(e[last]) <= DBL_EPSILON * size) break;
            }
            if (last == first) break;
            if (step == MOST_STEPS) return false;
            double g = (d[first + 1] - d[first]) / (2 * e[first]);
            double r = hypotenuse(g, 1.0);
            g = d[last] - d[first] + e[first] / (g + copysign(r, g));
            double sine = 1, cosine = 1, moved = 0;
            int i = last - 1;
            for (; i >= first; --i) {
                const double f = sine * e[i], b = cosine * e[i];
                e[i + 1] = r = hypotenuse(f, g);
                if (r == 0) {
                    d[i + 1] -= moved;
                    e[last] = 0;
                    break;
                }
                sine = f / r;
                cosine = g / r;
                g = d[i + 1] - moved;
                r = (d[i] - g) * sine + 2 * cosine * b;
                moved = sine * r;
                d[i + 1] = g + moved;
                g = cosine * r - b;
                double *upper = q.row(i), *lower = q.row(i + 1);
                for (int k = 0; k < n; ++k) {
                    const double below = lower[k], above = upper[k];
                    lower[k] = sine * above + cosine * below;
                    upper[k] = cosine * above - sine * below;
                }
            }
            if (r == 0 && i >= first) continue;
            d[first] -= moved;
            e[first] = g;
            e[last] = 0;
        }
    }
    return true;
}

}  // namespace

void eigen_symmetric(int n, double* matrix, double* values, double* work) {
    const std::int64_t size = static_cast<std::int64_t>(n) * n;
    double *copy = work, *beside = copy + size, *p = beside + n, *scales = p + n;
    for (std::int64_t i = 0; i < size; ++i) copy[i] = matrix[i];
    const Square q{n, matrix};
    tridiagonalise({n, copy}, q, values, beside, p, scales);
    if (!diagonalise(q, values, beside)) {
        for (int i = 0; i < n; ++i) values[i] = NAN;
    }
}

}  // namespace FORGETCLI_VARIANT
}  // namespace forgetcli
