#include "buffers.h"

#include <cstdint>
#include <mutex>
#include <new>
#include <vector>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace forgetcli {

namespace {

constexpr std::size_t LARGE = std::size_t{8} << 20;   // bytes; several large pages
constexpr std::size_t KEPT = std::size_t{160} << 20;  // bytes at most that wait to be used again

// What stands on the cache line before the memory.
struct Header {
    std::size_t bytes;  // of the memory
};

Header* header_of(void* data) { return reinterpret_cast<Header*>(static_cast<char*>(data) - CACHE_LINE); }

// Asks for large pages: filling hundreds of MB for the first time in pages of 4 KiB takes longer than copying them.
// Where the system does not know the wish, nothing is lost.
void prefer_large_pages(void* data, std::size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    constexpr std::uintptr_t PAGE = 1 << 16;  // a multiple of the page size on every Linux
    const auto begin = (reinterpret_cast<std::uintptr_t>(data) + PAGE - 1) / PAGE * PAGE;
    const auto end = (reinterpret_cast<std::uintptr_t>(data) + bytes) / PAGE * PAGE;
    madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
    (void)data, (void)bytes;
#endif
}

// Large buffers that were given back, the oldest first.
class Shelf {
  public:
    // The smallest one of at least so many bytes and not much more, or null.
    void* take(std::size_t bytes) {
        const std::lock_guard<std::mutex> lock(mutex_);
        std::size_t best = buffers_.size();
        for (std::size_t i = 0; i < buffers_.size(); ++i) {
            const std::size_t size = header_of(buffers_[i])->bytes;
            if (size < bytes || size > bytes + bytes / 2) continue;
            if (best == buffers_.size() || size < header_of(buffers_[best])->bytes) best = i;
        }
        if (best == buffers_.size()) return nullptr;
        void* const data = buffers_[best];
        buffers_.erase(buffers_.begin() + static_cast<std::ptrdiff_t>(best));
        kept_ -= header_of(data)->bytes;
        return data;
    }

    // Frees those that have waited longest, about so many bytes of them: what does not fit a demand makes room for it.
    void make_room(std::size_t bytes) {
        const std::lock_guard<std::mutex> lock(mutex_);
        std::size_t freed = 0, count = 0;
        while (count < buffers_.size() && freed < bytes) {
            freed += header_of(buffers_[count])->bytes;
            ::operator delete(header_of(buffers_[count]), std::align_val_t(CACHE_LINE));
            ++count;
        }
        buffers_.erase(buffers_.begin(), buffers_.begin() + static_cast<std::ptrdiff_t>(count));
        kept_ -= freed;
    }

    // Whether there was room for it.
    bool keep(void* data) {
        const std::lock_guard<std::mutex> lock(mutex_);
        const std::size_t bytes = header_of(data)->bytes;
        if (kept_ + bytes > KEPT || buffers_.size() == buffers_.capacity()) return false;
        buffers_.push_back(data);
        kept_ += bytes;
        return true;
    }

  private:
    std::mutex mutex_;
    std::size_t kept_ = 0;
    std::vector<void*> buffers_ = [] {
        std::vector<void*> room;
        room.reserve(KEPT / LARGE);
        return room;
    }();
};

// Never destroyed: arrays may be given back while the process ends.
Shelf& shelf() {
    static Shelf* const shelf = new Shelf;
    return *shelf;
}

}  // namespace

void* take_buffer(std::size_t bytes) {
    if (bytes > PTRDIFF_MAX - CACHE_LINE) throw std::bad_alloc();  // before anything rounds it up to 0
    if (bytes >= LARGE) {
        if (void* const kept = shelf().take(bytes)) return kept;
        shelf().make_room(bytes);
    }
    char* const memory = static_cast<char*>(::operator new(bytes + CACHE_LINE, std::align_val_t(CACHE_LINE)));
    if (bytes >= LARGE) prefer_large_pages(memory, bytes + CACHE_LINE);
    void* const data = memory + CACHE_LINE;
    header_of(data)->bytes = bytes;
    return data;
}

void return_buffer(void* data) noexcept {
    if (!data) return;
    if (header_of(data)->bytes >= LARGE && shelf().keep(data)) return;
    ::operator delete(header_of(data), std::align_val_t(CACHE_LINE));
}

}  // namespace forgetcli
