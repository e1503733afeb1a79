#include "capi/model.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "ondevice_guard/image.hpp"

namespace og {
namespace capi {
namespace {

constexpr size_t kConfigLimit = 4u << 20;  // as runtime.py
constexpr size_t kFileLimit = 1u << 31;    // protobuf cannot hold a larger graph
constexpr int kVersions = 99;              // highest version that is looked for

std::string slurp(const std::string& path, size_t limit, bool& there) {
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
    there = file != nullptr;
    std::string data;
    if (!there) return data;
    size_t want = std::min<size_t>(limit, 1u << 16);
    for (;;) {
        const size_t old = data.size();
        data.resize(std::min(limit + 1, old + want));
        const size_t got = std::fread(&data[old], 1, data.size() - old, file.get());
        data.resize(old + got);
        if (data.size() > limit) throw Error(Code::model, path + " is larger than it says");
        if (got == 0) return data;
        want = std::max<size_t>(want, data.size());
    }
}

/// A reader of protobuf that only skips.
class Proto {
  public:
    explicit Proto(std::string_view bytes) : bytes_(bytes) {}
    bool done() const { return at_ >= bytes_.size(); }
    uint64_t varint() {
        uint64_t value = 0;
        for (int shift = 0; shift < 70; shift += 7) {
            const uint64_t byte = static_cast<unsigned char>(take(1)[0]);
            if (shift < 64) value |= (byte & 0x7f) << shift;
            if (byte < 0x80) return value;
        }
        throw Error(Code::model, "the network is no ONNX file");
    }
    std::string_view take(uint64_t n) {
        if (n > bytes_.size() - at_) throw Error(Code::model, "the network is no ONNX file");
        const std::string_view part = bytes_.substr(at_, n);
        at_ += n;
        return part;
    }

