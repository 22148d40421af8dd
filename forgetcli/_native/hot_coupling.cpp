// The kernels of coupling.h for one instruction set. They are bound by memory: each entry brings one or two rows of the
// other side, and a few operations with each of their elements.
#include "hot_pass.h"

namespace forgetcli {
namespace FORGETCLI_VARIANT {
namespace {

// The rows of so many entries stay in the cache from one pass over them to the next.
constexpr int CACHED = 2048;

#if defined(__AVX512F__)
constexpr bool HAS_HALF = true;
FORGETCLI_INLINE Vector<float> load_half(const std::uint16_t* p) {
    return (Vector<float>)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
FORGETCLI_INLINE void store_half(std::uint16_t* p, Vector<float> v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT));
}
#elif defined(__AVX2__)
constexpr bool HAS_HALF = true;
FORGETCLI_INLINE Vector<float> load_half(const std::uint16_t* p) {
    return (Vector<float>)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
FORGETCLI_INLINE void store_half(std::uint16_t* p, Vector<float> v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT));
}
#else
constexpr bool HAS_HALF = false;
#endif

#if defined(__AVX512F__) || defined(__AVX2__)
struct Half {
    using Element = std::uint16_t;
    static FORGETCLI_INLINE Vector<float> read(const std::uint16_t* p) { return load_half(p); }
    static FORGETCLI_INLINE void write(std::uint16_t* p, Vector<float> v) { store_half(p, v); }
};
#endif

template <typename T, typename Storage>
void fill_rows(const PairTable<T>& table, const T* x, const T* delta, std::int64_t begin, std::int64_t end, int rank,
               void* rows) {
    using Element = typename Storage::Element;
    constexpr int L = LANES<T>;
    const T* sources[2] = {x, delta};
    const T scales[2] = {table.x_scale, table.delta_scale};
    for (std::int64_t row = begin; row < end; ++row) {
        for (int side = 0; side * table.width < table.stride; ++side) {
            Element* to = static_cast<Element*>(rows) + row * table.stride + side * table.width;
            const T* from = sources[side] + row * rank;
            for (int j = 0; j < table.width; j += L) {
                T piece[L];
                for (int lane = 0; lane < L; ++lane) piece[lane] = j + lane < rank ? from[j + lane] * scales[side] : 0;
                Storage::write(to + j, load<T>(piece));
            }
        }
    }
}

// What a piece's entries contribute to a coupling: sums = Σ_e along_e x_e + pull_e δ_e.
template <typename T, typename Storage, int W>
T couple_piece(const Coupling<T>& c, std::int64_t begin, std::int64_t end, const T* p, T bias, T* memory) {
    constexpr int L = LANES<T>;
    const RowObjective<T>& o = c.objective;
    const PairTable<T>& table = c.pairs;
    const int w = vectors<T, W>(table.width);
    Sums<T, W> sums(memory, table.width);
    T bias_sum = 0;
    in_groups<T, Storage, W, GROUP / 2>(o, table, 2, true, begin, end, [&](std::int64_t first, auto size) FORGETCLI_INLINE_LAMBDA {
        constexpr int COUNT = decltype(size)::value;
        const typename Storage::Element* rows[COUNT];
        Vector<T> dots[2 * COUNT];  // with x, with δ
        for (int e = 0; e < COUNT; ++e) {
            rows[e] = row_of<T, Storage>(table, o.indices[first + e]);
            dots[2 * e] = dots[2 * e + 1] = zero<T>();
        }
        for (int j = 0; j < w; ++j) {
            const Vector<T> own = load<T>(p + j * L);
            for (int e = 0; e < COUNT; ++e) {
                dots[2 * e] += own * Storage::read(rows[e] + j * L);
                dots[2 * e + 1] += own * Storage::read(rows[e] + table.width + j * L);
            }
        }
        T products[2 * COUNT];
        sum_each<T, 2 * COUNT>(dots, products);
        T x_weight[COUNT], delta_weight[COUNT];
        for (int e = 0; e < COUNT; ++e) {
            const std::int64_t index = o.indices[first + e];
            const Terms<T> terms(o, first + e, index);
            const T delta_bias = c.delta_bias ? c.delta_bias[index] : T(0);
            const T along = terms.weight * (products[2 * e + 1] * table.delta_unscale + delta_bias);
            const T pull = terms.weight * (products[2 * e] * table.x_unscale + bias) - terms.slope;
            x_weight[e] = along * table.x_unscale;
            delta_weight[e] = pull * table.delta_unscale;
            bias_sum += along;
        }
        for (int j = 0; j < w; ++j) {
            Vector<T> sum = zero<T>();
            for (int e = 0; e < COUNT; ++e) {
                sum += x_weight[e] * Storage::read(rows[e] + j * L);
                sum += delta_weight[e] * Storage::read(rows[e] + table.width + j * L);
            }
            sums.add(j, sum);
        }
    });
    sums.finish();
    return bias_sum;
}

template <typename T, typename Storage, int W>
void couple_row(const Coupling<T>& c, std::int64_t row, const T* factors, T bias, T* scratch, T* out) {
    const RowObjective<T>& o = c.objective;
    T* p = scratch;
    T* sums = scratch + c.pairs.width;
    for (int j = 0; j < c.pairs.width; ++j) p[j] = j < o.rank ? factors[j] : T(0);
    for (int j = 0; j < o.dimension(); ++j) out[j] = 0;
    const T own_bias = o.with_bias ? bias : T(0);
    in_pieces(o, row, [&](std::int64_t begin, std::int64_t end) {
        const T bias_sum = couple_piece<T, Storage, W>(c, begin, end, p, own_bias, sums);
        for (int j = 0; j < o.rank; ++j) out[j] += sums[j];
        if (o.with_bias) out[o.rank] += bias_sum;
    });
    if (!c.direction_gram) return;
    for (int i = 0; i < o.rank; ++i) {
        for (int j = 0; j < o.rank; ++j) out[i] += c.direction_gram[i * static_cast<std::int64_t>(o.rank) + j] * p[j];
    }
}

template <typename T, typename Storage, int W>
void gradient_row(const RowObjective<T>& o, const PairTable<T>& table, std::int64_t row, const T* factors, T bias,
                  T* scratch, RowGradient<T> out) {
    T* p = scratch;
    T* sums = scratch + table.width;
    for (int j = 0; j < table.width; ++j) p[j] = j < o.rank ? factors[j] : T(0);
    for (int j = 0; j < o.dimension(); ++j) out.gradient[j] = 0;
    const T own_bias = o.with_bias ? bias : T(0);

    double loss = 0, square = 0;
    in_pieces(o, row, [&](std::int64_t begin, std::int64_t end) {
        const T bias_sum = pull_piece<T, Storage, W>(
            o, table, true, begin, end, p, own_bias, sums, [&](std::int64_t e, T prediction) FORGETCLI_INLINE_LAMBDA {
                const Terms<T> terms(o, e, o.indices[e]);
                const T error = terms.target - prediction;
                loss += double(terms.confidence) * double(error) * double(error) -
                        double(o.background) * double(prediction) * double(prediction);
                square += double(terms.weight) * double(prediction) * double(prediction);
                return terms.weight * prediction - terms.slope;
            });
        for (int j = 0; j < o.rank; ++j) out.gradient[j] += sums[j];
        if (o.with_bias) out.gradient[o.rank] += bias_sum;
    });
    const T ridge = T(o.reg * (o.reg_by_count ? double(o.indptr[row + 1] - o.indptr[row]) : 1.0));
    for (int i = 0; i < o.dimension(); ++i) {
        const T own = i < o.rank ? p[i] : own_bias;
        T dense = ridge * own;
        if (o.gram) {
            for (int j = 0; j < o.rank; ++j) dense += o.gram[i * static_cast<std::int64_t>(o.rank) + j] * p[j];
        }
        loss += double(dense) * double(own);
        square += double(dense) * double(own);
        out.gradient[i] += dense;
    }
    *out.loss = loss;
    *out.square = square;
}

// q = the row's normal matrix times p; both have `padded` elements.
template <typename T, typename Storage, int W>
void normal_product(const NormalSystem<T>& s, std::int64_t row, const T* p, T* q) {
    const RowObjective<T>& o = s.objective;
    const std::int64_t begin = o.indptr[row], end = o.indptr[row + 1];
    const T bias = o.with_bias ? p[o.rank] : T(0);
    // Where the bias lies within the table's width, the table has zeros there.
    for (int j = s.table.width; j < s.padded; ++j) q[j] = 0;
    const T bias_sum = pull_piece<T, Storage, W>(
        o, s.table, end - begin > CACHED, begin, end, p, bias, q, [&](std::int64_t e, T along) FORGETCLI_INLINE_LAMBDA {
            return (o.confidence_slope * T(o.values[e]) + o.confidence_offset - o.background) * along;
        });
    if (o.with_bias) q[o.rank] += bias_sum;
    const T ridge = T(o.reg * (o.reg_by_count ? double(end - begin) : 1.0));
    for (int i = 0; i < o.dimension(); ++i) {
        T dense = ridge * p[i];
        if (o.gram) {
            for (int j = 0; j < o.rank; ++j) dense += o.gram[i * static_cast<std::int64_t>(o.rank) + j] * p[j];
        }
        q[i] += dense;
    }
}

// out = vᵀ M: v has `rows` elements, M (rows, width) whole vectors, W of them at a time in registers.
template <typename T, int W>
FORGETCLI_INLINE void multiply_columns(const T* v, const T* matrix, int rows, int width, T* out) {
    constexpr int L = LANES<T>;
    Vector<T> even[W], odd[W];
    for (int j = 0; j < W; ++j) even[j] = odd[j] = zero<T>();
    int i = 0;
    for (; i + 2 <= rows; i += 2) {
        const T* m = matrix + i * static_cast<std::int64_t>(width);
        for (int j = 0; j < W; ++j) {
            even[j] += v[i] * load<T>(m + j * L);
            odd[j] += v[i + 1] * load<T>(m + width + j * L);
        }
    }
    if (i < rows) {
        for (int j = 0; j < W; ++j) even[j] += v[i] * load<T>(matrix + i * static_cast<std::int64_t>(width) + j * L);
    }
    for (int j = 0; j < W; ++j) store<T>(out + j * L, even[j] + odd[j]);
}

template <typename T>
void multiply(const T* v, const T* matrix, int rows, int width, T* out) {
    constexpr int L = LANES<T>;
    int at = 0;
    for (; at + 4 * L <= width; at += 4 * L) multiply_columns<T, 4>(v, matrix + at, rows, width, out + at);
    for (; at < width; at += L) multiply_columns<T, 1>(v, matrix + at, rows, width, out + at);
}

// z = E (n · slope + offset)⁻¹ Eᵀ r; all have `padded` elements, t is scratch.
template <typename T>
void precondition(const NormalSystem<T>& s, std::int64_t entries, const T* r, T* t, T* z) {
    const int d = s.objective.dimension();
    multiply(r, s.vectors, d, s.padded, t);
    for (int j = 0; j < s.padded; ++j) t[j] /= T(entries) * s.slope[j] + s.offset[j];
    multiply(t, s.vectors_transposed, d, s.padded, z);
}

// Preconditioned conjugate gradients (Hestenes & Stiefel 1952).
template <typename T, typename Storage, int W>
void solve_row(const NormalSystem<T>& s, std::int64_t row, const T* rhs, T* scratch, T* out) {
    const int n = s.padded, d = s.objective.dimension();
    T *x = scratch, *r = x + n, *z = r + n, *p = z + n, *q = p + n, *t = q + n;
    const std::int64_t entries = s.objective.indptr[row + 1] - s.objective.indptr[row];
    for (int j = 0; j < n; ++j) {
        x[j] = 0;
        r[j] = j < d ? rhs[j] : T(0);
    }
    if (entries > 0) {
        precondition(s, entries, r, t, z);
        for (int j = 0; j < n; ++j) p[j] = z[j];
        T rz = dot_rows<T>(r, z, 0, n);
        const T goal = s.tolerance * s.tolerance * rz;
        for (int step = 0; step < s.max_iterations && rz > goal; ++step) {
            normal_product<T, Storage, W>(s, row, p, q);
            const T curvature = dot_rows<T>(p, q, 0, n);
            if (!(curvature > 0)) break;
            subtract_row<T>(x, -rz / curvature, p, 0, n);
            subtract_row<T>(r, rz / curvature, q, 0, n);
            precondition(s, entries, r, t, z);
            const T next = dot_rows<T>(r, z, 0, n);
            for (int j = 0; j < n; ++j) p[j] = z[j] + next / rz * p[j];
            rz = next;
        }
    }
    for (int j = 0; j < d; ++j) out[j] = x[j];
}

void fill_float(const PairTable<float>& table, const float* x, const float* delta, std::int64_t begin,
                std::int64_t end, int rank, void* rows) {
#if defined(__AVX512F__) || defined(__AVX2__)
    if (table.half) return fill_rows<float, Half>(table, x, delta, begin, end, rank, rows);
#endif
    fill_rows<float, Whole<float>>(table, x, delta, begin, end, rank, rows);
}

template <typename T>
void gradient(const RowObjective<T>& o, const PairTable<T>& table, std::int64_t row, const T* factors, T bias,
              T* scratch, RowGradient<T> out) {
    for_vectors<T>(table.width, [&](auto w) {
        gradient_row<T, Whole<T>, decltype(w)::value>(o, table, row, factors, bias, scratch, out);
    });
}

template <typename T>
void couple(const Coupling<T>& c, std::int64_t row, const T* factors, T bias, T* scratch, T* out) {
    for_vectors<T>(c.pairs.width, [&](auto w) {
#if defined(__AVX512F__) || defined(__AVX2__)
        if constexpr (sizeof(T) == 4) {
            if (c.pairs.half) return couple_row<T, Half, decltype(w)::value>(c, row, factors, bias, scratch, out);
        }
#endif
        couple_row<T, Whole<T>, decltype(w)::value>(c, row, factors, bias, scratch, out);
    });
}

template <typename T>
void solve(const NormalSystem<T>& s, std::int64_t row, const T* rhs, T* scratch, T* out) {
    for_vectors<T>(s.table.width, [&](auto w) {
#if defined(__AVX512F__) || defined(__AVX2__)
        if constexpr (sizeof(T) == 4) {
            if (s.table.half) return solve_row<T, Half, decltype(w)::value>(s, row, rhs, scratch, out);
        }
#endif
        solve_row<T, Whole<T>, decltype(w)::value>(s, row, rhs, scratch, out);
    });
}

}  // namespace

const CouplingKernels<float>& coupling_float() {
    static const CouplingKernels<float> table{HAS_HALF, fill_float, gradient<float>, couple<float>, solve<float>};
    return table;
}

const CouplingKernels<double>& coupling_double() {
    static const CouplingKernels<double> table{false, fill_rows<double, Whole<double>>, gradient<double>,
                                               couple<double>, solve<double>};
    return table;
}

}  // namespace FORGETCLI_VARIANT
}  // namespace forgetcli
