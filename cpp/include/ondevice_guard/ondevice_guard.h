/* ondevice_guard for C, and for whatever can call C: the native core without Python.
 *
 *     og_options options = og_options_default();
 *     og_context* guard = NULL;
 *     if (og_open(&options, &guard) != OG_OK) return 1;
 *     og_image picture = og_image_packed(pixels, height, width, 4);              // RGBA as your decoder gave it
 *     og_verdict verdict = og_verdict_init();
 *     uint8_t* safe = malloc((size_t)height * width * 3);
 *     og_status status = og_sanitize(guard, &picture, &verdict, safe, 0);
 *     if (status == OG_OK) show(safe);                                           // allowed or sanitized
 *     else fprintf(stderr, "%s\n", og_message(guard));                           // OG_BLOCKED, or what went wrong
 *     og_close(guard);
 *
 * Rules. Every struct that this header lets you fill or read begins with `size`: set it with the *_default or *_init function of
 * your header, so that a newer library knows how much of it you have. Buffers are the caller's; nothing that the library hands
 * out must be freed but by the matching *_close. No function prints, throws, raises a signal or calls exit. A context may be
 * used by one thread at a time; different contexts by different threads at the same time. Two things belong to the process and
 * not to a context: the instruction set (chosen at the first call, ONDEVICE_GUARD_BACKEND overrides) and a pool of sleeping
 * threads, which og_set_parallel_for replaces by your own.
 *
 * What the verdicts cover. A context that was opened judges pictures by structure: image-scaling grids, pictures hidden in alpha,
 * text in the lowest bits. og_load adds what the policy names: writing in the picture, perturbations, unsafe content, text. Then a
 * verdict is that of the Python package's Guard.check, decision for decision, scores to 1e-6, pixels exactly; docs/c-api.md names
 * what is left out (thumbnails, delegation, answers).
 *
 * Encoded bytes: decoding is the host's. og_walk checks every length and dimension of a PNG, JPEG, WebP, GIF, BMP (TIFF, AVIF
 * on request) against the bytes that are there, before anything is allocated; decode only what it accepts. og_judge takes the
 * bytes beside the pixels and judges what they carry.
 */
#ifndef ONDEVICE_GUARD_H
#define ONDEVICE_GUARD_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#if defined(OG_BUILDING)
#define OG_API __declspec(dllexport)
#else
#define OG_API __declspec(dllimport)
#endif
#else
#define OG_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define OG_VERSION_MAJOR 0
#define OG_VERSION_MINOR 1
#define OG_VERSION_PATCH 0

/* The library's version, "0.1.0". */
OG_API const char* og_version(void);

/* ---- status ----------------------------------------------------------------------------------------------------------- */

typedef enum og_status {
    OG_OK = 0,
    OG_BLOCKED = 1,         /* the policy blocks; no pixels were written */
    OG_ERROR_ARGUMENT = 2,  /* a null pointer, a shape, a name or a value that is not accepted */
    OG_ERROR_MALFORMED = 3, /* bytes that contradict themselves */
    OG_ERROR_FORMAT = 4,    /* a container that is not on the allow-list */
    OG_ERROR_LIMIT = 5,     /* larger than a limit */
    OG_ERROR_BACKEND = 6,   /* an instruction set or a library that cannot be used */
    OG_ERROR_MODEL = 7,     /* weights or a network that cannot be used */
    OG_ERROR_MEMORY = 8,
    OG_ERROR_INTERNAL = 9
} og_status;

/* A status in a few words, for where there is no context to ask: "an argument is not accepted". Never null. */
OG_API const char* og_status_text(og_status status);

typedef struct og_context og_context;

/* ---- a context ---------------------------------------------------------------------------------------------------------- */

typedef enum og_policy { OG_POLICY_PERMISSIVE = 0, OG_POLICY_BALANCED = 1, OG_POLICY_STRICT = 2 } og_policy;

/* Kinds of findings; the numbers never change. The last four need more than one request and are never found here; policy files
 * name them. */
