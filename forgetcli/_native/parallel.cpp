#include "parallel.h"

#include <nanobind/nanobind.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace nb = nanobind;

namespace forgetcli {

namespace {

constexpr auto SIGNAL_POLL = std::chrono::milliseconds(50);

// What the workers of one parallel_for share.
struct Shared {
    Shared(std::int64_t tasks, const std::function<void(std::int64_t, int)>& run) : count(tasks), task(run) {}

    std::int64_t count;
    const std::function<void(std::int64_t, int)>& task;
    std::atomic<std::int64_t> next{0};
    std::atomic<bool> stop{false};
    std::mutex mutex;
    std::condition_variable finished;
    int running = 0;
    std::exception_ptr failure;

    void work(int worker) {
        try {
            for (std::int64_t i; !stop.load(std::memory_order_relaxed) && (i = next.fetch_add(1)) < count;) {
                task(i, worker);
            }
        } catch (...) {
            std::lock_guard<std::mutex> lock(mutex);
            if (!failure) failure = std::current_exception();
            stop = true;
        }
        std::lock_guard<std::mutex> lock(mutex);
        if (--running == 0) finished.notify_all();
    }
};

}  // namespace

int resolve_threads(int threads) {
    if (threads <= 0) threads = static_cast<int>(std::thread::hardware_concurrency());
    return std::clamp(threads, 1, MOST_THREADS);
}

void parallel_for(std::int64_t count, int threads, const std::function<void(std::int64_t, int)>& task) {
    const int workers = static_cast<int>(std::min<std::int64_t>(resolve_threads(threads), count));
    if (count <= 1) {
        nb::gil_scoped_release released;
        if (count == 1) task(0, 0);
        return;
    }
    Shared shared(count, task);
    std::optional<nb::python_error> interrupt;
    {
        nb::gil_scoped_release released;
        std::vector<std::thread> pool;
        pool.reserve(workers);
        for (int w = 0; w < workers; ++w) {
            {
                std::lock_guard<std::mutex> lock(shared.mutex);
                ++shared.running;
            }
            try {
                pool.emplace_back([&shared, w] { shared.work(w); });
            } catch (const std::exception&) {  // no more threads, or no memory for one: the others do the work
                std::lock_guard<std::mutex> lock(shared.mutex);
                --shared.running;
                break;
            }
        }
        if (pool.empty()) {
            ++shared.running;
            shared.work(0);
        }
        std::unique_lock<std::mutex> lock(shared.mutex);
        while (!shared.finished.wait_for(lock, SIGNAL_POLL, [&] { return shared.running == 0; })) {
            lock.unlock();
            if (!interrupt) {
                nb::gil_scoped_acquire acquired;
                if (PyErr_CheckSignals() != 0) {
                    interrupt.emplace();
                    shared.stop = true;
                }
            }
            lock.lock();
        }
        lock.unlock();
        for (auto& thread : pool) thread.join();
    }
    if (interrupt) throw nb::python_error(std::move(*interrupt));
    if (shared.failure) std::rethrow_exception(shared.failure);
}

void parallel_rows(const std::int64_t* offsets, std::int64_t rows, std::int64_t row_cost, std::int64_t range_weight,
                   int threads, const std::function<void(std::int64_t, std::int64_t, int)>& task) {
    std::vector<std::int64_t> cuts{0};
    std::int64_t weight = 0;
    for (std::int64_t row = 0; row < rows; ++row) {
        weight += offsets[row + 1] - offsets[row] + row_cost;
        if (weight >= range_weight || row + 1 == rows) {
            cuts.push_back(row + 1);
            weight = 0;
        }
    }
    parallel_for(static_cast<std::int64_t>(cuts.size()) - 1, threads,
                 [&](std::int64_t i, int worker) { task(cuts[i], cuts[i + 1], worker); });
}

}  // namespace forgetcli
