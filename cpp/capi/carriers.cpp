// What stands beside the pixels: the part of python/ondevice_guard/decode.py that needs no image decoder. Metadata is read as text,
// deflated chunks (RFC 1951) within the policy's budget of bytes; thumbnails are left to whoever can decode them.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <unordered_set>

#include "capi/detectors.hpp"
#include "ondevice_guard/container.hpp"

namespace og {
namespace capi {
namespace {

using std::string_view;
using std::u32string_view;
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

bool hex_digit(char32_t c) {
    return digit(c) || (c >= 'A' && c <= 'F') || (c >= 'a' && c <= 'f');
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

/// Where a stretch of characters that `belong`, which begins at `from`, ends.
template <typename Belongs>
size_t end_of(u32string_view s, size_t from, const Belongs& belong) {
    while (from < s.size() && belong(s[from])) ++from;
    return from;
}

/// Alphabets in everyday use, for a table of 16-bit numbers, read as UTF-16, soon leaves the one it is in: 1 Greek, 2 Cyrillic,
/// 3 Armenian, 4 Hebrew, 5 Arabic and Persian. 6 is what UTF-8 spells in three bytes, from Devanagari to Hangul, 0 the rest.
int alphabet(char32_t c) {
    static const struct {
        char32_t first, last;
        int alphabet;
    } ranges[] = {{0x386, 0x3ce, 1}, {0x400, 0x45f, 2},  {0x490, 0x491, 2},   {0x531, 0x587, 3},
                  {0x5d0, 0x5ea, 4}, {0x620, 0x64a, 5},  {0x660, 0x669, 5},   {0x67e, 0x67e, 5},
                  {0x686, 0x686, 5}, {0x698, 0x698, 5},  {0x6a9, 0x6a9, 5},   {0x6af, 0x6af, 5},
                  {0x6cc, 0x6cc, 5}, {0x900, 0x1dff, 6}, {0x3040, 0xd7af, 6}, {0xff21, 0xff5a, 6}};
    for (const auto& range : ranges) {
        if (c >= range.first && c <= range.last) return range.alphabet;
    }
    return 0;
}

bool in_one_alphabet(u32string_view run) {
    size_t ascii = 0, counts[7] = {};
    for (const char32_t c : run) {
        ascii += c < 0x80;
        ++counts[alphabet(c)];
    }
    return static_cast<double>(ascii + *std::max_element(counts + 1, counts + 6)) >=
           0.8 * static_cast<double>(run.size());
}

// Latin letters are those of Western and Central Europe and Vietnam.
bool latin_capital(char32_t c) {
    return (c >= 'A' && c <= 'Z') || (c >= 0xc0 && c <= 0xde && c != 0xd7);
}

bool latin_small(char32_t c) {
    return (c >= 'a' && c <= 'z') || (c >= 0xdf && c <= 0x17f && c != 0xf7) || c == 0x1a0 || c == 0x1a1 || c == 0x1af ||
           c == 0x1b0 || (c >= 0x1e00 && c <= 0x1eff);
}

/// Characters that lie in words as people write them: capitals only in front or throughout.
size_t in_plain_words(u32string_view run) {
    size_t count = 0;
    for (size_t at = 0, end = 0; at < run.size(); at = end) {
        const int script = alphabet(run[at]);
        const size_t small = at + latin_capital(run[at]);
        const auto word = [&](size_t from, size_t least, const auto& belong) {
            end = end_of(run, from, belong);
            return end - from >= least;
        };
        if (word(small, 2, latin_small) || word(at, 3, latin_capital) ||
            word(at, 2, [&](char32_t c) { return script && alphabet(c) == script; }))
            count += end - at;
        else
            end = at + 1;
    }
    return count;
}

/// Whether there are enough letters in a run and, as chance makes short ones, enough words in a short one.
bool looks_written(u32string_view run) {
    const auto count = [&](const auto& is) { return static_cast<size_t>(std::count_if(run.begin(), run.end(), is)); };
    const size_t n = run.size();
    const auto letters =
        static_cast<double>(count([](char32_t c) { return c == ' ' || digit(c) || text::is_letter(c); }));
    const bool most = letters >= 0.6 * static_cast<double>(n);
    if (n < 24) return most && 2 * in_plain_words(run) >= n - count(blank);
    return most || (n > 40 && letters >= 0.4 * static_cast<double>(n));
}

/// Runs of at least six characters that look like text and not like compressed data or a table of numbers.
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
            if (looks_written(run) && (encoding == 0 || in_one_alphabet(run))) out.push_back(std::move(run));
        }
    }
    return out;
}

/// Words of two letters and more in one passage, and half a word for each ideograph.
double words_in(u32string_view passage) {
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

/// Words of the longest line.
double longest_passage(u32string_view text) {
    double most = 0;
    const auto in_line = [](char32_t c) {
        return !((c >= 10 && c <= 13) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029);
    };
    for (size_t at = 0, end; at < text.size(); at = end + 1) {
        end = end_of(text, at, in_line);
        most = std::max(most, words_in(text.substr(at, end - at)));
    }
    return most;
}

bool quote(char32_t c) {
    return c == '"' || c == '\'';
}

/// The end of the value whose first quote stands at `from`: the other quote, a "<", or that of the text.
size_t value_end(u32string_view s, size_t from) {
    return end_of(s, from + 1, [&](char32_t c) { return c != s[from] && c != '<'; });
}

/// The first quote of the attribute before whose name the white space at `at` stands; npos where there is none.
size_t attribute(u32string_view tag, size_t at) {
    if (!blank(tag[at])) return tag.npos;
    const size_t name = end_of(tag, at + 1, [](char32_t c) { return !blank(c) && c != '='; });
    if (name == at + 1) return tag.npos;
    const size_t equals = end_of(tag, name, blank);
    if (equals == tag.size() || tag[equals] != '=') return tag.npos;
    const size_t value = end_of(tag, equals + 1, blank);
    return value < tag.size() && quote(tag[value]) ? value : tag.npos;
}

/// Everything in a tag, a declaration or a processing instruction but names.
template <typename Keep>
void tag_parts(u32string_view tag, const Keep& keep) {
    size_t from = end_of(tag, 0, [](char32_t c) { return !blank(c) && c != '=' && !quote(c); });
    for (size_t at = from; at < tag.size();) {
        const size_t value = attribute(tag, at);
        if (value == tag.npos) {
            ++at;
            continue;
        }
        const size_t end = value_end(tag, value);
        keep(tag.substr(from, at - from));
        keep(tag.substr(value + 1, end - value - 1));
        from = at = std::min(end + 1, tag.size());
    }
    keep(tag.substr(from));
}

/// Texts, attributes' values, comments and what tags hold beside attributes, as lenient as can be: whatever is left open ends
/// with the text, and a stray "<" begins a tag.
template <typename Keep>
void xml_parts(u32string_view xml, const Keep& keep) {
    for (size_t at = 0; at < xml.size();) {
        const auto enclosed = [&](u32string_view open, u32string_view close) {
            if (xml.compare(at, open.size(), open) != 0) return false;
            const size_t from = at + open.size(), end = std::min(xml.find(close, from), xml.size());
            keep(xml.substr(from, end - from));
            at = std::min(end + close.size(), xml.size());
            return true;
        };
        if (enclosed(U"<!--", U"-->") || enclosed(U"<![CDATA[", U"]]>")) continue;
        const size_t from = at;
        if (xml[from] != '<') {
            at = std::min(xml.find(U'<', from), xml.size());
            keep(xml.substr(from, at - from));
            continue;
        }
        for (++at; at < xml.size() && xml[at] != '<' && xml[at] != '>';) {
            const size_t value = xml[at] == '=' ? end_of(xml, at + 1, blank) : xml.size();
            at = value < xml.size() && quote(xml[value]) ? value_end(xml, value) : at + 1;
        }
        tag_parts(xml.substr(from + 1, at - from - 1), keep);
        at += at < xml.size() && xml[at] == '>';
    }
}

/// The character that the entity at the beginning of `s` stands for, and the entity's length; {'&', 1} where there is none.
std::pair<char32_t, size_t> entity(u32string_view s) {
    static const std::pair<u32string_view, char32_t> names[] = {
        {U"&lt;", '<'}, {U"&gt;", '>'}, {U"&amp;", '&'}, {U"&quot;", '"'}, {U"&apos;", '\''}};
    for (const auto& [name, c] : names) {
        if (s.substr(0, name.size()) == name) return {c, name.size()};
    }
    const std::pair<char32_t, size_t> none{'&', 1};
    if (s.substr(0, 2) != U"&#") return none;
    const bool hexadecimal = s.size() > 2 && (s[2] == 'x' || s[2] == 'X');
    size_t at = end_of(s, hexadecimal ? 3 : 2, [](char32_t c) { return c == '0'; });
    char32_t value = 0;
    for (const size_t most = at + (hexadecimal ? 6 : 7); at < std::min(most, s.size()) && hex_digit(s[at]); ++at) {
        if (!hexadecimal && !digit(s[at])) return none;
        value = value * (hexadecimal ? 16 : 10) + (digit(s[at]) ? s[at] - '0' : (s[at] | 0x20) - 'a' + 10);
    }
    const bool character = (value > 0 && value < 0xd800) || (value >= 0xe000 && value < 0x110000);
    return character && at < s.size() && s[at] == ';' ? std::make_pair(value, at + 1) : none;
}

/// A part of XML with its entities replaced, on one line.
std::u32string one_line(u32string_view part) {
    std::u32string line;
    bool gap = false;
    for (size_t at = 0; at < part.size();) {
        const auto [c, length] = part[at] == '&' ? entity(part.substr(at)) : std::make_pair(part[at], size_t{1});
        at += length;
        gap |= blank(c);
        if (blank(c)) continue;
        if (gap && !line.empty()) line += U' ';
        line += c;
        gap = false;
    }
    return line;
}

bool address_or_guid(u32string_view passage) {
    if (passage.find(U"://") != passage.npos) return true;
    size_t in_a_row = 0;
    for (const char32_t c : passage) {
        in_a_row = hex_digit(c) || c == '-' ? in_a_row + 1 : 0;
        if (in_a_row == 16) return true;
    }
    return false;
}

/// What one carrier holds, line by line and without repeats. Of XML only the passages: everything but names, addresses and
/// single words, each passage on one line. The XML may begin and end anywhere.
std::u32string join_texts(std::vector<std::u32string> pieces) {
    const auto has = [&](u32string_view mark) {
        return std::any_of(pieces.begin(), pieces.end(),
                           [&](const std::u32string& piece) { return piece.find(mark) != piece.npos; });
    };
    if (has(U"xmlns") || has(U"xpacket") || has(U"</")) {
        std::vector<std::u32string> passages;
        for (const std::u32string& piece : pieces) {
            xml_parts(piece, [&](u32string_view part) {
                std::u32string passage = one_line(part);
                if (words_in(passage) >= 2 && (passage.find(U' ') != passage.npos || !address_or_guid(passage)))
                    passages.push_back(std::move(passage));
            });
        }
        pieces = std::move(passages);
    }
    std::u32string text;
    std::unordered_set<u32string_view> seen;
    for (const std::u32string& piece : pieces) {
        if (std::all_of(piece.begin(), piece.end(), blank) || !seen.insert(piece).second) continue;
        if (!text.empty()) text += U'\n';
        text += piece;
    }
    return text;
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
                    add(span.carrier, std::move(pieces));
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
    void add(std::string carrier, std::vector<std::u32string> pieces) {
        std::u32string text = join_texts(std::move(pieces));
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