  private:
    std::string_view bytes_;
    size_t at_ = 0;
};

/// Messages of onnx.proto on the way to tensors, and through which fields.
enum Message { kModel, kGraph, kFunction, kNode, kAttribute, kSparse, kTensor };
struct Way {
    Message from;
    int field;
    Message to;
};
constexpr Way kWays[] = {
    {kModel, 7, kGraph},       {kModel, 25, kFunction},   {kGraph, 1, kNode},          {kGraph, 5, kTensor},
    {kGraph, 15, kSparse},     {kFunction, 7, kNode},     {kFunction, 11, kAttribute}, {kNode, 5, kAttribute},
    {kAttribute, 5, kTensor},  {kAttribute, 6, kGraph},   {kAttribute, 10, kTensor},   {kAttribute, 11, kGraph},
    {kAttribute, 22, kSparse}, {kAttribute, 23, kSparse}, {kSparse, 1, kTensor},
};

/// True when any tensor keeps its data in another file: TensorProto.external_data (13) or data_location (14).
bool external(std::string_view bytes, Message message, int depth) {
    if (depth > 32) throw Error(Code::model, "the network is nested too deeply");
    Proto p(bytes);
    while (!p.done()) {
        const uint64_t key = p.varint();
        const uint64_t field = key >> 3;
        switch (key & 7) {
            case 0:
                if (p.varint() && message == kTensor && field == 14) return true;
                break;
            case 1:
                p.take(8);
                break;
            case 5:
                p.take(4);
                break;
            case 2: {
                const std::string_view part = p.take(p.varint());
                if (message == kTensor && field == 13) return true;
                for (const Way& w : kWays) {
                    if (w.from == message && static_cast<uint64_t>(w.field) == field && external(part, w.to, depth + 1))
                        return true;
                }
                break;
            }
            default:
                throw Error(Code::model, "the network is no ONNX file");
        }
    }
    return false;
}

uint32_t little(std::string_view bytes, size_t at, int count) {
    uint32_t value = 0;
    if (at + static_cast<size_t>(count) > bytes.size()) throw Error(Code::model, "heads.npz: is cut off");
    for (int i = 0; i < count; ++i)
        value |= static_cast<uint32_t>(static_cast<unsigned char>(bytes[at + static_cast<size_t>(i)])) << 8 * i;
    return value;
}

template <class T>
void widen(std::string_view bytes, std::vector<float>& out) {
    for (size_t i = 0; i < out.size(); ++i) {
        T value;
        std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
        out[i] = static_cast<float>(value);
    }
}

/// One .npy file: magic, version, length of the header, a Python literal with descr, fortran_order and shape, the data.
Array read_npy(std::string_view bytes) {
    const auto refuse = [](const char* why) { throw Error(Code::model, std::string("heads.npz: ") + why); };
    if (bytes.substr(0, 6) != "\x93NUMPY") refuse("an array has no header");
    const bool first = little(bytes, 6, 1) == 1;
    const size_t start = first ? 10 : 12, length = little(bytes, 8, first ? 2 : 4);
    if (length > bytes.size() - start) refuse("an array's header is cut off");
    const std::string_view header = bytes.substr(start, length);
    const bool columns = header.find("'fortran_order': True") != header.npos;
    const size_t descr = header.find("'descr': '"), shape = header.find("'shape': (");
    if (descr == header.npos || shape == header.npos) refuse("an array's header is not NumPy's");
    Array a;
    uint64_t count = 1;
    for (size_t at = shape + 10; at < header.size() && header[at] != ')'; ++at) {
        if (header[at] < '0' || header[at] > '9') continue;
        int64_t n = 0;
        for (; at < header.size() && header[at] >= '0' && header[at] <= '9' && n < (1 << 28); ++at)
            n = n * 10 + (header[at] - '0');
        a.shape.push_back(n);
        count *= static_cast<uint64_t>(n);
        if (n >= 1 << 28 || count >= 1u << 28 || a.shape.size() > 4) refuse("an array is too large");
        --at;
    }
    const std::string_view kind = header.substr(descr + 10, 3), data = bytes.substr(start + length);
    static const struct {
        const char* kind;
        size_t size;
        void (*widen)(std::string_view, std::vector<float>&);
    } kinds[] = {{"<f4", 4, widen<float>},   {"<f8", 8, widen<double>},   {"|u1", 1, widen<uint8_t>},
                 {"|i1", 1, widen<int8_t>},  {"<u2", 2, widen<uint16_t>}, {"<i2", 2, widen<int16_t>},
                 {"<i4", 4, widen<int32_t>}, {"<u4", 4, widen<uint32_t>}, {"<i8", 8, widen<int64_t>}};
    for (const auto& k : kinds) {
        if (kind != k.kind) continue;
        if (data.size() != count * k.size) refuse("an array's data are not its shape's");
        a.data.resize(count);
        k.widen(data, a.data);
        if (columns && a.shape.size() > 1) {  // column by column
            if (a.shape.size() != 2) refuse("an array of columns has more than two axes");
            const auto h = static_cast<size_t>(a.shape[0]), w = static_cast<size_t>(a.shape[1]);
            std::vector<float> rows(a.data.size());
            for (size_t i = 0; i < rows.size(); ++i) rows[i] = a.data[i % w * h + i / w];
            a.data = std::move(rows);
        }
        return a;
    }
    refuse("an array is of a type that is not read");
    return a;
}

}  // namespace

std::string sha256(std::string_view bytes) {
    static const uint32_t k[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
    uint32_t h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    const auto turn = [](uint32_t x, int n) { return x >> n | x << (32 - n); };
    const auto block = [&](const unsigned char* p) {
        uint32_t w[64], s[8];
        for (int i = 0; i < 16; ++i)
            w[i] = static_cast<uint32_t>(p[4 * i]) << 24 | static_cast<uint32_t>(p[4 * i + 1]) << 16 |
                   static_cast<uint32_t>(p[4 * i + 2]) << 8 | p[4 * i + 3];
        for (int i = 16; i < 64; ++i) {
            const uint32_t a = turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ w[i - 15] >> 3;
            const uint32_t b = turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ w[i - 2] >> 10;
            w[i] = w[i - 16] + a + w[i - 7] + b;
        }
        std::copy(h, h + 8, s);
        for (int i = 0; i < 64; ++i) {
            const uint32_t a = s[7] + (turn(s[4], 6) ^ turn(s[4], 11) ^ turn(s[4], 25)) +
                               ((s[4] & s[5]) ^ (~s[4] & s[6])) + k[i] + w[i];
            const uint32_t b =
                (turn(s[0], 2) ^ turn(s[0], 13) ^ turn(s[0], 22)) + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
            for (int j = 7; j > 0; --j) s[j] = s[j - 1];
            s[4] += a;
            s[0] = a + b;
        }
        for (int i = 0; i < 8; ++i) h[i] += s[i];
    };
    const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
    size_t left = bytes.size();
    for (; left >= 64; left -= 64, data += 64) block(data);
    unsigned char tail[128] = {};
    std::copy(data, data + left, tail);
    tail[left] = 0x80;
    const size_t size = left < 56 ? 64 : 128;
    for (int i = 0; i < 8; ++i)
        tail[size - 1 - static_cast<size_t>(i)] =
            static_cast<unsigned char>(static_cast<uint64_t>(bytes.size()) * 8 >> 8 * i);
    for (size_t at = 0; at < size; at += 64) block(tail + at);
    std::string out;
    for (const uint32_t x : h) {
        for (int shift = 28; shift >= 0; shift -= 4) out += "0123456789abcdef"[x >> shift & 15];
    }
    return out;
}

Folder::Folder(const std::string& directory, const std::string& name) {
    const auto config_of = [&](const std::string& folder, bool& there) {
        return slurp(directory + "/" + folder + "/config.json", kConfigLimit, there);
    };
    bool there = false;
    std::string text;
    const size_t mark = name.rfind("_v");
    const bool exact =
        mark != name.npos && mark + 2 < name.size() && name.find_first_not_of("0123456789", mark + 2) == name.npos;
    name_ = name;
    if (exact) {
        text = config_of(name_, there);
    } else {
        for (int version = kVersions; version >= 1 && !there; --version) {
            name_ = name + "_v" + std::to_string(version);
            text = config_of(name_, there);
        }
    }
    if (!there) throw Error(Code::model, "model " + name + " is not in " + directory);
    const auto refuse = [&](const std::string& why) { throw Error(Code::model, name_ + ": " + why); };
    try {
        config_ = parse_json(text);
        if (config_.at("schema").real() != 1) refuse("config.json is of another schema");
        const std::string version = std::to_string(static_cast<int>(config_.at("version").real()));
        if (config_.at("name").string() + "_v" + version != name_) refuse("config.json is of another model");
        for (const auto& [file, facts] : config_.at("files").table) {
            if (file.empty() || file[0] == '.' || file.find_first_of("/\\:") != file.npos)
                refuse("files: a name is not plain");
            const double bytes = facts.find("bytes") ? facts.at("bytes").real() : static_cast<double>(kFileLimit);
            if (!(bytes >= 0 && bytes <= static_cast<double>(kFileLimit))) refuse(file + " has no possible size");
            std::string data = slurp(directory + "/" + name_ + "/" + file, static_cast<size_t>(bytes), there);
            if (!there) refuse(file + " is missing");
            if (sha256(data) != facts.at("sha256").string())
                refuse(file + " does not match its sha256; restore the file");
            files_.emplace_back(file, std::move(data));
        }
        if (files_.empty()) refuse("files must name at least one file");
    } catch (const Error& error) {
        const std::string what = error.what();
        throw Error(Code::model, what.compare(0, name_.size(), name_) == 0 ? what : name_ + ": " + what);
    }
}

std::string_view Folder::file(std::string_view name) const {
    for (const auto& [file, data] : files_) {
        if (file == name) return data;
    }
    throw Error(Code::model, name_ + ": no file " + std::string(name));
}

namespace {

/// The table of operating points of a kind, as (rate, value).
std::vector<std::pair<double, double>> points_of(const Value& config, std::string_view kind) {
    std::vector<std::pair<double, double>> points;
    const Value* thresholds = config.find("thresholds");
    const Value* table = thresholds ? thresholds->find(kind) : nullptr;
    if (!table) return points;
    for (const auto& [rate, value] : table->table) {
        const double r = parse_json(rate).real(), v = value.real();
        if (!(r > 0 && r < 1 && v >= 0 && v <= 1))
            throw Error(Code::model, "thresholds must map rates in (0, 1) to scores in [0, 1]");
        points.emplace_back(r, v);
    }
    std::sort(points.begin(), points.end());
    return points;
}

}  // namespace

bool Folder::point(std::string_view kind, double rate, double& value) const {
    for (const auto& [r, v] : points_of(config_, kind)) {
        if (r - rate < 1e-9 && rate - r < 1e-9) {
            value = v;
            return true;
        }
    }
    return false;
}

bool Folder::nearest_point(std::string_view kind, double rate, double& value) const {
    const auto points = points_of(config_, kind);
    if (points.empty()) return false;
    value = points.front().second;
    for (const auto& [r, v] : points) {
        if (r <= rate * (1 + 1e-9)) value = v;
    }
    return true;
}

Model Folder::network(const Runtime& runtime, int threads) {
    const std::string name = config_.at("graph").string();
    const std::string_view graph = file(name);
    if (external(graph, kModel, 0))
        throw Error(Code::model, name_ + ": keeps tensors in another file, which is not allowed");
    Model made(runtime, graph.data(), graph.size(), threads);
    files_.erase(std::find_if(files_.begin(), files_.end(), [&](const auto& f) { return f.first == name; }));
    return made;
}

std::vector<std::pair<std::string, Array>> read_npz(std::string_view bytes) {
    // A zip's directory stands at its end: signature, …, entries at 10, offset of the directory at 16.
    const auto refuse = [](const char* why) { throw Error(Code::model, std::string("heads.npz: ") + why); };
    size_t end = bytes.rfind("PK\5\6");
    if (end == bytes.npos || end + 22 > bytes.size()) refuse("is no zip");
    std::vector<std::pair<std::string, Array>> arrays;
    size_t at = little(bytes, end + 16, 4);
    for (uint32_t entries = little(bytes, end + 10, 2); entries > 0; --entries) {
        if (little(bytes, at, 4) != 0x02014b50) refuse("its directory is damaged");
        if (little(bytes, at + 10, 2) != 0) refuse("is compressed");
        const size_t size = little(bytes, at + 24, 4), name = little(bytes, at + 28, 2);
        const size_t more = little(bytes, at + 30, 2) + little(bytes, at + 32, 2), local = little(bytes, at + 42, 4);
        const size_t data = local + 30 + little(bytes, local + 26, 2) + little(bytes, local + 28, 2);
        if (at + 46 + name > bytes.size() || data > bytes.size() || size > bytes.size() - data) refuse("is cut off");
        std::string key(bytes.substr(at + 46, name));
        if (key.size() > 4 && key.compare(key.size() - 4, 4, ".npy") == 0) key.resize(key.size() - 4);
        arrays.emplace_back(std::move(key), read_npy(bytes.substr(data, size)));
        at += 46 + name + more;
    }
    return arrays;
}

}  // namespace capi
}  // namespace og
