#include "variant.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <stdexcept>

namespace nb = nanobind;

namespace forgetcli {

namespace {

struct Named {
    Variant variant;
    const char* name;
};

// Best first. The compiler's run-time library answers for the operating system too: registers that the kernel does
// not save count as missing. Every processor with AVX2 has F16C, which older compilers cannot ask for.
std::vector<Named> detect() {
    std::vector<Named> found;
#if defined(FORGETCLI_HAS_avx2) || defined(FORGETCLI_HAS_avx512)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
#ifdef FORGETCLI_HAS_avx512
    if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
        found.push_back({Variant::avx512, "avx512"});
    }
#endif
#ifdef FORGETCLI_HAS_avx2
    if (avx2) found.push_back({Variant::avx2, "avx2"});
#endif
    found.push_back({Variant::portable, "portable"});
    return found;
}

const std::vector<Named>& detected() {
    static const std::vector<Named> found = detect();
    return found;
}

std::atomic<Variant>& chosen() {
    static std::atomic<Variant> variant{detected().front().variant};
    return variant;
}

std::string current_name() {
    for (const Named& each : detected()) {
        if (each.variant == current_variant()) return each.name;
    }
    return {};  // cannot happen: only detected variants are ever chosen
}

}  // namespace

Variant current_variant() { return chosen().load(std::memory_order_relaxed); }

std::vector<std::string> available_variants() {
    std::vector<std::string> names;
    for (const Named& each : detected()) names.emplace_back(each.name);
    return names;
}

void use_variant(const std::string& name) {
    for (const Named& each : detected()) {
        if (name == each.name) {
            chosen().store(each.variant, std::memory_order_relaxed);
            return;
        }
    }
    throw std::invalid_argument("this machine cannot run the instruction set '" + name + "', or this build lacks it");
}

void bind_variant(nb::module_& m) {
    m.def("instruction_sets", &available_variants);
    m.def("instruction_set", &current_name);
    m.def("use_instruction_set", &use_variant, nb::arg("name"));
}

}  // namespace forgetcli
