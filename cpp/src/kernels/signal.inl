#include "kernels/common.hpp"
#include "kernels/signal_kernels.hpp"

namespace og {
namespace OG_ISA {
namespace {

void luma_row(const uint8_t* OG_RESTRICT rgb, uint8_t* OG_RESTRICT dst, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
        const int sum = rgb[3 * i] + 2 * rgb[3 * i + 1] + rgb[3 * i + 2];
        dst[i] = static_cast<uint8_t>((sum + 2) >> 2);
    }
}

uint64_t residual_row(const uint8_t* OG_RESTRICT above, const uint8_t* OG_RESTRICT here,
                      const uint8_t* OG_RESTRICT below, int64_t d, uint8_t* OG_RESTRICT dst, int64_t n,
                      uint64_t* squares) {
    const uint8_t *left = here - d, *right = here + d;
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        const uint8_t l = left[i], r = right[i], u = above[i], w = below[i], c = here[i];
        // The two middle ones of four are these two, in one order or the other.
        const uint8_t p = max_of(min_of(l, r), min_of(u, w)), q = min_of(max_of(l, r), max_of(u, w));
        const uint8_t lo = min_of(p, q), hi = max_of(p, q);
        const uint8_t inside = clamp_to(c, lo, hi);
        dst[i] = static_cast<uint8_t>(max_of(c, inside) - min_of(c, inside));
    }
    uint64_t total = 0, square = 0;
    for (int64_t begin = 0; begin < n; begin += 32768) {  // 32 bits hold 32768 * 255²
        const int64_t end = min_of(n, begin + 32768);
        uint32_t sum = 0, part = 0;
        for (int64_t i = begin; i < end; ++i) {
            const uint32_t e = dst[i];
            sum += e;
            part += e * e;
        }
        total += sum;
        square += part;
    }
    *squares += square;
    return total;
}

void add_row(uint32_t* OG_RESTRICT sums, const uint8_t* OG_RESTRICT row, int64_t n) {
    for (int64_t i = 0; i < n; ++i) sums[i] += row[i];
}

void pack_low_bits(const uint8_t* OG_RESTRICT src, uint8_t* OG_RESTRICT dst, int64_t bytes) {
    for (int64_t i = 0; i < bytes; ++i) {
        const uint8_t* s = src + 8 * i;
        uint64_t word = 0;
        for (int j = 0; j < 8; ++j) word |= static_cast<uint64_t>(s[j]) << (8 * j);
        // Bit 0 of byte j moves to bit 63 - j: the products 2^(8 j) 2^(63 - 9 j) do not meet.
        dst[i] = static_cast<uint8_t>((word & 0x0101010101010101u) * 0x8040201008040201u >> 56);
    }
}

}  // namespace

extern const SignalKernels signal_kernels;
const SignalKernels signal_kernels = {
    luma_row,
    residual_row,
    add_row,
    pack_low_bits,
};

}  // namespace OG_ISA
}  // namespace og
