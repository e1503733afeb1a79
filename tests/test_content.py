"""content: the shipped model's contract, and a classifier of one's own behind the same door."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from ondevice_guard.detectors.content import ContentDetector, ContentModel
from ondevice_guard.errors import ModelError
from ondevice_guard.types import Image, View, Views
from onnx_toy import mean_of_channels


def views(pixels: np.ndarray, alpha: np.ndarray | None = None, **more: np.ndarray) -> Views:
    items = {"original": View("original", pixels), **{k: View(k, v) for k, v in more.items()}}
    return Views(Image(pixels, alpha), MappingProxyType(items))


def model(folder: Path, **changes: Any) -> Path:
    """A classifier with two labels whose scores are the mean blue and red of the picture."""
    path = folder / "toy_v1"
    path.mkdir()
    graph = mean_of_channels()
    (path / "model.onnx").write_bytes(graph)
    spec = {"layout": "NCHW", "order": "RGB", "resize": [8, 8], "mean": [0, 0, 0], "scale": [1 / 255] * 3}
    config: dict[str, Any] = {
        "schema": 1,
        "name": "toy",
        "version": 1,
        "files": {"model.onnx": {"sha256": hashlib.sha256(graph).hexdigest(), "bytes": len(graph)}},
        "graph": "model.onnx",
        "inputs": {"x": spec},
        "labels": ["red", "green", "blue"],
        "unsafe": ["red", "blue"],
        "thresholds": {"unsafe_content": {"0.01": 0.5, "0.03": 0.4}},
    }
    for key, value in changes.items():
        (spec if key in spec or key == "crop" else config)[key] = value
    (path / "config.json").write_text(json.dumps(config))
    return path


class TestPlugIn:
    def test_labels_order_and_scale_are_as_configured(self, tmp_path: Path) -> None:
        plugin = ContentModel("toy", model(tmp_path))
        red = np.zeros((11, 17, 3), np.uint8)
        red[..., 0] = 255
        assert plugin(red) == pytest.approx({"red": 1.0, "green": 0.0, "blue": 0.0})

    def test_bgr_swaps(self, tmp_path: Path) -> None:
        plugin = ContentModel("toy", model(tmp_path, order="BGR"))
        red = np.zeros((11, 17, 3), np.uint8)
        red[..., 0] = 255
        assert plugin(red)["blue"] == pytest.approx(1.0)

    def test_softmax_sums_to_one(self, tmp_path: Path) -> None:
        plugin = ContentModel("toy", model(tmp_path, output={"activation": "softmax"}))
        assert sum(plugin(np.full((5, 9, 3), 128, np.uint8)).values()) == pytest.approx(1.0)

    def test_detector_reports_the_worst_unsafe_label(self, tmp_path: Path) -> None:
        detector = ContentDetector(content_models=[ContentModel("toy", model(tmp_path))])
        pixels = np.zeros((11, 17, 3), np.uint8)
        pixels[..., 1] = 255  # green is the strongest, but not unsafe
        pixels[..., 2] = 51
        (finding,) = detector(views(pixels))
        assert finding.kind == "unsafe_content" and finding.score == pytest.approx(0.2)
        assert finding.detail["label"] == "blue" and finding.view == "original"
        assert detector.operating_points(0.02) == {"unsafe_content": 0.5}

    def test_composites_are_looked_at_where_there_is_alpha(self, tmp_path: Path) -> None:
        detector = ContentDetector(content_models=[ContentModel("toy", model(tmp_path))])
        black, red = np.zeros((11, 17, 3), np.uint8), np.zeros((11, 17, 3), np.uint8)
        red[..., 0] = 255
        (finding,) = detector(views(black, np.zeros((11, 17), np.uint8), over_white=red))
        assert finding.view == "over_white" and finding.score == pytest.approx(1.0)
        (finding,) = detector(views(black, None, over_white=red))
        assert finding.score == 0

    @pytest.mark.parametrize(
        "change",
        [
            {"layout": "HWC"},
            {"order": "GBR"},
            {"resize": [0, 8]},
            {"resize": 8},
            {"crop": [9, 8]},
            {"mean": [0, 0]},
            {"unsafe": []},
            {"unsafe": ["violet"]},
            {"inputs": {}},
            {"output": {"activation": "relu"}},
        ],
    )
    def test_an_unusable_config_is_refused(self, tmp_path: Path, change: dict[str, Any]) -> None:
        with pytest.raises(ModelError):
            ContentModel("toy", model(tmp_path, **change))

    def test_outputs_must_be_one_probability_a_label(self, tmp_path: Path) -> None:
        plugin = ContentModel("toy", model(tmp_path, scale=[1, 1, 1]))
        with pytest.raises(ModelError, match="not probabilities"):
            plugin(np.full((5, 9, 3), 200, np.uint8))
        (tmp_path / "b").mkdir()
        plugin = ContentModel("toy", model(tmp_path / "b", labels=["red", "blue"]))
        with pytest.raises(ModelError, match="labels"):
            plugin(np.full((5, 9, 3), 200, np.uint8))


class TestShipped:
    def test_flat_pictures_are_safe(self) -> None:
        detector = ContentDetector()
        for value in (0, 128, 255):
            (finding,) = detector(views(np.full((37, 61, 3), value, np.uint8)))
            assert finding.score < detector.operating_points(0.01)["unsafe_content"]

    def test_notice_is_shipped_with_the_weights(self) -> None:
        model = ContentModel().model
        assert b"Copyright 2016, Yahoo Inc." in model.file("NOTICE")
        assert list(ContentDetector().models) == ["open_nsfw_int8_v1"]
