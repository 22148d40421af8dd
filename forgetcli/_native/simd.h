// Vectors of the instruction set that this translation unit is compiled for. Only for the hot_*.cpp files, which are
// compiled once for each; everything here has internal linkage, so that the variants never share code.
#pragma once

#include <cstdint>
#include <utility>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define FORGETCLI_VECTOR_BYTES 64
#elif defined(__AVX2__)
#define FORGETCLI_VECTOR_BYTES 32
#else
#define FORGETCLI_VECTOR_BYTES 16
#endif

#if defined(__GNUC__) || defined(__clang__)
#define FORGETCLI_INLINE inline __attribute__((always_inline))
#define FORGETCLI_INLINE_LAMBDA __attribute__((always_inline))
#define FORGETCLI_PREFETCH(address) __builtin_prefetch(address, 0, 2)
#define FORGETCLI_PREFETCH_NEAR(address) __builtin_prefetch(address, 0, 3)
#else
#define FORGETCLI_INLINE __forceinline
#define FORGETCLI_INLINE_LAMBDA
#define FORGETCLI_PREFETCH(address) ((void)(address))
#define FORGETCLI_PREFETCH_NEAR(address) ((void)(address))
#endif

namespace {

template <typename T>
constexpr int LANES = FORGETCLI_VECTOR_BYTES / sizeof(T);

#if defined(__GNUC__) || defined(__clang__)

template <typename T>
struct VectorOf {
    typedef T type __attribute__((vector_size(FORGETCLI_VECTOR_BYTES)));
};
template <typename T>
using Vector = typename VectorOf<T>::type;

template <typename T>
FORGETCLI_INLINE Vector<T> load(const T* p) {
    Vector<T> v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}

template <typename T>
FORGETCLI_INLINE void store(T* p, Vector<T> v) {
    __builtin_memcpy(p, &v, sizeof v);
}

#else  // a compiler without vector types: plain arrays, which it may vectorise by itself

template <typename T>
struct Vector {
    T lane[LANES<T>];
    FORGETCLI_INLINE Vector& operator+=(const Vector& b) {
        for (int i = 0; i < LANES<T>; ++i) lane[i] += b.lane[i];
        return *this;
    }
    FORGETCLI_INLINE Vector& operator-=(const Vector& b) {
        for (int i = 0; i < LANES<T>; ++i) lane[i] -= b.lane[i];
        return *this;
    }
    FORGETCLI_INLINE T operator[](int i) const { return lane[i]; }
    friend FORGETCLI_INLINE Vector operator*(T a, const Vector& b) {
        Vector c;
        for (int i = 0; i < LANES<T>; ++i) c.lane[i] = a * b.lane[i];
        return c;
    }
    friend FORGETCLI_INLINE Vector operator*(const Vector& a, const Vector& b) {
        Vector c;
        for (int i = 0; i < LANES<T>; ++i) c.lane[i] = a.lane[i] * b.lane[i];
        return c;
    }
};

template <typename T>
FORGETCLI_INLINE Vector<T> load(const T* p) {
    Vector<T> v;
    for (int i = 0; i < LANES<T>; ++i) v.lane[i] = p[i];
    return v;
}

template <typename T>
FORGETCLI_INLINE void store(T* p, const Vector<T>& v) {
    for (int i = 0; i < LANES<T>; ++i) p[i] = v.lane[i];
}

#endif

template <typename T>
FORGETCLI_INLINE Vector<T> zero() {
    return Vector<T>{};
}

#if defined(__has_builtin)
#if (defined(__GNUC__) || defined(__clang__)) && __has_builtin(__builtin_shufflevector)
#define FORGETCLI_HAS_SHUFFLE
#endif
#endif

#if defined(FORGETCLI_HAS_SHUFFLE)
template <typename T, int TURN, int... LANE>
FORGETCLI_INLINE Vector<T> rotate_lanes(Vector<T> v, std::integer_sequence<int, LANE...>) {
    return __builtin_shufflevector(v, v, ((LANE + TURN) % LANES<T>)...);
}

// Lane i of the result is lane (i + TURN) mod LANES of v.
template <typename T, int TURN>
FORGETCLI_INLINE Vector<T> rotate(Vector<T> v) {
    return rotate_lanes<T, TURN>(v, std::make_integer_sequence<int, LANES<T>>());
}

// Swaps the off-diagonal halves of each square of 2 HALF lanes that the vectors `upper` and `lower` cross.
template <typename T, int HALF, int... LANE>
FORGETCLI_INLINE void swap_halves(Vector<T>& upper, Vector<T>& lower, std::integer_sequence<int, LANE...>) {
    constexpr int L = LANES<T>;
    const Vector<T> first = __builtin_shufflevector(upper, lower, (LANE & HALF ? L + LANE - HALF : LANE)...);
    lower = __builtin_shufflevector(upper, lower, (LANE & HALF ? L + LANE : LANE + HALF)...);
    upper = first;
}

// Transposes the square that LANES vectors make.
template <typename T, int HALF = LANES<T> / 2>
FORGETCLI_INLINE void transpose(Vector<T>* rows) {
    for (int i = 0; i < LANES<T>; ++i) {
        if (!(i & HALF)) {
            swap_halves<T, HALF>(rows[i], rows[i + HALF], std::make_integer_sequence<int, LANES<T>>());
        }
    }
    if constexpr (HALF > 1) transpose<T, HALF / 2>(rows);
}
#else
template <typename T, int TURN>
FORGETCLI_INLINE Vector<T> rotate(const Vector<T>& v) {
    T lane[2 * LANES<T>];
    store<T>(lane, v);
    store<T>(lane + LANES<T>, v);
    return load<T>(lane + TURN);
}

template <typename T>
FORGETCLI_INLINE void transpose(Vector<T>* rows) {
    constexpr int L = LANES<T>;
    T square[L][L];
    for (int i = 0; i < L; ++i) {
        T lane[L];
        store<T>(lane, rows[i]);
        for (int j = 0; j < L; ++j) square[j][i] = lane[j];
    }
    for (int i = 0; i < L; ++i) rows[i] = load<T>(square[i]);
}
#endif

// The sum of all lanes, in halves: ((0 + 8) + (4 + 12)) + …, the same on every call.
template <typename T>
FORGETCLI_INLINE T sum_lanes(Vector<T> v) {
    T lane[LANES<T>];
    store<T>(lane, v);
    for (int half = LANES<T> / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
    }
    return lane[0];
}

#if defined(__AVX2__)
FORGETCLI_INLINE float sum_quarter(__m128 v) {
    v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    return _mm_cvtss_f32(_mm_add_ss(v, _mm_shuffle_ps(v, v, 1)));
}

FORGETCLI_INLINE float sum_half(__m256 v) {
    return sum_quarter(_mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1)));
}

