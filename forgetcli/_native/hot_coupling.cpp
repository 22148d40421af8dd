// The kernels of coupling.h for one instruction set. They are bound by memory: each entry brings one or two rows of the
// other side, and a few operations with each of their elements.
#include "coupling.h"
#include "hot_system.h"

namespace forgetcli {
namespace FORGETCLI_VARIANT {
namespace {

// Entries that are gone over together, so that their dot products' chains of additions overlap.
constexpr int GROUP = 4;
// Entries between the one that is computed and the one that is fetched: some microseconds of memory latency.
constexpr int AHEAD = 24;

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

// How the elements of a table are stored.
template <typename T>
struct Whole {
    using Element = T;
    static FORGETCLI_INLINE Vector<T> read(const T* p) { return load<T>(p); }
    static FORGETCLI_INLINE void write(T* p, Vector<T> v) { store<T>(p, v); }
};

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

// What the entries of one group contribute: out += Σ_e along_e x_e + pull_e δ_e.
template <typename T, typename Storage, int COUNT>
FORGETCLI_INLINE void couple_group(const Coupling<T>& c, std::int64_t first, const T* p, T bias, T* sums,
                                   T* bias_sum) {
    using Element = typename Storage::Element;
    constexpr int L = LANES<T>;
    const RowObjective<T>& o = c.objective;
    const Element* table = static_cast<const Element*>(c.pairs.rows);
    const int width = c.pairs.width;
    const Element* rows[COUNT];
    Vector<T> with_x[COUNT], with_delta[COUNT];
    for (int e = 0; e < COUNT; ++e) {
        rows[e] = table + c.pairs.stride * static_cast<std::int64_t>(o.indices[first + e]);
        with_x[e] = with_delta[e] = zero<T>();
    }
    for (int j = 0; j < width; j += L) {
        const Vector<T> own = load<T>(p + j);
        for (int e = 0; e < COUNT; ++e) {
            with_x[e] += own * Storage::read(rows[e] + j);
            with_delta[e] += own * Storage::read(rows[e] + width + j);
        }
    }
    T x_weight[COUNT], delta_weight[COUNT];
    for (int e = 0; e < COUNT; ++e) {
        const std::int64_t index = o.indices[first + e];
        const Terms<T> terms(o, first + e, index);
        const T delta_bias = c.delta_bias ? c.delta_bias[index] : T(0);
        const T along = terms.weight * (sum_lanes<T>(with_delta[e]) * c.pairs.delta_unscale + delta_bias);
        const T pull = terms.weight * (sum_lanes<T>(with_x[e]) * c.pairs.x_unscale + bias) - terms.slope;
        x_weight[e] = along * c.pairs.x_unscale;
        delta_weight[e] = pull * c.pairs.delta_unscale;
        *bias_sum += along;
    }
    for (int j = 0; j < width; j += L) {
        Vector<T> sum = load<T>(sums + j);
        for (int e = 0; e < COUNT; ++e) {
            sum += x_weight[e] * Storage::read(rows[e] + j);
            sum += delta_weight[e] * Storage::read(rows[e] + width + j);
        }
        store<T>(sums + j, sum);
    }
}

template <typename T, typename Storage>
FORGETCLI_INLINE void fetch(const RowObjective<T>& o, const PairTable<T>& table, std::int64_t entry) {
    if (entry >= o.nnz) return;
    constexpr int SIZE = sizeof(typename Storage::Element);
    const int bytes = table.stride * SIZE;
    const char* at = static_cast<const char*>(table.rows) + o.indices[entry] * std::int64_t{bytes};
    for (int byte = 0; byte < bytes; byte += 64) FORGETCLI_PREFETCH(at + byte);
}

// Sums of at most so many entries are added to the row's: rounding grows with the number of sums, not of entries.
constexpr int PIECE = 512;

template <typename T, typename Storage>
void couple_row(const Coupling<T>& c, std::int64_t row, const T* factors, T bias, T* scratch, T* out) {
    const RowObjective<T>& o = c.objective;
    const int width = c.pairs.width;
    T* p = scratch;
    T* sums = scratch + width;
    for (int j = 0; j < width; ++j) p[j] = j < o.rank ? factors[j] : T(0);
    for (int j = 0; j < o.dimension(); ++j) out[j] = 0;
    const T own_bias = o.with_bias ? bias : T(0);

    const std::int64_t end = o.indptr[row + 1];
    for (std::int64_t begin = o.indptr[row]; begin < end; begin += PIECE) {
        const std::int64_t stop = begin + PIECE < end ? begin + PIECE : end;
        T bias_sum = 0;
        for (int j = 0; j < width; ++j) sums[j] = 0;
        std::int64_t e = begin;
        for (; e + GROUP <= stop; e += GROUP) {
            for (int ahead = 0; ahead < GROUP; ++ahead) fetch<T, Storage>(o, c.pairs, e + AHEAD + ahead);
            couple_group<T, Storage, GROUP>(c, e, p, own_bias, sums, &bias_sum);
        }
        for (; e < stop; ++e) {
            fetch<T, Storage>(o, c.pairs, e + AHEAD);
            couple_group<T, Storage, 1>(c, e, p, own_bias, sums, &bias_sum);
        }
        for (int j = 0; j < o.rank; ++j) out[j] += sums[j];
        if (o.with_bias) out[o.rank] += bias_sum;
    }
    if (!o.gram) return;
    for (int i = 0; i < o.rank; ++i) {
        for (int j = 0; j < o.rank; ++j) out[i] += o.gram[i * static_cast<std::int64_t>(o.rank) + j] * p[j];
    }
}

// sums += Σ_e w_e (x_e·p + p's bias) x_e over the entries of one group, x_e without its constant; and the weights' sum.
template <typename T, typename Storage, int COUNT>
FORGETCLI_INLINE void product_group(const NormalSystem<T>& s, std::int64_t first, const T* p, T bias, T* sums,
                                    T* bias_sum) {
    using Element = typename Storage::Element;
    constexpr int L = LANES<T>;
    const RowObjective<T>& o = s.objective;
    const Element* table = static_cast<const Element*>(s.table.rows);
    const Element* rows[COUNT];
    Vector<T> dots[COUNT];
    for (int e = 0; e < COUNT; ++e) {
        rows[e] = table + s.table.stride * static_cast<std::int64_t>(o.indices[first + e]);
        dots[e] = zero<T>();
    }
    for (int j = 0; j < s.table.width; j += L) {
        const Vector<T> own = load<T>(p + j);
        for (int e = 0; e < COUNT; ++e) dots[e] += own * Storage::read(rows[e] + j);
    }
    T weights[COUNT];
    for (int e = 0; e < COUNT; ++e) {
        const T value = T(o.values[first + e]);
        const T weight = o.confidence_slope * value + o.confidence_offset - o.background;
        const T along = weight * (sum_lanes<T>(dots[e]) * s.table.x_unscale + bias);
        weights[e] = along * s.table.x_unscale;
        *bias_sum += along;
    }
    for (int j = 0; j < s.table.width; j += L) {
        Vector<T> sum = load<T>(sums + j);
        for (int e = 0; e < COUNT; ++e) sum += weights[e] * Storage::read(rows[e] + j);
        store<T>(sums + j, sum);
    }
}

// q = the row's normal matrix times p; both have `padded` elements.
template <typename T, typename Storage>
void normal_product(const NormalSystem<T>& s, std::int64_t row, const T* p, T* q) {
    const RowObjective<T>& o = s.objective;
    const std::int64_t begin = o.indptr[row], end = o.indptr[row + 1];
    const T bias = o.with_bias ? p[o.rank] : T(0);
    T bias_sum = 0;
    for (int j = 0; j < s.padded; ++j) q[j] = 0;
    std::int64_t e = begin;
    for (; e + GROUP <= end; e += GROUP) {
        for (int ahead = 0; ahead < GROUP; ++ahead) fetch<T, Storage>(o, s.table, e + AHEAD + ahead);
        product_group<T, Storage, GROUP>(s, e, p, bias, q, &bias_sum);
    }
    for (; e < end; ++e) product_group<T, Storage, 1>(s, e, p, bias, q, &bias_sum);
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

// z = E (n · slope + offset)⁻¹ Eᵀ r; all have `padded` elements, t is scratch.
template <typename T>
void precondition(const NormalSystem<T>& s, std::int64_t entries, const T* r, T* t, T* z) {
    const int d = s.objective.dimension();
    for (int j = 0; j < s.padded; ++j) t[j] = z[j] = 0;
    for (int i = 0; i < d; ++i) subtract_row<T>(t, -r[i], s.vectors + i * s.padded, 0, s.padded);
    for (int j = 0; j < s.padded; ++j) t[j] /= T(entries) * s.slope[j] + s.offset[j];
    for (int j = 0; j < d; ++j) subtract_row<T>(z, -t[j], s.vectors_transposed + j * s.padded, 0, s.padded);
}

// Preconditioned conjugate gradients (Hestenes & Stiefel 1952).
template <typename T, typename Storage>
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
            normal_product<T, Storage>(s, row, p, q);
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

void couple_float(const Coupling<float>& c, std::int64_t row, const float* factors, float bias, float* scratch,
                  float* out) {
#if defined(__AVX512F__) || defined(__AVX2__)
    if (c.pairs.half) return couple_row<float, Half>(c, row, factors, bias, scratch, out);
#endif
    couple_row<float, Whole<float>>(c, row, factors, bias, scratch, out);
}

void solve_float(const NormalSystem<float>& s, std::int64_t row, const float* rhs, float* scratch, float* out) {
#if defined(__AVX512F__) || defined(__AVX2__)
    if (s.table.half) return solve_row<float, Half>(s, row, rhs, scratch, out);
#endif
    solve_row<float, Whole<float>>(s, row, rhs, scratch, out);
}

}  // namespace

const CouplingKernels<float>& coupling_float() {
    static const CouplingKernels<float> table{HAS_HALF, fill_float, couple_float, solve_float};
    return table;
}

const CouplingKernels<double>& coupling_double() {
    static const CouplingKernels<double> table{false, fill_rows<double, Whole<double>>,
                                               couple_row<double, Whole<double>>,
                                               solve_row<double, Whole<double>>};
    return table;
}

}  // namespace FORGETCLI_VARIANT
}  // namespace forgetcli
