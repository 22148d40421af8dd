#include <nanobind/nanobind.h>

#include "arrays.h"
#include "parallel.h"

namespace forgetcli {

void bind_topn(nb::module_& m) { (void)m; }

}  // namespace forgetcli
