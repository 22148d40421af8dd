// A hash table of text ids.
#pragma once

#include <random>

#include "text.h"

namespace forgetcli {

constexpr std::int64_t BLOCK = 32;  // look-ups in flight at once

// Drawn anew in each process, so that nobody can choose ids that collide; only time depends on it.
inline std::uint64_t table_key() {
    static const std::uint64_t key = [] {
        std::random_device device;
        return std::uint64_t{device()} << 32 | device();
    }();
    return key;
}

inline void prefetch(const void* p) {
#if defined(__GNUC__) || defined(__clang__)
    __builtin_prefetch(p);
#else
    (void)p;
#endif
}

// The numbers 0 … count-1 of distinct ids by their spelling: open addressing with linear probing, at most two thirds
// full. spelling(number) is an id's View. A look-up of millions waits for memory and little else: callers hash a block
// of ids and prefetch their slots before they look at the first.
template <typename Spelling>
class Table {
public:
    Table(Spelling spelling, std::int64_t count) : spelling_(spelling), key_(table_key()), count_(count) { rebuild(); }

    std::uint64_t hash(View id) const { return hash_bytes(id, key_); }
    void prefetch_slot(std::uint64_t hash) const { prefetch(&slots_[hash & mask_]); }
    void prefetch_spelling(std::uint64_t hash) const {
        const Slot& slot = slots_[hash & mask_];
        if (slot.number >= 0) prefetch(spelling_(slot.number).data);
    }

    // The number of an id, or -1.
    std::int32_t find(std::uint64_t hash, View id) const { return seek(hash, id).number; }

    // The number of an id; one that is not there yet gets the next number.
    std::int32_t find_or_add(std::uint64_t hash, View id) {
        Slot& slot = seek(hash, id);
        if (slot.number >= 0) return slot.number;
        const auto number = static_cast<std::int32_t>(count_);
        slot = {tag(hash), number};
        if (is_crowded(++count_)) grows_ = true;
        return number;
    }

    std::int64_t count() const { return count_; }

    // To call after additions, once spelling knows them.
    void make_room() {
        if (std::exchange(grows_, false)) rebuild();
    }

private:
    struct Slot {
        std::uint32_t tag;
        std::int32_t number;  // -1 in a free slot
    };

    static std::uint32_t tag(std::uint64_t hash) { return static_cast<std::uint32_t>(hash >> 32); }
    bool is_crowded(std::int64_t count) const { return static_cast<std::size_t>(count) * 3 > (mask_ + 1) * 2; }

    Slot& seek(std::uint64_t hash, View id) const {
        for (std::size_t at = hash & mask_;; at = (at + 1) & mask_) {
            Slot& slot = slots_[at];
            if (slot.number < 0 || (slot.tag == tag(hash) && compare(spelling_(slot.number), id) == 0)) return slot;
        }
    }

    void rebuild() {
        while (is_crowded(count_ + 1)) mask_ = mask_ * 2 + 1;
        slots_.reset();
        slots_ = make_buffer<Slot>(mask_ + 1);
        std::fill(slots_.get(), slots_.get() + mask_ + 1, Slot{0, -1});
        std::uint64_t hashes[BLOCK];
        for (std::int64_t begin = 0; begin < count_; begin += BLOCK) {  // in the order in which the ids lie in memory
            const std::int64_t end = std::min(count_, begin + BLOCK);
            for (std::int64_t i = begin; i < end; ++i) prefetch_slot(hashes[i - begin] = hash(spelling_(i)));
            for (std::int64_t i = begin; i < end; ++i) {
                std::size_t at = hashes[i - begin] & mask_;
                while (slots_[at].number >= 0) at = (at + 1) & mask_;
                slots_[at] = {tag(hashes[i - begin]), static_cast<std::int32_t>(i)};
            }
        }
    }

    Spelling spelling_;
    std::uint64_t key_;
    std::int64_t count_;
    std::size_t mask_ = 4 * BLOCK - 1;  // room for a block of additions before it grows
    bool grows_ = false;
    Buffer<Slot> slots_;
};

}  // namespace forgetcli
