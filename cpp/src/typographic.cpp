#include "ondevice_guard/typographic.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <tuple>
#include <utility>

#include "door.hpp"
#include "kernels/kernels.hpp"
#include "ondevice_guard/backend.hpp"
#include "plans.hpp"

namespace og {
namespace {

constexpr int kRadius = 7, kWindow = 15;

/// Index of a reflected border that does not repeat the edge, for any i: ... 2 1 0 1 2 ... n-1 n-2 ...
int64_t reflect(int64_t i, int64_t n) {
    if (n == 1) return 0;
    const int64_t period = 2 * (n - 1);
    i %= period;
    if (i < 0) i += period;
    return i < n ? i : period - i;
}

void require_colour(const ImageView& in) {
    require_image(in, "image");
    if (in.channels == 4)
        throw Error(Code::unsupported, "image: has an alpha channel; composite it over a background first");
}

}  // namespace

void patches(const ImageView& in, uint8_t* out, const Context& context) {
    require_colour(in);
    const TypographicKernels& k = *kernels().typographic;
    const Packed packed(in);
    const ImageView& v = packed.view();
    const int64_t w = v.width, cells = patch_cells(w), wide = cells * 4, rows = patch_cells(v.height) * 4;
    const int64_t ext = (wide + 2 * kRadius + 31) / 32 * 32;  // values of an extended row: 7 reflected on both sides
    const int64_t band = std::max<int64_t>(16, (1 << 17) / std::max<int64_t>(1, wide) / 4 * 4);
    parallel_for(context, (rows + band - 1) / band, 1, [&](int64_t first, int64_t last) {
        // ring of 16 rows x 3 planes of int16, 3 x 2 planes of column sums, kernel scratch, a row of pixels
        const size_t ring_bytes = static_cast<size_t>(16 * 3 * ext) * 2, sums_bytes = static_cast<size_t>(6 * ext) * 4;
        const size_t scratch_bytes = static_cast<size_t>(3 * (wide + 16) + 16) * 4;
        const Scratch memory(ring_bytes + sums_bytes + scratch_bytes + static_cast<size_t>(wide) * 4);
        int16_t* ring = memory.as<int16_t>();
        int32_t* sums = reinterpret_cast<int32_t*>(memory.data() + ring_bytes);
        int32_t* scratch = sums + 6 * ext;
        uint32_t* words = reinterpret_cast<uint32_t*>(memory.data() + ring_bytes + sums_bytes + scratch_bytes);
        const auto plane = [&](int64_t row, int c) { return ring + (((row + 64) % 16) * 3 + c) * ext; };
        const auto load = [&](int64_t row, int64_t leaving) {
            const uint8_t* src = v.row(reflect(row, v.height));
            k.split_row(src, w, v.channels, plane(row, 0) + kRadius, plane(row, 1) + kRadius, plane(row, 2) + kRadius);
            for (int c = 0; c < 3; ++c) {
                int16_t* p = plane(row, c);
                for (int64_t i = 0; i < kRadius; ++i) p[i] = p[kRadius + reflect(i - kRadius, w)];
                for (int64_t i = w + kRadius; i < wide + 2 * kRadius; ++i) p[i] = p[kRadius + reflect(i - kRadius, w)];
                const int16_t* old = leaving < row - 64 ? nullptr : plane(leaving, c);
                k.slide_rows(p, old, sums + 2 * c * ext, sums + (2 * c + 1) * ext, wide + 2 * kRadius);
            }
        };
        for (int64_t b = first; b < last; ++b) {
            const int64_t begin = b * band, end = std::min(rows, begin + band);
            std::memset(sums, 0, sums_bytes);
            for (int64_t r = begin - kRadius; r < begin + kRadius; ++r) load(r, r - 1000);
            for (int64_t y = begin; y < end; ++y) {
                load(y + kRadius, y == begin ? y - 1000 : y - kRadius - 1);
                for (int c = 0; c < 3; ++c) {
                    k.contrast_row(plane(y, c) + kRadius, sums + 2 * c * ext, sums + (2 * c + 1) * ext, wide, c + 1,
                                   words, scratch);
                }
                k.pack_row(words, wide, out + (y / 4) * cells * 64 + (y % 4) * 16);
            }
        }
    });
}

namespace {

constexpr int64_t kBlock = 32, kBefore = 192, kBehind = 160;  // see the header

/// `n` pixels in `parts` spans whose kept blocks differ in number by at most one.
std::vector<Span> spans(int64_t n, int64_t parts) {
    const int64_t blocks = (n + kBlock - 1) / kBlock;
    std::vector<Span> out;
    for (int64_t i = 0; i < parts; ++i) {
        const int64_t first = i * blocks / parts * kBlock, last = std::min(n, (i + 1) * blocks / parts * kBlock);
        out.push_back({std::max<int64_t>(0, first - kBefore), std::min(n, last + kBehind), first, last});
    }
    return out;
}

/// Pixels of the longest of some spans, and of all, padded as `patches` pads.
std::pair<int64_t, int64_t> extent(const std::vector<Span>& spans) {
    int64_t longest = 0, sum = 0;
    for (const Span& s : spans) {
        const int64_t n = 4 * patch_cells(s.end - s.begin);
        longest = std::max(longest, n);
        sum += n;
    }
    return {longest, sum};
}

}  // namespace

Tiling tiling(int64_t height, int64_t width, int64_t most) {
    constexpr int64_t least = kBefore + kBlock + kBehind;
    if (height < 1 || width < 1 || most < least * least)
        throw Error(Code::unsupported, "tiling: an empty picture, or tiles of less than 384 x 384 pixels");
    Tiling best{spans(height, 1), spans(width, 1)};
    if (height <= most / width) return best;
    int64_t fewest = std::numeric_limits<int64_t>::max();
    for (int64_t i = 1; i <= (height + kBlock - 1) / kBlock; ++i) {
        std::vector<Span> down = spans(height, i);
        const auto [tall, rows] = extent(down);
        if (rows * width >= fewest) break;  // more tiles look at more, down as across
        for (int64_t j = 1; j <= (width + kBlock - 1) / kBlock; ++j) {
            std::vector<Span> across = spans(width, j);
            const auto [wide, columns] = extent(across);
            if (rows * columns >= fewest) break;
            if (tall * wide > most) continue;
            fewest = rows * columns;
            best = {std::move(down), std::move(across)};
            break;
        }
    }
    return best;
}

namespace {

/// What find_lines knows of the map: probabilities of its bytes and where each cell's channels are.
struct Map {
    const uint8_t* data;
    int64_t width;  ///< of the map; cells of 4 pixels are twice as many
    int zero;
    float probability[256];

