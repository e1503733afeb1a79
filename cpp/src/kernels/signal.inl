#include "kernels/signal_kernels.hpp"
#include "kernels/signal_math.hpp"

namespace og {
namespace OG_ISA {
namespace {

void luma_row(const uint8_t* OG_RESTRICT rgb, uint8_t* OG_RESTRICT dst, int64_t n) {
    for (int64_t i = 0; i < n; ++i) dst[i] = quarter_luma(rgb[3 * i], rgb[3 * i + 1], rgb[3 * i + 2]);
}

uint64_t residual_row(const uint8_t* OG_RESTRICT above, const uint8_t* OG_RESTRICT here,
                      const uint8_t* OG_RESTRICT below, int64_t d, uint8_t* OG_RESTRICT dst, int64_t n,
                      uint64_t* squares) {
    const uint8_t *left = here - d, *right = here + d;
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) dst[i] = sticks_out(here[i], left[i], right[i], above[i], below[i]);
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

/// Sums a row of bytes 128 + s, and adds the squares of s.
uint64_t sum_signed(const uint8_t* OG_RESTRICT row, int64_t n, uint64_t* squares) {
    uint64_t total = 0, square = 0;
    for (int64_t begin = 0; begin < n; begin += 32768) {
        const int64_t end = min_of(n, begin + 32768);
        uint32_t sum = 0, part = 0;
        for (int64_t i = begin; i < end; ++i) {
            const int e = static_cast<int>(row[i]) - 128;
            sum += row[i];
            part += static_cast<uint32_t>(e * e);
        }
        total += sum;
        square += part;
    }
    *squares += square;
    return total;
}

uint64_t signed_row(const uint8_t* OG_RESTRICT above, const uint8_t* OG_RESTRICT here, const uint8_t* OG_RESTRICT below,
                    uint8_t* OG_RESTRICT dst, int64_t n, uint64_t* squares) {
    const uint8_t *left = here - 1, *right = here + 1;
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        const uint8_t l = left[i], r = right[i], u = above[i], w = below[i], c = here[i];
        const uint8_t p = max_of(min_of(l, r), min_of(u, w)), q = min_of(max_of(l, r), max_of(u, w));
        const int inside = clamp_to(c, min_of(p, q), max_of(p, q));
        dst[i] = static_cast<uint8_t>(128 + clamp_to(c - inside, -24, 24));
    }
    return sum_signed(dst, n, squares);
}

uint64_t linear_row(const uint8_t* OG_RESTRICT above, const uint8_t* OG_RESTRICT here, const uint8_t* OG_RESTRICT below,
                    uint8_t* OG_RESTRICT dst, int64_t n, uint64_t* squares) {
    const uint8_t *left = here - 1, *right = here + 1;
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        const int mean = (left[i] + right[i] + above[i] + below[i] + 2) >> 2;
        dst[i] = static_cast<uint8_t>(128 + clamp_to(here[i] - mean, -24, 24));
    }
    return sum_signed(dst, n, squares);
}

void add_row(uint16_t* OG_RESTRICT sums, const uint8_t* OG_RESTRICT row, int64_t n) {
    for (int64_t i = 0; i < n; ++i) sums[i] = static_cast<uint16_t>(sums[i] + row[i]);
}

void add_part(uint32_t* OG_RESTRICT sums, uint16_t* OG_RESTRICT part, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
        sums[i] += part[i];
        part[i] = 0;
    }
}

void pack_low_bits(const uint8_t* OG_RESTRICT src, uint8_t* OG_RESTRICT dst, int64_t bytes) {
    for (int64_t i = 0; i < bytes; ++i) {
        uint64_t word;  // little-endian; put together byte by byte it is vectorised into 5 kB that take 6 times as long
        memcpy(&word, src + 8 * i, 8);
        dst[i] = low_bits_of(word);
    }
}

}  // namespace

extern const SignalKernels signal_kernels;
const SignalKernels signal_kernels = {
    luma_row, residual_row, signed_row, linear_row, add_row, add_part, pack_low_bits,
};

}  // namespace OG_ISA
}  // namespace og
