#include <nanobind/nanobind.h>

#include "arrays.h"
#include "parallel.h"

namespace forgetcli {

void bind_rows(nb::module_& m) { (void)m; }

}  // namespace forgetcli