typedef enum og_kind {
    OG_SCALING = 0,
    OG_ALPHA_DIVERGENCE = 1,
    OG_METADATA_TEXT = 2,
    OG_MALFORMED = 3,
    OG_TYPE_MISMATCH = 4,
    OG_TRAILING_DATA = 5,
    OG_THUMBNAIL_MISMATCH = 6, /* needs a decoder: not found here */
    OG_EXTRA_FRAMES = 7,
    OG_ADVERSARIAL = 8,
    OG_TYPOGRAPHIC = 9, /* writing that gives orders */
    OG_OVERLAY_TEXT = 10,
    OG_HIDDEN_TEXT = 11,
    OG_QR_CODE = 12,
    OG_UNSAFE_CONTENT = 13,
    OG_INJECTION = 14,
    OG_JAILBREAK = 15,
    OG_HARMFUL = 16,
    OG_OBFUSCATION = 17,
    OG_DELEGATION = 18, /* text that leaves its request to a picture: not found here */
    OG_SPLIT_PAYLOAD = 19,
    OG_HARMFUL_RESPONSE = 20,
    OG_CANARY_LEAK = 21,
    OG_UNREQUESTED_ACTION = 22,
    OG_KINDS = 23
} og_kind;

/* "scaling", "alpha_divergence", …; "" for what is no kind. */
OG_API const char* og_kind_name(int32_t kind);

typedef enum og_action { OG_IGNORE = 0, OG_FLAG = 1, OG_SANITIZE = 2, OG_BLOCK = 3 } og_action;

typedef struct og_options {
    size_t size;
    int32_t threads;            /* 0: every CPU of this process; 1: the calling thread alone */
    int32_t policy;             /* og_policy */
    uint64_t seed;              /* of the "randomized" purification */
    int64_t max_side;           /* pixels */
    int64_t max_pixels;
    uint8_t background[4];      /* R, G, B under transparent pixels; the fourth is ignored */
    uint32_t reserved;
    double thresholds[32];      /* by og_kind; negative: the policy's own */
} og_options;

/* balanced, one thread, seed 0, white, 32,768 pixels on a side, 40 million in all */
OG_API og_options og_options_default(void);

/* Makes a context. On failure *context is null. Null options mean the defaults. */
OG_API og_status og_open(const og_options* options, og_context** context);
OG_API void og_close(og_context* context);
/* Reads a policy file, TOML of the keys that the Python package knows (docs/c-api.md): `base`, `fpr`, `rates`, `thresholds`,
 * `actions`, `limits`, `profiles`, `detectors`, `background`, `fill_method`, `purify`, `low_bits`. With `base` it replaces the
 * policy, without it changes some of it. Detectors and profiles named after og_load count from the next og_load on. */
OG_API og_status og_configure(og_context* context, const char* toml, size_t bytes);
/* Why the last call on this context failed, in one sentence; "" after a success. Valid until the next call. */
OG_API const char* og_message(const og_context* context);
/* The instruction set in use: "avx512", "avx2", "neon" or "scalar". */
OG_API const char* og_backend(const og_context* context);

/* Your own parallel loop: it must call task(argument, i) once for every i in [0, count), from any threads, and return when all
 * are done. Null returns to the library's pool. Results never depend on it. */
typedef void (*og_task)(void* argument, int64_t i);
typedef void (*og_parallel_for)(void* host, int64_t count, og_task task, void* argument);
OG_API og_status og_set_parallel_for(og_context* context, og_parallel_for loop, void* host);

/* ---- pictures ----------------------------------------------------------------------------------------------------------- */

/* Height x width pixels of `channels` interleaved bytes: 1 grey, 3 RGB, 4 RGBA (straight alpha). */
typedef struct og_image {
    size_t size;
    const uint8_t* data;
    int64_t height, width;
    int64_t row_stride; /* bytes from one row to the next; 0: rows follow each other */
    int32_t channels;
    int32_t reserved;
} og_image;

OG_API og_image og_image_packed(const void* data, int64_t height, int64_t width, int32_t channels);

typedef enum og_decision { OG_ALLOW = 0, OG_SANITIZED = 1, OG_BLOCK_DECISION = 2 } og_decision;

typedef struct og_verdict {
    size_t size;
    int32_t decision;  /* og_decision */
    int32_t count;     /* of findings */
    double scores[32]; /* by og_kind: the highest score of each kind that was looked for, else -1 */
} og_verdict;

OG_API og_verdict og_verdict_init(void);

/* Judges a picture. OG_OK for every decision; the verdict has it. */
OG_API og_status og_check(og_context* context, const og_image* image, og_verdict* verdict);
/* Judges and writes the safe pixels, RGB, height x width x 3, `row_stride` bytes from row to row (0: packed). OG_BLOCKED leaves
 * `out` as it was. `verdict` may be null. `out` may not overlap the picture. */
OG_API og_status og_sanitize(og_context* context, const og_image* image, og_verdict* verdict, uint8_t* out, int64_t row_stride);

