// Work on ranges of rows by several threads, with Ctrl-C honoured.
#pragma once

#include <cstdint>
#include <functional>

namespace forgetcli {

// How many threads a request for `threads` means, at most MOST_THREADS: 0 is one for each processor that this process may
// use.
constexpr int MOST_THREADS = 1024;
int resolve_threads(int threads);

// Runs task(i, worker) for every i in [0, count); worker is in [0, resolve_threads(threads)) and no two tasks
// that run at once share it, so it can index scratch memory. Tasks are taken in order, so put the heavy ones first.
//
// Call with the GIL held: it is released meanwhile, and taken every 50 ms to ask Python for signals. A signal
// handler that raises (Ctrl-C) ends the work after the tasks under way, and its exception is thrown. So are the
// exceptions of tasks. A task should take milliseconds.
void parallel_for(std::int64_t count, int threads, const std::function<void(std::int64_t, int)>& task);

// Cuts [0, rows) into ranges of about equal weight, where row i weighs offsets[i + 1] - offsets[i] + row_cost, and
// runs task(begin, end, worker) on each. The cuts do not depend on the number of threads.
void parallel_rows(const std::int64_t* offsets, std::int64_t rows, std::int64_t row_cost, std::int64_t range_weight,
                   int threads, const std::function<void(std::int64_t, std::int64_t, int)>& task);

}  // namespace forgetcli
