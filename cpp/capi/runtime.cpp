#include "capi/runtime.hpp"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#if defined(_WIN32)
#include <windows.h>
#else
#include <dlfcn.h>
#endif

#include "ondevice_guard/image.hpp"

namespace og {
namespace capi {
namespace {

#if defined(_WIN32)
#define OG_ORT __stdcall
#else
#define OG_ORT
#endif

using Handle = void*;  // every object of the runtime
using StatusOf = Handle;

struct ApiBase {
    const Handle*(OG_ORT* api)(uint32_t version);
    const char*(OG_ORT* version)();
};

/// Places in the table of functions, as ONNX Runtime's C header orders them.
enum Place {
    kGetErrorMessage = 2,
    kCreateEnv = 3,
    kCreateSessionFromArray = 8,
    kRun = 9,
    kCreateSessionOptions = 10,
    kSetIntraOpNumThreads = 24,
    kSetInterOpNumThreads = 25,
    kSessionGetInputCount = 30,
    kSessionGetInputName = 36,
    kSessionGetOutputName = 37,
    kCreateTensorWithData = 49,
    kGetTensorMutableData = 51,
    kGetTensorElementType = 60,
    kGetDimensionsCount = 61,
    kGetDimensions = 62,
    kGetTensorTypeAndShape = 65,
    kCreateCpuMemoryInfo = 69,
    kAllocatorFree = 76,
    kGetAllocatorWithDefaultOptions = 78,
    kReleaseEnv = 92,
    kReleaseStatus = 93,
    kReleaseMemoryInfo = 94,
    kReleaseSession = 95,
    kReleaseValue = 96,
    kReleaseTensorTypeAndShapeInfo = 99,
    kReleaseSessionOptions = 100,
    kAddSessionConfigEntry = 130,
};

constexpr uint32_t kApiVersion = 17;
constexpr int kLogErrors = 3;

}  // namespace

struct Runtime::Parts {
    const Handle* table = nullptr;
    Handle environment = nullptr;
    Handle memory = nullptr;

    template <class... Args>
    auto function(Place place) const {
        return reinterpret_cast<StatusOf(OG_ORT*)(Args...)>(table[place]);
    }
    void release(Place place, Handle object) const {
        if (object) reinterpret_cast<void(OG_ORT*)(Handle)>(table[place])(object);
    }
    /// Throws what the runtime says.
    void check(StatusOf status, Code code, const char* what) const {
        if (!status) return;
        const auto message = reinterpret_cast<const char*(OG_ORT*)(Handle)>(table[kGetErrorMessage]);
        const std::string text = std::string(what) + ": " + message(status);
        release(kReleaseStatus, status);
        throw Error(code, text);
    }
    ~Parts() {
        if (!table) return;
        release(kReleaseMemoryInfo, memory);
        release(kReleaseEnv, environment);
        // The library stays open: its threads may outlive the environment.
    }
};

namespace {

/// An object of the runtime that goes with its scope.
class Owned {
  public:
    Owned(const Runtime::Parts& runtime, Place release) : runtime_(runtime), release_(release) {}
    Owned(const Owned&) = delete;
    ~Owned() { runtime_.release(release_, object); }
    Handle object = nullptr;

