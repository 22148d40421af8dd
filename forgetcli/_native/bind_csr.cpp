#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>

#include "csr.h"

namespace forgetcli {

void bind_csr(nb::module_& m) {
    using namespace nb::literals;
    nb::class_<View>(m, "View", nb::is_final())
        .def(nb::init<Int64s, Int32s, Floats, std::int64_t, int>(), array("indptr"), array("indices"), array("values"),
             "n_columns"_a, "threads"_a)
        .def(nb::init<Int64s, Int32s, Codes, const Floats&, std::int64_t, int>(), array("indptr"), array("indices"),
             array("codes"), array("levels"), "n_columns"_a, "threads"_a);
    nb::class_<Coder>(m, "Coder", nb::is_final())
        .def(nb::init<>())
        .def("encode", &Coder::encode, array("values"), array("codes"))
        .def("levels", &Coder::levels);
    m.def("decode_values", &decode_values, array("codes"), array("levels"), "threads"_a);
    m.def("csr_from_pairs", &csr_from_pairs, array("rows"), array("columns"), array("values"),
          array("timestamps").none(), "n_rows"_a, "n_columns"_a, "duplicates"_a, "threads"_a);
    m.def("csr_transpose", &csr_transpose, "view"_a, "threads"_a);
    m.def("csr_validate", &csr_validate, "view"_a, "threads"_a);
    m.def("csr_find", &csr_find, "view"_a, array("rows"), array("columns"), "threads"_a);
    m.def("csr_column_counts", &csr_column_counts, "view"_a, "threads"_a);
    m.def("code_counts", &code_counts, array("codes"), "threads"_a);
    m.def("csr_entries_of_columns", &csr_entries_of_columns, "view"_a, array("wanted"), "threads"_a);
    m.def("csr_remove", &csr_remove, "view"_a, array("entries"), array("column_map").none(), "threads"_a);
    m.def("csr_remove_in_place", &csr_remove_in_place, "view"_a, array("entries"), array("column_map").none());
    m.def("csr_holdout", &csr_holdout, "view"_a, array("row_keys"), array("column_keys"), "seed"_a, "fraction"_a);
}

}  // namespace forgetcli
