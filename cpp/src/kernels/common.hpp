// Words every kernel file uses.
#pragma once

#include <stddef.h>
#include <stdint.h>

#if defined(__CUDACC__)
#define OG_FN static __host__ __device__ __forceinline__
#elif defined(_MSC_VER)
#define OG_FN static __forceinline
#else
#define OG_FN static inline __attribute__((always_inline))
#endif

#if defined(_MSC_VER)
#define OG_RESTRICT __restrict
#define __builtin_sqrtf(x) sqrtf(x)
#define OG_IVDEP __pragma(loop(ivdep))
#elif defined(__clang__)
#define OG_RESTRICT __restrict__
#define OG_IVDEP _Pragma("clang loop vectorize(assume_safety)")
#else
#define OG_RESTRICT __restrict__
// GCC gives up on alias checks when a loop has many row pointers; the pragma says that rows do not overlap.
#define OG_IVDEP _Pragma("GCC ivdep")
#endif

namespace og {
namespace {

template <class T>
OG_FN T min_of(T a, T b) {
    return a < b ? a : b;
}
template <class T>
OG_FN T max_of(T a, T b) {
    return a < b ? b : a;
}
template <class T>
OG_FN T clamp_to(T v, T lo, T hi) {
    return min_of(max_of(v, lo), hi);
}
/// Sorts a pair, without a branch.
template <class T>
OG_FN void order(T& a, T& b) {
    const T lo = min_of(a, b), hi = max_of(a, b);
    a = lo;
    b = hi;
}

}  // namespace
}  // namespace og