  private:
    const Runtime::Parts& runtime_;
    Place release_;
};

size_t width_of(int type) {
    switch (type) {
        case OG_FLOAT32:
            return 4;
        case OG_UINT8:
            return 1;
        case OG_INT64:
            return 8;
        default:
            return 0;
    }
}

}  // namespace

Runtime::Runtime(const char* path) : parts_(std::make_shared<Parts>()) {
#if defined(_WIN32)
    HMODULE library = LoadLibraryA(path);
    if (!library) throw Error(Code::backend, std::string("runtime: cannot open ") + path);
    void* entry = reinterpret_cast<void*>(GetProcAddress(library, "OrtGetApiBase"));
#else
    void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) throw Error(Code::backend, std::string("runtime: cannot be opened: ") + dlerror());
    void* entry = dlsym(library, "OrtGetApiBase");
#endif
    if (!entry) throw Error(Code::backend, std::string("runtime: ") + path + " is no ONNX Runtime");
    const ApiBase* base = reinterpret_cast<const ApiBase*(OG_ORT*)()>(entry)();
    // GetApi complains on stderr about versions it does not have, so the version is read first.
    const char* version = base->version();
    char* rest = nullptr;
    const long major = std::strtol(version, &rest, 10);
    const long minor = *rest == '.' ? std::strtol(rest + 1, nullptr, 10) : 0;
    if (major < 1 || (major == 1 && minor < static_cast<long>(kApiVersion))) {
        throw Error(Code::backend, std::string("runtime: is version ") + version + ", needs 1.17 or newer");
    }
    parts_->table = base->api(kApiVersion);
    if (!parts_->table)
        throw Error(Code::backend, std::string("runtime: version ") + version + " lacks the interface of 1.17");
    const Parts& p = *parts_;
    p.check(p.function<int, const char*, Handle*>(kCreateEnv)(kLogErrors, "ondevice_guard", &parts_->environment),
            Code::backend, "runtime");
    constexpr int kArena = 1, kDefault = 0;
    p.check(p.function<int, int, Handle*>(kCreateCpuMemoryInfo)(kArena, kDefault, &parts_->memory), Code::backend,
            "runtime");
}

struct Model::Parts {
    std::shared_ptr<Runtime::Parts> runtime;
    Handle session = nullptr;
    ~Parts() { runtime->release(kReleaseSession, session); }
};

Model::Model(const Runtime& runtime, const void* onnx, size_t bytes, int threads) : parts_(std::make_shared<Parts>()) {
    parts_->runtime = runtime.parts();
    const Runtime::Parts& r = *parts_->runtime;
    Owned options(r, kReleaseSessionOptions);
    r.check(r.function<Handle*>(kCreateSessionOptions)(&options.object), Code::model, "model");
    r.check(r.function<Handle, int>(kSetIntraOpNumThreads)(options.object, threads), Code::model, "model");
    r.check(r.function<Handle, int>(kSetInterOpNumThreads)(options.object, 1), Code::model, "model");
    // Threads that wait by spinning would take the host's CPU for 30 ms after each run.
    for (const char* key : {"session.intra_op.allow_spinning", "session.inter_op.allow_spinning"}) {
        r.check(r.function<Handle, const char*, const char*>(kAddSessionConfigEntry)(options.object, key, "0"),
                Code::model, "model");
    }
    r.check(r.function<Handle, const void*, size_t, Handle, Handle*>(kCreateSessionFromArray)(
                r.environment, onnx, bytes, options.object, &parts_->session),
            Code::model, "model");
}

const float* Model::Answer::floats() const {
    if (type != OG_FLOAT32) throw Error(Code::model, "the network's answer is not float32");
    return reinterpret_cast<const float*>(bytes.data());
}

size_t Model::Answer::count() const {
    return bytes.size() / width_of(type);
}

Model::Answer Model::run(int type, const std::vector<int64_t>& shape, const void* data, size_t bytes,
                         const std::string& output) const {
    const Runtime::Parts& r = *parts_->runtime;
    Handle allocator = nullptr;
    r.check(r.function<Handle*>(kGetAllocatorWithDefaultOptions)(&allocator), Code::model, "model");
    const auto name = [&](Place place) {
        char* text = nullptr;
        r.check(r.function<Handle, size_t, Handle, char**>(place)(parts_->session, 0, allocator, &text), Code::model,
                "model");
        const std::string copy = text;
        r.check(r.function<Handle, void*>(kAllocatorFree)(allocator, text), Code::model, "model");
        return copy;
    };
    size_t inputs = 0;
    r.check(r.function<Handle, size_t*>(kSessionGetInputCount)(parts_->session, &inputs), Code::model, "model");
    if (inputs != 1) throw Error(Code::model, "the network has more than one input");
    const std::string from = name(kSessionGetInputName), to = output.empty() ? name(kSessionGetOutputName) : output;
    Owned in(r, kReleaseValue), out(r, kReleaseValue), facts(r, kReleaseTensorTypeAndShapeInfo);
    r.check(r.function<Handle, void*, size_t, const int64_t*, size_t, int, Handle*>(kCreateTensorWithData)(
                r.memory, const_cast<void*>(data), bytes, shape.data(), shape.size(), type, &in.object),
            Code::model, "input of the network");
    const char *from_name = from.c_str(), *to_name = to.c_str();
    r.check(r.function<Handle, Handle, const char* const*, const Handle*, size_t, const char* const*, size_t, Handle*>(
                kRun)(parts_->session, nullptr, &from_name, &in.object, 1, &to_name, 1, &out.object),
            Code::model, "running the network");
    r.check(r.function<Handle, Handle*>(kGetTensorTypeAndShape)(out.object, &facts.object), Code::model,
            "output of the network");
    Answer answer;
    size_t dimensions = 0;
    r.check(r.function<Handle, int*>(kGetTensorElementType)(facts.object, &answer.type), Code::model, to_name);
    r.check(r.function<Handle, size_t*>(kGetDimensionsCount)(facts.object, &dimensions), Code::model, to_name);
    answer.shape.resize(dimensions);
    r.check(r.function<Handle, int64_t*, size_t>(kGetDimensions)(facts.object, answer.shape.data(), dimensions),
            Code::model, to_name);
    size_t size = width_of(answer.type);
    if (size == 0) throw Error(Code::model, "the network's answer is of a type that is not read");
    for (const int64_t d : answer.shape) size *= static_cast<size_t>(d);
    void* result = nullptr;
    r.check(r.function<Handle, void**>(kGetTensorMutableData)(out.object, &result), Code::model, to_name);
    answer.bytes.assign(static_cast<uint8_t*>(result), static_cast<uint8_t*>(result) + size);
    return answer;
}

void Model::run(const og_tensor* inputs, size_t input_count, og_tensor* outputs, size_t output_count) {
    const Runtime::Parts& r = *parts_->runtime;
    std::vector<std::unique_ptr<Owned>> values;
    std::vector<const char*> names_in, names_out;
    std::vector<Handle> in;
    for (size_t i = 0; i < input_count; ++i) {
        const og_tensor& t = inputs[i];
        const size_t width = width_of(t.type);
        if (!t.name || !t.data || width == 0 || t.dimensions < 0 || t.dimensions > 8) {
            throw Error(Code::unsupported, "inputs: needs a name, data, a type of og_type and at most 8 dimensions");
        }
        size_t elements = 1;
        for (int d = 0; d < t.dimensions; ++d) {
            if (t.shape[d] < 1 || static_cast<uint64_t>(t.shape[d]) > t.bytes / width / elements) {
                throw Error(Code::unsupported, std::string("inputs: shape of ") + t.name + " does not fit its bytes");
            }
            elements *= static_cast<size_t>(t.shape[d]);
        }
        if (elements * width != t.bytes)
            throw Error(Code::unsupported, std::string("inputs: bytes of ") + t.name + " are not its shape's");
        values.emplace_back(new Owned(r, kReleaseValue));
        r.check(
            r.function<Handle, void*, size_t, const int64_t*, size_t, int, Handle*>(kCreateTensorWithData)(
                r.memory, t.data, t.bytes, t.shape, static_cast<size_t>(t.dimensions), t.type, &values.back()->object),
            Code::model, t.name);
        names_in.push_back(t.name);
        in.push_back(values.back()->object);
    }
    for (size_t i = 0; i < output_count; ++i) {
        if (!outputs[i].name) throw Error(Code::unsupported, "outputs: a name is null");
        names_out.push_back(outputs[i].name);
    }
    std::vector<Handle> out(output_count, nullptr);
    const StatusOf status =
        r.function<Handle, Handle, const char* const*, const Handle*, size_t, const char* const*, size_t, Handle*>(
            kRun)(parts_->session, nullptr, names_in.data(), in.data(), input_count, names_out.data(), output_count,
                  out.data());
    for (const Handle value : out) {
        values.emplace_back(new Owned(r, kReleaseValue));
        values.back()->object = value;
    }
    r.check(status, Code::model, "running the network");
    bool small = false;
    for (size_t i = 0; i < output_count; ++i) {
        og_tensor& t = outputs[i];
        Owned shape(r, kReleaseTensorTypeAndShapeInfo);
        r.check(r.function<Handle, Handle*>(kGetTensorTypeAndShape)(out[i], &shape.object), Code::model, t.name);
        int type = 0;
        size_t dimensions = 0;
        r.check(r.function<Handle, int*>(kGetTensorElementType)(shape.object, &type), Code::model, t.name);
        r.check(r.function<Handle, size_t*>(kGetDimensionsCount)(shape.object, &dimensions), Code::model, t.name);
        if (width_of(type) == 0 || dimensions > 8)
            throw Error(Code::model, std::string(t.name) + ": type or shape that og_tensor cannot hold");
        r.check(r.function<Handle, int64_t*, size_t>(kGetDimensions)(shape.object, t.shape, dimensions), Code::model,
                t.name);
        t.dimensions = static_cast<int32_t>(dimensions);
        t.type = type;
        size_t bytes = width_of(type);
        for (size_t d = 0; d < dimensions; ++d) bytes *= static_cast<size_t>(t.shape[d]);
        if (!t.data || t.bytes < bytes) {
            small = true;
            continue;
        }
        void* data = nullptr;
        r.check(r.function<Handle, void**>(kGetTensorMutableData)(out[i], &data), Code::model, t.name);
        std::memcpy(t.data, data, bytes);
        t.bytes = bytes;
    }
    if (small) throw Error(Code::limit, "outputs: a buffer is too small; its shape is filled in");
}

}  // namespace capi
}  // namespace og
