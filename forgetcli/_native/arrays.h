// The NumPy arrays that cross the border, and the checks made there.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <string>
#include <utility>

#include "buffers.h"

namespace forgetcli {

namespace nb = nanobind;

// An argument whose elements lie where this machine's own would, which nanobind does not ask: NumPy takes any buffer, and
// the compiler may not be told that a number begins at an odd address.
template <typename T, int Dimensions>
struct Input : nb::ndarray<const T, nb::ndim<Dimensions>, nb::c_contig, nb::device::cpu> {
    using Array = nb::ndarray<const T, nb::ndim<Dimensions>, nb::c_contig, nb::device::cpu>;

    Input() = default;
    explicit Input(Array&& array) : Array(std::move(array)) {}

    bool is_aligned() const { return reinterpret_cast<std::uintptr_t>(this->data()) % alignof(T) == 0; }
};

template <typename T, int Dimensions>
using Output = nb::ndarray<nb::numpy, T, nb::ndim<Dimensions>, nb::c_contig, nb::device::cpu>;

// An array argument that is taken as it is or refused: a conversion would silently copy what may be most of the memory.
inline auto array(const char* name) { return nb::arg(name).noconvert(); }

inline void require(bool holds, const char* what) {
    if (!holds) throw nb::value_error(what);
}

// An uninitialised array that starts on a cache line.
template <typename T>
T* new_buffer(std::size_t count) {
    if (count > SIZE_MAX / sizeof(T)) throw std::bad_alloc();
    return static_cast<T*>(take_buffer(count * sizeof(T)));
}

template <typename T>
Buffer<T> make_buffer(std::size_t count) {
    return Buffer<T>(new_buffer<T>(count));
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
    // Also without columns: what has more rows than memory has bytes makes NumPy's and nanobind's products overflow.
    if (rows > PTRDIFF_MAX / sizeof(T) / std::max<std::size_t>(columns, 1)) throw std::bad_alloc();
    *data = new_buffer<T>(rows * columns);
    return Output<T, 2>(*data, {rows, columns}, buffer_owner(*data));
}

}  // namespace forgetcli

template <typename T, int Dimensions>
struct nanobind::detail::type_caster<forgetcli::Input<T, Dimensions>> {
    using Argument = forgetcli::Input<T, Dimensions>;
    using Array = make_caster<typename Argument::Array>;
    NB_TYPE_CASTER(Argument, Array::Name)

    template <typename Flags>  // of as many bits as nanobind's version has
    bool from_python(handle source, Flags flags, cleanup_list* cleanup) noexcept {
        Array array;
        if (!array.from_python(source, flags, cleanup)) return false;
        value = Argument(std::move(array.value));
        return value.is_aligned();
    }
};
