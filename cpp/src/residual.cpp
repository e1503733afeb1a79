#include "ondevice_guard/residual.hpp"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "door.hpp"
#include "kernels/kernels.hpp"
#include "ondevice_guard/backend.hpp"

namespace og {
namespace residual {

namespace {

constexpr int kPlane = 18, kJoint = 16, kRows = kTile + kReach, kHalf = 8;
constexpr int64_t kNoiseTiles = 24;
constexpr double kChromaNoise = 0.4431, kLumaNoise = 0.6 * 0.6267;  // see residual.hpp

struct Slots {
    int64_t across, slot, width, every;

    int64_t columns(int64_t tx) const { return std::min<int64_t>(kTile, width - tx * every * kTile); }
};

/// Adds what eight rows of accumulators hold to the sums of a row of tiles. `folded` is scratch.
void add_tiles(const ResidualKernels& k, int16_t* acc, int64_t pitch, const Slots& slots, int32_t* folded,
               int64_t* tiles) {
    const int64_t last = slots.across - 1, end = last * slots.slot + slots.columns(last);
    for (int64_t i = 0; i < 3 * kPlane + kJoint; ++i) {
        int16_t* row = acc + i * pitch;
        std::fill(row + end, row + pitch, int16_t{0});
        if (i == 3 * kPlane + 7) {  // by column: 8 sums
            for (int64_t tx = 0; tx < slots.across; ++tx) {
                int64_t* to = tiles + tx * kSums + 1 + 3 * kPlane + 3 + 8;
                for (int64_t x = 0; x < slots.columns(tx); ++x) to[x & 7] += row[tx * slots.slot + x];
            }
            continue;
        }
        k.fold(row, pitch - 8, folded);
        if (i >= 3 * kPlane + 3 && i < 3 * kPlane + 7) {  // 2 sums: what is folded adds columns of one parity
            const int64_t to = 1 + 3 * kPlane + 3 + 2 * (i - 3 * kPlane - 3);
            for (int64_t tx = 0; tx < slots.across; ++tx) {
                tiles[tx * kSums + to] += folded[tx * slots.slot];
                tiles[tx * kSums + to + 1] += folded[tx * slots.slot + 1];
            }
            continue;
        }
        const int64_t to = 1 + i + (i < 3 * kPlane + 3 ? 0 : 11);
        for (int64_t tx = 0; tx < slots.across; ++tx) {
            const int64_t left = tx * slots.slot;
            tiles[tx * kSums + to] += folded[left] + folded[left + 1];
        }
    }
}

}  // namespace

int64_t tiles_along(int64_t n, int64_t every) {
    const int64_t tiles = std::max<int64_t>(1, (n - kReach + kTile - 1) / kTile);
    return (tiles + every - 1) / every;
}

void tile_sums(const ImageView& image, int64_t every, int64_t* out, const Context& context) {
    require_image(image, "image");
    if (every < 1) throw Error(Code::unsupported, "every: must be at least 1, got " + std::to_string(every));
    const int64_t down = tiles_along(image.height, every), across = tiles_along(image.width, every);
    std::fill(out, out + down * across * kSums, int64_t{0});
    const int64_t height = image.height - kReach, width = image.width - kReach;
    if (height < 1 || width < 1) return;
    const ResidualKernels& k = *kernels().residual;
    const Packed packed(image);
    const ImageView& v = packed.view();
    // Where tiles are left out, those that remain lie side by side, each with the pixels it reaches, in slots of 24.
    const int64_t slot = every == 1 ? kTile : 24, channels = v.channels;
    const int64_t n = every == 1 ? width : across * slot - kReach;
    // Per tile row: 3 planes x 20 rows of pixels, 3 x 18 rows of details, the accumulators, one row of slots.
    const int64_t pitch = (n + kReach + 31) / 32 * 32 + 32, sums = 3 * kPlane + kJoint;
    const Slots tiles{across, slot, width, every};
    const int64_t plane_rows = 3 * kRows, detail_rows = 3 * (kTile + 2);
    const size_t bytes = static_cast<size_t>((plane_rows + detail_rows + sums) * pitch * 2 + pitch * (channels + 8));
    parallel_for(context, down, 1, [&](int64_t begin, int64_t end) {
        const Scratch scratch(bytes);
        int16_t* planes = scratch.as<int16_t>();
        int16_t* details = planes + plane_rows * pitch;
        int16_t* acc = details + detail_rows * pitch;
        int32_t* folded = reinterpret_cast<int32_t*>(acc + sums * pitch);
        uint32_t* pixels = reinterpret_cast<uint32_t*>(folded + pitch);
        uint8_t* slots = reinterpret_cast<uint8_t*>(pixels + pitch);
        std::fill(folded, folded + pitch, 0);
        std::fill(slots, slots + pitch * channels, uint8_t{0});
        const auto plane = [&](int p, int64_t r) { return planes + (p * kRows + r) * pitch; };
        const auto detail = [&](int p, int64_t r) { return details + (p * (kTile + 2) + r) * pitch; };
        for (int64_t ty = begin; ty < end; ++ty) {
            const int64_t top = ty * every * kTile, rows = std::min<int64_t>(kTile, height - top);
            for (int64_t r = 0; r < rows + kReach; ++r) {
                const uint8_t* row = v.row(top + r);
                for (int64_t tx = 0; every > 1 && tx < across; ++tx) {
                    const int64_t left = tx * every * kTile, reach = std::min<int64_t>(kRows, v.width - left);
                    std::memcpy(slots + tx * slot * channels, row + left * channels,
                                static_cast<size_t>(reach * channels));
                }
                k.planes_row(every > 1 ? slots : row, n + kReach, v.channels, pixels, plane(0, r), plane(1, r),
                             plane(2, r));
            }
            for (int p = 0; p < 3; ++p) {
                for (int64_t r = 0; r < rows + 2; ++r) k.detail_row(plane(p, r), plane(p, r + 1), n + 2, detail(p, r));
            }
            for (int64_t first = 0; first < rows; first += kHalf) {
                std::fill(acc, acc + sums * pitch, int16_t{0});
                for (int64_t r = first; r < std::min<int64_t>(rows, first + kHalf); ++r) {
                    for (int p = 0; p < 3; ++p) {
                        const int16_t* pixel[5] = {plane(p, r), plane(p, r + 1), plane(p, r + 2), plane(p, r + 3),
                                                   plane(p, r + 4)};
                        const int16_t* edge[3] = {detail(p, r), detail(p, r + 1), detail(p, r + 2)};
                        k.plane_row(pixel, edge, n, acc + p * kPlane * pitch, pitch);
                    }
                    const int16_t* edge[3] = {detail(0, r), detail(1, r), detail(2, r)};
                    k.joint_row(edge, plane(0, r), plane(0, r + 1), r, n, acc + 3 * kPlane * pitch, pitch);
                }
                add_tiles(k, acc, pitch, tiles, folded, out + ty * across * kSums);
            }
            for (int64_t tx = 0; tx < across; ++tx) {
                out[(ty * across + tx) * kSums] = rows * tiles.columns(tx);
            }
        }
    });
}

namespace {

constexpr double kSoft = 0.05;   // added to mean squares: a flat region has no noise, not an undefined one
constexpr double kFloor = 0.02;  // added to means before their logarithm
constexpr double kEven = 0.01;   // added per pixel to sums whose ratio is taken
constexpr double kQuantiles[5] = {0.05, 0.25, 0.5, 0.75, 0.95};

/// Sums of the 18 entries of a plane over some tiles, and their pixels.
struct PlaneSums {
    int64_t sum[kPlane] = {};
    int64_t pixels = 0;

