// The loops of top-n: a register-blocked matrix product whose results are compared, while still in registers, with
// what each user's n-th best item scores. Compiled once for each instruction set; see topn.h.
//
// Every score is bias + Σ_f user_f item_f, summed in the order of f, in one lane: it does not depend on where in a
// block the pair stands.
#include "topn.h"

#include <math.h>  // INFINITY

#include "simd.h"

#if (defined(__GNUC__) || defined(__clang__)) && defined(__AVX512F__)
#define FORGETCLI_COMPARE_AVX512
#include <immintrin.h>
#elif (defined(__GNUC__) || defined(__clang__)) && defined(__AVX2__)
#define FORGETCLI_COMPARE_AVX2
#include <immintrin.h>
#endif

// Loops over registers must vanish: an array that is indexed by a variable lives in memory.
#if defined(__clang__)
#define FORGETCLI_UNROLL _Pragma("unroll")
#elif defined(__GNUC__) || defined(__clang__)
#define FORGETCLI_UNROLL _Pragma("GCC unroll 16")
#else
#define FORGETCLI_UNROLL
#endif

namespace forgetcli {
namespace {

// A group of users by a panel of two vectors of items fills the registers: 24 sums of 32 registers, or 12 of 16. Without
// a fused multiply-add a product takes one more.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int GROUP = 12;
#elif defined(__AVX2__)
constexpr int GROUP = 6;
#else
constexpr int GROUP = 4;
#endif
constexpr int PANEL_VECTORS = 2;

template <typename T>
constexpr int PANEL = PANEL_VECTORS * LANES<T>;

using Mask = std::uint32_t;  // one bit for each item of a panel

inline int lowest_bit(Mask mask) {
#if defined(__GNUC__) || defined(__clang__)
    return __builtin_ctz(mask);
#else
    int bit = 0;
    while (!(mask >> bit & 1)) ++bit;
    return bit;
#endif
}

// Bit j: lane j is at least the threshold.
#if defined(FORGETCLI_COMPARE_AVX512)
inline Mask reaching(Vector<float> v, float threshold) {
    return _mm512_cmp_ps_mask((__m512)v, _mm512_set1_ps(threshold), _CMP_GE_OQ);
}
inline Mask reaching(Vector<double> v, double threshold) {
    return _mm512_cmp_pd_mask((__m512d)v, _mm512_set1_pd(threshold), _CMP_GE_OQ);
}
#elif defined(FORGETCLI_COMPARE_AVX2)
inline Mask reaching(Vector<float> v, float threshold) {
    return Mask(_mm256_movemask_ps(_mm256_cmp_ps((__m256)v, _mm256_set1_ps(threshold), _CMP_GE_OQ)));
}
inline Mask reaching(Vector<double> v, double threshold) {
    return Mask(_mm256_movemask_pd(_mm256_cmp_pd((__m256d)v, _mm256_set1_pd(threshold), _CMP_GE_OQ)));
}
#else
template <typename T>
inline Mask reaching(const Vector<T>& v, T threshold) {
    T lane[LANES<T>];
    store<T>(lane, v);
    Mask mask = 0;
    for (int j = 0; j < LANES<T>; ++j) mask |= Mask(lane[j] >= threshold) << j;
    return mask;
}
#endif

// The scores of one group of users and one panel of items, (GROUP, PANEL), and which of them reach the users'
// thresholds. Returns the users with such a score, one bit for each.
template <typename T>
inline Mask score_tile(const T* panel, const T* group, std::int64_t rank, const T* thresholds, T* scores,
                       Mask* masks) {
    Vector<T> sums[GROUP][PANEL_VECTORS];
    FORGETCLI_UNROLL
    for (int u = 0; u < GROUP; ++u) {
        FORGETCLI_UNROLL
        for (int v = 0; v < PANEL_VECTORS; ++v) sums[u][v] = load<T>(panel + v * LANES<T>);
    }
    for (std::int64_t f = 0; f < rank; ++f) {
        panel += PANEL<T>;
        Vector<T> items[PANEL_VECTORS];
        FORGETCLI_UNROLL
        for (int v = 0; v < PANEL_VECTORS; ++v) items[v] = load<T>(panel + v * LANES<T>);
        FORGETCLI_UNROLL
        for (int u = 0; u < GROUP; ++u) {
            FORGETCLI_UNROLL
            for (int v = 0; v < PANEL_VECTORS; ++v) sums[u][v] += group[u] * items[v];
        }
        group += GROUP;
    }
    Mask users = 0;
    FORGETCLI_UNROLL
    for (int u = 0; u < GROUP; ++u) {
        Mask mask = 0;
        FORGETCLI_UNROLL
        for (int v = 0; v < PANEL_VECTORS; ++v) {
            mask |= reaching(sums[u][v], thresholds[u]) << v * LANES<T>;
            store<T>(scores + u * PANEL<T> + v * LANES<T>, sums[u][v]);
        }
        masks[u] = mask;
        users |= Mask(mask != 0) << u;
    }
    return users;
}

// Whether entry a is worse than entry b of a heap. Without branches: which of two entries is worse cannot be foreseen.
template <typename T>
inline bool worse(T score_a, std::int32_t item_a, T score_b, std::int32_t item_b) {
    return bool(int(score_a < score_b) | (int(score_a == score_b) & int(item_a > item_b)));
}

// Puts an entry where the first one was and lets it sink to its place.
template <typename T>
inline void replace_worst(T* scores, std::int32_t* items, std::int64_t n, T score, std::int32_t item) {
    std::int64_t place = 0;
    for (std::int64_t child; (child = 2 * place + 1) < n; place = child) {
        if (child + 1 < n) child += worse(scores[child + 1], items[child + 1], scores[child], items[child]);
        if (!worse(scores[child], items[child], score, item)) break;
        scores[place] = scores[child];
        items[place] = items[child];
    }
    scores[place] = score;
    items[place] = item;
}

// Whether the value is among those from `begin` to `end`, which increase.
inline bool contains(const std::int32_t* begin, const std::int32_t* end, std::int32_t value) {
    while (begin < end) {
        const std::int32_t* middle = begin + (end - begin) / 2;
        if (*middle == value) return true;
        if (*middle < value) begin = middle + 1;
        else end = middle;
    }
    return false;
}

// Offers the marked items of one panel to one user. A score that equals the threshold may still win by its row.
template <typename T>
inline void offer(const TopnBlock<T>& block, std::int64_t user, const std::int32_t* rows, const T* scores, Mask mask) {
    T* heap_scores = block.scores + user * block.n;
    std::int32_t* heap_items = block.items + user * block.n;
    for (; mask != 0; mask &= mask - 1) {
        const int j = lowest_bit(mask);
        if (!worse(heap_scores[0], heap_items[0], scores[j], rows[j])) continue;
        if (block.seen && contains(block.seen[user], block.seen_end[user], rows[j])) continue;
        replace_worst(heap_scores, heap_items, block.n, scores[j], rows[j]);
    }
    block.thresholds[user] = heap_scores[0];
}

// Whether any user of a group may find an item worth having in a panel.
template <typename T>
inline bool worthwhile(const PanelBound<T>& bound, const T* user_norms, const T* thresholds) {
    int any = 0;
    for (int u = 0; u < GROUP; ++u) any |= bound.bias + user_norms[u] * bound.norm >= thresholds[u];
    return any != 0;
}

template <typename T>
void score_block(const TopnBlock<T>& block) {
    alignas(64) T scores[GROUP * PANEL<T>];
    Mask masks[GROUP];
    for (std::int64_t p = 0; p < block.panel_count; ++p) {
        const T* panel = block.panels + p * (block.rank + 1) * PANEL<T>;
        for (std::int64_t g = 0; g < block.group_count; ++g) {
            const T* group = block.groups + g * block.rank * GROUP;
            const T* thresholds = block.thresholds + g * GROUP;
            if (!worthwhile(block.bounds[p], block.user_norms + g * GROUP, thresholds)) continue;
            Mask users = score_tile(panel, group, block.rank, thresholds, scores, masks);
            for (; users != 0; users &= users - 1) {
                const int u = lowest_bit(users);
                offer(block, g * GROUP + u, block.rows + p * PANEL<T>, scores + u * PANEL<T>, masks[u]);
            }
        }
    }
}

template <typename T>
void pack_panel(const T* factors, const T* bias, const std::int32_t* rows, std::int64_t count, std::int64_t rank,
                T* panel) {
    for (int j = 0; j < PANEL<T>; ++j) {
        T* to = panel + j;
        *to = j < count ? bias[rows[j]] : T(-INFINITY);
        for (std::int64_t f = 0; f < rank; ++f) {
            *(to += PANEL<T>) = j < count ? factors[rows[j] * rank + f] : T(0);
        }
    }
}

template <typename T>
void pack_group(const T* factors, const std::int64_t* rows, std::int64_t count, std::int64_t rank, T* group) {
    for (int u = 0; u < GROUP; ++u) {
        for (std::int64_t f = 0; f < rank; ++f) group[f * GROUP + u] = u < count ? factors[rows[u] * rank + f] : T(0);
    }
}

template <typename T>
void sort_heap(T* scores, std::int32_t* items, std::int64_t n) {
    for (std::int64_t last = n - 1; last > 0; --last) {
        const T score = scores[0];
        const std::int32_t item = items[0];
        replace_worst(scores, items, last, scores[last], items[last]);
        scores[last] = score;
        items[last] = item;
    }
}

}  // namespace

namespace FORGETCLI_VARIANT {

template <typename T>
const TopnKernels<T>& topn_kernels() {
    static const TopnKernels<T> table{PANEL<T>, GROUP, pack_panel<T>, pack_group<T>, score_block<T>, sort_heap<T>};
    return table;
}
FORGETCLI_OFFER_KERNELS(TopnKernels, topn_kernels)

}  // namespace FORGETCLI_VARIANT
}  // namespace forgetcli