    const uint8_t* cell(int64_t y, int64_t x) const { return data + ((y >> 1) * width + (x >> 1)) * 14; }
    /// Probability that cell (y, x) holds text (0), overlay (1) or core (2).
    double at(int64_t y, int64_t x, int kind) const {
        return static_cast<double>(probability[cell(y, x)[4 * kind + (y & 1) * 2 + (x & 1)]]);
    }
};

/// Cells of one line's core, and the bar around them.
struct Bar {
    std::vector<int64_t> cells;  ///< y * 2 * width + x
    double x = 0, y = 0;         ///< centroid, in cells of 4 pixels
    double ux = 1, uy = 0;       ///< unit vector along the reading direction
    double low = 0, high = 0;    ///< extent of the core along (ux, uy) from the centroid
    double thick = 0;            ///< of the core
    double area = 0;             ///< of the bars of the pieces that were joined
    double agreement = 0;        ///< length of the mean unit vector of the reading directions

    double height() const { return thick / 0.4; }
    double aspect() const { return (high - low) / thick; }
};

/// Fit a bar to cells: along `axis` where given, else along the cells' larger eigenvector, or along their mean reading
/// direction where they are not elongated.
Bar fit(std::vector<int64_t> cells, const Map& map, const double* axis = nullptr) {
    const int64_t wide = 2 * map.width, oy = cells[0] / wide, ox = cells[0] % wide;
    int64_t sx = 0, sy = 0, sxx = 0, syy = 0, sxy = 0;  // moments about the first cell keep the integers small
    double cos = 0, sin = 0, known = 0;
    for (const int64_t m : cells) {
        const int64_t y = m / wide - oy, x = m % wide - ox;
        sx += x;
        sy += y;
        sxx += x * x;
        syy += y * y;
        sxy += x * y;
        const uint8_t* p = map.cell(m / wide, m % wide);
        const double dx = p[12] - map.zero, dy = p[13] - map.zero, norm = std::sqrt(dx * dx + dy * dy);
        if (norm > 0) {
            cos += dx / norm;
            sin += dy / norm;
            known += 1;
        }
    }
    const double n = static_cast<double>(cells.size()), mx = sx / n, my = sy / n;
    const double a = sxx / n - mx * mx, c = syy / n - my * my, b = sxy / n - mx * my;
    const double root = std::sqrt((a - c) * (a - c) + 4 * b * b), large = (a + c + root) / 2,
                 little = (a + c - root) / 2;
    const double sum = std::sqrt(cos * cos + sin * sin);
    double ux = 1, uy = 0;
    if (axis) {
        ux = axis[0];
        uy = axis[1];
    } else if (large + 1.0 / 12 > 2.5 * (little + 1.0 / 12)) {
        ux = a >= c ? (a - c + root) / 2 : b;
        uy = a >= c ? b : (c - a + root) / 2;
    } else if (sum > 0) {
        ux = cos;
        uy = sin;
    }
    const double norm = std::sqrt(ux * ux + uy * uy);
    Bar bar;
    bar.ux = norm > 0 ? ux / norm : 1;
    bar.uy = norm > 0 ? uy / norm : 0;
    if (!axis && bar.ux * cos + bar.uy * sin < 0) {
        bar.ux = -bar.ux;
        bar.uy = -bar.uy;
    }
    double across = 0;
    for (size_t i = 0; i < cells.size(); ++i) {
        const double x = static_cast<double>(cells[i] % wide - ox) - mx,
                     y = static_cast<double>(cells[i] / wide - oy) - my;
        const double u = x * bar.ux + y * bar.uy, v = -x * bar.uy + y * bar.ux;
        bar.low = i ? std::min(bar.low, u) : u;
        bar.high = i ? std::max(bar.high, u) : u;
        across += v * v;
    }
    bar.low -= 0.5;
    bar.high += 0.5;
    bar.thick = std::sqrt(12 * across / n + 1);
    bar.area = (bar.high - bar.low) * bar.thick;
    bar.agreement = known > 0 ? sum / known : 0;
    bar.x = static_cast<double>(ox) + mx + 0.5;
    bar.y = static_cast<double>(oy) + my + 0.5;
    bar.cells = std::move(cells);
    return bar;
}

/// Turn short pieces the way the long ones of the picture run: the axis of a digit or of two letters is their strokes'.
void align(std::vector<Bar>& bars, const Map& map) {
    double cos = 0, sin = 0, all = 0;
    for (const Bar& b : bars) {
        if (b.aspect() < 4) continue;
        const double weight = b.high - b.low;
        cos += weight * b.ux;
        sin += weight * b.uy;
        all += weight;
    }
    const double sum = std::sqrt(cos * cos + sin * sin);
    if (!(sum > 0.8 * all) || all == 0) return;  // lines run in several directions: nothing to go by
    const double axis[2] = {cos / sum, sin / sum};
    for (Bar& b : bars) {
        if (b.aspect() < 4 && b.ux * axis[0] + b.uy * axis[1] < 0.9) b = fit(std::move(b.cells), map, axis);
    }
}

/// Distance in cells between two pieces that may be one line: they run alike, side by side on one axis, of like height,
/// less than a wide space apart, or further apart with writing in between. Negative infinity: they are not one line.
double spacing(const Bar& p, const Bar& q, const Map& map, int64_t rows) {
    constexpr double apart = -std::numeric_limits<double>::infinity();
    const bool first = p.high - p.low >= q.high - q.low;
    const Bar &a = first ? p : q, &b = first ? q : p;  // a is the longer, and its axis the surer
    const double h = std::max(a.height(), b.height());
    if (std::min(a.height(), b.height()) < 0.5 * h) return apart;
    const double alike = a.ux * b.ux + a.uy * b.uy;
    if (alike < (b.aspect() < 4 ? 0.7 : 0.94)) return apart;
    const double dx = b.x - a.x, dy = b.y - a.y, along = dx * a.ux + dy * a.uy, across = -dx * a.uy + dy * a.ux;
    if (std::abs(across) > 0.35 * h) return apart;
    const double gap = along > 0 ? along + b.low - a.high : -along + a.low - b.high;
    if (gap < -0.5 * h || gap > 6 * h) return apart;
    if (gap < 1.5 * h) return gap;  // the core's ends lie 0.3 heights inside the letters: a space of up to 0.9 heights
    const double from = along > 0 ? a.high : a.low - gap;
    double text = 0, samples = 0;
    for (double u = from + 0.5 * h; u <= from + gap - 0.5 * h; u += 1) {
        const auto x = static_cast<int64_t>(std::floor(a.x + u * a.ux)),
                   y = static_cast<int64_t>(std::floor(a.y + u * a.uy));
        if (x < 0 || x >= 2 * map.width || y < 0 || y >= rows) return apart;
        text += map.at(y, x, 0);
        samples += 1;
    }
    return text > 0.35 * samples ? gap : apart;
}

/// Join the pieces of each line, nearest first, as long as the joined line is not much thicker than its pieces (a blob
/// between two lines would join both); a bar keeps the sum of its pieces' areas.
std::vector<Bar> join(std::vector<Bar> bars, const Map& map, int64_t rows) {
    struct Pair {
        double gap;
        size_t i, j;
    };
    std::vector<Pair> pairs;
    for (size_t i = 0; i < bars.size(); ++i) {
        for (size_t j = i + 1; j < bars.size(); ++j) {
            const double gap = spacing(bars[i], bars[j], map, rows);
            if (std::isfinite(gap)) pairs.push_back({gap, i, j});
        }
    }
    std::sort(pairs.begin(), pairs.end(),
              [](const Pair& p, const Pair& q) { return std::tie(p.gap, p.i, p.j) < std::tie(q.gap, q.i, q.j); });
    std::vector<size_t> root(bars.size());
    for (size_t i = 0; i < root.size(); ++i) root[i] = i;
    for (const Pair& pair : pairs) {
        size_t i = pair.i, j = pair.j;
        while (root[i] != i) i = root[i];
        while (root[j] != j) j = root[j];
        if (i == j) continue;
        Bar &a = bars[i], &b = bars[j];
        const double na = static_cast<double>(a.cells.size()), nb = static_cast<double>(b.cells.size());
        std::vector<int64_t> cells = a.cells;
        cells.insert(cells.end(), b.cells.begin(), b.cells.end());
        Bar both = fit(std::move(cells), map);
        if (both.thick > 1.25 * (na * a.thick + nb * b.thick) / (na + nb) + 0.5) continue;
        both.area = a.area + b.area;
        a = std::move(both);
        b.cells.clear();
        root[j] = i;
    }
    bars.erase(std::remove_if(bars.begin(), bars.end(), [](const Bar& b) { return b.cells.empty(); }), bars.end());
    return bars;
}

}  // namespace

std::vector<Line> find_lines(const uint8_t* data, int64_t h, int64_t w, const MapCode& code, int64_t limit) {
    if (h < 1 || w < 1 || h * w > kMaxSamples / 64) throw Error(Code::unsupported, "map: empty or too large");
    if (!(code.scale > 0.0F)) throw Error(Code::unsupported, "scale: must be positive");
    Map map{data, w, code.zero, {}};
    bool inside[256];
    for (int q = 0; q < 256; ++q) {
        const float x = static_cast<float>(q - code.zero) * code.scale;
        // to 16 bits, so that no difference in the last place of exp shows
        map.probability[q] =
            static_cast<float>(std::lround(65535.0 / (1.0 + std::exp(-static_cast<double>(x))))) / 65535.0F;
        inside[q] = x > code.threshold;
    }
    const int64_t H = 2 * h, W = 2 * w;
    std::vector<uint8_t> open(static_cast<size_t>(H * W));
    for (int64_t y = 0; y < H; ++y) {
        for (int64_t x = 0; x < W; ++x)
            open[static_cast<size_t>(y * W + x)] = inside[map.cell(y, x)[8 + (y & 1) * 2 + (x & 1)]];
    }
    std::vector<std::vector<int64_t>> components;
    std::vector<int64_t> member;
    for (int64_t start = 0; start < H * W; ++start) {
        if (!open[static_cast<size_t>(start)]) continue;
        member.assign(1, start);
        open[static_cast<size_t>(start)] = 0;
        for (size_t i = 0; i < member.size(); ++i) {
            const int64_t y = member[i] / W, x = member[i] % W;
            for (int64_t ny = std::max<int64_t>(0, y - 1); ny <= std::min(H - 1, y + 1); ++ny) {
                for (int64_t nx = std::max<int64_t>(0, x - 1); nx <= std::min(W - 1, x + 1); ++nx) {
                    uint8_t& o = open[static_cast<size_t>(ny * W + nx)];
                    if (o) {
                        o = 0;
                        member.push_back(ny * W + nx);
                    }
                }
            }
        }
        if (static_cast<int64_t>(member.size()) >= code.min_cells) components.push_back(member);
    }
    // pieces are compared pair by pair: of more than kPieces (a page holds some hundreds of words) the largest count
    constexpr size_t kPieces = 2048;
    const auto larger = [](const std::vector<int64_t>& p, const std::vector<int64_t>& q) {
        return p.size() != q.size() ? p.size() > q.size() : p[0] < q[0];
    };
    std::sort(components.begin(), components.end(), larger);
    if (components.size() > kPieces) components.resize(kPieces);
    std::vector<Bar> bars;
    for (std::vector<int64_t>& c : components) bars.push_back(fit(std::move(c), map));
    align(bars, map);
    bars = join(std::move(bars), map, H);
    std::sort(bars.begin(), bars.end(), [&](const Bar& p, const Bar& q) { return larger(p.cells, q.cells); });
    if (static_cast<int64_t>(bars.size()) > limit) bars.resize(static_cast<size_t>(std::max<int64_t>(0, limit)));
    std::vector<Line> lines;
    for (const Bar& b : bars) {
        Line line;
        double text = 0, overlay = 0, core = 0;
        for (const int64_t m : b.cells) {
            text += map.at(m / W, m % W, 0);
            overlay += map.at(m / W, m % W, 1);
            core += map.at(m / W, m % W, 2);
        }
        const double n = static_cast<double>(b.cells.size()), height = b.height(), reach = 0.3 * height;
        line.text = static_cast<float>(text / n);
        line.overlay = static_cast<float>(overlay / n);
        line.core = static_cast<float>(core / n);
        line.direction = static_cast<float>(b.agreement);
        line.fill = static_cast<float>(std::min(1.0, n / b.area));
        line.cells = static_cast<float>(n);
        const double ends[2] = {b.low - reach, b.high + reach};
        const int corner[4][2] = {{0, -1}, {1, -1}, {1, 1}, {0, 1}};
        for (int i = 0; i < 4; ++i) {
            const double u = ends[corner[i][0]], v = corner[i][1] * height / 2;
            line.quad[static_cast<size_t>(i)] = {static_cast<float>(4 * (b.x + u * b.ux - v * b.uy)),
                                                 static_cast<float>(4 * (b.y + u * b.uy + v * b.ux))};
        }
        lines.push_back(line);
    }
    return lines;
}

namespace {

double distance(const PointF& p, const PointF& q) {
    const double dx = static_cast<double>(q.x) - p.x, dy = static_cast<double>(q.y) - p.y;
    return std::sqrt(dx * dx + dy * dy);
}

struct Sides {
    double along, across;
};
Sides sides(const QuadF& q) {
    return {(distance(q[0], q[1]) + distance(q[3], q[2])) / 2, (distance(q[0], q[3]) + distance(q[1], q[2])) / 2};
}

}  // namespace

std::vector<int64_t> strip_widths(const std::vector<QuadF>& quads, int64_t height, int64_t max_width) {
    if (height < 4 || height > 256 || max_width < height) {
        throw Error(Code::unsupported, "height: must be in [4, 256] and at most max_width");
    }
    std::vector<int64_t> widths;
    for (const QuadF& q : quads) {
        for (const PointF& p : q) {
            if (!(std::abs(p.x) < 1e6F && std::abs(p.y) < 1e6F)) {
                throw Error(Code::unsupported, "quads: coordinates must be finite and below one million");
            }
        }
        const Sides s = sides(q);
        const double want = static_cast<double>(height) * s.along / std::max(s.across, 1.0);
        widths.push_back(std::clamp(static_cast<int64_t>(std::llround(std::min(want, 1e6))), height / 2, max_width));
    }
    return widths;
}

namespace plans {

int strip_taps(const QuadF& quad, int64_t height, int64_t width) {
    const Sides s = sides(quad);
    const double reduction = std::max(s.across / static_cast<double>(height), s.along / static_cast<double>(width));
    return static_cast<int>(std::clamp<double>(std::ceil(reduction - 0.25), 1.0, 8.0));
}

StripLine strip_line(const QuadF& q, int64_t y, int64_t height, int64_t width) {
    const double t = (static_cast<double>(y) + 0.5) / static_cast<double>(height);
    const double ax = q[0].x + t * (q[3].x - q[0].x), ay = q[0].y + t * (q[3].y - q[0].y);
    const double bx = q[1].x + t * (q[2].x - q[1].x), by = q[1].y + t * (q[2].y - q[1].y);
    const double dx = (bx - ax) / static_cast<double>(width), dy = (by - ay) / static_cast<double>(width);
    const double vx = ((q[3].x - q[0].x) + (q[2].x - q[1].x)) / 2.0 / static_cast<double>(height);
    const double vy = ((q[3].y - q[0].y) + (q[2].y - q[1].y)) / 2.0 / static_cast<double>(height);
    // pixel centres lie at .5, samples at integers
    return {static_cast<float>(ax + dx / 2 - 0.5),
            static_cast<float>(ay + dy / 2 - 0.5),
            static_cast<float>(dx),
            static_cast<float>(dy),
            static_cast<float>(vx),
            static_cast<float>(vy)};
}

}  // namespace plans

void rectify(const ImageView& in, const std::vector<QuadF>& quads, int64_t height, const std::vector<int64_t>& widths,
             const std::vector<int64_t>& offsets, uint8_t* out, const Context& context) {
    require_colour(in);
    const TypographicKernels& k = *kernels().typographic;
    const Packed packed(in);
    const ImageView& v = packed.view();
    parallel_for(context, static_cast<int64_t>(quads.size()), 1, [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; ++i) {
            const QuadF& q = quads[static_cast<size_t>(i)];
            const int64_t n = widths[static_cast<size_t>(i)];
            const int taps = plans::strip_taps(q, height, n);
            for (int64_t y = 0; y < height; ++y) {
                const plans::StripLine l = plans::strip_line(q, y, height, n);
                k.strip_row(v.data, v.height, v.width, v.row_stride, v.channels, l.x0, l.y0, l.dx, l.dy, l.dx, l.dy,
                            l.vx, l.vy, taps, n, out + offsets[static_cast<size_t>(i)] + y * n);
            }
        }
    });
}

