// Arithmetic of the sampling-grid residual and of low bits, shared by the CPU loops and the CUDA kernels.
#pragma once

#include "kernels/common.hpp"

namespace og {
namespace {

OG_FN uint8_t quarter_luma(int r, int g, int b) {
    return static_cast<uint8_t>((r + 2 * g + b + 2) >> 2);
}

/// Distance of c from the middle interval of its four sorted neighbours.
OG_FN uint8_t sticks_out(uint8_t c, uint8_t l, uint8_t r, uint8_t u, uint8_t w) {
    // The two middle ones of four are these two, in one order or the other.
    const uint8_t p = max_of(min_of(l, r), min_of(u, w)), q = min_of(max_of(l, r), max_of(u, w));
    const uint8_t lo = min_of(p, q), hi = max_of(p, q);
    const uint8_t inside = clamp_to(c, lo, hi);
    return static_cast<uint8_t>(max_of(c, inside) - min_of(c, inside));
}

/// Lowest bits of eight samples (sample j in byte j), the first one in bit 7.
OG_FN uint8_t low_bits_of(uint64_t word) {
    // Bit 0 of byte j moves to bit 63 - j: the products 2^(8 j) 2^(63 - 9 j) do not meet.
    return static_cast<uint8_t>((word & 0x0101010101010101u) * 0x8040201008040201u >> 56);
}

}  // namespace
}  // namespace og
