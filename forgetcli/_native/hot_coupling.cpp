// The kernels of coupling.h for one instruction set. They are bound by memory: each entry brings one or two rows of the
// other side, and a few operations with each of their elements.
#include <limits>

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

// Calls run with how the table's elements are stored.
template <typename T, typename Run>
FORGETCLI_INLINE void with_storage([[maybe_unused]] const PairTable<T>& table, Run run) {
#if defined(__AVX512F__) || defined(__AVX2__)
    if constexpr (sizeof(T) == 4) {
        if (table.half) return run(Half());
    }
#endif
    run(Whole<T>());
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

template <typename T, typename Storage>
void fill_rows(const PairTable<T>& table, const T* matrix, const T* x, const T* delta, std::int64_t begin,
               std::int64_t end, int rank, T* scratch, void* rows) {
    using Element = typename Storage::Element;
    const T* sources[2] = {x, delta};
    const T scales[2] = {table.x_scale, table.delta_scale};
    for (std::int64_t row = begin; row < end; ++row) {
        for (int side = 0; side * table.width < table.stride; ++side) {
            Element* to = static_cast<Element*>(rows) + row * table.stride + side * table.width;
            const T* from = sources[side] + row * rank;
            if (matrix) {
                multiply(from, matrix, rank, table.width, scratch);
            } else {
                for (int j = 0; j < table.width; ++j) scratch[j] = j < rank ? from[j] : T(0);
            }
            for (int j = 0; j < table.width; j += LANES<T>) {
                Storage::write(to + j, scales[side] * load<T>(scratch + j));
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

// out += M p, M (rank, rank) symmetric.
template <typename T>
void add_product(const T* matrix, const T* p, int rank, T* out) {
    for (int i = 0; i < rank; ++i) {
        const T* row = matrix + i * static_cast<std::int64_t>(rank);
        const T scale = p[i];
        for (int j = 0; j < rank; ++j) out[j] += scale * row[j];
    }
}

// out += what has been summed over a piece of a row.
template <typename T>
FORGETCLI_INLINE void add_piece(const RowObjective<T>& o, const T* sums, T bias_sum, T* out) {
    for (int j = 0; j < o.rank; ++j) out[j] += sums[j];
    if (o.with_bias) out[o.rank] += bias_sum;
}

template <typename T, typename Storage, int W>
void couple_row(const Coupling<T>& c, std::int64_t row, const T* p, T* sums, T* out) {
    const RowObjective<T>& o = c.objective;
    for (int j = 0; j < c.pairs.padded; ++j) out[j] = 0;
    const T bias = o.with_bias ? p[o.rank] : T(0);
    in_pieces(o, row, [&](std::int64_t begin, std::int64_t end) {
        add_piece(o, sums, couple_piece<T, Storage, W>(c, begin, end, p, bias, sums), out);
    });
    if (c.direction_gram) add_product(c.direction_gram, p, o.rank, out);
}

template <typename T, int W>
RowValue gradient_row(const RowObjective<T>& o, const PairTable<T>& table, std::int64_t row, const T* diagonal,
                      const T* p, T* sums, T* out) {
    for (int j = 0; j < table.padded; ++j) out[j] = 0;
    const T ridge = ridge_of(o, o.indptr[row + 1] - o.indptr[row]);
    for (int j = 0; j < o.dimension(); ++j) out[j] = (diagonal ? ridge + diagonal[j] : ridge) * p[j];
    if (o.gram) add_product(o.gram, p, o.rank, out);
    double loss = 0;
    for (int j = 0; j < o.dimension(); ++j) loss += double(out[j]) * double(p[j]);

    double square = loss;
    const T bias = o.with_bias ? p[o.rank] : T(0);
    in_pieces(o, row, [&](std::int64_t begin, std::int64_t end) {
        const T bias_sum = pull_piece<T, Whole<T>, W>(
            o, table, true, begin, end, p, bias, sums, [&](std::int64_t e, T prediction) FORGETCLI_INLINE_LAMBDA {
                const Terms<T> terms(o, e, o.indices[e]);
                const T error = terms.target - prediction;
                loss += double(terms.confidence) * double(error) * double(error) -
                        double(o.background) * double(prediction) * double(prediction);
                square += double(terms.weight) * double(prediction) * double(prediction);
                return terms.weight * prediction - terms.slope;
            });
        add_piece(o, sums, bias_sum, out);
    });
    return {loss, square};
}

template <typename T, int W>
double loss_row(const RowObjective<T>& o, const PairTable<T>& table, std::int64_t row, const T* p, T* scratch) {
    const std::int64_t begin = o.indptr[row], end = o.indptr[row + 1];
    const T ridge = ridge_of(o, end - begin);
    double loss = 0;
    for (int j = 0; j < o.dimension(); ++j) loss += double(ridge) * double(p[j]) * double(p[j]);
    if (o.gram) {
        for (int j = 0; j < table.width; ++j) scratch[j] = 0;
        add_product(o.gram, p, o.rank, scratch);
        for (int j = 0; j < o.rank; ++j) loss += double(scratch[j]) * double(p[j]);
    }
    const T bias = o.with_bias ? p[o.rank] : T(0);
    const int w = vectors<T, W>(table.width);
    in_groups<T, Whole<T>, W, GROUP>(o, table, 1, true, begin, end, [&](std::int64_t first, auto size) FORGETCLI_INLINE_LAMBDA {
        constexpr int COUNT = decltype(size)::value;
        const T* rows[COUNT];
        T predictions[COUNT];
        products_with<T, Whole<T>, COUNT>(table, o.indices + first, p, w, rows, predictions);
        for (int e = 0; e < COUNT; ++e) {
            const Terms<T> terms(o, first + e, o.indices[first + e]);
            const double prediction = double(predictions[e] + bias), error = double(terms.target) - prediction;
            loss += double(terms.confidence) * error * error - double(o.background) * prediction * prediction;
        }
    });
    return loss;
}

// q = the row's normal matrix times p, but for its diagonal part.
template <typename T, typename Storage, int W>
FORGETCLI_INLINE void entries_product(const NormalSystem<T>& s, std::int64_t row, const T* p, T* q) {
    const RowObjective<T>& o = s.objective;
    const std::int64_t begin = o.indptr[row], end = o.indptr[row + 1];
    const T bias = o.with_bias ? p[o.rank] : T(0);
    // Where the bias lies within the table's width, the table has zeros there.
    for (int j = s.table.width; j < s.table.padded; ++j) q[j] = 0;
    const T bias_sum = pull_piece<T, Storage, W>(
        o, s.table, end - begin > CACHED, begin, end, p, bias, q, [&](std::int64_t e, T along) FORGETCLI_INLINE_LAMBDA {
            return (o.confidence_slope * T(value_of(o, e)) + o.confidence_offset - o.background) * along;
        });
    if (o.with_bias) q[o.rank] += bias_sum;
}

// A row's preconditioner, its inverse ready to be applied: with D the diagonal of the factors, g their border and c the
// corner, the bias is eliminated last, its pivot c − gᵀD⁻¹g.
template <typename T>
struct Preconditioner {
    T* diagonal;   // (padded,), dense + ridge, which the normal matrix has too
    T* inverse;    // (padded,), D⁻¹, 0 behind the factors
    T* eliminate;  // (padded,), D⁻¹ g
    T inverse_pivot;

    Preconditioner(const NormalSystem<T>& s, std::int64_t row, T* memory)
        : diagonal(memory), inverse(diagonal + s.table.padded), eliminate(inverse + s.table.padded), inverse_pivot(0) {
        const RowObjective<T>& o = s.objective;
        const std::int64_t entries = o.indptr[row + 1] - o.indptr[row];
        const T ridge = ridge_of(o, entries), n = T(entries);
        for (int j = 0; j < s.table.padded; ++j) {
            diagonal[j] = s.dense[j] + ridge;
            inverse[j] = j < o.rank ? 1 / (n * s.mean[j] + diagonal[j]) : T(0);
            eliminate[j] = n * s.border[j] * inverse[j];
        }
        if (!o.with_bias) return;
        const T least = diagonal[o.rank];  // the mean matrix is not negative, so that the pivot is no smaller
        const T pivot = least + n * (s.mean[o.rank] - dot_rows<T>(s.border, eliminate, 0, s.table.padded));
        inverse_pivot = 1 / (pivot > least ? pivot : least);
    }

    // z = P⁻¹ r.
    FORGETCLI_INLINE void apply(const NormalSystem<T>& s, const T* r, T* z) const {
        const int bias = s.objective.rank;
        const T last = s.objective.with_bias
                           ? (r[bias] - dot_rows<T>(eliminate, r, 0, s.table.padded)) * inverse_pivot
                           : T(0);
        for (int j = 0; j < s.table.padded; j += LANES<T>) {
            store<T>(z + j, load<T>(inverse + j) * load<T>(r + j));
        }
        if (!s.objective.with_bias) return;
        subtract_row<T>(z, last, eliminate, 0, s.table.padded);
        z[bias] = last;
    }
};

template <typename T>
double weigh(const NormalSystem<T>& s, std::int64_t row, const T* r, T* scratch) {
    const int n = s.table.padded;
    if (s.objective.indptr[row] == s.objective.indptr[row + 1]) return 0;
    Preconditioner<T>(s, row, scratch + n).apply(s, r, scratch);
    return double(dot_rows<T>(r, scratch, 0, n));
}

// Preconditioned conjugate gradients (Hestenes & Stiefel 1952).
template <typename T, typename Storage, int W>
void solve_row(const NormalSystem<T>& s, std::int64_t row, T* r, T* scratch, T* x) {
    constexpr int L = LANES<T>;
    const int n = s.table.padded;
    T *z = scratch, *p = z + n, *q = p + n;
    for (int j = 0; j < n; ++j) x[j] = 0;
    const std::int64_t entries = s.objective.indptr[row + 1] - s.objective.indptr[row];
    if (entries == 0) return;
    const Preconditioner<T> preconditioner(s, row, q + n);
    preconditioner.apply(s, r, z);
    for (int j = 0; j < n; ++j) p[j] = z[j];
    T rz = dot_rows<T>(r, z, 0, n);
    if (!(rz <= std::numeric_limits<T>::max())) {  // more than this precision holds, and no residual of 0
        for (int j = 0; j < n; ++j) x[j] = std::numeric_limits<T>::quiet_NaN();
        return;
    }
    const T relative = s.tolerance * s.tolerance * rz, absolute = s.floor * T(entries);
    const T goal = relative > absolute ? relative : absolute;
    for (int step = 0; step < s.max_iterations && rz > goal; ++step) {
        entries_product<T, Storage, W>(s, row, p, q);
        for (int j = 0; j < n; j += L) {
            store<T>(q + j, load<T>(q + j) + load<T>(preconditioner.diagonal + j) * load<T>(p + j));
        }
        const T curvature = dot_rows<T>(p, q, 0, n);
        if (!(curvature > 0)) break;
        subtract_row<T>(x, -rz / curvature, p, 0, n);
        subtract_row<T>(r, rz / curvature, q, 0, n);
        preconditioner.apply(s, r, z);
        const T next = dot_rows<T>(r, z, 0, n);
        const T turn = next / rz;
        for (int j = 0; j < n; j += L) store<T>(p + j, load<T>(z + j) + turn * load<T>(p + j));
        rz = next;
    }
}

template <typename T>
void fill(const PairTable<T>& table, const T* matrix, const T* x, const T* delta, std::int64_t begin, std::int64_t end,
          int rank, T* scratch, void* rows) {
    with_storage<T>(table, [&](auto storage) {
        fill_rows<T, decltype(storage)>(table, matrix, x, delta, begin, end, rank, scratch, rows);
    });
}

template <typename T>
RowValue gradient(const RowObjective<T>& o, const PairTable<T>& table, std::int64_t row, const T* diagonal, const T* p,
                  T* scratch, T* out) {
    RowValue value;
    for_vectors<T>(table.width, [&](auto w) {
        value = gradient_row<T, decltype(w)::value>(o, table, row, diagonal, p, scratch, out);
    });
    return value;
}

template <typename T>
double loss(const RowObjective<T>& o, const PairTable<T>& table, std::int64_t row, const T* p, T* scratch) {
    double value = 0;
    for_vectors<T>(table.width, [&](auto w) { value = loss_row<T, decltype(w)::value>(o, table, row, p, scratch); });
    return value;
}

template <typename T>
void couple(const Coupling<T>& c, std::int64_t row, const T* p, T* scratch, T* out) {
    for_vectors<T>(c.pairs.width, [&](auto w) {
        with_storage<T>(c.pairs, [&](auto storage) {
            couple_row<T, decltype(storage), decltype(w)::value>(c, row, p, scratch, out);
        });
    });
}

template <typename T>
void solve(const NormalSystem<T>& s, std::int64_t row, T* rhs, T* scratch, T* out) {
    for_vectors<T>(s.table.width, [&](auto w) {
        with_storage<T>(s.table, [&](auto storage) {
            solve_row<T, decltype(storage), decltype(w)::value>(s, row, rhs, scratch, out);
        });
    });
}

}  // namespace

template <typename T>
const CouplingKernels<T>& coupling_kernels() {
    static const CouplingKernels<T> table{HAS_HALF && sizeof(T) == 4, multiply<T>, fill<T>,  gradient<T>,
                                          loss<T>,                    couple<T>,   weigh<T>, solve<T>};
    return table;
}
FORGETCLI_OFFER_KERNELS(CouplingKernels, coupling_kernels)

}  // namespace FORGETCLI_VARIANT
}  // namespace forgetcli
