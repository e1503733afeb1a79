#include "kernels/common.hpp"
#include "kernels/purify_kernels.hpp"

namespace og {
namespace OG_ISA {
namespace {

/// Copies the first and last pixel of a row that starts at p + step outwards, so that neighbours always exist.
OG_FN void replicate_ends(uint8_t* p, int64_t n, int64_t step) {
    for (int64_t c = 0; c < step; ++c) {
        p[c] = p[step + c];
        p[step + n + c] = p[n + c];
    }
}

OG_FN uint8_t median_of(uint8_t a, uint8_t b, uint8_t c) {
    return max_of(min_of(a, b), min_of(max_of(a, b), c));
}

// The three columns under a window are sorted once per row; the median of nine is then the middle one of
// {largest minimum, middle of the middles, smallest maximum}.
void median3_row(const uint8_t* const* rows, uint8_t* OG_RESTRICT dst, int64_t n, int64_t step,
                 uint8_t* OG_RESTRICT scratch) {
    const int64_t padded = n + 2 * step;
    uint8_t* OG_RESTRICT lo = scratch;
    uint8_t* OG_RESTRICT mid = scratch + padded;
    uint8_t* OG_RESTRICT hi = scratch + 2 * padded;
    const uint8_t *a = rows[0], *b = rows[1], *c = rows[2];
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        uint8_t x = a[i], y = b[i], z = c[i];
        order(x, y);
        order(y, z);
        order(x, y);
        lo[step + i] = x;
        mid[step + i] = y;
        hi[step + i] = z;
    }
    replicate_ends(lo, n, step);
    replicate_ends(mid, n, step);
    replicate_ends(hi, n, step);
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        const uint8_t low = max_of(max_of(lo[i], lo[i + step]), lo[i + 2 * step]);
        const uint8_t middle = median_of(mid[i], mid[i + step], mid[i + 2 * step]);
        const uint8_t high = min_of(min_of(hi[i], hi[i + step]), hi[i + 2 * step]);
        dst[i] = median_of(low, middle, high);
    }
}

OG_FN void sort5(uint8_t& a, uint8_t& b, uint8_t& c, uint8_t& d, uint8_t& e) {
    order(a, b);
    order(d, e);
    order(c, e);
    order(c, d);
    order(a, d);
    order(a, c);
    order(b, e);
    order(b, c);
    order(d, e);
    order(c, d);
}

// Columns are sorted once per row. With the rows of the 5 x 5 matrix of ranks sorted as well, twelve corner elements cannot be
// the median, and what is left are three anti-diagonals: the median of 25 is the middle one of {largest of the upper
// diagonal, median of the main one, smallest of the lower}. (All 252 monotone 0-1 matrices agree; sorting networks need
// no more proof.) The comparisons whose results nobody reads are removed by the compiler.
void median5_row(const uint8_t* const* rows, uint8_t* OG_RESTRICT dst, int64_t n, int64_t step,
                 uint8_t* OG_RESTRICT scratch) {
    const int64_t padded = n + 4 * step;
    uint8_t *OG_RESTRICT p0 = scratch, *OG_RESTRICT p1 = p0 + padded, *OG_RESTRICT p2 = p1 + padded;
    uint8_t *OG_RESTRICT p3 = p2 + padded, *OG_RESTRICT p4 = p3 + padded;
    const uint8_t *r0 = rows[0], *r1 = rows[1], *r2 = rows[2], *r3 = rows[3], *r4 = rows[4];
    const int64_t pad = 2 * step;
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        uint8_t a = r0[i], b = r1[i], c = r2[i], d = r3[i], e = r4[i];
        sort5(a, b, c, d, e);
        p0[pad + i] = a;
        p1[pad + i] = b;
        p2[pad + i] = c;
        p3[pad + i] = d;
        p4[pad + i] = e;
    }
    uint8_t* const all[5] = {p0, p1, p2, p3, p4};
    for (uint8_t* p : all) {
        replicate_ends(p + step, n, step);
        for (int64_t c = 0; c < step; ++c) {
            p[c] = p[pad + c];
            p[3 * step + n + c] = p[step + n + c];
        }
    }
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        uint8_t m[5][5];
        for (int k = 0; k < 5; ++k) {
            m[0][k] = p0[i + k * step];
            m[1][k] = p1[i + k * step];
            m[2][k] = p2[i + k * step];
            m[3][k] = p3[i + k * step];
            m[4][k] = p4[i + k * step];
        }
        for (int k = 0; k < 5; ++k) sort5(m[k][0], m[k][1], m[k][2], m[k][3], m[k][4]);
        const uint8_t upper = max_of(max_of(m[0][3], m[1][2]), max_of(m[2][1], m[3][0]));
        const uint8_t lower = min_of(min_of(m[1][4], m[2][3]), min_of(m[3][2], m[4][1]));
        const uint8_t f = max_of(min_of(m[0][4], m[1][3]), min_of(m[3][1], m[4][0]));
        const uint8_t g = min_of(max_of(m[0][4], m[1][3]), max_of(m[3][1], m[4][0]));
        dst[i] = median_of(upper, median_of(f, g, m[2][2]), lower);
    }
}

void bit_depth_row(const uint8_t* src, uint8_t* OG_RESTRICT dst, int64_t n, int levels) {
    const uint32_t scale = static_cast<uint32_t>((255 * 65536 + levels / 2) / levels);
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        const uint32_t t = static_cast<uint32_t>(src[i]) * static_cast<uint32_t>(levels) + 128u;
        const uint32_t level = (t + (t >> 8)) >> 8;  // / 255, rounded
        dst[i] = static_cast<uint8_t>((level * scale + 32768u) >> 16);
    }
}

void low_bits_row(const uint8_t* src, uint8_t* OG_RESTRICT dst, int64_t n, int bits) {
    const int low = (1 << bits) - 1, down = 8 - bits;
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) dst[i] = static_cast<uint8_t>((src[i] & ~low) | (src[i] >> down & low));
}

}  // namespace

extern const PurifyKernels purify_kernels;
const PurifyKernels purify_kernels = {
    median3_row,
    median5_row,
    bit_depth_row,
    low_bits_row,
};

}  // namespace OG_ISA
}  // namespace og
