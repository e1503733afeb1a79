// What stands beside the pixels: the part of python/ondevice_guard/decode.py that needs no image decoder. Metadata is read as text,
// deflated chunks (RFC 1951) within the policy's budget of bytes; thumbnails are left to whoever can decode them.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "capi/detectors.hpp"
#include "ondevice_guard/container.hpp"

namespace og {
namespace capi {
namespace {

using std::string_view;
namespace ct = og::container;

Finding about(int kind, double score, std::string why) {
    Finding f;
    f.kind = kind;
    f.score = std::min(std::max(score, 0.0), 1.0);
    f.why = std::move(why);
    f.detector = "decode";
    return f;
}

/// RFC 1951, slow and small: what it reads are a few kilobytes of text. As zlib does, data that are cut off give what came before
/// the cut, and data that contradict themselves nothing.
class Inflate {
  public:
    Inflate(string_view in, size_t most) : in_(in), most_(most) {}

    /// The data behind a zlib header.
    std::string run() {
        if (in_.size() < 2) return {};
        at_ = 2;
        for (bool last = false; !last && good_;) {
            last = bits(1);
            switch (bits(2)) {
                case 0:
                    stored();
                    break;
                case 1:
                    fixed();
                    break;
                case 2:
                    dynamic();
                    break;
                default:
                    good_ = false;
            }
            if (out_.size() > most_) break;
        }
        return good_ || cut_ || out_.size() > most_ ? std::move(out_) : std::string();
    }

