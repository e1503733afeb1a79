#include "ondevice_guard/parallel.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#if defined(_WIN32)
#include <process.h>
#define og_getpid _getpid
#else
#include <unistd.h>
#define og_getpid getpid
#endif
#if defined(__linux__)
#include <sched.h>
#endif

namespace og {
namespace {

constexpr int kMaxThreads = 256;
// Each chunk takes this share in ten of what is left, divided by the threads: large ones first, small ones at the end, which
// evens out late starts and cores of unequal speed (factoring: Hummel, Schonberg, Flynn 1992). The second where each chunk
// costs work of its own: at 512 rows and two threads five chunks in place of eight.
constexpr int64_t kShare[2] = {5, 8};
// How often a caller that has nothing left to do yields to helpers at their last chunk before it sleeps: about as long as
// falling asleep and being woken takes.
constexpr int kYields = 100;
// How long a helper that has done its work looks out for more before it sleeps: filters come in chains, and a sleeper is
// awake again only when a small filter is half done.
constexpr std::chrono::microseconds kLookout(150);

thread_local bool inside_task = false;

/// One parallel_for: chunks are handed out by an atomic counter.
struct Job {
    void (*task)(void*, int64_t);
    void* arg;
    int64_t count;
    int helpers_wanted;
    std::atomic<int64_t> next{0};
    std::atomic<int> helpers_inside{0};

    void work() {
        for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) task(arg, i);
    }
    bool exhausted() const { return next.load(std::memory_order_relaxed) >= count; }
};

/// Threads that sleep until a job is posted. Never destroyed: its threads may outlive static destructors.
class Pool {
  public:
    explicit Pool(int pid) : pid(pid) {}

    const int pid;

    void run(Job& job) {
        {
            std::lock_guard<std::mutex> lock(mutex_);
            while (threads_ < job.helpers_wanted) {
                try {
                    std::thread([this] { loop(); }).detach();
                } catch (const std::system_error&) {
                    break;  // the system refuses more threads: the caller does the work alone
                }
                ++threads_;
            }
            jobs_.push_back(&job);
            posts_.fetch_add(1, std::memory_order_release);
        }
        if (job.helpers_wanted == 1) {
            posted_.notify_one();
        } else {
            posted_.notify_all();
        }
        job.work();
        for (int i = 0; i < kYields && job.helpers_inside.load(std::memory_order_acquire) > 0; ++i)
            std::this_thread::yield();
        std::unique_lock<std::mutex> lock(mutex_);
        jobs_.erase(std::find(jobs_.begin(), jobs_.end(), &job));
        left_.wait(lock, [&] { return job.helpers_inside.load(std::memory_order_acquire) == 0; });
    }

  private:
    Job* take() {
        for (Job* job : jobs_) {
            if (!job->exhausted() && job->helpers_inside.load(std::memory_order_relaxed) < job->helpers_wanted)
                return job;
        }
        return nullptr;
    }

    void loop() {
        inside_task = true;  // a kernel that calls parallel_for again stays on this thread
        std::unique_lock<std::mutex> lock(mutex_);
        for (;;) {
            Job* job = take();
            if (!job) {
                const unsigned seen = posts_.load(std::memory_order_relaxed);
                lock.unlock();
                const auto until = std::chrono::steady_clock::now() + kLookout;
                while (posts_.load(std::memory_order_acquire) == seen && std::chrono::steady_clock::now() < until)
                    std::this_thread::yield();
                lock.lock();
                posted_.wait(lock, [&] { return (job = take()) != nullptr; });
            }
            job->helpers_inside.fetch_add(1, std::memory_order_relaxed);
            lock.unlock();
            job->work();
            lock.lock();
            // Under the lock, because the job lives on the caller's stack and dies once this reaches zero.
            if (job->helpers_inside.fetch_sub(1, std::memory_order_release) == 1) left_.notify_all();
        }
    }

    std::mutex mutex_;
    std::condition_variable posted_, left_;
    std::vector<Job*> jobs_;
    std::atomic<unsigned> posts_{0};
    int threads_ = 0;
};

/// The process's pool; a forked child finds its parent's pool, whose threads do not exist there, and makes its own.
Pool& pool() {
    static std::atomic<Pool*> current{nullptr};
    const int pid = static_cast<int>(og_getpid());
    Pool* found = current.load(std::memory_order_acquire);
    while (!found || found->pid != pid) {
        std::unique_ptr<Pool> fresh(new Pool(pid));
        if (current.compare_exchange_strong(found, fresh.get(), std::memory_order_acq_rel)) return *fresh.release();
    }
    return *found;
}

int count_cpus() {
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
    return std::max(1u, std::thread::hardware_concurrency());
}

}  // namespace

int default_threads() {
    const char* text = std::getenv("ONDEVICE_GUARD_THREADS");
    const int wanted = text ? std::atoi(text) : 0;
    return std::min(kMaxThreads, wanted > 0 ? wanted : count_cpus());
}

int thread_count(const Context& context) {
    return context.threads > 0 ? std::min(context.threads, kMaxThreads) : default_threads();
}

void parallel_for(const Context& context, int64_t n, Grain grain, const std::function<void(int64_t, int64_t)>& body) {
    if (n <= 0) return;
    const int64_t least = std::max<int64_t>(grain.least, 1), worth = std::max(grain.worth, least);
    if (n <= worth || context.threads == 1 || inside_task) {
        body(0, n);
        return;
    }
    const int64_t threads = std::min<int64_t>((n + worth - 1) / worth, thread_count(context));
    if (threads == 1) {
        body(0, n);
        return;
    }

    struct Shared {
        const std::function<void(int64_t, int64_t)>& body;
        std::vector<int64_t> cuts;
        std::mutex mutex;
        std::exception_ptr failure;
    } shared{body, {0}, {}, nullptr};
    for (int64_t at = 0; at < n;) {
        const int64_t left = n - at, size = std::max(least, left * kShare[grain.again] / (10 * threads));
        at = left < size + least ? n : at + size;
        shared.cuts.push_back(at);
    }
    const int64_t chunks = static_cast<int64_t>(shared.cuts.size()) - 1;
    const auto task = [](void* arg, int64_t i) {
        Shared& s = *static_cast<Shared*>(arg);
        try {
            s.body(s.cuts[static_cast<size_t>(i)], s.cuts[static_cast<size_t>(i) + 1]);
        } catch (...) {
            std::lock_guard<std::mutex> lock(s.mutex);
            if (!s.failure) s.failure = std::current_exception();
        }
    };
    if (context.host_for) {
        context.host_for(context.host, chunks, task, &shared);
    } else {
        Job job;
        job.task = task;
        job.arg = &shared;
        job.count = chunks;
        job.helpers_wanted = static_cast<int>(threads - 1);
        inside_task = true;  // what the caller runs of its own job must not nest either
        pool().run(job);
        inside_task = false;
    }
    if (shared.failure) std::rethrow_exception(shared.failure);
}

}  // namespace og
