// Top-n: what the driver (bind_topn.cpp) asks of the hot loops (hot_topn.cpp), which exist once for each instruction
// set. Only plain data and declarations here: an inline function would be compiled for several instruction sets and
// linked once, perhaps as the wrong one.
#pragma once

#include <cstdint>

namespace forgetcli {

// A few users against a run of consecutive items.
//
// Packed items: one panel after another. A panel holds `panel_items` items: their biases, then for each of the `rank`
// factors its value in every item. Packed users: one group after another. A group holds `group_users` users: for
// each factor its value in every user. Missing items have bias -infinity, missing users threshold +infinity, so that
// neither is ever chosen.
//
// The n best so far of user u are the heap (scores[u n], items[u n]) … n entries, the worst one first: the lowest
// score and, among equals, the highest item. Before the first item all entries are (-infinity, -1).
template <typename T>
struct TopnBlock {
    std::int64_t rank;
    const T* panels;
    std::int64_t panel_count;
    std::int64_t first_item;                  // the row of the first packed item
    const T* groups;
    std::int64_t group_count;
    T* thresholds;                            // (group_count group_users,), the score that a candidate must exceed
    const std::int32_t** seen;                // for each user its next seen item; moves on. Null: none is left out
    const std::int32_t* const* seen_end;
    std::int64_t n;
    T* scores;
    std::int32_t* items;
};

template <typename T>
struct TopnKernels {
    std::int64_t panel_items;
    std::int64_t group_users;
    // Packs `count` ≤ panel_items items, consecutive rows of `factors`, into one panel.
    void (*pack_panel)(const T* factors, const T* bias, std::int64_t count, std::int64_t rank, T* panel);
    // Packs `count` ≤ group_users users, the given rows of `factors`, into one group.
    void (*pack_group)(const T* factors, const std::int64_t* rows, std::int64_t count, std::int64_t rank, T* group);
    // Scores every user against every item and keeps the best. Items must come in increasing order over all calls.
    void (*score_block)(const TopnBlock<T>& block);
    // Puts one heap of n entries in the order of the answer: falling score, equal scores by rising item.
    void (*sort_heap)(T* scores, std::int32_t* items, std::int64_t n);
};

#define FORGETCLI_DECLARE_TOPN(variant)                  \
    namespace variant {                                  \
    void get_topn_kernels(TopnKernels<float>* kernels);  \
    void get_topn_kernels(TopnKernels<double>* kernels); \
    }
FORGETCLI_DECLARE_TOPN(portable)
FORGETCLI_DECLARE_TOPN(avx2)
FORGETCLI_DECLARE_TOPN(avx512)
#undef FORGETCLI_DECLARE_TOPN

}  // namespace forgetcli
