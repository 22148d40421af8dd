// Memory for arrays that start on a cache line. Large ones are asked for in large pages, and some are kept when they are
// given back: the system clears every page that it hands out, which takes longer than most passes over it.
#pragma once

#include <cstddef>
#include <memory>

namespace forgetcli {

constexpr std::size_t CACHE_LINE = 64;

// Uninitialised memory of so many bytes; throws std::bad_alloc.
void* take_buffer(std::size_t bytes);

// Gives back what take_buffer gave; null is allowed.
void return_buffer(void* data) noexcept;

struct ReturnBuffer {
    void operator()(void* data) const { return_buffer(data); }
};

// Memory that is given back by itself.
template <typename T>
using Buffer = std::unique_ptr<T[], ReturnBuffer>;

}  // namespace forgetcli
