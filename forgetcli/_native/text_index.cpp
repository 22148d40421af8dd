// Finding and sorting text ids.
#include <random>
#include <stdexcept>
#include <vector>

#include "pieces.h"
#include "text.h"

namespace forgetcli {

namespace {

constexpr std::int64_t PIECE_IDS = 1 << 14;
// With more vocabulary ids than this to a query, a binary search each beats making a table of the vocabulary.
constexpr std::int64_t IDS_A_QUERY = 16;
constexpr std::int64_t PARTS = 64;  // to sort apart from one another
constexpr std::int64_t SAMPLES_A_PART = 16;
constexpr int PREFIX = 8;  // bytes compared at once

// Drawn anew in each process, so that nobody can choose ids that collide; only time depends on it.
std::uint64_t table_key() {
    static const std::uint64_t key = [] {
        std::random_device device;
        return std::uint64_t{device()} << 32 | device();
    }();
    return key;
}

// The numbers of ids by their spelling: open addressing with linear probing. spelling(number) is an id's View.
template <typename Spelling>
class Table {
public:
    explicit Table(Spelling spelling) : spelling_(spelling), key_(table_key()), slots_(16) {}

    // The number of an id that is there already; otherwise -1, and the id is there under the given number now.
    std::int32_t insert(View id, std::int32_t number) {
        if (++count_ * 3 > slots_.size() * 2) grow();
        const std::uint64_t hash = hash_bytes(id, key_);
        Slot& slot = slots_[seek(hash, id)];
        if (slot.number >= 0) {
            --count_;
            return slot.number;
        }
        slot = {tag(hash), number};
        return -1;
    }

    // The number of an id, or -1.
    std::int32_t find(View id) const { return slots_[seek(hash_bytes(id, key_), id)].number; }

private:
    struct Slot {
        std::uint32_t tag = 0;
        std::int32_t number = -1;
    };

    static std::uint32_t tag(std::uint64_t hash) { return static_cast<std::uint32_t>(hash >> 32); }

    std::size_t seek(std::uint64_t hash, View id) const {
        std::size_t at = hash & (slots_.size() - 1);
        while (slots_[at].number >= 0 &&
               (slots_[at].tag != tag(hash) || compare(spelling_(slots_[at].number), id) != 0)) {
            at = (at + 1) & (slots_.size() - 1);
        }
        return at;
    }

    void grow() {
        std::vector<Slot> old(slots_.size() * 2);
        old.swap(slots_);
        for (const Slot& slot : old) {
            if (slot.number < 0) continue;
            std::size_t at = hash_bytes(spelling_(slot.number), key_) & (slots_.size() - 1);
            while (slots_[at].number >= 0) at = (at + 1) & (slots_.size() - 1);
            slots_[at] = slot;
        }
    }

    Spelling spelling_;
    std::uint64_t key_;
    std::size_t count_ = 0;
    std::vector<Slot> slots_;
};

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
        sort_keys(keys.data() + starts[part], keys.data() + starts[part + 1], spelling);
    });
    return keys;
}

}  // namespace

Output<std::int64_t, 1> text_find(const Bytes& data, const Positions& offsets, const Bytes& query_data,
                                  const Positions& query_offsets, int threads) {
    const Text text(data, offsets), queries(query_data, query_offsets);
    require(text.size() <= MAX_IDS, "more than 2,147,483,647 ids");
    const auto spelling = [&text](std::int64_t number) { return text[number]; };
    Table<decltype(spelling)> table(spelling);
    const bool by_table = text.size() / IDS_A_QUERY < queries.size();
    parallel_for(by_table, threads, [&](std::int64_t, int) {
        for (std::int64_t i = 0; i < text.size(); ++i) table.insert(text[i], static_cast<std::int32_t>(i));
    });
    std::int64_t* found;
    auto result = new_vector<std::int64_t>(queries.size(), &found);
    parallel_pieces(queries.size(), threads, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
            if (by_table) {
                found[i] = table.find(queries[i]);
                continue;
            }
            std::int64_t low = 0, high = text.size();
            while (low < high) {
                const std::int64_t middle = low + (high - low) / 2;
                if (compare(text[middle], queries[i]) < 0) low = middle + 1; else high = middle;
            }
            found[i] = low < text.size() && compare(text[low], queries[i]) == 0 ? low : -1;
        }
    }, PIECE_IDS);
    return result;
}

nb::tuple text_distinct(const Bytes& data, const Positions& offsets, int threads) {
    const Text text(data, offsets);
    std::int32_t* number_of;
    auto numbers = new_vector<std::int32_t>(text.size(), &number_of);
    std::vector<std::int64_t> firsts;  // where each distinct id occurs first
    const auto spelling = [&](std::int64_t number) { return text[firsts[number]]; };
    parallel_for(1, 1, [&](std::int64_t, int) {
        Table<decltype(spelling)> table(spelling);
        for (std::int64_t i = 0; i < text.size(); ++i) {
            const std::int32_t number = table.insert(text[i], static_cast<std::int32_t>(firsts.size()));
            number_of[i] = number < 0 ? static_cast<std::int32_t>(firsts.size()) : number;
            if (number < 0) firsts.push_back(i);
            if (firsts.size() > MAX_IDS) throw std::invalid_argument("more than 2,147,483,647 distinct ids");
        }
    });
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
