/* A command line tool on the C library alone: no Python, no models.
 *
 *     cc -std=c99 og_guard.c $(pkg-config --cflags --libs ondevice_guard) -o og_guard
 *     og_guard header photo.jpg             checks a file's lengths and dimensions before anyone decodes it
 *     og_guard check picture.ppm            judges a PGM, PPM or RGBA PAM picture
 *     og_guard clean picture.pam safe.ppm   writes the safe pixels
 *
 * Exit: 0 clean, 1 findings that count, 2 usage, 3 unreadable or refused, 4 blocked.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ondevice_guard/ondevice_guard.h"

static unsigned char* read_file(const char* path, size_t* size) {
    FILE* file = fopen(path, "rb");
    unsigned char* data = NULL;
    long length;
    if (!file) return NULL;
    if (fseek(file, 0, SEEK_END) == 0 && (length = ftell(file)) >= 0 && fseek(file, 0, SEEK_SET) == 0) {
        data = (unsigned char*)malloc((size_t)length + 1);
        if (data && fread(data, 1, (size_t)length, file) != (size_t)length) {
            free(data);
            data = NULL;
        }
        if (data) data[length] = 0;
        *size = (size_t)length;
    }
    fclose(file);
    return data;
}

/* The next number of a PNM header; -1 where there is none. */
static long next_number(const unsigned char* data, size_t size, size_t* at) {
    long value = 0;
    int digits = 0;
    while (*at < size && (data[*at] == ' ' || data[*at] == '\n' || data[*at] == '\r' || data[*at] == '\t' || data[*at] == '#')) {
        if (data[*at] == '#') {
            while (*at < size && data[*at] != '\n') ++*at;
        } else {
            ++*at;
        }
    }
    while (*at < size && data[*at] >= '0' && data[*at] <= '9' && digits < 8) {
        value = value * 10 + (data[(*at)++] - '0');
        ++digits;
    }
    return digits > 0 ? value : -1;
}

/* The number behind a word of a PAM header. */
static long field(const char* header, const char* word) {
    const char* found = strstr(header, word);
    return found ? strtol(found + strlen(word), NULL, 10) : -1;
}

/* A picture in a PGM, PPM or PAM file; 0 when it is none. */
static int parse(const unsigned char* data, size_t size, og_image* image) {
    long width = -1, height = -1, most = -1;
    int channels = 0;
    size_t at = 2;
    if (size > 3 && data[0] == 'P' && (data[1] == '5' || data[1] == '6')) {
        channels = data[1] == '5' ? 1 : 3;
        width = next_number(data, size, &at);
        height = next_number(data, size, &at);
        most = next_number(data, size, &at);
        ++at;
    } else if (size > 3 && data[0] == 'P' && data[1] == '7') {
        const char* end = strstr((const char*)data, "ENDHDR\n");
        if (!end) return 0;
        at = (size_t)(end - (const char*)data) + 7;
        width = field((const char*)data, "WIDTH ");
        height = field((const char*)data, "HEIGHT ");
        most = field((const char*)data, "MAXVAL ");
        channels = (int)field((const char*)data, "DEPTH ");
    }
    if (width < 1 || height < 1 || width > 32768 || height > 32768 || most != 255) return 0;
    if (channels != 1 && channels != 3 && channels != 4) return 0;
    if (at > size || size - at < (size_t)width * (size_t)height * (size_t)channels) return 0;
    *image = og_image_packed(data + at, height, width, channels);
    return 1;
}

static const char* const decisions[] = {"allow", "sanitized", "block"};

static int report(og_context* guard, const og_verdict* verdict) {
    int32_t i;
    int counted = 0;
    printf("%s\n", decisions[verdict->decision]);
    for (i = 0; i < verdict->count; ++i) {
        og_finding f = og_finding_init();
        if (og_finding_at(guard, i, &f) != OG_OK) continue;
        printf("  %-16s %.6f%s  %s\n", og_kind_name(f.kind), f.score, f.counts ? " counts" : "", f.why);
        counted += f.counts;
    }
    return counted;
}

static int header(og_context* guard, const unsigned char* data, size_t size) {
    og_header h = og_header_init();
    const og_status status = og_walk(guard, data, size, NULL, &h);
    if (status != OG_OK) {
        fprintf(stderr, "refused: %s\n", og_message(guard));
        return 3;
    }
    printf("%ux%u, %u frames, orientation %u, %llu records beside the picture\n", h.width, h.height, h.frames, h.orientation,
           (unsigned long long)h.records);
    return 0;
}

static int picture(og_context* guard, const og_image* image, const char* target) {
    og_verdict verdict = og_verdict_init();
    og_status status;
    unsigned char* safe = NULL;
    FILE* file;
    int counted, written;
    const size_t bytes = (size_t)image->height * (size_t)image->width * 3;
    if (!target) {
        status = og_check(guard, image, &verdict);
    } else {
        safe = (unsigned char*)malloc(bytes);
        status = safe ? og_sanitize(guard, image, &verdict, safe, 0) : OG_ERROR_MEMORY;
    }
    if (status != OG_OK && status != OG_BLOCKED) {
        fprintf(stderr, "failed: %s\n", og_message(guard));
        free(safe);
        return 3;
    }
    counted = report(guard, &verdict);
    if (status == OG_BLOCKED || verdict.decision == OG_BLOCK_DECISION) {
        free(safe);
        return 4;
    }
    if (target) {
        file = fopen(target, "wb");
        written = file && fprintf(file, "P6\n%ld %ld\n255\n", (long)image->width, (long)image->height) > 0 &&
                  fwrite(safe, 1, bytes, file) == bytes;
        if (file) written = fclose(file) == 0 && written;
        free(safe);
        if (!written) {
            fprintf(stderr, "cannot write %s\n", target);
            return 3;
        }
    }
    return counted > 0 ? 1 : 0;
}

int main(int argc, char** argv) {
    og_options options = og_options_default();
    og_context* guard = NULL;
    og_image image;
    unsigned char* data;
    size_t size = 0;
    int code;
    og_status opened;
    const int clean = argc == 4 && strcmp(argv[1], "clean") == 0;
    const int check = argc == 3 && strcmp(argv[1], "check") == 0;
    if (!clean && !check && !(argc == 3 && strcmp(argv[1], "header") == 0)) {
        fprintf(stderr, "og_guard %s: header FILE | check PICTURE | clean PICTURE SAFE.ppm\n", og_version());
        return 2;
    }
    data = read_file(argv[2], &size);
    if (!data) {
        fprintf(stderr, "cannot read %s\n", argv[2]);
        return 3;
    }
    opened = og_open(&options, &guard);
    if (opened != OG_OK) {
        fprintf(stderr, "cannot start: %s\n", og_status_text(opened));
        code = 3;
    } else if (!clean && !check) {
        code = header(guard, data, size);
    } else if (!parse(data, size, &image)) {
        fprintf(stderr, "%s is no 8-bit PGM, PPM or PAM picture\n", argv[2]);
        code = 3;
    } else {
        code = picture(guard, &image, clean ? argv[3] : NULL);
    }
    og_close(guard);
    free(data);
    return code;
}
