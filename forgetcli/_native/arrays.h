// The NumPy arrays that cross the border, and the checks made there.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <cstdlib>
#include <new>
#include <string>

#include "buffers.h"

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

// An uninitialised array that starts on a cache line and belongs to Python.
template <typename T>
T* new_buffer(std::size_t count) {
    if (count > SIZE_MAX / sizeof(T)) throw std::bad_alloc();
    return static_cast<T*>(take_buffer(count * sizeof(T)));
}

template <typename T>
nb::capsule buffer_owner(T* data) {
    return nb::capsule(data, [](void* p) noexcept { return_buffer(p); });
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
