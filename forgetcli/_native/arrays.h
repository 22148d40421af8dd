// The NumPy arrays that cross the border, and the checks made there.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <cstdlib>
#include <new>
#include <string>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace forgetcli {

namespace nb = nanobind;

template <typename T, int Dimensions>
using Input = nb::ndarray<const T, nb::ndim<Dimensions>, nb::c_contig, nb::device::cpu>;

template <typename T, int Dimensions>
using Output = nb::ndarray<nb::numpy, T, nb::ndim<Dimensions>, nb::c_contig, nb::device::cpu>;

// An array argument that is taken as it is or refused: a conversion would silently copy what may be most of the memory.
inline auto array(const char* name) { return nb::arg(name).noconvert(); }

inline void require(bool holds, const char* what) {
    if (!holds) throw nb::value_error(what);
}

constexpr std::size_t CACHE_LINE = 64;

constexpr std::size_t LARGE_BUFFER = std::size_t{8} << 20;  // bytes; several large pages

// Asks for large pages in a buffer that is worth them: filling hundreds of MB for the first time in pages of 4 KiB
// takes longer than copying them. Where the system does not know the wish, nothing is lost.
inline void prefer_large_pages(void* data, std::size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    constexpr std::uintptr_t PAGE = 1 << 16;  // a multiple of the page size on every Linux
    const auto begin = (reinterpret_cast<std::uintptr_t>(data) + PAGE - 1) / PAGE * PAGE;
    const auto end = (reinterpret_cast<std::uintptr_t>(data) + bytes) / PAGE * PAGE;
    if (bytes >= LARGE_BUFFER) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
    (void)data, (void)bytes;
#endif
}

// An uninitialised array that starts on a cache line and belongs to Python.
template <typename T>
T* new_buffer(std::size_t count) {
    const std::size_t bytes = count * sizeof(T) + CACHE_LINE;
    void* data = ::operator new(bytes, std::align_val_t(CACHE_LINE));
    prefer_large_pages(data, bytes);
    return static_cast<T*>(data);
}

template <typename T>
nb::capsule buffer_owner(T* data) {
    return nb::capsule(data, [](void* p) noexcept { ::operator delete(p, std::align_val_t(CACHE_LINE)); });
}

template <typename T>
Output<T, 1> new_vector(std::size_t n, T** data) {
    *data = new_buffer<T>(n);
    return Output<T, 1>(*data, {n}, buffer_owner(*data));
}

template <typename T>
Output<T, 2> new_matrix(std::size_t rows, std::size_t columns, T** data) {
    *data = new_buffer<T>(rows * columns);
    return Output<T, 2>(*data, {rows, columns}, buffer_owner(*data));
}

}  // namespace forgetcli