namespace {

struct Finder {
    double x, y, module;
    int votes;
};

/// True when five runs are near 1:1:3:1:1 of one module, each within half a module (ISO/IEC 18004 reference decoder).
bool finder_runs(const int64_t* run, double& module) {
    const int64_t total = run[0] + run[1] + run[2] + run[3] + run[4];
    // the middle run is at least 1.5 modules - 1.05 long: most runs end here
    if (total < 7 || 14 * run[2] + 16 < 3 * total) return false;
    module = static_cast<double>(total) / 7.0;
    const double slack = module * 0.5 + 0.35;
    return std::abs(run[0] - module) < slack && std::abs(run[1] - module) < slack &&
           std::abs(run[2] - 3 * module) < 3 * slack && std::abs(run[3] - module) < slack &&
           std::abs(run[4] - module) < slack;
}

}  // namespace

std::vector<QrCode> find_qr(const ImageView& in) {
    require_colour(in);
    const Packed packed(in);
    const ImageView& v = packed.view();
    const int64_t h = v.height, w = v.width;
    std::vector<QrCode> codes;
    if (h < 21 || w < 21) return codes;
    // dark = below the mean of a 65 x 65 neighbourhood (sliding sums), so that shading does not matter; 5 levels below, so
    // that flat ground is light, whatever its noise
    const TypographicKernels& kernel = *kernels().typographic;
    std::vector<uint8_t> grey(static_cast<size_t>(h * w)), dark(static_cast<size_t>(h * w));
    std::vector<uint32_t> pixels(static_cast<size_t>(w));
    for (int64_t y = 0; y < h; ++y) kernel.luma_row(v.row(y), w, v.channels, pixels.data(), grey.data() + y * w);
    constexpr int64_t radius = 32;
    std::vector<int32_t> column(static_cast<size_t>(w), 0), wide(static_cast<size_t>(w));
    for (int64_t x = 0; x < w; ++x) {
        wide[static_cast<size_t>(x)] =
            static_cast<int32_t>(std::min(w, x + radius + 1) - std::max<int64_t>(0, x - radius));
    }
    // prefix[radius + x] is the sum of the columns before x, none of which lie outside the picture; it wraps around in very
    // wide pictures, differences do not
    std::vector<uint32_t> prefix(static_cast<size_t>(w + 2 * radius + 1), 0);
    const auto row = [&](int64_t y) { return y >= 0 && y < h ? grey.data() + y * w : nullptr; };
    for (int64_t y = 0; y < std::min(h, radius); ++y) kernel.slide_row(row(y), nullptr, column.data(), w);
    for (int64_t y = 0; y < h; ++y) {
        kernel.slide_row(row(y + radius), row(y - radius - 1), column.data(), w);
        const auto tall = static_cast<int32_t>(std::min(h, y + radius + 1) - std::max<int64_t>(0, y - radius));
        uint32_t sum = 0;
        for (int64_t x = 0; x < w; ++x)
            prefix[static_cast<size_t>(radius + 1 + x)] = sum += static_cast<uint32_t>(column[static_cast<size_t>(x)]);
        std::fill(prefix.end() - radius, prefix.end(), sum);
        kernel.dark_row(row(y), prefix.data(), prefix.data() + 2 * radius + 1, wide.data(), tall, w,
                        dark.data() + y * w);
    }
    const auto is_dark = [&](int64_t y, int64_t x) { return dark[static_cast<size_t>(y * w + x)] != 0; };
    // the five runs around (y, x) along (dy, dx), by walking outwards from the middle run
    const auto around = [&](int64_t y, int64_t x, int64_t dy, int64_t dx, double limit, int64_t* run, double& centre) {
        int64_t reach[2][3] = {};
        for (int side = 0; side < 2; ++side) {
            const int64_t sgn = side ? 1 : -1;
            int64_t step = side;  // the start belongs to the backward walk alone
            for (int part = 0; part < 3; ++part) {
                const bool want = part != 1;
                while (true) {
                    const int64_t yy = y + sgn * step * dy, xx = x + sgn * step * dx;
                    if (yy < 0 || yy >= h || xx < 0 || xx >= w || is_dark(yy, xx) != want) break;
                    ++reach[side][part];
                    ++step;
                    if (static_cast<double>(reach[side][part]) > limit) return false;
                }
            }
        }
        run[0] = reach[0][2];
        run[1] = reach[0][1];
        run[2] = reach[0][0] + reach[1][0];
        run[3] = reach[1][1];
        run[4] = reach[1][2];
        centre = (static_cast<double>(reach[1][0]) - static_cast<double>(reach[0][0]) + 1) / 2.0;
        return true;
    };
    std::vector<Finder> finders;
    // where runs of a row begin: light ones have even numbers, the first of them may be empty; then the row's end
    std::vector<int32_t> begins(static_cast<size_t>(w + 3));
    for (int64_t y = 0; y < h; ++y) {
        const uint8_t* d = dark.data() + y * w;
        size_t count = 1 + (d[0] != 0);
        begins[0] = begins[1] = 0;
        for (int64_t at = 1; at < w; ++at) {  // written always, kept where the colour changes
            begins[count] = static_cast<int32_t>(at);
            count += (d[at] != 0) != (d[at - 1] != 0);
        }
        begins[count] = static_cast<int32_t>(w);
        for (size_t k = 5; k < count; k += 2) {
            int64_t run[5];
            for (size_t i = 0; i < 5; ++i) run[i] = begins[k - 3 + i] - begins[k - 4 + i];
            const int64_t x = begins[k + 1];
            double module = 0;
            if (finder_runs(run, module)) {
                const int64_t cx = x - run[4] - run[3] - (run[2] + 1) / 2;
                int64_t column[5];
                double offset = 0, other = 0;
                if (is_dark(y, cx) && around(y, cx, 1, 0, 4 * module + 2, column, offset) &&
                    finder_runs(column, other) && other < 1.6 * module && module < 1.6 * other) {
                    const double py = static_cast<double>(y) + offset,
                                 px = static_cast<double>(x) - run[4] - run[3] - run[2] / 2.0;
                    bool merged = false;
                    for (Finder& f : finders) {
                        if (std::abs(f.x - px) < 2.5 * f.module && std::abs(f.y - py) < 2.5 * f.module &&
                            module < 1.7 * f.module && f.module < 1.7 * module) {
                            const double n = f.votes;
                            f.x = (f.x * n + px) / (n + 1);
                            f.y = (f.y * n + py) / (n + 1);
                            f.module = (f.module * n + (module + other) / 2) / (n + 1);
                            ++f.votes;
                            merged = true;
                            break;
                        }
                    }
                    if (!merged && finders.size() < 4096) finders.push_back({px, py, (module + other) / 2, 1});
                }
            }
        }
    }
    finders.erase(std::remove_if(finders.begin(), finders.end(),
                                 [](const Finder& f) { return f.votes < std::max(2.0, f.module); }),
                  finders.end());
    std::sort(finders.begin(), finders.end(), [](const Finder& p, const Finder& q) {
        return p.votes != q.votes ? p.votes > q.votes : p.y != q.y ? p.y < q.y : p.x < q.x;
    });
    if (finders.size() > 48) finders.resize(48);  // keeps the search over triples small
    std::vector<uint8_t> used(finders.size(), 0);
    struct Triple {
        double error;
        size_t a, b, c;
    };
    std::vector<Triple> triples;
    for (size_t a = 0; a < finders.size(); ++a) {  // a is the corner between the two others
        for (size_t b = 0; b < finders.size(); ++b) {
            for (size_t c = 0; c < finders.size(); ++c) {
                if (a == b || a == c || b == c) continue;
                const Finder &A = finders[a], &B = finders[b], &C = finders[c];
                const double bx = B.x - A.x, by = B.y - A.y, cx = C.x - A.x, cy = C.y - A.y;
                if (bx * cy - by * cx <= 0) continue;  // clockwise only (y points down)
                const double lb = std::sqrt(bx * bx + by * by), lc = std::sqrt(cx * cx + cy * cy);
                const double module = (A.module + B.module + C.module) / 3;
                // a side spans 14 modules in the smallest code and 170 in the largest
                if (lb < 11 * module || lb > 190 * module) continue;
                const double size =
                    std::max({A.module, B.module, C.module}) / std::min({A.module, B.module, C.module}) - 1;
                const double shape = std::abs(lb - lc) / std::max(lb, lc),
                             corner = std::abs(bx * cx + by * cy) / (lb * lc);
                const double error = size / 0.6 + shape / 0.3 + corner / 0.3;
                if (error >= 1.5) continue;
                // each pattern sampled module by module along the code's axes: chance agrees on half of the 49
                const double ax = bx / lb * module, ay = by / lb * module, dx = cx / lc * module, dy = cy / lc * module;
                int agree = 0;
                for (const Finder* f : {&A, &B, &C}) {
                    for (int i = -3; i <= 3; ++i) {
                        for (int j = -3; j <= 3; ++j) {
                            const int ring = std::max(std::abs(i), std::abs(j));
                            const auto px = static_cast<int64_t>(std::floor(f->x + i * ax + j * dx));
                            const auto py = static_cast<int64_t>(std::floor(f->y + i * ay + j * dy));
                            agree += px >= 0 && px < w && py >= 0 && py < h && is_dark(py, px) == (ring != 2);
                        }
                    }
                }
                const double share = agree / 147.0;
                if (share >= 0.85) triples.push_back({error / 1.5 + (1.0 - share) / 0.15, a, b, c});
            }
        }
    }
    std::sort(triples.begin(), triples.end(), [](const Triple& p, const Triple& q) {
        return p.error != q.error ? p.error < q.error : std::tie(p.a, p.b, p.c) < std::tie(q.a, q.b, q.c);
    });
    for (const Triple& t : triples) {
        if (used[t.a] || used[t.b] || used[t.c]) continue;
        used[t.a] = used[t.b] = used[t.c] = 1;
        const Finder &A = finders[t.a], &B = finders[t.b], &C = finders[t.c];
        const double bx = B.x - A.x, by = B.y - A.y, cx = C.x - A.x, cy = C.y - A.y;
        const double lb = std::sqrt(bx * bx + by * by), lc = std::sqrt(cx * cx + cy * cy);
        const double mb = 5.5 * (A.module + B.module + C.module) / 3 / lb,
                     mc = mb * lb / lc;  // 3.5 to the edge, 2 of margin
        const auto corner = [&](double s, double u) {
            return PointF{static_cast<float>(A.x + s * bx + u * cx + 0.5),
                          static_cast<float>(A.y + s * by + u * cy + 0.5)};
        };
        codes.push_back({{corner(-mb, -mc), corner(1 + mb, -mc), corner(1 + mb, 1 + mc), corner(-mb, 1 + mc)},
                         static_cast<float>(1.0 - 0.25 * t.error)});
    }
    return codes;
}

}  // namespace og
