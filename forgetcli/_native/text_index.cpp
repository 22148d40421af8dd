// Finding and sorting text ids.
#include <optional>
#include <stdexcept>
#include <vector>

#include "pieces.h"
#include "text.h"
#include "text_table.h"

namespace forgetcli {

namespace {

constexpr std::int64_t PIECE_IDS = 1 << 14;
// With more vocabulary ids than this to a query, a binary search each beats making a table of the vocabulary.
constexpr std::int64_t IDS_A_QUERY = 16;
constexpr std::int64_t PARTS = 64;  // to sort apart from one another
constexpr std::int64_t SAMPLES_A_PART = 16;
constexpr int PREFIX = 8;  // bytes compared at once

// An id in a sort, seen through a window of PREFIX bytes.
struct Key {
    std::uint64_t prefix;  // big-endian, padded with zeros
    std::uint32_t rest;    // bytes from the window's start on, at most PREFIX + 1: tells padding from zero bytes
    std::int32_t number;

    bool operator<(const Key& other) const {
        return prefix != other.prefix ? prefix < other.prefix : rest < other.rest;
    }
};

void look_through(Key& key, View id, std::int64_t depth) {
    const std::int64_t left = id.size - depth;
    key.prefix = 0;
    for (int byte = 0; byte < PREFIX; ++byte) {
        key.prefix = key.prefix << 8 | (byte < left ? id.data[depth + byte] : 0);
    }
    key.rest = static_cast<std::uint32_t>(std::min<std::int64_t>(left, PREFIX + 1));
}

// Sorts keys of distinct ids: by a window of bytes, then each run of equal ones by the next window.
template <typename Spelling>
void sort_keys(Key* begin, Key* end, const Spelling& spelling) {
    struct Run {
        Key *begin, *end;
        std::int64_t depth;
    };
    std::vector<Run> runs{{begin, end, 0}};  // not recursion: ids may share a megabyte of prefix
    while (!runs.empty()) {
        const Run run = runs.back();
        runs.pop_back();
        for (Key* key = run.begin; key != run.end; ++key) look_through(*key, spelling(key->number), run.depth);
        if (!std::is_sorted(run.begin, run.end)) std::sort(run.begin, run.end);
        for (Key *first = run.begin, *last; first != run.end; first = last) {
            last = std::find_if(first, run.end, [first](const Key& key) { return *first < key; });
            if (last - first > 1 && first->rest > PREFIX) runs.push_back({first, last, run.depth + PREFIX});
        }
    }
}

// Sorts keys whose ids lie far apart in memory: copies the ids together first.
template <typename Spelling>
void sort_part(Key* begin, Key* end, const Spelling& spelling) {
    std::vector<std::uint8_t> bytes;
    std::vector<std::int64_t> offsets{0};
    std::vector<std::int32_t> numbers;
    for (Key* key = begin; key != end; ++key) {
        const View id = spelling(key->number);
        bytes.insert(bytes.end(), id.data, id.data + id.size);
        offsets.push_back(static_cast<std::int64_t>(bytes.size()));
        numbers.push_back(key->number);
        key->number = static_cast<std::int32_t>(key - begin);
    }
    sort_keys(begin, end, [&](std::int32_t number) {
        return View{bytes.data() + offsets[number], offsets[number + 1] - offsets[number]};
    });
    for (Key* key = begin; key != end; ++key) key->number = numbers[key->number];
}

// The numbers 0 … n-1 of distinct ids in the order of their spelling.
template <typename Spelling>
std::vector<Key> sorted_numbers(std::int64_t n, const Spelling& spelling, int threads) {
    std::vector<Key> keys(n);
    for (std::int64_t i = 0; i < n; ++i) keys[i].number = static_cast<std::int32_t>(i);
    if (n < PARTS * SAMPLES_A_PART * 4) {
        sort_keys(keys.data(), keys.data() + n, spelling);
        return keys;
    }
    std::vector<Key> samples(PARTS * SAMPLES_A_PART);
    for (std::size_t i = 0; i < samples.size(); ++i) samples[i] = keys[n / samples.size() * i];
    sort_keys(samples.data(), samples.data() + samples.size(), spelling);
    std::vector<std::uint8_t> part_of(n);
    parallel_pieces(n, threads, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
            std::int64_t part = 0;
            for (std::int64_t step = PARTS / 2; step > 0; step /= 2) {
                const Key& splitter = samples[(part + step) * SAMPLES_A_PART];
                if (compare(spelling(splitter.number), spelling(i)) <= 0) part += step;
            }
            part_of[i] = static_cast<std::uint8_t>(part);
        }
    }, PIECE_IDS);
    std::vector<std::int64_t> starts(PARTS + 1, 0);
    for (std::uint8_t part : part_of) ++starts[part + 1];
    for (std::int64_t part = 0; part < PARTS; ++part) starts[part + 1] += starts[part];
    std::vector<std::int64_t> next(starts.begin(), starts.end() - 1);
    for (std::int64_t i = 0; i < n; ++i) keys[next[part_of[i]]++].number = static_cast<std::int32_t>(i);
    parallel_for(PARTS, threads, [&](std::int64_t part, int) {
        sort_part(keys.data() + starts[part], keys.data() + starts[part + 1], spelling);
    });
    return keys;
}

