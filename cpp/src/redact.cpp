#include "ondevice_guard/redact.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace og {
namespace {

constexpr int kRelaxations = 48;  // strokes are under ~50 px high; push-pull leaves only blockiness of that scale

/// A rectangle of the picture with the polygons' mask in it.
struct Patch {
    int64_t top = 0, left = 0, height = 0, width = 0;
    std::vector<uint8_t> mask;  // 1 inside a region
    bool any = false;

    uint8_t& at(int64_t y, int64_t x) { return mask[static_cast<size_t>(y * width + x)]; }
    uint8_t at(int64_t y, int64_t x) const { return mask[static_cast<size_t>(y * width + x)]; }
};

struct Bounds {
    int64_t x0, y0, x1, y1;  // half open, in pixels
};

Bounds bounds_of(const Polygon& region, int64_t height, int64_t width) {
    double x0 = INFINITY, y0 = INFINITY, x1 = -INFINITY, y1 = -INFINITY;
    for (const auto& corner : region) {
        x0 = std::min(x0, corner[0]), x1 = std::max(x1, corner[0]);
        y0 = std::min(y0, corner[1]), y1 = std::max(y1, corner[1]);
    }
    const auto clamp = [](double v, int64_t most) { return static_cast<int64_t>(std::min(std::max(v, 0.0), double(most))); };
    return {clamp(std::floor(x0), width), clamp(std::floor(y0), height), clamp(std::ceil(x1), width),
            clamp(std::ceil(y1), height)};
}

/// Marks the pixels whose centre lies inside the polygon (even-odd, row by row).
void rasterise(const Polygon& region, Patch& patch) {
    std::vector<double> crossings;
    for (int64_t y = 0; y < patch.height; ++y) {
        const double centre = double(patch.top + y) + 0.5;
        crossings.clear();
        for (size_t i = 0; i < region.size(); ++i) {
            const auto &a = region[i], &b = region[(i + 1) % region.size()];
            if ((a[1] <= centre) == (b[1] <= centre)) continue;
            crossings.push_back(a[0] + (centre - a[1]) / (b[1] - a[1]) * (b[0] - a[0]));
        }
        std::sort(crossings.begin(), crossings.end());
        for (size_t i = 0; i + 1 < crossings.size(); i += 2) {
            const double from = std::ceil(crossings[i] - 0.5), to = std::ceil(crossings[i + 1] - 0.5);
            const int64_t x0 = int64_t(std::min(std::max(from - double(patch.left), 0.0), double(patch.width)));
            const int64_t x1 = int64_t(std::min(std::max(to - double(patch.left), 0.0), double(patch.width)));
            for (int64_t x = x0; x < x1; ++x) patch.at(y, x) = 1, patch.any = true;
        }
    }
}

/// Groups regions whose surroundings (a margin around their bounding boxes) touch, so that each group is filled at once.
std::vector<Patch> patches_of(const std::vector<Polygon>& regions, int64_t height, int64_t width, int64_t margin) {
    struct Group {
        Bounds box;
        std::vector<const Polygon*> members;
    };
    std::vector<Group> groups;
    for (const Polygon& region : regions) {
        const Bounds b = bounds_of(region, height, width);
        if (b.x0 >= b.x1 || b.y0 >= b.y1) continue;
        groups.push_back({{std::max<int64_t>(b.x0 - margin, 0), std::max<int64_t>(b.y0 - margin, 0),
                           std::min(b.x1 + margin, width), std::min(b.y1 + margin, height)},
                          {&region}});
    }
    for (bool merged = true; merged;) {
        merged = false;
        for (size_t i = 0; i < groups.size(); ++i) {
            for (size_t j = groups.size(); j-- > i + 1;) {
                Bounds &a = groups[i].box, &b = groups[j].box;
                if (a.x0 >= b.x1 || b.x0 >= a.x1 || a.y0 >= b.y1 || b.y0 >= a.y1) continue;
                a = {std::min(a.x0, b.x0), std::min(a.y0, b.y0), std::max(a.x1, b.x1), std::max(a.y1, b.y1)};
                groups[i].members.insert(groups[i].members.end(), groups[j].members.begin(), groups[j].members.end());
                groups.erase(groups.begin() + static_cast<std::ptrdiff_t>(j));
                merged = true;
            }
        }
    }
    std::vector<Patch> patches;
    for (const Group& group : groups) {
        Patch patch;
        patch.top = group.box.y0, patch.left = group.box.x0;
        patch.height = group.box.y1 - group.box.y0, patch.width = group.box.x1 - group.box.x0;
        patch.mask.assign(static_cast<size_t>(patch.height * patch.width), 0);
        for (const Polygon* region : group.members) rasterise(*region, patch);
        if (patch.any) patches.push_back(std::move(patch));
    }
    return patches;
}

uint8_t sample(const ImageView& image, int64_t y, int64_t x, int c) {
    return image.data[y * image.row_stride + x * image.pixel_stride + c * image.channel_stride];
}

uint8_t rounded(float value) { return static_cast<uint8_t>(std::min(std::max(value + 0.5f, 0.0f), 255.0f)); }

/// One channel of a patch as floats.
std::vector<float> plane_of(const ImageView& in, const Patch& patch, int c) {
    std::vector<float> plane(static_cast<size_t>(patch.height * patch.width));
    size_t i = 0;
    for (int64_t y = 0; y < patch.height; ++y)
        for (int64_t x = 0; x < patch.width; ++x) plane[i++] = float(sample(in, patch.top + y, patch.left + x, c));
    return plane;
}

/// Push-pull: fills `colour` where `weight` is 0 from the surroundings; true when there were any.
bool push_pull(std::vector<float>& colour, const std::vector<float>& weight, int64_t height, int64_t width) {
    const float most = *std::max_element(weight.begin(), weight.end());
    if (most == 0.0f) return false;
    if (*std::min_element(weight.begin(), weight.end()) >= 1.0f) return true;
    const int64_t h = (height + 1) / 2, w = (width + 1) / 2;
    std::vector<float> coarse(static_cast<size_t>(h * w)), heavy(static_cast<size_t>(h * w));
    for (int64_t y = 0; y < h; ++y) {
        for (int64_t x = 0; x < w; ++x) {
            float sum = 0.0f, total = 0.0f;
            for (int64_t j = 2 * y; j < std::min(2 * y + 2, height); ++j) {
                for (int64_t i = 2 * x; i < std::min(2 * x + 2, width); ++i) {
                    const size_t k = static_cast<size_t>(j * width + i);
                    sum += weight[k] * colour[k];
                    total += weight[k];
                }
            }
            const size_t k = static_cast<size_t>(y * w + x);
            coarse[k] = total > 0.0f ? sum / total : 0.0f;
            heavy[k] = std::min(1.0f, total);
        }
    }
    push_pull(coarse, heavy, h, w);
    for (int64_t y = 0; y < height; ++y) {
        for (int64_t x = 0; x < width; ++x) {
            const size_t k = static_cast<size_t>(y * width + x);
            const float a = weight[k];
            colour[k] = a * colour[k] + (1.0f - a) * coarse[static_cast<size_t>((y / 2) * w + x / 2)];
        }
    }
    return true;
}

void relax(std::vector<float>& colour, const Patch& patch) {
    const int64_t h = patch.height, w = patch.width;
    std::vector<float> next = colour;
    for (int pass = 0; pass < kRelaxations; ++pass) {
        for (int64_t y = 0; y < h; ++y) {
            const int64_t up = y > 0 ? y - 1 : std::min<int64_t>(1, h - 1), down = y + 1 < h ? y + 1 : std::max<int64_t>(h - 2, 0);
            for (int64_t x = 0; x < w; ++x) {
                if (!patch.at(y, x)) continue;
                const int64_t l = x > 0 ? x - 1 : std::min<int64_t>(1, w - 1), r = x + 1 < w ? x + 1 : std::max<int64_t>(w - 2, 0);
                const auto at = [&](int64_t j, int64_t i) { return colour[static_cast<size_t>(j * w + i)]; };
                next[static_cast<size_t>(y * w + x)] = ((at(up, x) + at(down, x)) + (at(y, l) + at(y, r))) * 0.25f;
            }
        }
        colour.swap(next);
    }
}

/// Running mean of radius r along rows of a plane, the border replicated.
void smooth_rows(std::vector<float>& plane, int64_t height, int64_t width, int64_t radius) {
    std::vector<float> row(static_cast<size_t>(width));
    const double scale = 1.0 / double(2 * radius + 1);
    for (int64_t y = 0; y < height; ++y) {
        float* p = plane.data() + y * width;
        std::copy(p, p + width, row.begin());
        const auto at = [&](int64_t x) { return double(row[static_cast<size_t>(std::min(std::max<int64_t>(x, 0), width - 1))]); };
        double sum = 0.0;
        for (int64_t x = -radius; x <= radius; ++x) sum += at(x);
        for (int64_t x = 0; x < width; ++x) {
            p[x] = float(sum * scale);
            sum += at(x + radius + 1) - at(x - radius);
        }
    }
}

std::vector<float> transposed(const std::vector<float>& plane, int64_t height, int64_t width) {
    std::vector<float> out(plane.size());
    for (int64_t y = 0; y < height; ++y)
        for (int64_t x = 0; x < width; ++x) out[static_cast<size_t>(x * height + y)] = plane[static_cast<size_t>(y * width + x)];
    return out;
}

void blur(std::vector<float>& plane, const Patch& patch) {
    const int64_t radius = std::min<int64_t>(64, std::max<int64_t>(8, patch.height / 2));
    for (int pass = 0; pass < 3; ++pass) smooth_rows(plane, patch.height, patch.width, radius);
    plane = transposed(plane, patch.height, patch.width);
    for (int pass = 0; pass < 3; ++pass) smooth_rows(plane, patch.width, patch.height, radius);
    plane = transposed(plane, patch.width, patch.height);
}

float mean_inside(const std::vector<float>& plane, const Patch& patch) {
    double sum = 0.0, count = 0.0;
    for (size_t i = 0; i < plane.size(); ++i) {
        if (patch.mask[i]) sum += double(plane[i]), count += 1.0;
    }
    return float(sum / count);
}

void copy(const ImageView& in, const MutableImageView& out) {
    for (int64_t y = 0; y < in.height; ++y) {
        if (in.rows_packed()) {
            std::memcpy(out.row(y), in.row(y), static_cast<size_t>(in.samples_per_row()));
            continue;
        }
        uint8_t* to = out.row(y);
        for (int64_t x = 0; x < in.width; ++x)
            for (int c = 0; c < in.channels; ++c) *to++ = sample(in, y, x, c);
    }
}

}  // namespace

