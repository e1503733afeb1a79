// Random numbers that are a function of (seed, counter), so that a verdict's seed reproduces its pixels anywhere.
//
//     z = seed + (counter + 1) * 0x9e3779b97f4a7c15;  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
//     z = (z ^ z >> 27) * 0x94d049bb133111eb;         bits = z ^ z >> 31        (SplitMix64: Steele, Lea, Flood 2014)
//
// All arithmetic modulo 2^64. No state is kept; two counters never share a draw.
#pragma once

#include <cstdint>

namespace og {

/// 64 random bits of (seed, counter).
inline uint64_t random_bits(uint64_t seed, uint64_t counter) {
    uint64_t z = seed + (counter + 1) * 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

/// A number in [0, 1) with 53 random bits.
inline double random_unit(uint64_t seed, uint64_t counter) {
    return static_cast<double>(random_bits(seed, counter) >> 11) * 0x1.0p-53;
}

/// A whole number in [low, high].
inline int64_t random_between(uint64_t seed, uint64_t counter, int64_t low, int64_t high) {
    return low + static_cast<int64_t>(random_unit(seed, counter) * static_cast<double>(high - low + 1));
}

}  // namespace og