    void add(const int64_t* tile, int plane) {
        pixels += tile[0];
        for (int i = 0; i < kPlane; ++i) sum[i] += tile[1 + plane * kPlane + i];
    }
    double count() const { return static_cast<double>(std::max<int64_t>(pixels, 1)); }
    double of(int i) const { return static_cast<double>(sum[i]); }
    double power() const { return of(1) + kSoft * count(); }

    double* shape(double* out) const {
        const double n = count(), w = power(), base = std::log2(of(0) / n + kFloor);
        *out++ = base;
        for (int i = 2; i < 6; ++i) *out++ = std::log2(of(i) / n + kFloor) - base;
        *out++ = of(0) * of(0) / (n * w);
        for (int i = 6; i < 11; ++i) *out++ = of(i) / w;
        for (int i = 11; i < kPlane; ++i) *out++ = of(i) / n;
        return out;
    }
};

double* correlations(const int64_t* joint, const double* power, double* out) {
    *out++ = static_cast<double>(joint[0]) / std::sqrt(power[0] * power[1]);
    *out++ = static_cast<double>(joint[1]) / std::sqrt(power[0] * power[2]);
    *out++ = static_cast<double>(joint[2]) / std::sqrt(power[1] * power[2]);
    return out;
}

/// Tiles in the order of one plane's mean |a|, equal ones in that of the grid, and log2 of it: sorted once for all regions.
struct Order {
    std::vector<int32_t> rank;  ///< of each tile of the grid; of those without a counted pixel it means nothing
    std::vector<int32_t> tile;  ///< of each rank
    std::vector<double> level;  ///< of each rank

