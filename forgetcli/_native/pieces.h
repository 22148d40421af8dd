// Long arrays cut into pieces, each worked on by one thread.
#pragma once

#include <algorithm>
#include <cstdint>

#include "parallel.h"

namespace forgetcli {

constexpr std::int64_t PIECE = 1 << 18;  // entries: milliseconds of work

// How many pieces [0, count) makes; it does not depend on the number of threads.
inline std::int64_t pieces(std::int64_t count, std::int64_t size = PIECE) { return (count + size - 1) / size; }

// Calls work(begin, end) on each piece of [0, count).
template <typename Work>
void parallel_pieces(std::int64_t count, int threads, const Work& work, std::int64_t size = PIECE) {
    parallel_for(pieces(count, size), threads,
                 [&](std::int64_t i, int) { work(i * size, std::min(count, (i + 1) * size)); });
}

}  // namespace forgetcli
