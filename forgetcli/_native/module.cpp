#include <nanobind/nanobind.h>

namespace nb = nanobind;

namespace forgetcli {
void bind_buffers(nb::module_& m);
void bind_csr(nb::module_& m);
void bind_rows(nb::module_& m);
void bind_coupling(nb::module_& m);
void bind_conjugate(nb::module_& m);
void bind_text(nb::module_& m);
void bind_topn(nb::module_& m);
void bind_variant(nb::module_& m);
}  // namespace forgetcli

NB_MODULE(_kernels, m) {
    m.doc() = "The native kernels: they know arrays, and nothing of files, ids or objectives.";
    nb::set_leak_warnings(false);  // what a program still holds as it ends is no leak
    forgetcli::bind_buffers(m);
    forgetcli::bind_csr(m);
    forgetcli::bind_rows(m);
    forgetcli::bind_coupling(m);
    forgetcli::bind_conjugate(m);
    forgetcli::bind_text(m);
    forgetcli::bind_topn(m);
    forgetcli::bind_variant(m);
}
