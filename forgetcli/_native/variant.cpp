#include "variant.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <stdexcept>

#if defined(_WIN32) && (defined(FORGETCLI_HAS_avx2) || defined(FORGETCLI_HAS_avx512))
#define FORGETCLI_ASKS_CPUID
#endif

#if defined(FORGETCLI_ASKS_CPUID)
#include <immintrin.h>
#include <intrin.h>
#if defined(__GNUC__) || defined(__clang__)
#define FORGETCLI_TARGET_XSAVE __attribute__((target("xsave")))
#else
#define FORGETCLI_TARGET_XSAVE
#endif
#endif

namespace nb = nanobind;

namespace forgetcli {

namespace {

struct Named {
    Variant variant;
    const char* name;
};

// What the processor has and the operating system saves when it switches threads. Every processor with AVX2 has F16C,
// which older compilers cannot ask for.
struct Processor {
    bool avx2, avx512;
};

#if defined(FORGETCLI_ASKS_CPUID)
// Where there is no run-time library of the compiler's to ask: the processor itself (Intel's manual, volume 1, chapter
// 14.3 and 15.2).
FORGETCLI_TARGET_XSAVE Processor processor() {
    constexpr unsigned FMA = 1u << 12, OSXSAVE = 1u << 27;                                // leaf 1, ecx
    constexpr unsigned AVX2 = 1u << 5, AVX512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;  // leaf 7, ebx: F, DQ, BW, VL
    constexpr unsigned YMM = 0x6, ZMM = 0xe6;                                             // XCR0
    int leaf[4];
    __cpuid(leaf, 0);
    if (leaf[0] < 7) return {false, false};
    __cpuid(leaf, 1);
    const unsigned first = static_cast<unsigned>(leaf[2]);
    if (!(first & OSXSAVE)) return {false, false};
    const unsigned saved = static_cast<unsigned>(_xgetbv(0));
    __cpuidex(leaf, 7, 0);
    const unsigned seventh = static_cast<unsigned>(leaf[1]);
    const bool avx2 = (first & FMA) && (seventh & AVX2) && (saved & YMM) == YMM;
    return {avx2, avx2 && (seventh & AVX512) == AVX512 && (saved & ZMM) == ZMM};
}
#elif defined(FORGETCLI_HAS_avx2) || defined(FORGETCLI_HAS_avx512)
Processor processor() {
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    return {avx2, avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")};
}
#else
Processor processor() { return {false, false}; }
#endif

// Best first.
std::vector<Named> detect() {
    std::vector<Named> found;
    [[maybe_unused]] const Processor here = processor();
#ifdef FORGETCLI_HAS_avx512
    if (here.avx512) found.push_back({Variant::avx512, "avx512"});
#endif
#ifdef FORGETCLI_HAS_avx2
    if (here.avx2) found.push_back({Variant::avx2, "avx2"});
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
