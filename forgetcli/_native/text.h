// Columns of text ids: UTF-8 end to end in one array, and where each begins.
#pragma once

#include <nanobind/nanobind.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "arrays.h"

namespace forgetcli {

using Bytes = Input<std::uint8_t, 1>;
using Positions = Input<std::int64_t, 1>;

// Most ids a vocabulary holds: row numbers are 32-bit.
constexpr std::int64_t MAX_IDS = 0x7fffffff;

struct View {
    const std::uint8_t* data;
    std::int64_t size;
};

// Bytewise, as UTF-8 sorts by code point; a prefix comes first.
inline int compare(View a, View b) {
    const int order = std::memcmp(a.data, b.data, static_cast<std::size_t>(std::min(a.size, b.size)));
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

// A column whose offsets have been checked: every id lies within the data.
class Text {
public:
    Text(const Bytes& data, const Positions& offsets);

    std::int64_t size() const { return n_; }
    View operator[](std::int64_t i) const { return {data_ + offsets_[i], offsets_[i + 1] - offsets_[i]}; }

private:
    const std::uint8_t* data_;
    const std::int64_t* offsets_;
    std::int64_t n_;
};

// A hash of the bytes, keyed; the same for the same key on every machine.
std::uint64_t hash_bytes(View id, std::uint64_t key);

// (data, offsets) of the ids at the given positions.
nb::tuple text_take(const Bytes& data, const Positions& offsets, const Positions& positions, int threads);

// Row numbers of the queries in a sorted vocabulary, -1 where unknown.
Output<std::int64_t, 1> text_find(const Bytes& data, const Positions& offsets, const Bytes& query_data,
                                  const Positions& query_offsets, int threads);

// (positions of the distinct ids, one each, in bytewise order; for each id its number among them, int32).
nb::tuple text_distinct(const Bytes& data, const Positions& offsets, int threads);

// Refuses bad offsets, an empty id, bytes that are not UTF-8 and, where asked, ids that are not strictly increasing.
void text_validate(const Bytes& data, const Positions& offsets, bool sorted, int threads);

// (int64 values, bool: is it the canonical decimal text of an int64); "12" and "-3" are, "012", "-0" and "+1" not.
nb::tuple text_parse_integers(const Bytes& data, const Positions& offsets, int threads);

// (data, offsets) of the canonical decimal texts.
nb::tuple text_from_integers(const Positions& values);

// Row numbers of the queries in a sorted vocabulary of integers, -1 where unknown.
Output<std::int64_t, 1> integer_find(const Positions& ids, const Positions& queries, int threads);

// A stable 64-bit hash of each id.
Output<std::uint64_t, 1> text_keys(const Bytes& data, const Positions& offsets, int threads);
Output<std::uint64_t, 1> integer_keys(const Positions& values);

}  // namespace forgetcli
