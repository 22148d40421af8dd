// Top-n: what the driver (bind_topn.cpp) asks of the hot loops (hot_topn.cpp), which exist once for each instruction
// set. Only plain data and declarations here: an inline function would be compiled for several instruction sets and
// linked once, perhaps as the wrong one.
#pragma once

#include <cstdint>

#include "kernels.h"

namespace forgetcli {

// A few users against some items, which may come in any order.
//
// Packed items: one panel after another. A panel holds `panel_items` items: their biases, then for each of the `rank`
// factors its value in every item. Packed users: one group after another. A group holds `group_users` users: for
// each factor its value in every user. Missing items have bias -infinity, missing users threshold NaN, so that
// neither is ever chosen.
//
// No score of a user with norm |p| in a panel is above panel.bias + |p| panel.norm, however it was rounded: a panel that
// this keeps below every threshold of a group is passed over.
//
// The n best so far of user u are the heap (scores[u n], items[u n]) … n entries, the worst one first: the lowest
// score and, among equals, the highest item. Before the first item all entries are (-infinity, -1).
template <typename T>
struct PanelBound {
    T bias, norm;
};

template <typename T>
struct TopnBlock {
    std::int64_t rank;
    const T* panels;
    const PanelBound<T>* bounds;
    const std::int32_t* rows;  // (panel_count panel_items,), the rows of the packed items
    std::int64_t panel_count;
    const T* groups;
    std::int64_t group_count;
    const T* user_norms;                      // (group_count group_users,)
    T* thresholds;                            // the same, what each user's n-th best item scores so far
    const std::int32_t* const* seen;          // each user's items to leave out, increasing. Null: there are none
    const std::int32_t* const* seen_end;
    std::int64_t n;
    T* scores;
    std::int32_t* items;
};

template <typename T>
struct TopnKernels {
    std::int64_t panel_items;
    std::int64_t group_users;
    // Packs `count` ≤ panel_items items, the given rows of `factors`, into one panel.
    void (*pack_panel)(const T* factors, const T* bias, const std::int32_t* rows, std::int64_t count,
                       std::int64_t rank, T* panel);
    // Packs `count` ≤ group_users users, the given rows of `factors`, into one group.
    void (*pack_group)(const T* factors, const std::int64_t* rows, std::int64_t count, std::int64_t rank, T* group);
    // Scores every user against every item and keeps the best.
    void (*score_block)(const TopnBlock<T>& block);
    // Puts one heap of n entries in the order of the answer: falling score, equal scores by rising item.
    void (*sort_heap)(T* scores, std::int32_t* items, std::int64_t n);
};

FORGETCLI_DECLARE_KERNELS(TopnKernels, topn_kernels)

}  // namespace forgetcli