void find_by_table(const Text& text, const Text& queries, int threads, std::int64_t* found) {
    const auto spelling = [&text](std::int64_t number) { return text[number]; };
    std::optional<Table<decltype(spelling)>> table;
    parallel_for(1, 1, [&](std::int64_t, int) { table.emplace(spelling, text.size()); });
    parallel_pieces(queries.size(), threads, [&](std::int64_t piece_begin, std::int64_t piece_end) {
        std::uint64_t hashes[BLOCK];
        for (std::int64_t begin = piece_begin; begin < piece_end; begin += BLOCK) {
            const std::int64_t end = std::min(piece_end, begin + BLOCK);
            for (std::int64_t i = begin; i < end; ++i) {
                table->prefetch_slot(hashes[i - begin] = table->hash(queries[i]));
            }
            for (std::int64_t i = begin; i < end; ++i) table->prefetch_spelling(hashes[i - begin]);
            for (std::int64_t i = begin; i < end; ++i) found[i] = table->find(hashes[i - begin], queries[i]);
        }
    }, PIECE_IDS);
}

std::int64_t find_by_halving(const Text& text, View id) {
    std::int64_t low = 0, high = text.size();
    while (low < high) {
        const std::int64_t middle = low + (high - low) / 2;
        if (compare(text[middle], id) < 0) low = middle + 1; else high = middle;
    }
    return low < text.size() && compare(text[low], id) == 0 ? low : -1;
}

// Numbers the distinct ids in the order of their first occurrence, whose positions it returns.
std::vector<std::int64_t> number_ids(const Text& text, std::int32_t* number_of) {
    std::vector<std::int64_t> firsts;
    const auto spelling = [&](std::int64_t number) { return text[firsts[number]]; };
    Table<decltype(spelling)> table(spelling, 0);
    std::uint64_t hashes[BLOCK];
    for (std::int64_t begin = 0; begin < text.size(); begin += BLOCK) {
        const std::int64_t end = std::min(text.size(), begin + BLOCK);
        for (std::int64_t i = begin; i < end; ++i) table.prefetch_slot(hashes[i - begin] = table.hash(text[i]));
        for (std::int64_t i = begin; i < end; ++i) {
            number_of[i] = table.find_or_add(hashes[i - begin], text[i]);
            if (number_of[i] == static_cast<std::int64_t>(firsts.size())) firsts.push_back(i);
        }
        table.make_room();
        if (table.count() > MAX_IDS - BLOCK) throw std::invalid_argument("more ids than 32-bit row numbers");
    }
    return firsts;
}

}  // namespace

Output<std::int64_t, 1> text_find(const Bytes& data, const Positions& offsets, const Bytes& query_data,
                                  const Positions& query_offsets, int threads) {
    const Text text(data, offsets), queries(query_data, query_offsets);
    require(text.size() <= MAX_IDS, "more than 2,147,483,647 ids");
    std::int64_t* found;
    auto result = new_vector<std::int64_t>(queries.size(), &found);
    if (text.size() / IDS_A_QUERY < queries.size()) {
        find_by_table(text, queries, threads, found);
    } else {
        parallel_pieces(queries.size(), threads, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i) found[i] = find_by_halving(text, queries[i]);
        }, PIECE_IDS);
    }
    return result;
}

Output<std::int64_t, 1> integer_find(const Positions& ids, const Positions& queries, int threads) {
    const std::int64_t* const first = ids.data();
    const std::size_t n = ids.size();
    std::int64_t* found;
    auto result = new_vector<std::int64_t>(queries.size(), &found);
    parallel_pieces(queries.size(), threads, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
            const std::int64_t query = queries.data()[i];
            const std::int64_t* at = first;  // halving without a branch to mispredict: the last id not above the query
            for (std::size_t left = n; left > 1; left -= left / 2) at += at[left / 2] <= query ? left / 2 : 0;
            found[i] = n > 0 && *at == query ? at - first : -1;
        }
    }, PIECE_IDS);
    return result;
}

nb::tuple text_distinct(const Bytes& data, const Positions& offsets, int threads) {
    const Text text(data, offsets);
    std::int32_t* number_of;
    auto numbers = new_vector<std::int32_t>(text.size(), &number_of);
    std::vector<std::int64_t> firsts;
    parallel_for(1, 1, [&](std::int64_t, int) { firsts = number_ids(text, number_of); });
    const auto spelling = [&](std::int64_t number) { return text[firsts[number]]; };
    const auto n_distinct = static_cast<std::int64_t>(firsts.size());
    const std::vector<Key> sorted = sorted_numbers(n_distinct, spelling, threads);
    std::int64_t* position;
    auto positions = new_vector<std::int64_t>(n_distinct, &position);
    std::vector<std::int32_t> rank(n_distinct);
    for (std::int64_t i = 0; i < n_distinct; ++i) {
        position[i] = firsts[sorted[i].number];
        rank[sorted[i].number] = static_cast<std::int32_t>(i);
    }
    parallel_pieces(text.size(), threads, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) number_of[i] = rank[number_of[i]];
    });
    return nb::make_tuple(positions, numbers);
}

}  // namespace forgetcli