void fill(const ImageView& in, const MutableImageView& out, const std::vector<Polygon>& regions, FillMethod method) {
    require_image(in, "image");
    require_out(out, in.height, in.width, in.channels);
    for (const Polygon& region : regions) {
        if (region.size() < 3) throw Error(Code::unsupported, "regions: each needs at least three corners");
        for (const auto& corner : region) {
            if (!std::isfinite(corner[0]) || !std::isfinite(corner[1])) {
                throw Error(Code::unsupported, "regions: coordinates must be finite");
            }
        }
    }
    copy(in, out);
    // A box needs no surroundings, and each region has its own colour; the others look a little around themselves.
    const int64_t margin = method == FillMethod::box ? 0 : 16;
    for (const Patch& patch : patches_of(regions, in.height, in.width, margin)) {
        for (int c = 0; c < in.channels; ++c) {
            std::vector<float> plane = plane_of(in, patch, c);
            if (method == FillMethod::blur) {
                blur(plane, patch);
            } else {
                const float mean = mean_inside(plane, patch);
                std::vector<float> weight(plane.size());
                for (size_t i = 0; i < plane.size(); ++i) weight[i] = patch.mask[i] ? 0.0f : 1.0f;
                if (method == FillMethod::inpaint && push_pull(plane, weight, patch.height, patch.width)) {
                    relax(plane, patch);
                } else {
                    std::fill(plane.begin(), plane.end(), mean);
                }
            }
            for (int64_t y = 0; y < patch.height; ++y) {
                uint8_t* row = out.row(patch.top + y) + patch.left * in.channels + c;
                for (int64_t x = 0; x < patch.width; ++x) {
                    if (patch.at(y, x)) row[x * in.channels] = rounded(plane[static_cast<size_t>(y * patch.width + x)]);
                }
            }
        }
    }
}

void reset_low_bits(const ImageView& in, const MutableImageView& out, int bits, const Context& context) {
    require_image(in, "image");
    require_out(out, in.height, in.width, in.channels);
    if (bits < 1 || bits > 7) throw Error(Code::unsupported, "bits: must be from 1 to 7");
    const uint8_t keep = static_cast<uint8_t>(~((1 << bits) - 1)), middle = static_cast<uint8_t>(1 << (bits - 1));
    copy(in, out);
    parallel_for(context, in.height, 64, [&](int64_t begin, int64_t end) {
        for (int64_t y = begin; y < end; ++y) {
            uint8_t* row = out.row(y);
            for (int64_t i = 0; i < in.samples_per_row(); ++i) row[i] = static_cast<uint8_t>((row[i] & keep) | middle);
        }
    });
}

}  // namespace og
