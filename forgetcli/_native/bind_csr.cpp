#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>

#include "csr.h"

namespace forgetcli {

void bind_csr(nb::module_& m) {
    using namespace nb::literals;
    m.def("csr_from_pairs", &csr_from_pairs, array("rows"), array("columns"), array("values"),
          array("timestamps").none(), "n_rows"_a, "n_columns"_a, "duplicates"_a, "threads"_a);
    m.def("csr_transpose", &csr_transpose, array("indptr"), array("indices"), array("values"), "n_columns"_a,
          "threads"_a);
    m.def("csr_validate", &csr_validate, array("indptr"), array("indices"), array("values"), "n_columns"_a,
          "threads"_a);
    m.def("csr_find", &csr_find, array("indptr"), array("indices"), array("rows"), array("columns"), "threads"_a);
    m.def("csr_column_counts", &csr_column_counts, array("indices"), "n_columns"_a, "threads"_a);
    m.def("csr_entries_of_columns", &csr_entries_of_columns, array("indices"), array("wanted"), "threads"_a);
    m.def("csr_remove", &csr_remove, array("indptr"), array("indices"), array("values"), array("entries"),
          array("column_map").none(), "threads"_a);
    m.def("csr_holdout", &csr_holdout, array("indptr"), array("indices"), array("row_keys"), array("column_keys"),
          "seed"_a, "fraction"_a);
}

}  // namespace forgetcli