/* A whole request: any of a picture, the encoded bytes that it was decoded from, and the text beside it; the rest is null. */
typedef struct og_input {
    size_t size;
    const og_image* image;
    const void* file;    /* the whole file; the host decoded its first frame, with or without the EXIF orientation */
    size_t file_bytes;
    const char* claimed; /* file name or MIME type that the sender stated */
    const char* text;    /* UTF-8; ill-formed sequences count as U+FFFD */
    size_t text_bytes;
} og_input;

OG_API og_input og_input_init(void);

/* Judges a request. With `out` (needs a picture) it writes the safe pixels as og_sanitize does, and gives OG_BLOCKED when the
 * policy blocks; without it OG_OK for every decision. Bytes that contradict themselves are a verdict, not an error. */
OG_API og_status og_judge(og_context* context, const og_input* input, og_verdict* verdict, uint8_t* out, int64_t row_stride);

typedef struct og_finding {
    size_t size;
    int32_t kind;       /* og_kind */
    int32_t action;     /* og_action the policy asks for when it counts */
    int32_t counts;     /* 1: the score reached the threshold, and the action is not OG_IGNORE */
    int32_t regions;    /* quadrilaterals in the picture's pixels: og_regions */
    double score;       /* in [0, 1], low ones too */
    double threshold;
    int64_t begin, end; /* of a finding in text, in code points; -1, -1 for others */
    char view[48];      /* in which it was seen: "original", "over_black", "metadata:png:tEXt", … */
    char detector[48];
    char why[256];      /* one sentence, UTF-8, cut where it is longer */
} og_finding;

OG_API og_finding og_finding_init(void);

/* A finding of the context's last verdict, highest score first. OG_ERROR_ARGUMENT from `count` on. */
OG_API og_status og_finding_at(og_context* context, int32_t index, og_finding* finding);
/* Its regions: x0 y0 … x3 y3 in pixels, clockwise from the top left, 8 numbers each; at most `capacity` of them. */
OG_API og_status og_regions(og_context* context, int32_t index, double* quads, size_t capacity);

/* ---- filters ------------------------------------------------------------------------------------------------------------ */

typedef struct og_parameter {
    const char* name;
    double value;
} og_parameter;

/* One filter by name with the parameters of `ondevice_guard.purify`; what is not named has its default. Names: "median" (size),
 * "bit_depth" (bits), "low_bits" (bits), "dct" (quality, subsample, shifts), "dct_shrink" (threshold, shifts), "bilateral"
 * (sigma_color, sigma_space, radius), "guided" (radius, eps), "nlm" (h, search), "total_variation" (weight, iterations),
 * "wavelet" (sigma, shifts), "resize_pad" (smallest, seed below 2^53), "rotate" (degrees, taps), "local_contrast", "luma"; and
 * two that run networks, after an og_load with a runtime: "learned" (small, gain), "denoise" (sigma). `out` has the picture's
 * height and width, and its channels but for local_contrast (3) and luma (1). */
OG_API og_status og_filter(og_context* context, const og_image* image, const char* name, const og_parameter* parameters,
                           size_t count, uint8_t* out, int64_t row_stride);

/* Scales to height x width with the kernel that a model's preprocessing uses: "nearest", "box", "bilinear", "bicubic",
 * "lanczos", "area", "corner_bilinear"; without antialiasing the forms that skip pixels. */
OG_API og_status og_resize(og_context* context, const og_image* image, const char* kernel, int32_t antialias, int64_t height,
                           int64_t width, uint8_t* out, int64_t row_stride);

/* RGBA over a colour, RGB out. */
OG_API og_status og_composite(og_context* context, const og_image* image, const uint8_t* background, uint8_t* out,
                              int64_t row_stride);

/* Replaces quadrilaterals (x0 y0 … x3 y3 in pixels, 8 numbers each) by "inpaint", "blur" or "box" and copies the rest. */
OG_API og_status og_fill(og_context* context, const og_image* image, const double* quads, size_t count, const char* method,
                         uint8_t* out, int64_t row_stride);

/* Purifies by a preset: "fast", "balanced", "strong" or "randomized" (a function of the options' seed). `full` 0 measures the
 * picture's noise first, and "fast" and "balanced" have milder steps for a quiet one; 1 takes the strong ones. "strong", and
 * "balanced" for a picture that is not quiet, need an og_load with a runtime: they run a network and turn the picture by 5
 * degrees. */
OG_API og_status og_purify(og_context* context, const og_image* image, const char* preset, int32_t full, uint8_t* out,
                           int64_t row_stride);

