#!/bin/bash
# Runs the tests of the native kernels under the sanitizers: address and undefined behaviour together, then threads.
#
#     tests/sanitizers.sh                      all of it; about 10 minutes of processor time each
#     tests/sanitizers.sh thread               one of the two: address, thread
#     tests/sanitizers.sh address -k heavy     what follows goes to pytest
#
# Builds the extension in a copy of the sources, which is thrown away afterwards. Needs g++ with its sanitizers, CMake,
# and a Python with nanobind and what the tests need. A finding stops the tests and is printed.
set -euo pipefail
cd "$(dirname "$0")/.."
copies=$(mktemp -d)
trap 'rm -rf "$copies"' EXIT

# Those that call the kernels, but for one that trains whole models with kernels that the others test.
tests=(tests/test_row_kernels.py tests/test_conjugate.py tests/test_csr.py tests/test_ids.py tests/test_recommending.py
    --deselect tests/test_conjugate.py::test_training_anew_costs_less_where_sweeps_do)

check() {
    local name=$1 flags=$2 library=$3
    shift 3
    local copy=$copies/$library
    mkdir "$copy"
    cp -r forgetcli tests pyproject.toml "$copy"
    rm -f "$copy"/forgetcli/_native/_kernels*.so
    # -w: with less optimisation GCC takes its own intrinsics' undefined operands for uninitialised variables.
    cmake -S "$copy/forgetcli/_native" -B "$copy/build" -DCMAKE_BUILD_TYPE=None -DPython_EXECUTABLE="$(command -v python)" \
        -DFORGETCLI_OPTIMISATION=-O1 \
        -DCMAKE_CXX_FLAGS="$flags -g -fno-omit-frame-pointer -w" -DCMAKE_MODULE_LINKER_FLAGS="$flags" >/dev/null
    cmake --build "$copy/build" -j"$(nproc)" >/dev/null
    cp "$copy"/build/_kernels*.so "$copy/forgetcli/_native/"
    echo "$name:"
    # Python itself is not instrumented: its interpreter's own allocations would be reported as leaks. And it is written
    # in C: without the C++ library beside it the sanitizer does not find how exceptions are thrown. Nor is OpenBLAS,
    # whose threads would be found to race with NumPy. And pytest must leave alone where the sanitizer writes.
    (cd "$copy" && PYTHONPATH=. LD_PRELOAD="$(g++ -print-file-name="$library") $(g++ -print-file-name=libstdc++.so)" \
        ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 TSAN_OPTIONS=halt_on_error=1 \
        OPENBLAS_NUM_THREADS=1 python -m pytest -q -x -p no:cacheprovider --capture=sys "${tests[@]}" "$@")
}

which=${1:-all}
[ $# -gt 0 ] && shift
case $which in address | thread | all) ;; *) sed -n '2,8p' "$0" >&2; exit 2 ;; esac
if [ "$which" != thread ]; then
    check "address and undefined behaviour" "-fsanitize=address,undefined -fno-sanitize-recover=undefined" libasan.so "$@"
fi
if [ "$which" != address ]; then
    check threads "-fsanitize=thread" libtsan.so "$@"
fi