    Order(const int64_t* sums, int64_t tiles, int plane) : rank(static_cast<size_t>(tiles)) {
        std::vector<std::pair<double, int32_t>> order;
        for (int64_t i = 0; i < tiles; ++i) {
            const int64_t* at = sums + i * kSums;
            if (at[0] > 0)
                order.emplace_back(static_cast<double>(at[1 + plane * kPlane]) / static_cast<double>(at[0]),
                                   static_cast<int32_t>(i));
        }
        std::sort(order.begin(), order.end());
        for (const auto& [energy, i] : order) {
            rank[static_cast<size_t>(i)] = static_cast<int32_t>(tile.size());
            tile.push_back(i);
            level.push_back(std::log2(energy + kFloor));
        }
    }
};

/// Sorts different numbers: few of them by counting, without a branch, how many are less than each.
void sort_ranks(std::vector<int32_t>& ranks, std::vector<int32_t>& sorted) {
    sorted.resize(ranks.size());
    if (ranks.size() > 64) {
        std::copy(ranks.begin(), ranks.end(), sorted.begin());
        std::sort(sorted.begin(), sorted.end());
        return;
    }
    for (const int32_t r : ranks) {
        int32_t less = 0;
        for (const int32_t other : ranks) less += other < r;
        sorted[static_cast<size_t>(less)] = r;
    }
}

}  // namespace

void ratios(const int64_t* sums, int64_t down, int64_t across, const Region* regions, int64_t count, double* out) {
    const Order orders[3] = {{sums, down * across, 0}, {sums, down * across, 1}, {sums, down * across, 2}};
    std::vector<int64_t> tiles;  // of the region, those with a counted pixel
    std::vector<int32_t> ranks, sorted;
    for (int64_t r = 0; r < count; ++r) {
        const Region& in = regions[r];
        if (in.top < 0 || in.left < 0 || in.height < 1 || in.width < 1 || in.height > down - in.top ||
            in.width > across - in.left)
            throw Error(Code::unsupported, "regions: region " + std::to_string(r) + " does not lie in the grid");
        tiles.clear();
        for (int64_t y = in.top; y < in.top + in.height; ++y) {
            for (int64_t x = in.left; x < in.left + in.width; ++x) {
                if (sums[(y * across + x) * kSums] > 0) tiles.push_back(y * across + x);
            }
        }
        const auto n = static_cast<int64_t>(tiles.size());
        const int64_t quiet = std::max<int64_t>(1, in.height * in.width / 4);  // of the region, empty tiles included
        double* to = out + r * kRatios;
        PlaneSums whole[3];
        int64_t total[kSums] = {}, joint[3] = {}, squares[3] = {}, area = 0;
        for (const int64_t at : tiles) {
            for (int i = 1 + 3 * kPlane; i < kSums; ++i) total[i] += sums[at * kSums + i];
        }
        for (int p = 0; p < 3; ++p) {
            const Order& order = orders[p];
            ranks.clear();
            for (const int64_t at : tiles) {
                whole[p].add(sums + at * kSums, p);
                ranks.push_back(order.rank[static_cast<size_t>(at)]);
            }
            sort_ranks(ranks, sorted);
            PlaneSums calm;
            for (int64_t i = 0; i < std::min(quiet, n); ++i) {
                const int64_t* tile =
                    sums + order.tile[static_cast<size_t>(sorted[static_cast<size_t>(i)])] * int64_t{kSums};
                calm.add(tile, p);
                if (p != 0) continue;
                area += tile[0];
                for (int k = 0; k < 3; ++k) {
                    joint[k] += tile[1 + 3 * kPlane + k];
                    squares[k] += tile[1 + k * kPlane + 1];
                }
            }
            to = calm.shape(whole[p].shape(to));
            const auto level = [&](int64_t i) {
                return n == 0 ? std::log2(kFloor) : order.level[static_cast<size_t>(sorted[static_cast<size_t>(i)])];
            };
            const int64_t last = std::max<int64_t>(n, 1) - 1;
            for (const double q : kQuantiles) {
                const double at = q * static_cast<double>(last), low = std::floor(at);
                const auto i = static_cast<int64_t>(low);
                const double below = level(i), above = level(std::min(i + 1, last));
                *to++ = below + (at - low) * (above - below);
            }
        }
        double power[3];
        for (int p = 0; p < 3; ++p) power[p] = whole[p].power();
        to = correlations(total + 1 + 3 * kPlane, power, to);
        for (int p = 0; p < 3; ++p)
            power[p] = static_cast<double>(squares[p]) + kSoft * static_cast<double>(std::max<int64_t>(area, 1));
        to = correlations(joint, power, to);
        const double even = kEven * whole[0].count();
        const int64_t* at = total + 1 + 3 * kPlane + 3;
        for (int p = 0; p < 2; ++p, at += 4) {
            double phase[4];
            for (int k = 0; k < 4; ++k) phase[k] = static_cast<double>(at[k]) + even;
            *to++ = std::log2(*std::max_element(phase, phase + 4) / *std::min_element(phase, phase + 4));
            *to++ = std::abs(std::log2((phase[0] + phase[3]) / (phase[1] + phase[2])));
        }
        for (int axis = 0; axis < 2; ++axis, at += 8) {
            double edge[8];
            for (int k = 0; k < 8; ++k) edge[k] = static_cast<double>(at[k]) + even;
            std::sort(edge, edge + 8);
            const double middle = (edge[3] + edge[4]) / 2;
            *to++ = std::log2(edge[7] / middle);
            *to++ = std::log2(edge[0] / middle);
        }
    }
}

bool Perceptron::fits() const {
    size_t inputs = mean.size();
    bool good = inputs == kRatios && scale.size() == inputs && !layers.empty();
    for (const Layer& layer : layers) {
        good = good && layer.weights.size() == inputs * layer.bias.size();
        inputs = layer.bias.size();
    }
    return good && inputs == 1;
}

void logits(const int64_t* sums, int64_t down, int64_t across, const Region* regions, int64_t count,
            const Perceptron& perceptron, double* out) {
    if (!perceptron.fits()) throw Error(Code::unsupported, "perceptron: layers do not fit each other");
    const ResidualKernels& k = *kernels().residual;
    std::vector<double> all(static_cast<size_t>(count * kRatios)), x, y;
    ratios(sums, down, across, regions, count, all.data());
    for (int64_t r = 0; r < count; ++r) {
        x.assign(all.begin() + r * kRatios, all.begin() + (r + 1) * kRatios);
        for (size_t i = 0; i < x.size(); ++i)
            x[i] = std::min(std::max((x[i] - perceptron.mean[i]) / perceptron.scale[i], -5.0), 5.0);
        for (const Perceptron::Layer& layer : perceptron.layers) {
            const size_t n = layer.bias.size();
            y.assign(n, 0.0);
            for (size_t i = 0; i < x.size(); ++i)
                k.add_scaled(x[i], layer.weights.data() + i * n, static_cast<int64_t>(n), y.data());
            for (size_t o = 0; o < n; ++o) {
                y[o] += layer.bias[o];
                if (&layer != &perceptron.layers.back()) y[o] = std::max(y[o], 0.0);
            }
            x.swap(y);
        }
        out[r] = perceptron.slope * x[0] + perceptron.offset;
    }
}

double noise_level(const ImageView& image, const Context& context) {
    require_image(image, "image");
    if (image.height < 2 || image.width < 2) return 0.0;
    const ResidualKernels& k = *kernels().residual;
    const Packed packed(image);
    const ImageView& v = packed.view();
    // Whole tiles alone; of a side shorter than one, what there is.
    const int64_t tall = std::min<int64_t>(kTile, v.height - 1), wide = std::min<int64_t>(kTile, v.width - 1);
    const int64_t rows = (v.height - 1) / tall, across = (v.width - 1) / wide;
    const int64_t every = std::max<int64_t>(1, std::min(rows, across) / kNoiseTiles), down = (rows + every - 1) / every;
    const int64_t n = across * wide, pitch = (n + 31) / 32 * 32 + 32;
    std::vector<int32_t> chroma(static_cast<size_t>(down * across)), luma(chroma.size());
    parallel_for(context, down, 4, [&](int64_t begin, int64_t end) {
        const Scratch scratch(static_cast<size_t>((6 + 1 + 2) * pitch * 2 + 2 * pitch * 4));
        int16_t* planes = scratch.as<int16_t>();
        int16_t *detail = planes + 6 * pitch, *acc = detail + pitch;
        int32_t* folded = reinterpret_cast<int32_t*>(acc + 2 * pitch);
        uint32_t* pixels = reinterpret_cast<uint32_t*>(folded + pitch);
        std::fill(folded, folded + pitch, 0);
        const auto plane = [&](int p, int64_t r) { return planes + (2 * p + (r & 1)) * pitch; };
        for (int64_t ty = begin; ty < end; ++ty) {
            std::fill(acc, acc + 2 * pitch, int16_t{0});
            for (int64_t r = 0; r <= tall; ++r) {
                k.planes_row(v.row(ty * every * tall + r), n + 1, v.channels, pixels, plane(0, r), plane(1, r),
                             plane(2, r));
                for (int p = 0; p < (v.channels > 1 ? 3 : 1) && r > 0; ++p) {
                    k.detail_row(plane(p, r - 1), plane(p, r), n, detail);
                    k.magnitude_row(detail, n, p == 0 ? acc : acc + pitch);
                }
            }
            for (int p = 0; p < 2; ++p) {
                k.fold(acc + p * pitch, pitch - 8, folded);
                int32_t* to = (p == 0 ? luma : chroma).data() + ty * across;
                for (int64_t tx = 0; tx < across; ++tx) to[tx] = folded[tx * wide] + folded[tx * wide + 1];
            }
        }
    });
    const auto mean = [&](std::vector<int32_t>& sums, int64_t percent) {
        const auto at = sums.begin() + static_cast<int64_t>(sums.size() - 1) * percent / 100;
        std::nth_element(sums.begin(), at, sums.end());
        return static_cast<double>(*at) / static_cast<double>(tall * wide);
    };
    return std::max(mean(chroma, 50) * 0.5 * kChromaNoise, mean(luma, 10) * kLumaNoise);
}

}  // namespace residual
}  // namespace og
