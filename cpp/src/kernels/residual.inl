#include "kernels/residual_kernels.hpp"
#include "kernels/residual_math.hpp"

namespace og {
namespace OG_ISA {
namespace {

OG_FN int16_t detail(const int16_t* p0, const int16_t* p1, int64_t x, int d) {
    return haar_detail(p0[x], p0[x + d], p1[x], p1[x + d]);
}
OG_FN void add_to(int16_t& sum, int16_t v) {
    sum = static_cast<int16_t>(sum + v);
}

void planes_row(const uint8_t* row, int64_t n, int channels, uint32_t* OG_RESTRICT pixels, int16_t* OG_RESTRICT y,
                int16_t* OG_RESTRICT u, int16_t* OG_RESTRICT v) {
    if (channels == 1) {
        for (int64_t x = 0; x < n; ++x) {
            y[x] = row[x];
            u[x] = 0;
            v[x] = 0;
        }
        return;
    }
    if (channels == 3) {
        split_pixels(row, n, pixels);
    } else {
        memcpy(pixels, row, static_cast<size_t>(4 * n));
    }
    OG_IVDEP
    for (int64_t x = 0; x < n; ++x) {
        const ResidualPlanes p = residual_planes_of(pixels[x] & 255, (pixels[x] >> 8) & 255, (pixels[x] >> 16) & 255);
        y[x] = p.y;
        u[x] = p.u;
        v[x] = p.v;
    }
}

void detail_row(const int16_t* p0, const int16_t* p1, int64_t n, int16_t* OG_RESTRICT a) {
    OG_IVDEP
    for (int64_t x = 0; x < n; ++x) a[x] = clipped(detail(p0, p1, x, 1));
}

void plane_row(const int16_t* const* p, const int16_t* const* a, int64_t n, int16_t* OG_RESTRICT acc, int64_t stride) {
    const int16_t *p0 = p[0], *p1 = p[1], *p2 = p[2], *p4 = p[4];
    const int16_t *a0 = a[0], *a1 = a[1], *a2 = a[2];
    OG_IVDEP
    for (int64_t x = 0; x < n; ++x) {
        const int16_t v = a0[x];
        add_to(acc[x], magnitude(v));
        add_to(acc[stride + x], times(v, v));
        add_to(acc[2 * stride + x], capped(detail(p0, p2, x, 2)));
        add_to(acc[3 * stride + x], capped(detail(p0, p4, x, 4)));
        add_to(acc[4 * stride + x], capped(minus(p0[x], p0[x + 1])));
        add_to(acc[5 * stride + x], capped(minus(p0[x], p1[x])));
    }
    OG_IVDEP
    for (int64_t x = 0; x < n; ++x) {
        const int16_t v = a0[x];
        add_to(acc[6 * stride + x], times(v, a0[x + 1]));
        add_to(acc[7 * stride + x], times(v, a0[x + 2]));
        add_to(acc[8 * stride + x], times(v, a1[x]));
        add_to(acc[9 * stride + x], times(v, a2[x]));
        add_to(acc[10 * stride + x], times(v, a1[x + 1]));
    }
    OG_IVDEP
    for (int64_t x = 0; x < n; ++x) {
        const int16_t m = magnitude(a0[x]);
        add_to(acc[11 * stride + x], m <= 0);
        add_to(acc[12 * stride + x], m <= 1);
        add_to(acc[13 * stride + x], m <= 2);
        add_to(acc[14 * stride + x], m <= 4);
        add_to(acc[15 * stride + x], m <= 8);
        add_to(acc[16 * stride + x], m <= 16);
        add_to(acc[17 * stride + x], m <= 32);
    }
}

void joint_row(const int16_t* const* a, const int16_t* y0, const int16_t* y1, int64_t y, int64_t n,
               int16_t* OG_RESTRICT acc, int64_t stride) {
    const int16_t *ay = a[0], *au = a[1], *av = a[2];
    OG_IVDEP
    for (int64_t x = 0; x < n; ++x) {
        add_to(acc[x], times(ay[x], au[x]));
        add_to(acc[stride + x], times(ay[x], av[x]));
        add_to(acc[2 * stride + x], times(au[x], av[x]));
    }
    // A column has one parity and one x mod 8 for ever: one accumulator row serves them all, the fold tells them apart.
    int16_t* OG_RESTRICT luma = acc + (3 + (y & 1)) * stride;
    int16_t* OG_RESTRICT chroma = acc + (5 + (y & 1)) * stride;
    int16_t* OG_RESTRICT across = acc + 7 * stride;
    int16_t* OG_RESTRICT down = acc + (8 + (y & 7)) * stride;
    OG_IVDEP
    for (int64_t x = 0; x < n; ++x) {
        add_to(luma[x], magnitude(ay[x]));
        add_to(chroma[x], magnitude(au[x]));
        add_to(across[x], capped(minus(y0[x], y0[x + 1])));
        add_to(down[x], capped(minus(y0[x], y1[x])));
    }
}

void magnitude_row(const int16_t* a, int64_t n, int16_t* OG_RESTRICT acc) {
    OG_IVDEP
    for (int64_t x = 0; x < n; ++x) add_to(acc[x], magnitude(a[x]));
}

// Sums of 2, 4, 8, 16 neighbours begin at every column, most of them for nothing: that is what vectors do fastest.
void fold(const int16_t* acc, int64_t n, int32_t* OG_RESTRICT sums) {
    OG_IVDEP
    for (int64_t x = 0; x < n; ++x) sums[x] = acc[x] + acc[x + 8];
    OG_IVDEP
    for (int64_t x = 0; x < n; ++x) sums[x] += sums[x + 4];
    OG_IVDEP
    for (int64_t x = 0; x < n; ++x) sums[x] += sums[x + 2];
}

void add_scaled(double x, const double* OG_RESTRICT w, int64_t n, double* OG_RESTRICT y) {
    for (int64_t k = 0; k < n; ++k) y[k] += x * w[k];
}

}  // namespace

extern const ResidualKernels residual_kernels;
const ResidualKernels residual_kernels = {
    planes_row, detail_row, plane_row, joint_row, magnitude_row, fold, add_scaled,
};

}  // namespace OG_ISA
}  // namespace og
