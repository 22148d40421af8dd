// Arrays for NumPy's own operations, in the memory that the kernels' results come from and return to.
#include <nanobind/nanobind.h>

#include "arrays.h"

namespace forgetcli {

namespace {

template <typename T>
void bind(nb::module_& m) {
    m.def(
        "empty",
        [](Input<T, 2> like, std::size_t rows) {
            T* data;
            return new_matrix<T>(rows, like.shape(1), &data);
        },
        array("like"), nb::arg("rows"));
}

}  // namespace

void bind_buffers(nb::module_& m) {
    bind<float>(m);
    bind<double>(m);
}

}  // namespace forgetcli
