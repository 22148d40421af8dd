// Top-n: the n best items of each of many users, in one pass over the items.
//
// Items are packed a chunk at a time, once for all users; then each task takes a block of users through the chunk.
// The answer's own arrays hold the users' heaps between chunks, so beyond them the memory needed is one chunk and, for
// each thread, one block of users.
//
// The caller says in which order to look at the items. It changes nothing in the answer, and much in the time: once the
// best are found nothing displaces them, and by the Cauchy–Schwarz inequality items of small norm need no look at all
// (LEMP: Teflioudi, Gemulla & Mykytiuk 2015).
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "arrays.h"
#include "parallel.h"
#include "pieces.h"
#include "topn.h"
#include "variant.h"

namespace forgetcli {

namespace {

// Packed items: few chunks, and little memory beside the model.
constexpr std::int64_t CHUNK_BYTES = 16 << 20;
// A block of users stays in the second-level cache while a chunk goes by, and a panel in the first meanwhile …
constexpr std::int64_t BLOCK_BYTES = 128 << 10;
// … and is small enough that a task takes milliseconds and many threads have work.
constexpr std::int64_t BLOCK_USERS = 96;

FORGETCLI_CHOOSE_KERNELS(TopnKernels, topn_kernels)

// What is asked: plain pointers, so that tasks need no Python.
template <typename T>
struct Request {
    const T* user_factors;
    const T* item_factors;
    const T* item_bias;
    const double* item_norms;
    const std::int32_t* item_order;
    std::int64_t item_count;
    std::int64_t rank;
    const std::int64_t* users;
    const double* user_norms;  // one for each of `users`
    std::int64_t user_count;
    const std::int64_t* seen_offsets;  // null: no item is left out
    const std::int32_t* seen_items;
    std::int64_t n;
};

template <typename T>
class TopnSearch {
public:
    TopnSearch(const Request<T>& request, T* scores, std::int32_t* items, int threads)
        : request_(request), scores_(scores), items_(items), threads_(resolve_threads(threads)),
          kernels_(topn_kernels<T>()) {
        const std::int64_t groups = std::min(BLOCK_USERS, BLOCK_BYTES / std::int64_t(request.rank * sizeof(T)))
                                    / kernels_.group_users;
        block_groups_ = std::max<std::int64_t>(groups, 1);
        panel_size_ = (request.rank + 1) * kernels_.panel_items;
        const std::int64_t panels = CHUNK_BYTES / std::int64_t(panel_size_ * sizeof(T));
        chunk_panels_ = std::min(std::max<std::int64_t>(panels, 1),
                                 pieces(request.item_count, kernels_.panel_items));
    }

    void run() {
        clear();
        panels_ = make_buffer<T>(chunk_panels_ * panel_size_);
        bounds_.resize(chunk_panels_);
        rows_.resize(chunk_panels_ * kernels_.panel_items);
        scratch_.resize(threads_);
        const std::int64_t chunk_items = chunk_panels_ * kernels_.panel_items;
        const std::int64_t block_users = block_groups_ * kernels_.group_users;
        for (std::int64_t first = 0; first < request_.item_count; first += chunk_items) {
            const std::int64_t last = std::min(first + chunk_items, request_.item_count);
            pack_items(first, last);
            parallel_for(pieces(request_.user_count, block_users), threads_, [&](std::int64_t block, int worker) {
                const std::int64_t begin = block * block_users;
                search_block(begin, std::min(begin + block_users, request_.user_count), last - first, worker);
            });
        }
        parallel_for(pieces(request_.user_count, block_users), threads_, [&](std::int64_t block, int) {
            const std::int64_t end = std::min((block + 1) * block_users, request_.user_count);
            for (std::int64_t i = block * block_users; i < end; ++i) {
                kernels_.sort_heap(scores_ + i * request_.n, items_ + i * request_.n, request_.n);
            }
        });
    }

private:
    struct Scratch {
        Buffer<T> groups;
        std::vector<T> thresholds, norms;
        std::vector<const std::int32_t*> seen, seen_end;
    };

    void clear() {
        std::fill_n(scores_, request_.user_count * request_.n, -std::numeric_limits<T>::infinity());
        std::fill_n(items_, request_.user_count * request_.n, -1);
    }

