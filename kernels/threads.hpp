// Work shared by threads that are made once and wait in between: making them anew for each of the hundred calls of a frame
// would take longer than they save.

#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <new>
#include <thread>
#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace vsedvr {

class Pool {
public:
    // Calls task(context) on this thread and on up to `helpers` others, and returns when none is in it any more. The others
    // join as they wake up: a task that this thread has finished by then is not waited for. task does not throw.
    void run(void (*task)(void*), void* context, int helpers) {
        if (busy.test_and_set(std::memory_order_acquire)) return task(context);  // another caller has the threads
        std::unique_lock<std::mutex> lock(mutex);
        grow(helpers);
        this->task = task;
        this->context = context;
        wanted = std::min(helpers, size);
        const int to_wake = wanted;
        lock.unlock();
        if (to_wake == size) wake.notify_all();
        else for (int k = 0; k < to_wake; k++) wake.notify_one();
        task(context);
        lock.lock();
        wanted = 0;
        done.wait(lock, [this] { return active == 0; });
        lock.unlock();
        busy.clear(std::memory_order_release);
    }

private:
    // Where the system gives no more threads, those that there are have to do.
    void grow(int helpers) {
        try {
            for (; size < helpers; size++) std::thread([this] { work(); }).detach();
        } catch (...) {
        }
    }

    void work() {
        std::unique_lock<std::mutex> lock(mutex);
        for (;;) {
            wake.wait(lock, [this] { return wanted > 0; });
            wanted--;
            active++;
            void (*const its_task)(void*) = task;
            void* const its_context = context;
            lock.unlock();
            its_task(its_context);
            lock.lock();
            if (--active == 0) done.notify_one();
        }
    }

    std::atomic_flag busy = ATOMIC_FLAG_INIT;  // a caller is in `run`; the mutex guards all that follows
    std::mutex mutex;
    std::condition_variable wake, done;
    void (*task)(void*) = nullptr;
    void* context = nullptr;
    int size = 0, wanted = 0, active = 0;  // threads; how many of them may still join the task; how many are in it
};

// The one of this process. Never destroyed: its threads wait until the process ends.
inline std::atomic<Pool*> pool{nullptr};

inline Pool& the_pool() {
    Pool* there = pool.load(std::memory_order_acquire);
    if (there) return *there;
    Pool* const made = new Pool;  // has no threads yet
    if (pool.compare_exchange_strong(there, made, std::memory_order_acq_rel)) return *made;
    delete made;
    return *there;
}

#if !defined(_WIN32)
// The child of a fork has none of the threads, and makes a pool of its own.
inline const int at_fork = pthread_atfork(nullptr, nullptr, [] { pool.store(nullptr, std::memory_order_release); });
#endif

// work(begin, end) on pieces of 0..count, by this thread and up to threads - 1 others. Which thread takes which piece changes
// nothing in the result. Throws std::bad_alloc if memory runs out.
template <typename Work>
void run_threads(const Work& work, int64_t count, int64_t piece, int threads) {
    struct Job {
        const Work& work;
        const int64_t count, piece;
        std::atomic<int64_t> next{0};
        std::atomic<bool> failed{false};

        void take() noexcept {
            try {
                for (int64_t begin; (begin = next.fetch_add(piece)) < count;) work(begin, std::min(begin + piece, count));
            } catch (...) {
                failed = true;
                next = count;  // nobody begins another piece
            }
        }
    } job{work, count, piece};
    const int64_t pieces = (count + piece - 1) / piece;
    const int helpers = int(std::min<int64_t>(threads, pieces)) - 1;
    if (helpers > 0) the_pool().run([](void* context) { static_cast<Job*>(context)->take(); }, &job, helpers);
    else job.take();
    if (job.failed) throw std::bad_alloc();
}

// For the C interface, which no exception may leave: 0, or 1 if memory ran out.
template <typename Function>
int status_of(const Function& function) {
    try {
        function();
        return 0;
    } catch (...) {
        return 1;
    }
}

}  // namespace vsedvr
