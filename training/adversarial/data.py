"""Benign pictures that look attacked, for training and judging the perturbation detector.

Every maker takes a uint8 RGB picture and a generator, and returns what a camera, a scanner, an editor or a web site
might have made of it. Names are the rows of the detector's report.
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