    // Packs the items [first, last) of the order.
    void pack_items(std::int64_t first, std::int64_t last) {
        constexpr std::int64_t PANELS_A_TASK = 64;
        const std::int64_t panels = pieces(last - first, kernels_.panel_items);
        std::fill(rows_.begin(), rows_.end(), std::numeric_limits<std::int32_t>::max());
        std::copy(request_.item_order + first, request_.item_order + last, rows_.begin());
        parallel_for(pieces(panels, PANELS_A_TASK), threads_, [&](std::int64_t task, int) {
            const std::int64_t end = std::min((task + 1) * PANELS_A_TASK, panels);
            for (std::int64_t p = task * PANELS_A_TASK; p < end; ++p) {
                const std::int64_t begin = p * kernels_.panel_items;
                const std::int64_t count = std::min(kernels_.panel_items, last - first - begin);
                const std::int32_t* rows = rows_.data() + begin;
                kernels_.pack_panel(request_.item_factors, request_.item_bias, rows, count, request_.rank,
                                    panels_.get() + p * panel_size_);
                bounds_[p] = bound(rows, count);
            }
        });
    }

    // Of the panel with these items. A computed score is off by at most (2 rank + 2) roundings of |bias| + |p| |q|, as
    // the bound itself and its norms are by a few and by `rank`, and by what underflows.
    PanelBound<T> bound(const std::int32_t* rows, std::int64_t count) const {
        const T slack = (4 * T(request_.rank) + 16) * std::numeric_limits<T>::epsilon();
        PanelBound<T> bound{-std::numeric_limits<T>::infinity(), 0};
        for (std::int64_t j = 0; j < count; ++j) {
            const T bias = request_.item_bias[rows[j]];
            bound.bias = std::max(bound.bias, bias + slack * std::abs(bias));
            bound.norm = std::max(bound.norm, T(request_.item_norms[rows[j]]));
        }
        bound.bias += std::numeric_limits<T>::min() * T(request_.rank);
        bound.norm *= 1 + slack;
        return bound;
    }

    // Takes users [begin, end) of the request through the `items` packed ones.
    void search_block(std::int64_t begin, std::int64_t end, std::int64_t items, int worker) {
        Scratch& scratch = scratch_[worker];
        const std::int64_t group_count = prepare_users(begin, end, scratch);
        kernels_.score_block({request_.rank, panels_.get(), bounds_.data(), rows_.data(),
                              pieces(items, kernels_.panel_items), scratch.groups.get(), group_count,
                              scratch.norms.data(), scratch.thresholds.data(),
                              request_.seen_offsets ? scratch.seen.data() : nullptr, scratch.seen_end.data(),
                              request_.n, scores_ + begin * request_.n, items_ + begin * request_.n});
    }

    // Packs users [begin, end) of the request, with what belongs to them, and returns the number of groups.
    std::int64_t prepare_users(std::int64_t begin, std::int64_t end, Scratch& scratch) const {
        const std::int64_t group_users = kernels_.group_users, group_size = group_users * request_.rank;
        const std::int64_t group_count = pieces(end - begin, group_users);
        if (!scratch.groups) scratch.groups = make_buffer<T>(block_groups_ * group_size);
        for (std::int64_t g = 0; g < group_count; ++g) {
            const std::int64_t user = begin + g * group_users;
            kernels_.pack_group(request_.user_factors, request_.users + user, std::min(group_users, end - user),
                                request_.rank, scratch.groups.get() + g * group_size);
        }
        scratch.thresholds.assign(group_count * group_users, std::numeric_limits<T>::quiet_NaN());
        scratch.norms.assign(group_count * group_users, 0);
        scratch.seen.resize(end - begin);
        scratch.seen_end.resize(end - begin);
        for (std::int64_t i = begin; i < end; ++i) {
            scratch.thresholds[i - begin] = scores_[i * request_.n];
            scratch.norms[i - begin] = T(request_.user_norms[i]);
            if (!request_.seen_offsets) continue;
            scratch.seen[i - begin] = request_.seen_items + request_.seen_offsets[request_.users[i]];
            scratch.seen_end[i - begin] = request_.seen_items + request_.seen_offsets[request_.users[i] + 1];
        }
        return group_count;
    }