/* ---- encoded bytes ------------------------------------------------------------------------------------------------------ */

typedef struct og_limits {
    size_t size;
    uint64_t bytes, pixels;
    uint32_t side, frames, scans;
    uint32_t formats; /* sum of OG_FORMAT_* */
} og_limits;

enum { OG_FORMAT_PNG = 2, OG_FORMAT_JPEG = 4, OG_FORMAT_WEBP = 8, OG_FORMAT_GIF = 16, OG_FORMAT_BMP = 32, OG_FORMAT_TIFF = 64,
       OG_FORMAT_AVIF = 128 };

OG_API og_limits og_limits_default(void);

typedef struct og_header {
    size_t size;
    uint32_t format; /* one OG_FORMAT_*, or 0 */
    uint32_t width, height, frames, channels, bit_depth, orientation;
    uint32_t has_alpha, animated, progressive;
    uint64_t end;     /* offset behind the picture; bytes after it are trailing data */
    uint64_t where;   /* of the record that was refused */
    uint64_t records; /* that no decoder of the first frame needs: metadata, other frames */
} og_header;

OG_API og_header og_header_init(void);

/* Checks a file against its own bytes. OG_OK, OG_ERROR_MALFORMED, OG_ERROR_FORMAT or OG_ERROR_LIMIT. */
OG_API og_status og_walk(og_context* context, const void* data, size_t bytes, const og_limits* limits, og_header* header);

/* ---- text --------------------------------------------------------------------------------------------------------------- */

typedef struct og_text_model og_text_model;

/* Weights of models/text_linear_v<N> (weights.bin), and from its config.json the pairs `calibration`: slope and offset of
 * injection, jailbreak, harmful. The model keeps copies. */
OG_API og_status og_text_open(og_context* context, const void* weights, size_t bytes, const double* calibration,
                              og_text_model** model);
OG_API void og_text_close(og_text_model* model);

typedef struct og_text_scores {
    size_t size;
    double injection, jailbreak, harmful; /* calibrated probabilities: of the text or of the worst payload it hides */
    int32_t tricks;                       /* ways in which it hides text: invisible characters, look-alikes, encodings … */
    int32_t reserved;
} og_text_scores;

OG_API og_text_scores og_text_scores_init(void);

/* Scores UTF-8 (ill-formed sequences count as U+FFFD) by the linear model alone, without a runtime. og_judge lets the encoder look
 * again at what this finds suspicious. */
OG_API og_status og_text_score(og_context* context, const og_text_model* model, const char* text, size_t bytes,
                               og_text_scores* scores);

/* ---- networks ----------------------------------------------------------------------------------------------------------- */

typedef struct og_runtime og_runtime;
typedef struct og_model og_model;

/* Opens an ONNX Runtime library (1.17 or newer) that the host brings. */
OG_API og_status og_runtime_open(og_context* context, const char* path, og_runtime** runtime);
OG_API void og_runtime_close(og_runtime* runtime);

/* Loads the detectors that the policy names from a folder of models (`models/` of the package), each file checked against its
 * SHA-256. `runtime` may be null when the policy names structural and adversarial alone and purifies
 * by "fast" or "randomized". From here on every verdict asks them. */
OG_API og_status og_load(og_context* context, og_runtime* runtime, const char* models);

/* A network from memory, one thread. The bytes are not kept. Close it before its runtime. */
OG_API og_status og_model_open(og_context* context, og_runtime* runtime, const void* onnx, size_t bytes, int32_t threads,
                               og_model** model);
OG_API void og_model_close(og_model* model);

typedef enum og_type { OG_FLOAT32 = 1, OG_UINT8 = 2, OG_INT64 = 7 } og_type;

typedef struct og_tensor {
    size_t size;
    const char* name;  /* of the network's input or output */
    void* data;
    size_t bytes;      /* of `data`: exactly what an input's shape needs, at least what an output needs */
    int64_t shape[8];  /* an output's is filled in */
    int32_t dimensions;
    int32_t type;      /* og_type; an output's is filled in */
} og_tensor;

OG_API og_tensor og_tensor_init(void);

/* Runs a network. An output whose buffer is too small gives OG_ERROR_LIMIT, with shape and type filled in. */
OG_API og_status og_model_run(og_context* context, og_model* model, const og_tensor* inputs, size_t input_count,
                              og_tensor* outputs, size_t output_count);

#ifdef __cplusplus
}
#endif

#endif /* ONDEVICE_GUARD_H */
