// Which instruction set the hot loops use: the best that this machine has, unless a test or a benchmark says
// otherwise.
#pragma once

#include <string>
#include <vector>

namespace forgetcli {

enum class Variant { portable, avx2, avx512 };

// The one in use; safe to call from any thread.
Variant current_variant();

// The names of those that this machine can run and that this build holds, best first.
std::vector<std::string> available_variants();

// Makes current_variant() the named one. Throws std::invalid_argument for a name not among the available ones.
// Work under way goes on with the one it started with.
void use_variant(const std::string& name);

// Defines name<T>(): those of the kernels, declared as kernels.h says, that are for the instruction set in use.
#define FORGETCLI_CHOOSE_KERNELS(Kernels, name) \
    template <typename T>                       \
    const Kernels<T>& name() {                  \
        switch (current_variant()) {            \
            FORGETCLI_CASE_avx512(name<T>())    \
            FORGETCLI_CASE_avx2(name<T>())      \
            default: return portable::name<T>(); \
        }                                       \
    }
#ifdef FORGETCLI_HAS_avx512
#define FORGETCLI_CASE_avx512(kernels) \
    case Variant::avx512: return avx512::kernels;
#else
#define FORGETCLI_CASE_avx512(kernels)
#endif
#ifdef FORGETCLI_HAS_avx2
#define FORGETCLI_CASE_avx2(kernels) \
    case Variant::avx2: return avx2::kernels;
#else
#define FORGETCLI_CASE_avx2(kernels)
#endif

}  // namespace forgetcli