    const Request<T> request_;
    T* const scores_;
    std::int32_t* const items_;
    const int threads_;
    const TopnKernels<T>& kernels_;
    std::int64_t block_groups_, panel_size_, chunk_panels_;
    Buffer<T> panels_;
    std::vector<PanelBound<T>> bounds_;
    std::vector<std::int32_t> rows_;
    std::vector<Scratch> scratch_;
};

// Raises unless every row number is one of a user whose seen items lie inside the array: the kernels do not look.
void check_users(const Input<std::int64_t, 1>& users, std::int64_t user_count,
                 const std::optional<Input<std::int64_t, 1>>& offsets, std::int64_t entries) {
    for (std::size_t i = 0; i < users.shape(0); ++i) {
        const std::int64_t user = users.data()[i];
        require(user >= 0 && user < user_count, "a user's row number is out of range");
        if (!offsets) continue;
        const std::int64_t from = offsets->data()[user], to = offsets->data()[user + 1];
        require(0 <= from && from <= to && to <= entries, "the offsets of the seen items are not valid");
    }
}

template <typename T>
std::pair<Output<std::int32_t, 2>, Output<T, 2>> top_n(
    Input<T, 2> user_factors, Input<T, 2> item_factors, Input<T, 1> item_bias, Input<double, 1> item_norms,
    Input<std::int32_t, 1> item_order, Input<std::int64_t, 1> users, Input<double, 1> user_norms,
    std::optional<Input<std::int64_t, 1>> seen_offsets, std::optional<Input<std::int32_t, 1>> seen_items,
    std::int64_t n, int threads) {
    const std::int64_t user_count = user_factors.shape(0), item_count = item_factors.shape(0);
    require(user_factors.shape(1) == item_factors.shape(1), "user and item factors differ in rank");
    require(item_factors.shape(1) > 0, "the factors have no columns");
    require(std::int64_t(item_bias.shape(0)) == item_count, "the item bias is not one for each item");
    require(item_norms.shape(0) == item_bias.shape(0), "the item norms are not one for each item");
    require(item_order.shape(0) == item_bias.shape(0), "the item order does not hold each item once");
    require(user_norms.shape(0) == users.shape(0), "the user norms are not one for each user asked about");
    require(item_count <= std::numeric_limits<std::int32_t>::max() - 64, "too many items for 32-bit row numbers");
    require(n > 0 && n <= item_count, "n must be from 1 to the number of items");
    require(seen_offsets.has_value() == seen_items.has_value(), "seen items need offsets and items");
    require(!seen_offsets || std::int64_t(seen_offsets->shape(0)) == user_count + 1,
            "the offsets of the seen items do not match the users");
    check_users(users, user_count, seen_offsets, seen_items ? std::int64_t(seen_items->shape(0)) : 0);

    for (std::int64_t i = 0; i < item_count; ++i) {
        const std::int32_t item = item_order.data()[i];
        require(item >= 0 && item < item_count, "an item's row number is out of range");
    }

    T* scores;
    std::int32_t* items;
    auto score_array = new_matrix<T>(users.shape(0), n, &scores);
    auto item_array = new_matrix<std::int32_t>(users.shape(0), n, &items);
    const Request<T> request{user_factors.data(), item_factors.data(), item_bias.data(), item_norms.data(),
                             item_order.data(), item_count, std::int64_t(item_factors.shape(1)), users.data(),
                             user_norms.data(), std::int64_t(users.shape(0)),
                             seen_offsets ? seen_offsets->data() : nullptr,
                             seen_items ? seen_items->data() : nullptr, n};
    TopnSearch<T>(request, scores, items, threads).run();
    return {std::move(item_array), std::move(score_array)};
}

template <typename T>
void bind_top_n(nb::module_& m) {
    m.def("top_n", &top_n<T>, nb::kw_only(), array("user_factors"), array("item_factors"), array("item_bias"),
          array("item_norms"), array("item_order"), array("users"), array("user_norms"), array("seen_offsets").none(), array("seen_items").none(), nb::arg("n"), nb::arg("threads"));
}

}  // namespace

void bind_topn(nb::module_& m) {
    bind_top_n<float>(m);
    bind_top_n<double>(m);
}

}  // namespace forgetcli
