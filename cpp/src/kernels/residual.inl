#include "kernels/common.hpp"
#include "kernels/residual_kernels.hpp"

namespace og {
namespace OG_ISA {
namespace {

constexpr int kClip = 63;

OG_FN int magnitude(int v) { return v < 0 ? -v : v; }
OG_FN int clipped(int v) { return clamp_to(v, -kClip, kClip); }
OG_FN int detail(const int16_t* p0, const int16_t* p1, int64_t x, int d) { return p0[x] - p0[x + d] - p1[x] + p1[x + d]; }

void planes_row(const uint8_t* row, int64_t n, int channels, int16_t* OG_RESTRICT y, int16_t* OG_RESTRICT u,
                int16_t* OG_RESTRICT v) {
    if (channels == 1) {
        for (int64_t x = 0; x < n; ++x) {
            y[x] = row[x];
            u[x] = 0;
            v[x] = 0;
        }
        return;
    }
    OG_IVDEP
    for (int64_t x = 0; x < n; ++x) {
        const int r = row[x * channels], g = row[x * channels + 1], b = row[x * channels + 2];
        y[x] = static_cast<int16_t>((r + 2 * g + b + 2) >> 2);
        u[x] = static_cast<int16_t>(r - g);
        v[x] = static_cast<int16_t>(b - g);
    }
}

void detail_row(const int16_t* p0, const int16_t* p1, int64_t n, int16_t* OG_RESTRICT a) {
    OG_IVDEP
    for (int64_t x = 0; x < n; ++x) a[x] = static_cast<int16_t>(clipped(detail(p0, p1, x, 1)));
}

void plane_row(const int16_t* const* p, const int16_t* const* a, int64_t n, int32_t* OG_RESTRICT acc, int64_t stride) {
    const int16_t *p0 = p[0], *p1 = p[1], *p2 = p[2], *p4 = p[4];
    const int16_t *a0 = a[0], *a1 = a[1], *a2 = a[2];
    OG_IVDEP
    for (int64_t x = 0; x < n; ++x) {
        const int v = a0[x];
        acc[x] += magnitude(v);
        acc[stride + x] += v * v;
        acc[2 * stride + x] += magnitude(clipped(detail(p0, p2, x, 2)));
        acc[3 * stride + x] += magnitude(clipped(detail(p0, p4, x, 4)));
        acc[4 * stride + x] += min_of(magnitude(p0[x] - p0[x + 1]), kClip);
        acc[5 * stride + x] += min_of(magnitude(p0[x] - p1[x]), kClip);
    }
    OG_IVDEP
    for (int64_t x = 0; x < n; ++x) {
        const int v = a0[x];
        acc[6 * stride + x] += v * a0[x + 1];
        acc[7 * stride + x] += v * a0[x + 2];
        acc[8 * stride + x] += v * a1[x];
        acc[9 * stride + x] += v * a2[x];
        acc[10 * stride + x] += v * a1[x + 1];
    }
    OG_IVDEP
    for (int64_t x = 0; x < n; ++x) {
        const int m = magnitude(a0[x]);
        acc[11 * stride + x] += m <= 0;
        acc[12 * stride + x] += m <= 1;
        acc[13 * stride + x] += m <= 2;
        acc[14 * stride + x] += m <= 4;
        acc[15 * stride + x] += m <= 8;
        acc[16 * stride + x] += m <= 16;
        acc[17 * stride + x] += m <= 32;
    }
}

void joint_row(const int16_t* const* a, const int16_t* y0, const int16_t* y1, int64_t y, int64_t n,
               int32_t* OG_RESTRICT acc, int64_t stride) {
    const int16_t *ay = a[0], *au = a[1], *av = a[2];
    OG_IVDEP
    for (int64_t x = 0; x < n; ++x) {
        acc[x] += ay[x] * au[x];
        acc[stride + x] += ay[x] * av[x];
        acc[2 * stride + x] += au[x] * av[x];
    }
    for (int plane = 0; plane < 2; ++plane) {
        int32_t* OG_RESTRICT even = acc + (3 + 4 * plane + 2 * (y & 1)) * stride;
        int32_t* OG_RESTRICT odd = even + stride;
        const int16_t* v = a[plane];
        OG_IVDEP
        for (int64_t x = 0; x < n; ++x) {
            const int m = magnitude(v[x]), right = static_cast<int>(x & 1);
            even[x] += right ? 0 : m;
            odd[x] += right ? m : 0;
        }
    }
    // A column has one x mod 8 for ever: one accumulator row serves all eight, and the fold tells them apart.
    int32_t* OG_RESTRICT across = acc + 11 * stride;
    int32_t* OG_RESTRICT down = acc + (19 + (y & 7)) * stride;
    OG_IVDEP
    for (int64_t x = 0; x < n; ++x) {
        across[x] += min_of(magnitude(y0[x] - y0[x + 1]), kClip);
        down[x] += min_of(magnitude(y0[x] - y1[x]), kClip);
    }
}

}  // namespace

extern const ResidualKernels residual_kernels;
const ResidualKernels residual_kernels = {
    planes_row,
    detail_row,
    plane_row,
    joint_row,
};

}  // namespace OG_ISA
}  // namespace og
