// Words every kernel file uses.
#pragma once

#if defined(__CUDACC__) || defined(_MSC_VER)
#include <math.h>
#endif
#include <stddef.h>
#include <stdint.h>
#include <string.h>

// OG_FN marks arithmetic that the CPU's loops and the CUDA kernels share: a family's is in <family>_math.hpp.
#if defined(__CUDACC__)
#define OG_FN __host__ __device__ __forceinline__
#elif defined(_MSC_VER)
#define OG_FN static __forceinline
#else
#define OG_FN static inline __attribute__((always_inline))
#endif

#if defined(__CUDACC__)
#define OG_RESTRICT __restrict__
#define OG_IVDEP
#elif defined(_MSC_VER)
#define OG_RESTRICT __restrict
#define OG_IVDEP __pragma(loop(ivdep))
#elif defined(__clang__)
#define OG_RESTRICT __restrict__
#define OG_IVDEP _Pragma("clang loop vectorize(assume_safety)")
#else
#define OG_RESTRICT __restrict__
// GCC gives up on alias checks when a loop has many row pointers; the pragma says that rows do not overlap.
#define OG_IVDEP _Pragma("GCC ivdep")
#endif
// Inside a loop: keep it scalar, where GCC's vectoriser is sure to make it worse.
#if defined(__GNUC__) && !defined(__clang__) && !defined(__CUDACC__)
#define OG_NOT_VECTORISED __asm__ volatile("")
#else
#define OG_NOT_VECTORISED static_cast<void>(0)
#endif
#if defined(__GNUC__)
#define OG_PREFETCH(address) __builtin_prefetch(address)
#else
#define OG_PREFETCH(address) static_cast<void>(address)
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
/// a * b / 32768, rounded. Written so that GCC knows it for one instruction (pmulhrsw, sqrdmulh).
OG_FN int16_t mul_q15(int16_t a, int16_t b) {
    return static_cast<int16_t>((((static_cast<int32_t>(a) * static_cast<int32_t>(b)) >> 14) + 1) >> 1);
}
/// A value that the optimiser knows nothing about. GCC 12 computes `mul_q15` by a known constant below one half in 32 bits, at
/// ten times the cost. To be called before a loop: an asm statement inside would keep it from being vectorised.
OG_FN int16_t unknown(int16_t v) {
#if defined(__GNUC__) && !defined(__CUDACC__)
    __asm__("" : "+r"(v));
#endif
    return v;
}
/// The correctly rounded root, as one instruction.
OG_FN float square_root(float v) {
#if defined(__CUDACC__) || defined(_MSC_VER)
    return sqrtf(v);
#else
    return __builtin_sqrtf(v);
#endif
}
OG_FN double square_root(double v) {
#if defined(__CUDACC__) || defined(_MSC_VER)
    return sqrt(v);
#else
    return __builtin_sqrt(v);
#endif
}
/// Mirrors an index into [0, n) without repeating the edge (reflect-101).
OG_FN int64_t mirror_index(int64_t i, int64_t n) {
    if (i < 0) i = -i;
    if (i < n) return i;
    if (n == 1) return 0;
    const int64_t period = 2 * n - 2;
    if (i >= period) i %= period;  // seldom: a division takes as long as all the rest
    return i < n ? i : period - i;
}
/// v within 0..255, its fraction dropped.
OG_FN uint8_t to_sample(float v) {
    return static_cast<uint8_t>(static_cast<int32_t>(clamp_to(v, 0.0f, 255.0f)));
}
/// Sorts a pair, without a branch.
template <class T>
OG_FN void order(T& a, T& b) {
    const T lo = min_of(a, b), hi = max_of(a, b);
    a = lo;
    b = hi;
}

// Four packed RGB pixels are three 32-bit words. Compilers permute words well and bytes badly, so rows of RGB are taken apart
// and put together through pixels r | g << 8 | b << 16. Little-endian, like every target we build for.

OG_FN uint32_t load_word(const uint8_t* p) {
    uint32_t w;
    memcpy(&w, p, 4);
    return w;
}
OG_FN void store_word(uint8_t* p, uint32_t w) {
    memcpy(p, &w, 4);
}

/// n packed RGB pixels to n words.
OG_FN void split_pixels(const uint8_t* src, int64_t n, uint32_t* OG_RESTRICT pixels) {
    const int64_t groups = n / 4;
    OG_IVDEP
    for (int64_t i = 0; i < groups; ++i) {
        const uint32_t a = load_word(src + 12 * i), b = load_word(src + 12 * i + 4), c = load_word(src + 12 * i + 8);
        pixels[4 * i] = a & 0xffffffu;
        pixels[4 * i + 1] = (a >> 24) | ((b & 0xffffu) << 8);
        pixels[4 * i + 2] = (b >> 16) | ((c & 0xffu) << 16);
        pixels[4 * i + 3] = c >> 8;
    }
    for (int64_t i = 4 * groups; i < n; ++i) {
        pixels[i] =
            src[3 * i] | (static_cast<uint32_t>(src[3 * i + 1]) << 8) | (static_cast<uint32_t>(src[3 * i + 2]) << 16);
    }
}

/// The way back; the fourth byte of a word must be 0.
OG_FN void join_pixels(const uint32_t* pixels, int64_t n, uint8_t* OG_RESTRICT dst) {
    const int64_t groups = n / 4;
    OG_IVDEP
    for (int64_t i = 0; i < groups; ++i) {
        const uint32_t a = pixels[4 * i], b = pixels[4 * i + 1], c = pixels[4 * i + 2], d = pixels[4 * i + 3];
        store_word(dst + 12 * i, a | (b << 24));
        store_word(dst + 12 * i + 4, (b >> 8) | (c << 16));
        store_word(dst + 12 * i + 8, (c >> 16) | (d << 8));
    }
    for (int64_t i = 4 * groups; i < n; ++i) {
        dst[3 * i] = static_cast<uint8_t>(pixels[i]);
        dst[3 * i + 1] = static_cast<uint8_t>(pixels[i] >> 8);
        dst[3 * i + 2] = static_cast<uint8_t>(pixels[i] >> 16);
    }
}

}  // namespace
}  // namespace og
