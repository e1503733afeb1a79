"""Unsafe picture content: open_nsfw in int8, and any classifier of your own (an ONNX graph with a `config.json`).

The plug-in contract, all of it in `config.json` beside what `runtime` asks for:

| key | meaning |
|---|---|
| `inputs` | exactly one: name → `layout` ("NHWC" or "NCHW"), `order` ("RGB" or "BGR"), `resize` [h, w], `crop` [h, w] (centre; optional), `mean`, `scale`: three numbers each, in the order of the channels; the graph gets (pixel - mean) * scale as float32 |
| `output` | `name` (optional: the first output) and `activation`: "none" (already probabilities), "sigmoid" or "softmax" |
| `labels`, `unsafe` | names of the outputs, and which of them count; a finding's score is the highest of these |
| `thresholds` | `{"unsafe_content": {"0.01": ...}}` |
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _core, runtime
from ..errors import ModelError
from ..types import Finding, Pixels, Views


class ContentModel:
    """A picture classifier made of a model directory.

    Args:
        name: Model name or directory, as for `runtime.load`.
        directory: Where to look first.
        threads: Threads for one call.

    Raises:
        ModelError: Missing, altered, or with a config that lacks what the table above asks for.
    """

    def __init__(self, name: str = "open_nsfw_int8", directory: str | Path | None = None, threads: int = 1) -> None:
        self.model = runtime.load(name, directory, threads)
        self._threads = threads
        config = self.model.config
        try:
            ((self._input, spec),) = config["inputs"].items()
            self._layout, self._order = spec["layout"], spec["order"]
            self._resize = _pair(spec["resize"])
            self._crop = _pair(spec.get("crop", spec["resize"]))
            self._mean = np.array(spec["mean"], np.float32).reshape(3)
            self._scale = np.array(spec["scale"], np.float32).reshape(3)
            output = config.get("output", {})
            self._output: list[str] | None = [output["name"]] if "name" in output else None
            self._activation = output.get("activation", "none")
            self.unsafe: tuple[str, ...] = tuple(config["unsafe"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{self.model.name}: config.json describes no picture classifier: {error!r}") from None
        if self._layout not in ("NHWC", "NCHW") or self._order not in ("RGB", "BGR"):
            raise ModelError(f"{self.model.name}: layout must be NHWC or NCHW, and order RGB or BGR")
        if self._activation not in ("none", "sigmoid", "softmax"):
            raise ModelError(f"{self.model.name}: activation must be none, sigmoid or softmax")
        if not self.unsafe or not set(self.unsafe) <= set(self.model.labels):
            raise ModelError(f"{self.model.name}: unsafe must name some of the labels")
        if any(c > r or c < 1 for c, r in zip(self._crop, self._resize, strict=True)):
            raise ModelError(f"{self.model.name}: crop must fit into resize")

    def prepare(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Return the graph's input for one uint8 HxWx3 picture: float32 1xhxwx3 or 1x3xhxw."""
        small = _core.views.resize(pixels, *self._resize, "bilinear", antialias=True, threads=self._threads)
        top, left = ((r - c) // 2 for r, c in zip(self._resize, self._crop, strict=True))
        small = small[top : top + self._crop[0], left : left + self._crop[1]]
        values = np.empty((1, *small.shape) if self._layout == "NHWC" else (1, 3, *small.shape[:2]), np.float32)
        # One channel at a time: loops over rows of three numbers take five times as long.
        for i, channel in enumerate((2, 1, 0) if self._order == "BGR" else (0, 1, 2)):
            plane = values[0, ..., i] if self._layout == "NHWC" else values[0, i]
            np.subtract(small[..., channel], self._mean[i], out=plane, dtype=np.float32)
            if self._scale[i] != 1:
                plane *= self._scale[i]
        return values

    def __call__(self, pixels: Pixels) -> dict[str, float]:
        """Return label → probability for one uint8 HxWx3 picture.

        Raises:
            ModelError: The graph failed, or gave something other than one number in [0, 1] for each label.
        """
        raw = self.model.run({self._input: self.prepare(pixels)}, self._output)[0].astype(np.float64).ravel()
        if raw.size != len(self.model.labels) or not np.isfinite(raw).all():
            raise ModelError(f"{self.model.name}: {raw.size} numbers for {len(self.model.labels)} labels")
        if self._activation == "sigmoid":
            raw = 1 / (1 + np.exp(-np.clip(raw, -60, 60)))
        elif self._activation == "softmax":
            raw = np.exp(raw - raw.max())
            raw /= raw.sum()
        elif raw.min() < -1e-3 or raw.max() > 1 + 1e-3:
            raise ModelError(f"{self.model.name}: the graph's outputs are not probabilities; set an activation")
        return {label: float(p) for label, p in zip(self.model.labels, raw.clip(0, 1), strict=True)}


def _pair(value: Any) -> tuple[int, int]:
    height, width = value
    if not (isinstance(height, int) and isinstance(width, int) and 1 <= height <= 4096 and 1 <= width <= 4096):
        raise ValueError(f"expected [height, width] of at most 4096, got {value!r}")
    return height, width


class ContentDetector:
    """Looks at the picture, and at its composites where transparency hides something, for unsafe content.

    Args:
        models: Directory with model folders; None searches the usual places.
        threads: Threads for one call.
        content_models: Models to ask; None asks open_nsfw alone.
    """

    name = "content"
    kinds: tuple[str, ...] = ("unsafe_content",)
    profiles = False

    def __init__(
        self,
        models: str | Path | None = None,
        threads: int = 1,
        content_models: Sequence[ContentModel] | None = None,
    ) -> None:
        self._models = (
            tuple(content_models) if content_models is not None else (ContentModel("open_nsfw_int8", models, threads),)
        )

    @property
    def models(self) -> dict[str, str]:
        """Model name → version tag with checksum, for the verdict."""
        return {m.model.name: m.model.tag for m in self._models}

    def operating_points(self, fpr: float) -> Mapping[str, float]:
        """Return kind → threshold at a false-positive rate: with several models the most careful one's."""
        points = [m.model.points(fpr).get("unsafe_content") for m in self._models]
        known = [p for p in points if p is not None]
        return {"unsafe_content": min(known)} if known else {}

    def __call__(self, views: Views) -> list[Finding]:
        """Return one finding for each model: its worst label over the views that differ from each other."""
        names = ["original", *(n for n in ("over_white", "over_black") if n in views and views.image.alpha is not None)]
        findings = []
        for model in self._models:
            best: tuple[float, str, str, dict[str, float]] | None = None
            for name in names:
                scores = model(views[name].pixels)
                label = max(model.unsafe, key=lambda x: scores[x])
                if best is None or scores[label] > best[0]:
                    best = (scores[label], label, name, scores)
            assert best is not None
            score, label, name, scores = best
            findings.append(
                Finding(
                    "unsafe_content",
                    score,
                    f"The picture looks {score:.0%} like {label} content.",
                    model.model.name,
                    view=name,
                    detail={"label": label, "labels": {k: round(v, 4) for k, v in scores.items()}},
                )
            )
        return findings
