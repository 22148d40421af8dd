// Sorting entries into rows: from pairs in any order, and from columns to rows.
//
// Entries are first dealt out to buckets of neighbouring rows, straight into the arrays that are returned, and each
// bucket is then sorted where it lies by one thread with scratch memory that fits its cache. Besides input and output
// this takes 2 bytes an entry (6 with timestamps). Both steps are stable, so the result does not depend on threads.
#pragma once

#include <cmath>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <vector>

#include "csr.h"

namespace forgetcli::building {

constexpr std::int64_t MAX_ENTRIES = 0xffffffff;  // positions are kept in 32 bits while entries are sorted
constexpr int LOW_BITS = 16;             // a bucket's row numbers are kept in so many bits
constexpr std::int64_t MAX_CHUNKS = 64;  // of the input, each with an offset a bucket
constexpr std::int64_t CHUNK_ENTRIES = 1 << 16;
constexpr std::int64_t BUCKET_ENTRIES = 1 << 13;
constexpr std::int64_t MAX_BUCKETS = 1 << 11;  // more would thrash the TLB while dealing out
constexpr int DIGIT_BITS = 8;
constexpr int DIGITS = 1 << DIGIT_BITS;

enum class Duplicates { last, sum, mean, max };

inline Duplicates parse_duplicates(const char* name) {
    if (!std::strcmp(name, "last")) return Duplicates::last;
    if (!std::strcmp(name, "sum")) return Duplicates::sum;
    if (!std::strcmp(name, "mean")) return Duplicates::mean;
    if (!std::strcmp(name, "max")) return Duplicates::max;
    throw nb::value_error("duplicates must be last, sum, mean or max");
}

// Entries in the order of the input.
struct Pairs {
    const std::int32_t* rows;
    const std::int32_t* columns;
    const float* values;
    const std::int32_t* column_map;  // new number of each column, or null when they stay

    template <typename Entry>
    void each(std::int64_t begin, std::int64_t end, const Entry& entry) const {
        for (std::int64_t i = begin; i < end; ++i) {
            entry(i, rows[i], column_map ? column_map[columns[i]] : columns[i], values[i]);
        }
    }
    template <typename Row>
    void each_row(std::int64_t begin, std::int64_t end, const Row& row) const {
        for (std::int64_t i = begin; i < end; ++i) row(rows[i]);
    }
};

// Entries of a matrix, rows and columns exchanged.
template <typename Value>
struct Transposed {
    const std::int64_t* indptr;
    std::int64_t n_rows;
    const std::int32_t* indices;
    const Value* values;

    template <typename Entry>
    void each(std::int64_t begin, std::int64_t end, const Entry& entry) const {
        std::int64_t row = std::upper_bound(indptr, indptr + n_rows + 1, begin) - indptr - 1;
        for (std::int64_t i = begin; i < end; ++row) {
            const std::int64_t row_end = std::min(end, indptr[row + 1]);
            for (; i < row_end; ++i) entry(i, indices[i], static_cast<std::int32_t>(row), values[i]);
        }
    }
    template <typename Row>
    void each_row(std::int64_t begin, std::int64_t end, const Row& row) const {
        for (std::int64_t i = begin; i < end; ++i) row(indices[i]);
    }
};

struct Entry {
    std::uint64_t key;  // row within the bucket, then column
    float value;
    std::uint32_t position;  // in the input
};

template <typename Value>
struct Scratch {
    std::vector<Entry> entries, spare;
    std::vector<Value> values;
    std::vector<std::int32_t> columns;
    std::vector<std::int64_t> starts;
};

inline int bits_for(std::int64_t count) {
    int bits = 0;
    while ((std::int64_t{1} << bits) < count) ++bits;
    return bits;
}

// Sorts by the bits of the key below end_bit, equal keys in their order.
inline void radix_sort(std::vector<Entry>& entries, std::vector<Entry>& spare, int end_bit) {
    spare.resize(entries.size());
    for (int bit = 0; bit < end_bit; bit += DIGIT_BITS) {
        std::size_t starts[DIGITS] = {};
        const auto digit = [bit](const Entry& entry) { return (entry.key >> bit) & (DIGITS - 1); };
        for (const Entry& entry : entries) ++starts[digit(entry)];
        if (starts[digit(entries.front())] == entries.size()) continue;
        std::size_t total = 0;
        for (std::size_t& start : starts) total += std::exchange(start, total);
        for (const Entry& entry : entries) spare[starts[digit(entry)]++] = entry;
        entries.swap(spare);
    }
}

// -0 before 0: a total order, so that the order of the input shows in no result.
inline bool value_less(float a, float b) { return a < b || (a == b && std::signbit(a) && !std::signbit(b)); }

inline float to_float(double value) {
    const float rounded = static_cast<float>(value);
    if (!std::isfinite(rounded)) throw std::invalid_argument("the sum of a pair's duplicates is too large for float32");
    return rounded;
}

// One value for the entries of one pair, which are in the order of the input.
inline float merge(const Entry* begin, const Entry* end, Duplicates duplicates, const std::int64_t* timestamps,
            std::vector<float>& values) {
    if (end - begin == 1) return begin->value;
    if (duplicates == Duplicates::last) {
        if (!timestamps) return end[-1].value;
        const Entry* last = begin;
        for (const Entry* entry = begin; entry != end; ++entry) {
            if (timestamps[entry->position] >= timestamps[last->position]) last = entry;
        }
        return last->value;
    }
    values.clear();
    for (const Entry* entry = begin; entry != end; ++entry) values.push_back(entry->value);
    if (duplicates == Duplicates::max) return *std::max_element(values.begin(), values.end(), value_less);
    std::sort(values.begin(), values.end(), value_less);  // one order of summation, whatever the input's
    double sum = 0;
    for (float value : values) sum += value;
    return to_float(duplicates == Duplicates::mean ? sum / static_cast<double>(values.size()) : sum);
}

// Value is float, or an unsigned char of a code.
template <typename Value>
class Builder {
public:
    Builder(std::int64_t n, std::int64_t n_rows, std::int64_t n_columns, int threads)
        : n_(n), n_rows_(n_rows), column_bits_(bits_for(n_columns)), threads_(threads) {
        require(n <= MAX_ENTRIES, "more than 4,294,967,295 interactions");
        const std::int64_t wanted = std::clamp<std::int64_t>(n / BUCKET_ENTRIES, 1, MAX_BUCKETS);
        while (shift_ < LOW_BITS && (n_rows + (std::int64_t{1} << shift_) - 1) >> shift_ > wanted) ++shift_;
        buckets_ = (n_rows + (std::int64_t{1} << shift_) - 1) >> shift_;
        chunks_ = std::clamp<std::int64_t>(n / CHUNK_ENTRIES, 1, MAX_CHUNKS);
        indptr = new_vector<std::int64_t>(n_rows + 1, &indptr_);
        indices = new_vector<std::int32_t>(n, &indices_);
        values = new_vector<Value>(n, &values_);
        low_ = make_buffer<std::uint16_t>(n);
    }