  private:
    struct Code {
        uint16_t count[16] = {}, symbol[288] = {};
        void build(const uint8_t* lengths, size_t n) {
            std::fill(std::begin(count), std::end(count), uint16_t{0});
            for (size_t i = 0; i < n; ++i) ++count[lengths[i]];
            uint16_t offset[17] = {};
            for (size_t i = 1; i < 16; ++i) offset[i + 1] = static_cast<uint16_t>(offset[i] + count[i]);
            for (size_t i = 0; i < n; ++i) {
                if (lengths[i]) symbol[offset[lengths[i]]++] = static_cast<uint16_t>(i);
            }
        }
    };
    unsigned bits(int n) {
        unsigned value = 0;
        for (int i = 0; i < n; ++i) {
            if (at_ >= in_.size()) {
                good_ = false;
                cut_ = true;
                return 0;
            }
            value |= (static_cast<unsigned char>(in_[at_]) >> bit_ & 1u) << i;
            if (++bit_ == 8) bit_ = 0, ++at_;
        }
        return value;
    }
    unsigned decode(const Code& code) {
        int value = 0, first = 0, index = 0;
        for (int length = 1; length < 16 && good_; ++length) {
            value |= static_cast<int>(bits(1));
            const int count = code.count[length];
            if (value - count < first) return code.symbol[index + value - first];
            index += count;
            first = (first + count) << 1;
            value <<= 1;
        }
        good_ = false;
        return 0;
    }
    void stored() {
        if (bit_) bit_ = 0, ++at_;
        if (at_ + 4 > in_.size()) {
            good_ = false;
            cut_ = true;
            return;
        }
        const auto byte = [&](size_t i) { return static_cast<size_t>(static_cast<unsigned char>(in_[at_ + i])); };
        const size_t n = byte(0) | byte(1) << 8;
        at_ += 4;
        cut_ = n > in_.size() - at_;
        good_ = !cut_;
        const string_view part = in_.substr(at_, n);
        out_.append(part);
        at_ += part.size();
    }
    void fixed() {
        uint8_t lengths[288];
        for (size_t i = 0; i < 288; ++i) lengths[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
        Code literals, distances;
        literals.build(lengths, 288);
        std::fill(lengths, lengths + 30, uint8_t{5});
        distances.build(lengths, 30);
        codes(literals, distances);
    }
    void dynamic() {
        static const uint8_t order[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
        const size_t literals = bits(5) + 257, distances = bits(5) + 1, lengths_of = bits(4) + 4;
        uint8_t lengths[320] = {};
        for (size_t i = 0; i < lengths_of; ++i) lengths[order[i]] = static_cast<uint8_t>(bits(3));
        Code code, other;
        code.build(lengths, 19);
        std::fill(std::begin(lengths), std::end(lengths), uint8_t{0});
        for (size_t i = 0; i < literals + distances && good_;) {
            const unsigned symbol = decode(code);
            if (symbol < 16) {
                lengths[i++] = static_cast<uint8_t>(symbol);
                continue;
            }
            const uint8_t value = symbol == 16 && i > 0 ? lengths[i - 1] : uint8_t{0};
            size_t times = symbol == 16 ? 3 + bits(2) : symbol == 17 ? 3 + bits(3) : 11 + bits(7);
            good_ = good_ && times <= literals + distances - i && !(symbol == 16 && i == 0);
            for (; good_ && times > 0; --times) lengths[i++] = value;
        }
        good_ = good_ && literals <= 286 && distances <= 30;
        if (!good_) return;
        code.build(lengths, literals);
        other.build(lengths + literals, distances);
        codes(code, other);
    }
    void codes(const Code& literals, const Code& distances) {
        static const uint16_t base[29] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                          31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
        static const uint16_t far[30] = {1,    2,    3,    4,    5,    7,    9,    13,    17,    25,
                                         33,   49,   65,   97,   129,  193,  257,  385,   513,   769,
                                         1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
        while (good_ && out_.size() <= most_) {
            unsigned symbol = decode(literals);
            if (!good_ || symbol == 256) return;
            if (symbol < 256) {
                out_ += static_cast<char>(symbol);
                continue;
            }
            symbol -= 257;
            good_ = symbol < 29;
            if (!good_) return;
            size_t length = base[symbol] + (symbol < 8 || symbol == 28 ? 0 : bits(static_cast<int>(symbol - 4) / 4));
            const unsigned d = decode(distances);
            good_ = good_ && d < 30;
            if (!good_) return;
            const size_t distance = far[d] + (d < 4 ? 0 : bits(static_cast<int>(d - 2) / 2));
            good_ = good_ && distance <= out_.size();
            for (; good_ && length > 0; --length) out_ += out_[out_.size() - distance];
        }
    }

    string_view in_;
    size_t most_, at_ = 0;
    int bit_ = 0;
    bool good_ = true, cut_ = false;
    std::string out_;
};

std::u32string latin(string_view bytes) {
    std::u32string out;
    for (const char c : bytes) out.push_back(static_cast<unsigned char>(c));
    return out;
}

bool printable(unsigned char c) {
    return (c >= 0x20 && c <= 0x7e) || c == '\t' || c == '\r' || c == '\n';
}

bool digit(char32_t c) {
    return c >= '0' && c <= '9';
}

/// White space of str.strip and str.split.
bool blank(char32_t c) {
    return c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x1f) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

/// Bytes of one character at p in one of three encodings: 0 UTF-8, 1 UTF-16 little, 2 UTF-16 big endian; 0 where there is none.
size_t unit(const unsigned char* p, size_t left, int encoding) {
    const auto more = [&](size_t n, unsigned char least) {
        if (left <= n || p[1] < least) return size_t{0};
        for (size_t i = 1; i <= n; ++i) {
            if ((p[i] & 0xc0) != 0x80) return size_t{0};
        }
        return n + 1;
    };
    if (encoding == 0) {
        if (printable(p[0])) return 1;
        if (p[0] >= 0xc2 && p[0] <= 0xdf) return more(1, 0x80);
        if (p[0] >= 0xe0 && p[0] <= 0xef) return more(2, 0x80);
        return p[0] == 0xf0 ? more(3, 0x90) : 0;
    }
    if (left < 2) return 0;
    const unsigned char low = p[encoding == 1 ? 0 : 1], high = p[encoding == 1 ? 1 : 0];
    return (high == 0 && printable(low)) || (high >= 3 && high <= 6) ? 2 : 0;
}

/// Runs of at least six characters that look like text and not like compressed data.
std::vector<std::u32string> readable(string_view payload) {
    std::vector<std::u32string> out;
    const auto* bytes = reinterpret_cast<const unsigned char*>(payload.data());
    for (int encoding = 0; encoding < 3; ++encoding) {
        for (size_t at = 0; at < payload.size();) {
            size_t end = at, units = 0;
            for (size_t n; end < payload.size() && (n = unit(bytes + end, payload.size() - end, encoding)) > 0;
                 end += n)
                ++units;
            if (units < 6) {
                ++at;
                continue;
            }
            std::u32string run;
            if (encoding == 0) {
                run = decoded(payload.data() + at, end - at);
            } else {
                for (size_t i = at; i < end; i += 2)
                    run.push_back(static_cast<char32_t>(bytes[encoding == 1 ? i + 1 : i] << 8 |
                                                        bytes[encoding == 1 ? i : i + 1]));
            }
            at = end;
            const auto letters = static_cast<double>(std::count_if(
                run.begin(), run.end(), [](char32_t c) { return c == ' ' || digit(c) || text::is_letter(c); }));
            const auto n = static_cast<double>(run.size());
            if (letters >= 0.6 * n || (run.size() > 40 && letters >= 0.4 * n)) out.push_back(std::move(run));
        }
    }
    return out;
}

/// Words of two letters and more in one passage, and half a word for each ideograph.
double words_in(std::u32string_view passage) {
    double words = 0;
    for (size_t i = 0; i < passage.size();) {
        size_t end = i;
        for (; end < passage.size() && text::is_letter(passage[end]); ++end) {
            const char32_t c = passage[end];
            words += (c >= 0x3040 && c <= 0x30ff) || (c >= 0x3400 && c <= 0x9fff) || (c >= 0xac00 && c <= 0xd7af) ? 0.5
                                                                                                                  : 0.0;
        }
        words += end - i >= 2;
        i = end == i ? i + 1 : end;
    }
    return words;
}

/// Words of the longest passage. Attribute values and nodes of XML are passages of their own, and so are lines.
double longest_passage(std::u32string_view text) {
    double most = 0;
    const auto has = [&](const char32_t* what) { return text.find(what) != text.npos; };
    if (!(has(U"<") && (has(U"xmlns") || has(U"xpacket")))) {
        const auto ends_line = [](char32_t c) {
            return (c >= 10 && c <= 13) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029;
        };
        for (size_t i = 0, end = 0; i <= text.size(); i = end + 1) {
            for (end = i; end < text.size() && !ends_line(text[end]); ++end) {
            }
            most = std::max(most, words_in(text.substr(i, end - i)));
        }
        return most;
    }
    for (size_t i = 0; i < text.size();) {
        const bool attribute = text[i] == '=' && i + 1 < text.size() && text[i + 1] == '"';
        const size_t start = i + (attribute ? 2 : 1);
        size_t end = start;
        if (attribute || text[i] == '>') {
            while (end < text.size() && text[end] != '<' && text[end] != '>' && !(attribute && text[end] == '"')) ++end;
            if (end < text.size() && text[end] == (attribute ? U'"' : U'<') && (attribute || end > start)) {
                const std::u32string_view passage = text.substr(start, end - start);
                if (passage.find(U"://") == passage.npos) most = std::max(most, words_in(passage));
                i = end + 1;
                continue;
            }
        }
        ++i;
    }
    return most;
}

/// Reads every record beside the pixels once, within one budget of bytes.
class Carriers {
  public:
    Carriers(string_view data, const ct::Report& report, const std::vector<ct::Span>& spans, const Policy& policy)
        : left_(policy.ancillary), limit_(policy.text_limit) {
        std::vector<std::pair<uint16_t, string_view>> parts;
        const uint64_t preview = report.thumbnail_offset, preview_end = preview + report.thumbnail_length;
        for (const ct::Span& span : spans) {
            const string_view payload = data.substr(span.payload, span.payload_length);
            switch (span.coding) {
                case ct::Coding::pixels:
                    break;
                case ct::Coding::icc:
                    parts.emplace_back(span.index, take(payload));
                    break;
                case ct::Coding::png_iccp: {
                    const auto [keyword, rest] = cut(payload);
                    std::vector<std::u32string> pieces =
                        readable(inflate(rest.substr(std::min<size_t>(1, rest.size()))));
                    pieces.insert(pieces.begin(), latin(keyword));
                    add(span.carrier, pieces);
                    break;
                }
                case ct::Coding::png_text:
                case ct::Coding::png_ztxt:
                case ct::Coding::png_itxt:
                    add(span.carrier, {png_text(span.coding, payload)});
                    break;
                case ct::Coding::sub_blocks: {
                    std::string joined;
                    for (size_t at = 0; at < payload.size() && payload[at];
                         at += 1 + static_cast<unsigned char>(payload[at]))
                        joined += payload.substr(at + 1, static_cast<unsigned char>(payload[at]));
                    add(span.carrier, readable(take(joined)));
                    break;
                }
                default: {
                    std::string bytes(payload);  // without the preview: compressed pixels, not text
                    if (span.payload <= preview && preview < preview_end &&
                        preview_end <= span.payload + span.payload_length)
                        bytes.replace(preview - span.payload, preview_end - preview, 1, '\0');
                    add(span.carrier, readable(take(bytes)));
                }
            }
        }
        if (!parts.empty()) {
            std::stable_sort(parts.begin(), parts.end(),
                             [](const auto& a, const auto& b) { return a.first < b.first; });
            std::string profile;
            for (const auto& [index, part] : parts) profile += part;
            add(std::string(ct::name(report.format)) + ":ICC", readable(profile));
        }
        if (report.end < data.size()) add("trailing", readable(data.substr(report.end, left_)));
    }
    std::vector<Carried> texts;

  private:
    string_view take(string_view payload) {
        if (payload.size() > left_) throw Error(Code::limit, "The metadata is larger than the limit.");
        left_ -= payload.size();
        return payload;
    }
    std::string inflate(string_view payload) {
        std::string out = Inflate(payload, left_).run();
        take(out);
        return out;
    }
    /// What stands before and behind the first NUL.
    static std::pair<string_view, string_view> cut(string_view s) {
        const size_t at = std::min(s.find('\0'), s.size());
        return {s.substr(0, at), s.substr(std::min(at + 1, s.size()))};
    }
    std::u32string png_text(ct::Coding coding, string_view payload) {
        auto [key, rest] = cut(payload);
        std::string keyword(key), body;
        if (coding == ct::Coding::png_ztxt) {
            body = inflate(rest.substr(std::min<size_t>(1, rest.size())));
        } else if (coding == ct::Coding::png_itxt) {
            const bool deflated = !rest.empty() && rest[0] == 1;
            const auto [language, more] = cut(rest.substr(std::min<size_t>(2, rest.size())));
            const auto [translated, last] = cut(more);
            body = deflated ? inflate(last) : std::string(take(last));
            keyword += " " + std::string(language) + " " + std::string(translated);
        } else {
            body = take(rest);
        }
        const std::u32string value = coding == ct::Coding::png_itxt ? decoded(body.data(), body.size()) : latin(body);
        return decoded(keyword.data(), keyword.size()) + U": " + value;
    }
    void add(std::string carrier, const std::vector<std::u32string>& pieces) {
        std::u32string text;
        bool any = false;
        for (const std::u32string& piece : pieces) {
            if (std::all_of(piece.begin(), piece.end(), blank)) continue;
            if (any) text += U'\n';
            text += piece;
            any = true;
        }
        if (text.size() > limit_) text.resize(limit_);
        if (!text.empty()) texts.push_back({std::move(carrier), std::move(text)});
    }
    uint64_t left_;
    size_t limit_;
};

std::string lower(string_view s) {
    std::string out(s);
    for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    return out;
}

/// 0.5 when another image format was claimed (common on the web), 1 when something else than an image was.
void type_mismatch(const std::string& claimed, const std::string& actual, std::vector<Finding>& findings) {
    static const struct {
        const char *suffix, *format;
    } suffixes[] = {{"png", "png"},   {"apng", "png"},  {"x-png", "png"},    {"jpg", "jpeg"},  {"jpeg", "jpeg"},
                    {"jpe", "jpeg"},  {"jfif", "jpeg"}, {"pjpeg", "jpeg"},   {"webp", "webp"}, {"gif", "gif"},
                    {"bmp", "bmp"},   {"dib", "bmp"},   {"x-ms-bmp", "bmp"}, {"x-bmp", "bmp"}, {"tif", "tiff"},
                    {"tiff", "tiff"}, {"avif", "avif"}};
    const auto format_of = [&](const std::string& s) -> const char* {
        for (const auto& e : suffixes) {
            if (s == e.suffix) return e.format;
        }
        return nullptr;
    };
    std::string claim = lower(claimed);
    claim = claim.substr(0, claim.find(';'));
    const auto trim = [](std::string& s) {
        while (!s.empty() && blank(static_cast<unsigned char>(s.back()))) s.pop_back();
        while (!s.empty() && blank(static_cast<unsigned char>(s.front()))) s.erase(s.begin());
    };
    trim(claim);
    if (claim.empty()) return;
    bool mime = false;
    for (const char* family : {"image/", "application/", "text/", "video/", "audio/"}) {
        const std::string rest =
            claim.compare(0, std::strlen(family), family) == 0 ? claim.substr(std::strlen(family)) : "";
        const bool fits = !rest.empty() && std::all_of(rest.begin(), rest.end(), [](char c) {
            return (c >= 'a' && c <= 'z') || digit(static_cast<unsigned char>(c)) || std::strchr("_.+*-", c);
        });
        if (!fits) continue;
        claim = rest;
        mime = true;
        break;
    }
    if (!mime) {
        const std::string name = claim.substr(claim.find_last_of("/\\") + 1);
        const size_t dot = name.rfind('.');
        claim = dot != name.npos ? name.substr(dot + 1) : format_of(name) ? name : "";
    }
    for (const char* vague : {"", "*", "octet-stream", "bin", "tmp", "dat", "binary", "image", "unknown"}) {
        if (claim == vague) return;
    }
    const char* format_claimed = format_of(claim);
    if (format_claimed && actual == format_claimed) return;
    findings.push_back(about(OG_TYPE_MISMATCH, format_claimed ? 0.5 : 1.0,
                             "The file was named '" + claim.substr(0, 20) + "' but is " + actual + "."));
}

/// 0.05 padding, 0.2 pictures the file itself declares (phones do), 0.5 unknown bytes, 0.9 another file's magic.
void trailing(string_view data, const ct::Report& report, std::vector<Finding>& findings) {
    if (report.end >= data.size()) return;
    static const struct {
        const char* name;
        string_view mark;
    } marks[] = {{"zip", "pk\x03\x04"},
                 {"zip", "pk\x05\x06"},
                 {"pdf", "%pdf-"},
                 {"html", "<html"},
                 {"html", "<!doctype"},
                 {"script", "<script"},
                 {"php", "<?php"},
                 {"elf",
                  "\x7f"
                  "elf"},
                 {"rar", "rar!\x1a"},
                 {"7z", "7z\xbc\xaf"},
                 {"png", "\x89png\r\n"},
                 {"gif", "gif8"},
                 {"shell", "#!/"},
                 {"svg", "<svg"}};
    const string_view rest = data.substr(report.end);
    const string_view head = rest.substr(0, 65536), tail = rest.substr(rest.size() > 65536 ? rest.size() - 65536 : 0);
    const auto padding = [](string_view s) {
        return std::all_of(s.begin(), s.end(), [](char c) { return std::memchr("\0 \r\n\t\xff", c, 6) != nullptr; });
    };
    double score = report.multi_picture ? 0.2 : 0.5;
    const char* what = report.multi_picture ? "further pictures" : "unknown";
    if (padding(head) && padding(tail)) {
        score = 0.05, what = "padding";
    } else {
        const std::string ends = lower(head) + lower(tail);
        for (const auto& m : marks) {
            if (ends.find(m.mark) == ends.npos) continue;
            score = 0.9, what = m.name;
            break;
        }
    }
    findings.push_back(
        about(OG_TRAILING_DATA, score,
              format("%zu bytes follow the end of the image (%s); they were dropped.", rest.size(), what)));
}

}  // namespace

std::vector<Carried> low_bit_texts(const ImageView& colours, size_t limit) {
    std::vector<Carried> out;
    for (const LowBitText& found : low_bit_text(colours)) {
        if (readable(found.text).empty()) continue;
        std::u32string text = latin(found.text);
        if (text.size() > limit) text.resize(limit);
        out.push_back({"pixels:low_bits", std::move(text)});
    }
    return out;
}

void metadata_finding(const std::vector<Carried>& texts, std::vector<Finding>& findings) {
    if (texts.empty()) return;
    double words = -1;
    const Carried* longest = nullptr;
    bool low_bits = false;
    for (const Carried& t : texts) {
        const double n = longest_passage(t.text);
        if (n > words) words = n, longest = &t;
        low_bits |= t.carrier == "pixels:low_bits";
    }
    Finding f = about(OG_METADATA_TEXT, 1 - std::exp(-(words / 14) * (words / 14)),
                      format("Readable text lies beside the pixels (%s, up to %.0f words in one passage).",
                             longest->carrier.c_str(), words));
    f.low_bits = low_bits;
    findings.push_back(std::move(f));
}

std::vector<Carried> read_file(const uint8_t* bytes, size_t size, const std::string& claimed, const ImageView* picture,
                               const Policy& policy, std::vector<Finding>& findings) {
    const string_view data(reinterpret_cast<const char*>(bytes), size);
    if (size > policy.limits.bytes)
        throw Error(Code::limit, format("The file has %zu bytes, the limit is %llu.", size,
                                        static_cast<unsigned long long>(policy.limits.bytes)));
    ct::Limits limits;
    limits.bytes = policy.limits.bytes, limits.pixels = policy.limits.pixels, limits.side = policy.limits.side;
    limits.frames = policy.limits.frames, limits.scans = policy.limits.scans, limits.formats = policy.limits.formats;
    std::vector<ct::Span> spans(1024);
    const ct::Report report = ct::walk(bytes, size, limits, spans.data(), spans.size());
    if (report.status != ct::Status::ok) {
        const Code code = report.status == ct::Status::unsupported ? Code::format
                          : report.status == ct::Status::limit     ? Code::limit
                                                                   : Code::malformed;
        throw Error(code, report.reason);
    }
    if (report.spans > spans.size())
        throw Error(Code::limit, format("The file holds more than %zu records beside its pixels.", spans.size()));
    if (picture) {
        const auto is = [&](uint32_t width, uint32_t height) {
            return picture->width == width && picture->height == height;
        };
        if (!is(report.width, report.height) && !(report.orientation > 4 && is(report.height, report.width)))
            throw Error(Code::malformed, "The decoder and the header disagree about the size.");
    }
    spans.resize(report.spans);
    std::vector<Carried> texts = Carriers(data, report, spans, policy).texts;
    type_mismatch(claimed, ct::name(report.format), findings);
    trailing(data, report, findings);
    if (report.frames > 1) {
        findings.push_back(
            about(OG_EXTRA_FRAMES, 1 - 1.0 / report.frames,
                  format("The file holds %u frames; only the first is checked and handed out.", report.frames)));
    }
    return texts;
}

}  // namespace capi
}  // namespace og
