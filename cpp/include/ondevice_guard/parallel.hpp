// Work sharing: rows [0, n) are cut into chunks, threads take the next free chunk, the caller takes part.
//
// A chunk's output depends on the input alone, never on who computes it or how [0, n) was cut, so results do not depend
// on the thread count. There is one small pool per process: its threads are started when first needed, look out
// for 150 us after a call and then sleep, hold no locks while working, and are rebuilt in a forked child (the pool
// remembers its process id).
#pragma once

#include <cstdint>
#include <functional>

namespace og {

/// A host's own parallel loop: must call task(arg, i) once for every i in [0, count) and return when all are done.
using HostParallelFor = void (*)(void* host, int64_t count, void (*task)(void* arg, int64_t i), void* arg);

/// How a call may use the machine.
struct Context {
    int threads = 0;  ///< 0 = `default_threads()`, 1 = the caller alone
    HostParallelFor host_for = nullptr;
    void* host = nullptr;
};

/// CPUs this process may run on (affinity respected), or ONDEVICE_GUARD_THREADS where it is a positive number.
int default_threads();

/// The threads that a call may use: `context.threads`, or where that is 0 `default_threads()`.
int thread_count(const Context& context);

/// How small work may be cut.
struct Grain {
    Grain(int64_t rows) : least(rows), worth(rows) {}  // NOLINT: a number is meant to do
    Grain(int64_t least, int64_t worth, bool again = false) : least(least), worth(worth), again(again) {}
    int64_t least;       ///< no range but the last is shorter
    int64_t worth;       ///< work no longer than this is not worth another thread
    bool again = false;  ///< a range begins with work that the one before it did too: few, long ones
};

/// Calls body(begin, end) for consecutive ranges that cover [0, n). Nested calls run on the calling thread. The first
/// exception of a body is rethrown here, after all have ended.
void parallel_for(const Context& context, int64_t n, Grain grain, const std::function<void(int64_t, int64_t)>& body);

}  // namespace og