    // Leaves the entries sorted, and pairs that occur several times merged, in indptr, indices and values. The source's
    // rows and columns are in range. timestamps: null without.
    template <typename Source>
    void sort(const Source& source, Duplicates duplicates, const std::int64_t* timestamps) {
        if (timestamps) positions_ = make_buffer<std::uint32_t>(n_);
        build(source, [&](std::int64_t bucket, Scratch<Value>& scratch) {
            return sort_bucket(bucket, duplicates, timestamps, scratch);
        });
    }

    // The same of a source whose columns never go back, and in which no pair occurs twice.
    template <typename Source>
    void deal(const Source& source) {
        build(source, [&](std::int64_t bucket, Scratch<Value>& scratch) { return count_bucket(bucket, scratch); });
    }

    Output<std::int64_t, 1> indptr;
    Output<std::int32_t, 1> indices;
    Output<Value, 1> values;

private:
    // finish(bucket, scratch) sorts a bucket's entries, counts its rows and returns how many entries it has left.
    template <typename Source, typename Finish>
    void build(const Source& source, const Finish& finish) {
        std::fill(indptr_, indptr_ + n_rows_ + 1, 0);
        if (n_ == 0) return;
        deal_out(source);
        std::vector<Scratch<Value>> scratch(resolve_threads(threads_));
        std::vector<std::int64_t> left(buckets_ + 1, 0);
        parallel_for(buckets_, threads_, [&](std::int64_t bucket, int worker) {
            left[bucket + 1] = finish(bucket, scratch[worker]);
        });
        for (std::int64_t row = 0; row < n_rows_; ++row) indptr_[row + 1] += indptr_[row];
        if (indptr_[n_rows_] == n_) return;
        for (std::int64_t bucket = 0; bucket < buckets_; ++bucket) left[bucket + 1] += left[bucket];
        indices = close_gaps(indices_, left);
        values = close_gaps(values_, left);
    }

