"""Benign pictures that look attacked, for training and judging the perturbation detector.

Every maker takes a uint8 RGB picture and a generator. Those of `MAKERS` return what a camera, a scanner, an editor or a
web site might have made of it; those of `DRAWN` a picture full of fine structure that is nobody's noise (a star field, a
printed page, cloth), often without using the given one but for its size. Names are the rows of the detector's report.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

Maker = Callable[[np.ndarray, np.random.Generator], np.ndarray]
FILTERS = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4, cv2.INTER_NEAREST)


def to_u8(x: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)


def gaussian(image: np.ndarray, rng: np.random.Generator, sigma: float | None = None) -> np.ndarray:
    """White noise, independent per channel."""
    sigma = rng.uniform(1, 14) if sigma is None else sigma
    return to_u8(image + rng.standard_normal(image.shape, np.float32) * sigma)


def uniform(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Uniform or two-valued white noise: as flat-headed as a perturbation, without its pattern."""
    a = rng.uniform(2, 14)
    noise = rng.uniform(-a, a, image.shape) if rng.random() < 0.5 else rng.choice((-a, a), image.shape)
    return to_u8(image + noise)


def luma_noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same noise in all three channels."""
    return to_u8(image + rng.standard_normal((*image.shape[:2], 1), np.float32) * rng.uniform(1, 14))


def film(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Film grain: blurred noise, strongest in mid-tones, mostly but not wholly shared by the channels."""
    grain = rng.standard_normal((*image.shape[:2], 3), np.float32)
    grain = cv2.GaussianBlur(grain, (0, 0), rng.uniform(0.4, 1.3))
    grain /= grain.std() + 1e-6
    share = rng.uniform(0.3, 1.0)
    grain = share * grain.mean(2, keepdims=True) * np.sqrt(3) + (1 - share) * grain
    tone = image.mean(2, keepdims=True) / 255
    return to_u8(image + grain * rng.uniform(2, 14) * (0.4 + 2.4 * tone * (1 - tone)))


