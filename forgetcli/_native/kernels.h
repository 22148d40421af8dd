// What the hot_*.cpp files, which are compiled once for each instruction set, offer to the rest.
#pragma once

// Declares Kernels<T>, for float and double, of each instruction set: avx2::name<T>() and its like. The table is plain
// data: nothing compiled for a newer instruction set is ever linked into the path of an older machine.
#define FORGETCLI_DECLARE_KERNELS(Kernels, name) \
    namespace portable {                         \
    template <typename T>                        \
    const Kernels<T>& name();                    \
    }                                            \
    namespace avx2 {                             \
    template <typename T>                        \
    const Kernels<T>& name();                    \
    }                                            \
    namespace avx512 {                           \
    template <typename T>                        \
    const Kernels<T>& name();                    \
    }

// Behind the definition of name<T>() in its instruction set's namespace.
#define FORGETCLI_OFFER_KERNELS(Kernels, name)       \
    template const Kernels<float>& name<float>();    \
    template const Kernels<double>& name<double>();