    template <typename Source>
    void deal_out(const Source& source) {
        const auto chunk_begin = [this](std::int64_t chunk) {
            return n_ / chunks_ * chunk + std::min(chunk, n_ % chunks_);
        };
        std::vector<std::int64_t> starts(chunks_ * buckets_, 0);
        parallel_for(chunks_, threads_, [&](std::int64_t chunk, int) {
            std::vector<std::int64_t> counts(buckets_, 0);
            source.each_row(chunk_begin(chunk), chunk_begin(chunk + 1),
                            [&](std::int32_t row) { ++counts[row >> shift_]; });
            std::copy(counts.begin(), counts.end(), &starts[chunk * buckets_]);
        });
        bucket_starts_.assign(buckets_ + 1, n_);
        std::int64_t total = 0;
        for (std::int64_t bucket = 0; bucket < buckets_; ++bucket) {
            bucket_starts_[bucket] = total;
            for (std::int64_t chunk = 0; chunk < chunks_; ++chunk) {
                total += std::exchange(starts[chunk * buckets_ + bucket], total);
            }
        }
        const std::int32_t low_mask = (1 << shift_) - 1;
        parallel_for(chunks_, threads_, [&](std::int64_t chunk, int) {
            std::vector<std::int64_t> next(&starts[chunk * buckets_], &starts[chunk * buckets_] + buckets_);
            source.each(chunk_begin(chunk), chunk_begin(chunk + 1),
                        [&](std::int64_t i, std::int32_t row, std::int32_t column, Value value) {
                            const std::int64_t at = next[row >> shift_]++;
                            low_[at] = static_cast<std::uint16_t>(row & low_mask);
                            indices_[at] = column;
                            values_[at] = value;
                            if (positions_) positions_[at] = static_cast<std::uint32_t>(i);
                        });
        });
    }

    std::uint64_t key(std::int64_t at) const {
        return std::uint64_t{low_[at]} << column_bits_ | static_cast<std::uint32_t>(indices_[at]);
    }

    // Sorts one bucket, whose columns are in order, by counting its rows; returns how many entries it has.
    std::int64_t count_bucket(std::int64_t bucket, Scratch<Value>& scratch) {
        const std::int64_t begin = bucket_starts_[bucket], end = bucket_starts_[bucket + 1];
        const std::int64_t first_row = bucket << shift_, last_row = std::min(n_rows_, (bucket + 1) << shift_);
        std::int64_t* counts = indptr_ + first_row + 1;
        for (std::int64_t at = begin; at < end; ++at) ++counts[low_[at]];
        scratch.starts.resize(last_row - first_row);
        std::int64_t total = begin;
        for (std::int64_t row = 0; row < last_row - first_row; ++row) {
            scratch.starts[row] = total;
            total += counts[row];
        }
        scratch.columns.assign(indices_ + begin, indices_ + end);
        scratch.values.assign(values_ + begin, values_ + end);
        for (std::int64_t i = 0; i < end - begin; ++i) {
            const std::int64_t at = scratch.starts[low_[begin + i]]++;
            indices_[at] = scratch.columns[i];
            values_[at] = scratch.values[i];
        }
        return end - begin;
    }

    // Sorts one bucket, merges its duplicates, counts its rows; returns how many entries it has left.
    std::int64_t sort_bucket(std::int64_t bucket, Duplicates duplicates, const std::int64_t* timestamps,
                             Scratch<Value>& scratch) {
        const std::int64_t begin = bucket_starts_[bucket], end = bucket_starts_[bucket + 1];
        const std::int64_t first_row = bucket << shift_;
        std::int64_t* counts = indptr_ + first_row + 1;
        std::int64_t at = begin;
        for (; at < end && (at == begin || key(at - 1) < key(at)); ++at) ++counts[low_[at]];
        if (at == end) return end - begin;  // as files sorted by user and item are
        std::fill(counts, indptr_ + std::min(n_rows_, (bucket + 1) << shift_) + 1, 0);

        auto& entries = scratch.entries;
        entries.resize(end - begin);
        for (at = begin; at < end; ++at) {
            entries[at - begin] = {key(at), values_[at], positions_ ? positions_[at] : 0};
        }
        radix_sort(entries, scratch.spare, column_bits_ + shift_);
        at = begin;
        const Entry* const all_end = entries.data() + entries.size();
        for (const Entry *group = entries.data(), *next; group != all_end; group = next, ++at) {
            for (next = group + 1; next != all_end && next->key == group->key;) ++next;
            ++counts[group->key >> column_bits_];
            indices_[at] = static_cast<std::int32_t>(group->key & ((std::uint64_t{1} << column_bits_) - 1));
            values_[at] = merge(group, next, duplicates, timestamps, scratch.values);
        }
        return at - begin;
    }

    // A copy without what merging duplicates left over at the end of each bucket.
    template <typename T>
    Output<T, 1> close_gaps(const T* gappy, const std::vector<std::int64_t>& starts) {
        T* closed;
        auto array = new_vector<T>(starts.back(), &closed);
        parallel_for(buckets_, threads_, [&](std::int64_t bucket, int) {
            const T* from = gappy + bucket_starts_[bucket];
            std::copy(from, from + (starts[bucket + 1] - starts[bucket]), closed + starts[bucket]);
        });
        return array;
    }

    std::int64_t n_, n_rows_;
    int column_bits_, threads_;
    int shift_ = 0;  // row >> shift_ is the bucket
    std::int64_t buckets_, chunks_;
    std::int64_t* indptr_;
    std::int32_t* indices_;
    Value* values_;
    Buffer<std::uint16_t> low_;
    Buffer<std::uint32_t> positions_;
    std::vector<std::int64_t> bucket_starts_;
};

}  // namespace forgetcli::building
