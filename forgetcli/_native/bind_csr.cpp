#include <nanobind/nanobind.h>

#include "arrays.h"
#include "parallel.h"

namespace forgetcli {

void bind_csr(nb::module_& m) { (void)m; }

}  // namespace forgetcli
