#include <nanobind/nanobind.h>

#include "text.h"

namespace forgetcli {

void bind_text(nb::module_& m) {
    using namespace nb::literals;
    m.def("text_take", &text_take, array("data"), array("offsets"), array("positions"), "threads"_a);
    m.def("text_find", &text_find, array("data"), array("offsets"), array("query_data"), array("query_offsets"),
          "threads"_a);
    m.def("text_distinct", &text_distinct, array("data"), array("offsets"), "threads"_a);
    m.def("text_validate", &text_validate, array("data"), array("offsets"), "sorted"_a, "threads"_a);
    m.def("text_parse_integers", &text_parse_integers, array("data"), array("offsets"), "threads"_a);
    m.def("text_from_integers", &text_from_integers, array("values"));
    m.def("text_keys", &text_keys, array("data"), array("offsets"), "threads"_a);
    m.def("integer_find", &integer_find, array("ids"), array("queries"), "threads"_a);
    m.def("integer_keys", &integer_keys, array("values"));
}

}  // namespace forgetcli
