// Checking, gathering, hashing and converting columns of text ids.
#include "text.h"

#include <charconv>
#include <stdexcept>

#include "mix.h"
#include "pieces.h"

namespace forgetcli {

namespace {

constexpr std::int64_t PIECE_IDS = 1 << 15;

// The length of the UTF-8 character at the start, 0 where there is none (RFC 3629: no surrogates, none over-long).
std::int64_t character_length(const std::uint8_t* p, std::int64_t left) {
    const std::uint8_t lead = p[0];
    if (lead < 0x80) return 1;
    const std::int64_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || left < length) return 0;
    for (std::int64_t i = 1; i < length; ++i) {
        if ((p[i] & 0xc0) != 0x80) return 0;
    }
    const std::uint8_t second = p[1];
    if (lead == 0xe0 && second < 0xa0) return 0;
    if (lead == 0xed && second > 0x9f) return 0;
    if (lead == 0xf0 && second < 0x90) return 0;
    if (lead == 0xf4 && second > 0x8f) return 0;
    return length;
}

bool is_utf8(View id) {
    for (std::int64_t i = 0; i < id.size;) {
        const std::int64_t length = character_length(id.data + i, id.size - i);
        if (length == 0) return false;
        i += length;
    }
    return true;
}

bool parse_canonical(View id, std::int64_t& value) {
    const auto* begin = reinterpret_cast<const char*>(id.data);
    const char* end = begin + id.size;
    if (id.size == 0) return false;
    const char* digits = begin + (*begin == '-');
    if (digits == end || (*digits == '0' && id.size > 1)) return false;  // leading zeros, and minus nought
    const auto [stop, error] = std::from_chars(begin, end, value);
    return error == std::errc() && stop == end;
}

}  // namespace

Text::Text(const Bytes& data, const Positions& offsets)
    : data_(data.data()), offsets_(offsets.data()), n_(static_cast<std::int64_t>(offsets.size()) - 1) {
    require(n_ >= 0, "the ids' offsets are empty");
    require(offsets_[0] == 0, "the ids' offsets do not start at 0");
    require(offsets_[n_] == static_cast<std::int64_t>(data.size()), "the ids' offsets do not end at the last byte");
    bool falls = false;
    for (std::int64_t i = 0; i < n_; ++i) falls |= offsets_[i + 1] < offsets_[i];
    require(!falls, "the ids' offsets decrease");
}

std::uint64_t hash_bytes(View id, std::uint64_t key) {
    std::uint64_t hash = mix(key ^ static_cast<std::uint64_t>(id.size));
    std::int64_t i = 0;
    for (; i + 8 <= id.size; i += 8) {
        std::uint64_t word = 0;
        for (int byte = 0; byte < 8; ++byte) word |= std::uint64_t{id.data[i + byte]} << 8 * byte;
        hash = mix(hash ^ word);
    }
    std::uint64_t rest = 0;
    for (int shift = 0; i < id.size; ++i, shift += 8) rest |= std::uint64_t{id.data[i]} << shift;
    return mix(hash ^ rest);
}

nb::tuple text_take(const Bytes& data, const Positions& offsets, const Positions& positions, int threads) {
    const Text text(data, offsets);
    const auto n = static_cast<std::int64_t>(positions.size());
    std::int64_t* starts;
    auto taken_offsets = new_vector<std::int64_t>(n + 1, &starts);
    starts[0] = 0;
    for (std::int64_t i = 0; i < n; ++i) {
        const std::int64_t position = positions.data()[i];
        if (position < 0 || position >= text.size()) throw nb::index_error("a position is outside the ids");
        starts[i + 1] = starts[i] + text[position].size;
    }
    std::uint8_t* bytes;
    auto taken = new_vector<std::uint8_t>(starts[n], &bytes);
    parallel_pieces(n, threads, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
            const View id = text[positions.data()[i]];
            std::copy(id.data, id.data + id.size, bytes + starts[i]);
        }
    }, PIECE_IDS);
    return nb::make_tuple(taken, taken_offsets);
}

void text_validate(const Bytes& data, const Positions& offsets, bool sorted, int threads) {
    const Text text(data, offsets);
    parallel_pieces(text.size(), threads, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
            if (text[i].size == 0) throw std::invalid_argument("an id is empty");
            if (!is_utf8(text[i])) throw std::invalid_argument("an id is not UTF-8");
            if (sorted && i > 0 && compare(text[i - 1], text[i]) >= 0) {
                throw std::invalid_argument("the ids are not strictly increasing");
            }
        }
    }, PIECE_IDS);
}

nb::tuple text_parse_integers(const Bytes& data, const Positions& offsets, int threads) {
    const Text text(data, offsets);
    std::int64_t* value;
    bool* is_integer;
    auto values = new_vector<std::int64_t>(text.size(), &value);
    auto are_integers = new_vector<bool>(text.size(), &is_integer);
    parallel_pieces(text.size(), threads, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
            value[i] = 0;
            is_integer[i] = parse_canonical(text[i], value[i]);
        }
    }, PIECE_IDS);
    return nb::make_tuple(values, are_integers);
}

nb::tuple text_from_integers(const Positions& values) {
    constexpr int LONGEST = 20;  // -9223372036854775808
    const auto n = static_cast<std::int64_t>(values.size());
    char digits[LONGEST];
    const auto write = [&](std::int64_t i) {
        return std::to_chars(digits, digits + LONGEST, values.data()[i]).ptr - digits;
    };
    std::int64_t* starts;
    auto offsets = new_vector<std::int64_t>(n + 1, &starts);
    starts[0] = 0;
    for (std::int64_t i = 0; i < n; ++i) starts[i + 1] = starts[i] + write(i);
    std::uint8_t* bytes;
    auto data = new_vector<std::uint8_t>(starts[n], &bytes);
    for (std::int64_t i = 0; i < n; ++i) std::copy(digits, digits + write(i), bytes + starts[i]);
    return nb::make_tuple(data, offsets);
}

Output<std::uint64_t, 1> text_keys(const Bytes& data, const Positions& offsets, int threads) {
    const Text text(data, offsets);
    std::uint64_t* key;
    auto keys = new_vector<std::uint64_t>(text.size(), &key);
    parallel_pieces(text.size(), threads, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) key[i] = hash_bytes(text[i], 0);
    }, PIECE_IDS);
    return keys;
}

Output<std::uint64_t, 1> integer_keys(const Positions& values) {
    std::uint64_t* key;
    auto keys = new_vector<std::uint64_t>(values.size(), &key);
    for (std::size_t i = 0; i < values.size(); ++i) key[i] = mix(static_cast<std::uint64_t>(values.data()[i]));
    return keys;
}

}  // namespace forgetcli
