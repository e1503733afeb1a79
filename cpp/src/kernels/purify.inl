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

}  // namespace

extern const PurifyKernels purify_kernels;
const PurifyKernels purify_kernels = {
    median3_row,
};

}  // namespace OG_ISA
}  // namespace og