def sensor(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shot and read noise on a Bayer mosaic, bilinear demosaicing, white balance, sometimes mild denoising."""
    linear = (image.astype(np.float32) / 255) ** 2.2
    h, w = image.shape[:2]
    mosaic = linear[..., 1].copy()
    mosaic[0::2, 0::2], mosaic[1::2, 1::2] = linear[0::2, 0::2, 0], linear[1::2, 1::2, 2]
    gain = np.exp(rng.uniform(np.log(2e-4), np.log(8e-3)))
    mosaic += rng.standard_normal((h, w), np.float32) * np.sqrt(mosaic * gain + (gain * 2) ** 2)
    raw = np.clip(mosaic * 65535, 0, 65535).astype(np.uint16)
    rgb = cv2.cvtColor(raw, cv2.COLOR_BayerRG2RGB).astype(np.float32) / 65535
    out = to_u8(255 * np.clip(rgb, 0, 1) ** (1 / 2.2))
    return cv2.GaussianBlur(out, (0, 0), rng.uniform(0.3, 0.8)) if rng.random() < 0.3 else out


def jpeg(image: np.ndarray, rng: np.random.Generator, quality: int | None = None) -> np.ndarray:
    """A JPEG round trip, chroma halved or not."""
    quality = int(rng.integers(30, 99)) if quality is None else quality
    sub = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)[int(rng.random() < 0.3)]
    _, data = cv2.imencode(
        ".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sub]
    )
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def resized(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Down or up by any filter, to another size."""
    f = np.exp(rng.uniform(np.log(0.4), np.log(1.6)))
    h, w = (max(72, round(s * f)) for s in image.shape[:2])
    return cv2.resize(image, (w, h), interpolation=FILTERS[rng.integers(len(FILTERS))])


def sharpened(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Unsharp mask."""
    x = image.astype(np.float32)
    return to_u8(x + rng.uniform(0.5, 2.5) * (x - cv2.GaussianBlur(x, (0, 0), rng.uniform(0.6, 2.0))))


def toned(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Contrast, gamma, saturation."""
    x = (image.astype(np.float32) / 255) ** rng.uniform(0.6, 1.7)
    grey = x.mean(2, keepdims=True)
    x = grey + (x - grey) * rng.uniform(0.0, 2.2)
    return to_u8(255 * (0.5 + (x - 0.5) * rng.uniform(0.8, 1.6)))


def dithered(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Few levels per channel with ordered or random dither, as in GIF-like pictures."""
    levels = int(rng.integers(5, 33))
    h, w = image.shape[:2]
    bayer = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], np.float32) / 16 - 0.47
    t = (
        np.tile(bayer, (h // 4 + 1, w // 4 + 1))[:h, :w, None]
        if rng.random() < 0.5
        else rng.uniform(-0.5, 0.5, (h, w, 3))
    )
    return to_u8(np.rint(image / 255 * (levels - 1) + t) * 255 / (levels - 1))


def screenshot(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Flat panels, one-pixel rules, gradients and lines of text around (or instead of) the picture."""
    h, w = image.shape[:2]
    out = image.copy() if rng.random() < 0.5 else np.full_like(image, rng.integers(0, 256, 3))
    if rng.random() < 0.4:
        ramp = np.linspace(0, 1, w)[None, :, None] * rng.uniform(-80, 80, 3) + rng.uniform(60, 200, 3)
        out[: h // 2] = to_u8(np.broadcast_to(ramp, (h, w, 3)))[: h // 2]
    for _ in range(int(rng.integers(1, 5))):
        y, x = int(rng.integers(0, h)), int(rng.integers(0, w))
        cv2.rectangle(
            out,
            (x, y),
            (x + int(rng.integers(8, w)), y + int(rng.integers(4, h // 2))),
            rng.integers(0, 256, 3).tolist(),
            -1,
        )
    for _ in range(int(rng.integers(3, 14))):
        text = "".join(rng.choice(list("abcdefghijklmnop qrstuvwxyzABC 0123456789.,:;()"), int(rng.integers(4, 40))))
        place = (int(rng.integers(-20, w // 2)), int(rng.integers(0, h)))
        face = int(rng.choice([cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX]))
        cv2.putText(
            out,
            text,
            place,
            face,
            rng.uniform(0.3, 0.9),
            rng.integers(0, 256, 3).tolist(),
            1,
            cv2.LINE_AA if rng.random() < 0.8 else 8,
        )
    return out


def untouched(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return image


def noisy_resized(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise that was there before the picture was resized, compressed or sharpened."""
    noisy = (gaussian, film, sensor, luma_noise)[rng.integers(4)](image, rng)
    return (resized, jpeg, sharpened, toned)[rng.integers(4)](noisy, rng)


MAKERS: dict[str, Maker] = {
    "clean": untouched,
    "gaussian": gaussian,
    "uniform": uniform,
    "luma_noise": luma_noise,
    "film": film,
    "sensor": sensor,
    "jpeg": jpeg,
    "resized": resized,
    "sharpened": sharpened,
    "toned": toned,
    "dithered": dithered,
    "screenshot": screenshot,
    "noisy_then": noisy_resized,
}


def stars(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A night sky: point sources of many magnitudes behind one point-spread function, nebulae, shot noise."""
    h, w = image.shape[:2]
    y, x = np.mgrid[:h, :w].astype(np.float32)
    sky = np.ones((h, w, 1), np.float32) * rng.uniform(0, 25, 3)
    for _ in range(int(rng.integers(0, 5))):
        wide = rng.uniform(0.1, 0.6) * max(h, w)
        dy, dx = (y - rng.uniform(0, h)) / (wide * rng.uniform(0.3, 1)), (x - rng.uniform(0, w)) / wide
        sky = sky + np.exp(-(dx**2 + dy**2))[..., None] * rng.uniform(0, 90, 3)
    n = max(1, int(h * w * np.exp(rng.uniform(np.log(2e-4), np.log(2e-2)))))
    light = np.minimum(rng.pareto(rng.uniform(0.8, 2), n) * rng.uniform(6, 40), 3000)
    points = np.zeros((h, w, 3), np.float32)
    np.add.at(
        points, (rng.integers(0, h, n), rng.integers(0, w, n)), light[:, None] * (1 + rng.uniform(-0.4, 0.4, (n, 3)))
    )
    spread = rng.uniform(0.35, 1.6)
    out = sky + cv2.GaussianBlur(points, (0, 0), spread) * (1 + np.pi * spread**2)
    out = out + cv2.GaussianBlur(points, (0, 0), spread * rng.uniform(3, 8)) * rng.uniform(0, 2)
    if rng.random() < 0.7:
        out = out + rng.standard_normal(out.shape) * np.sqrt(np.maximum(out, 1)) * rng.uniform(0.05, 0.6)
    return to_u8(255 * (np.clip(out, 0, 255) / 255) ** rng.uniform(0.6, 1.1))


def rendered(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Clouds and marble of computer graphics: summed octaves of smooth noise through a colour ramp."""
    h, w = image.shape[:2]
    tone, weight, cells = np.zeros((h, w), np.float32), 1.0, rng.uniform(2, 6)
    decay = rng.uniform(0.4, 0.8)
    for _ in range(int(rng.integers(2, 9))):
        grid = rng.standard_normal((int(cells) + 2, int(cells * w / h) + 2)).astype(np.float32)
        tone += weight * cv2.resize(grid, (w, h), interpolation=cv2.INTER_CUBIC)
        weight, cells = weight * decay, cells * 2
        if cells > max(h, w):
            break
    tone = ((tone - tone.min()) / (np.ptp(tone) + 1e-6))[..., None]
    low, middle, high = rng.uniform(0, 255, (3, 3))
    return to_u8(np.where(tone < 0.5, low + (middle - low) * 2 * tone, middle + (high - middle) * (2 * tone - 1)))


def particles(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Snow, confetti, scattered dots."""
    h, w = image.shape[:2]
    out = image.copy() if rng.random() < 0.3 else np.full_like(image, rng.integers(0, 256, 3))
    white = rng.random() < 0.5
    for _ in range(max(1, int(h * w * rng.uniform(5e-4, 1e-2)))):
        colour = (255, 255, 255) if white else rng.integers(0, 256, 3).tolist()
        cv2.circle(out, (int(rng.integers(w)), int(rng.integers(h))), int(rng.integers(0, 4)), colour, -1, cv2.LINE_AA)
    return out


def halftone(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A printed page, scanned: one screen of dots, or three at their usual angles."""
    h, w = image.shape[:2]
    y, x = np.mgrid[:h, :w].astype(np.float32)
    pitch, sharp, colour = rng.uniform(3, 8), rng.uniform(4, 20), rng.random() < 0.6
    out = np.empty((h, w, 3), np.float32)
    for c in range(3):
        a = np.deg2rad((15, 75, 45)[c] if colour else 45)
        u, v = (x * np.cos(a) + y * np.sin(a)) / pitch, (y * np.cos(a) - x * np.sin(a)) / pitch
        dots = np.cos(2 * np.pi * u) * np.cos(2 * np.pi * v) * 0.5 + 0.5
        out[..., c] = 1 / (1 + np.exp(-((image[..., c] if colour else image.mean(2)) / 255 - dots) * sharp))
    return to_u8(cv2.GaussianBlur(out, (0, 0), rng.uniform(0.3, 0.9)) * 255)


def pixel_art(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Few colours, every pixel a block."""
    h, w = image.shape[:2]
    k, step = int(rng.integers(2, 9)), int(rng.integers(16, 64))
    small = cv2.resize(image, (max(8, w // k), max(8, h // k)), interpolation=cv2.INTER_AREA) // step * step + step // 2
    return cv2.resize(small, (w, h), interpolation=cv2.INTER_NEAREST)


def line_art(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Thin strokes on paper."""
    h, w = image.shape[:2]
    out = np.full_like(image, 255)
    for _ in range(int(rng.integers(20, 300))):
        x, y, dx, dy = rng.integers(-20, w + 20), rng.integers(-20, h + 20), *rng.normal(0, 60, 2)
        ink = (0, 0, 0) if rng.random() < 0.7 else rng.integers(0, 256, 3).tolist()
        cv2.line(out, (int(x), int(y)), (int(x + dx), int(y + dy)), ink, 1, cv2.LINE_AA)
    return out


def hatched(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Regular stripes at any angle, crossed: blinds, engravings, moiré."""
    h, w = image.shape[:2]
    y, x = np.mgrid[:h, :w].astype(np.float32)
    out = np.ones((h, w, 1), np.float32) * rng.uniform(100, 255, 3)
    for _ in range(int(rng.integers(1, 5))):
        a, pitch = rng.uniform(0, np.pi), rng.uniform(2, 14)
        wave = np.cos(2 * np.pi * (x * np.cos(a) + y * np.sin(a)) / pitch)
        out = out - (wave > rng.uniform(0, 0.9))[..., None] * rng.uniform(10, 120, 3)
    return to_u8(out)


def cloth(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A weave of two colours."""
    h, w = image.shape[:2]
    y, x = np.mgrid[:h, :w]
    p, q = rng.integers(2, 7, 2)
    out = rng.uniform(40, 220, 3) + ((x // p + y // q) % 2)[..., None] * rng.uniform(-40, 40, 3)
    return to_u8(out + rng.standard_normal((h, w, 1)) * rng.uniform(0, 12))


def palette(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The nearest of 8 to 64 colours of the picture's own, with random dither."""
    sample = image.reshape(-1, 3)[rng.integers(0, image.shape[0] * image.shape[1], 2000)].astype(np.float32)
    cv2.setRNGSeed(int(rng.integers(1 << 30)))
    _, _, colours = cv2.kmeans(sample, int(rng.integers(8, 65)), None, (3, 6, 1.0), 1, cv2.KMEANS_RANDOM_CENTERS)
    x = image + rng.normal(0, rng.uniform(0, 14), image.shape)
    distance = (colours**2).sum(1) - 2 * x.astype(np.float32) @ colours.T
    return to_u8(colours[distance.argmin(-1)])


def gravel(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cells of single colours with dark seams: pebbles, mosaics, scales."""
    h, w = image.shape[:2]
    n = max(4, int(h * w * rng.uniform(0.002, 0.03)))
    seeds = np.full((h, w), 255, np.uint8)
    seeds[rng.integers(0, h, n), rng.integers(0, w, n)] = 0
    far, cell = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    tone, tint = rng.uniform(60, 220, cell.max() + 1), rng.uniform(-25, 25, (cell.max() + 1, 3))
    out = tone[cell][..., None] + tint[cell] - np.minimum(far, 8)[..., None] * rng.uniform(0, 8)
    out = out + rng.standard_normal((h, w, 1)) * rng.uniform(0, 10)
    return to_u8(cv2.GaussianBlur(out, (0, 0), rng.uniform(0.3, 1)))


def grass(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Thousands of short strokes that lean one way."""
    h, w = image.shape[:2]
    out = np.full_like(image, rng.uniform(20, 80, 3))
    hue = np.array([rng.uniform(40, 140), rng.uniform(90, 200), rng.uniform(20, 80)])
    for _ in range(int(h * w / rng.uniform(20, 120))):
        x, y = rng.integers(0, w), rng.integers(0, h)
        colour = np.clip(hue * rng.uniform(0.4, 1.4) + rng.normal(0, 10, 3), 0, 255).tolist()
        cv2.line(
            out, (int(x), int(y)), (int(x + rng.normal(0, 5)), int(y - rng.uniform(4, 24))), colour, 1, cv2.LINE_AA
        )
    return out


def enlarged(image: np.ndarray, pixels: float, kernel: int = cv2.INTER_CUBIC) -> np.ndarray:
    """A picture brought to about so many pixels."""
    scale = (pixels / (image.shape[0] * image.shape[1])) ** 0.5
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=kernel)


def artwork(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A drawn picture or a piece of one (desktop background, poster, cover): slow gradients in bands of one level, soft and
    sharp shapes, folds, facets and fine lines upon them. Lengths are in pixels, but for the shortest gradients."""
    yy, xx = np.mgrid[0:height, 0:width].astype(np.float32)

    def ramp(spread: float) -> np.ndarray:
        """Colours that change over 48 pixels or a twelfth of the picture to 3,000 pixels, by `spread` levels or so."""
        grid = rng.uniform(0, 255, 3) + rng.normal(0, spread, (6, 6, 1)) + rng.normal(0, spread / 3, (6, 6, 3))
        cell = np.exp(rng.uniform(np.log(max(48, width / 12)), np.log(3000)))
        y, x = 2 + rng.random(2)
        where = (xx / cell + x).astype(np.float32) % 6, (yy / cell + y).astype(np.float32) % 6
        return cv2.remap(grid.astype(np.float32), *where, cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP)

    img = ramp(rng.uniform(2, 80))
    for _ in range(int(rng.integers(0, 7))):
        kind, t = rng.integers(6), rng.uniform(0, np.pi)
        u, v = xx - rng.uniform(0, width), yy - rng.uniform(0, height)
        u, v = u * np.cos(t) + v * np.sin(t), v * np.cos(t) - u * np.sin(t)
        size = np.exp(rng.uniform(np.log(6), np.log(1500)))
        if kind == 0:  # disc or ring
            far = np.hypot(u, v) - size
            inside = far if rng.random() < 0.7 else np.abs(far) - rng.uniform(0.5, 6)
        elif kind == 1:  # hill, wave, fold
            inside = v - rng.uniform(2, 60) * np.sin(u / size * 6)
        elif kind == 2:  # ribbon or stroke along a wave
            inside = np.abs(v - rng.uniform(0, 60) * np.sin(u / size * 6)) - np.exp(rng.uniform(-0.7, 4))
        elif kind == 3:  # facets: the nearest of some points
            seeds = np.full((height, width), 255, np.uint8)
            points = int(rng.integers(3, 30))
            seeds[rng.integers(0, height, points), rng.integers(0, width, points)] = 0
            _, cell = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
            tones = rng.normal(0, rng.uniform(1, 30), (points + 1, 1)) + rng.normal(0, 3, (points + 1, 3))
            img = img + tones.astype(np.float32)[cell]
            continue
        elif kind == 4:  # box with or without rounded corners
            a, b = size * rng.uniform(0.2, 1, 2)
            inside = np.hypot(np.maximum(np.abs(u) - a, 0), np.maximum(np.abs(v) - b, 0)) - rng.uniform(0.3, size / 4)
        else:  # rays or parallel lines
            pitch = rng.uniform(5, 90)
            across = np.arctan2(v, u) * 30 if rng.random() < 0.5 else v
            inside = np.abs(across % pitch - pitch / 2) - pitch * rng.uniform(0.02, 0.3)
        soft = float(rng.choice([0.7, 0.7, 1.5, 6, 30, 120]))
        cover = 1 / (1 + np.exp(np.clip(inside / soft * 2, -30, 30)))[..., None] * np.float32(rng.uniform(0.04, 1))
        tint = ramp(20) if rng.random() < 0.4 else img + (rng.normal(0, 40) + rng.normal(0, 12, 3)).astype(np.float32)
        img = img + (tint - img) * cover
    noise = np.float32(rng.choice([0, 0, 0, 0.4, 0.8, 2]))
    img = np.clip(np.rint(img + rng.standard_normal(img.shape, np.float32) * noise), 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        _, data = cv2.imencode(".jpg", img, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(70, 99))])
        img = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return img


DRAWN: dict[str, Maker] = {
    f.__name__: f
    for f in (stars, rendered, particles, halftone, pixel_art, line_art, hatched, cloth, palette, gravel, grass)
}


def drawn(image: np.ndarray, rng: np.random.Generator, kind: str) -> np.ndarray:
    """A picture of `DRAWN`; half of them as JPEG, a sixth resized first, as pictures on the web are."""
    out = DRAWN[kind](image, rng)
    if rng.random() < 1 / 6:
        out = resized(out, rng)
    return jpeg(out, rng, int(rng.integers(60, 98))) if rng.random() < 0.5 else out