FORGETCLI_INLINE double sum_half(__m256d v) {
    const __m128d pair = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
    return _mm_cvtsd_f64(_mm_add_sd(pair, _mm_unpackhi_pd(pair, pair)));
}

#if defined(__AVX512F__)
template <>
FORGETCLI_INLINE float sum_lanes<float>(Vector<float> v) {
    return sum_half(_mm256_add_ps(_mm512_castps512_ps256((__m512)v), _mm512_extractf32x8_ps((__m512)v, 1)));
}

template <>
FORGETCLI_INLINE double sum_lanes<double>(Vector<double> v) {
    return sum_half(_mm256_add_pd(_mm512_castpd512_pd256((__m512d)v), _mm512_extractf64x4_pd((__m512d)v, 1)));
}
#else
template <>
FORGETCLI_INLINE float sum_lanes<float>(Vector<float> v) {
    return sum_half((__m256)v);
}

template <>
FORGETCLI_INLINE double sum_lanes<double>(Vector<double> v) {
    return sum_half((__m256d)v);
}
#endif
#endif

// The sums of the lanes of COUNT vectors.
template <typename T, int COUNT>
FORGETCLI_INLINE void sum_each(const Vector<T>* v, T* sums) {
#if defined(__AVX512F__)
    if constexpr (COUNT == 4 && sizeof(T) == 4) {
        // Each quarter of a register ends with the four sums of that quarter.
        const __m512 v0 = (__m512)v[0], v1 = (__m512)v[1], v2 = (__m512)v[2], v3 = (__m512)v[3];
        const __m512 first = _mm512_add_ps(_mm512_unpacklo_ps(v0, v1), _mm512_unpackhi_ps(v0, v1));
        const __m512 second = _mm512_add_ps(_mm512_unpacklo_ps(v2, v3), _mm512_unpackhi_ps(v2, v3));
        const __m512 each = _mm512_add_ps(_mm512_shuffle_ps(first, second, _MM_SHUFFLE(1, 0, 1, 0)),
                                          _mm512_shuffle_ps(first, second, _MM_SHUFFLE(3, 2, 3, 2)));
        const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(each), _mm512_extractf32x8_ps(each, 1));
        _mm_storeu_ps(sums, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
        return;
    }
#endif
    for (int i = 0; i < COUNT; ++i) sums[i] = sum_lanes<T>(v[i]);
}

// Reads the last elements of a row, fewer than LANES of them, into the lanes from 0 on; the other lanes become 0. Nothing
// behind the row is touched, but what is before it is: the row has at least LANES elements.
template <typename T>
class RowEnd {
  public:
    explicit RowEnd(int elements) : elements_(elements) {
#if defined(__AVX2__)
        constexpr int WORDS = sizeof(T) / 4;  // of 32 bits
        const int first = (LANES<T> - elements) * WORDS;
        for (int i = 0; i < FORGETCLI_VECTOR_BYTES / 4; ++i) words_[i] = i + first;
#endif
    }

    FORGETCLI_INLINE Vector<T> read(const T* end) const {
#if defined(__AVX512F__)
        const __m512i row = (__m512i)load<T>(end - LANES<T>), words = _mm512_load_si512(words_);
        const __mmask16 kept = static_cast<__mmask16>((1u << elements_ * (sizeof(T) / 4)) - 1);
        return (Vector<T>)_mm512_maskz_permutexvar_epi32(kept, words, row);
#elif defined(__AVX2__)
        const __m256i words = _mm256_load_si256(reinterpret_cast<const __m256i*>(words_));
        const __m256i row = _mm256_permutevar8x32_epi32((__m256i)load<T>(end - LANES<T>), words);
        // A word that would come from behind the row is 0.
        return (Vector<T>)_mm256_and_si256(row, _mm256_cmpgt_epi32(_mm256_set1_epi32(8), words));
#else
        T lane[LANES<T>] = {};
        for (int i = 0; i < elements_; ++i) lane[i] = end[i - elements_];
        return load<T>(lane);
#endif
    }

  private:
    int elements_;
#if defined(__AVX2__)
    alignas(FORGETCLI_VECTOR_BYTES) int words_[FORGETCLI_VECTOR_BYTES / 4];
#endif
};

FORGETCLI_INLINE int round_up(int n, int multiple) { return (n + multiple - 1) / multiple * multiple; }

}  // namespace
