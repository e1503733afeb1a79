"""runtime: models are found in the stated order, used only when they verify, and run from the verified bytes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ondevice_guard import runtime
from ondevice_guard.errors import ModelError
from onnx_toy import double


def write(folder: Path, directory: str = "toy_v1", onnx: bytes | None = None, **changes: object) -> Path:
    """Make a model directory."""
    path = folder / directory
    path.mkdir(parents=True)
    onnx = double() if onnx is None else onnx
    (path / "model.onnx").write_bytes(onnx)
    stem, _, version = directory.rpartition("_v")
    config = {
        "schema": 1,
        "name": stem,
        "version": int(version),
        "files": {"model.onnx": {"sha256": hashlib.sha256(onnx).hexdigest(), "bytes": len(onnx)}},
        "graph": "model.onnx",
        "labels": ["a", "b"],
        "thresholds": {"injection": {"0.01": 0.5}},
    }
    config.update(changes)
    (path / "config.json").write_text(json.dumps(config))
    return path


class TestSearch:
    def test_highest_version_wins_when_none_is_named(self, tmp_path: Path) -> None:
        for name in ("toy_v2", "toy_v10", "toy_v9"):
            write(tmp_path, name)
        assert runtime.find("toy", tmp_path).name == "toy_v10"
        assert runtime.find("toy_v2", tmp_path).name == "toy_v2"

    def test_argument_comes_before_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(tmp_path / "env"), write(tmp_path / "arg")
        monkeypatch.setenv(runtime.ENVIRONMENT, str(tmp_path / "env"))
        assert runtime.find("toy").parent.name == "env"
        assert runtime.find("toy", tmp_path / "arg").parent.name == "arg"

    def test_a_models_own_folder_may_be_given(self, tmp_path: Path) -> None:
        path = write(tmp_path)
        assert runtime.find("toy", path) == path

    def test_load_sees_models_come_and_go(self, tmp_path: Path) -> None:
        first = write(tmp_path / "a")
        assert runtime.load("toy", tmp_path / "a") is runtime.load("toy", tmp_path / "a")
        second = write(tmp_path / "a", "toy_v2")
        assert runtime.load("toy", tmp_path / "a").name == "toy_v2"
        (second / "config.json").unlink()
        assert runtime.load("toy", tmp_path / "a").name == "toy_v1"
        (first / "config.json").unlink()
        with pytest.raises(ModelError, match="looked in"):
            runtime.load("toy", tmp_path / "a")

    def test_missing_model_names_the_places(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="looked in"):
            runtime.find("nothing_here", tmp_path)


class TestVerification:
    def test_runs_and_reports(self, tmp_path: Path) -> None:
        write(tmp_path)
        model = runtime.load("toy", tmp_path)
        (y,) = model.run({"x": np.float32([10, 20])})
        assert y.tolist() == [11, 22]
        assert model.labels == ("a", "b") and model.threshold("injection", 0.01) == 0.5
        with pytest.raises(ModelError, match="operating point"):
            model.threshold("injection", 0.5)
        with pytest.raises(ModelError, match="inference failed"):
            model.run({"x": np.float32([1, 2, 3])})
        assert runtime.load("toy_v1", tmp_path) is model

    def test_one_flipped_bit_is_refused(self, tmp_path: Path) -> None:
        path = write(tmp_path)
        data = bytearray((path / "model.onnx").read_bytes())
        data[-1] ^= 1
        (path / "model.onnx").write_bytes(data)
        with pytest.raises(ModelError, match="sha256"):
            runtime.load("toy", tmp_path)
        (info,) = [m for m in runtime.verify(tmp_path) if m.name == "toy_v1"]
        assert info.error and "sha256" in info.error

    def test_file_may_change_after_loading(self, tmp_path: Path) -> None:
        path = write(tmp_path)
        model = runtime.load("toy", tmp_path)
        (path / "model.onnx").write_bytes(b"something else")
        assert model.run({"x": np.float32([0, 0])})[0].tolist() == [1, 2]

    def test_external_data_is_refused(self, tmp_path: Path) -> None:
        write(tmp_path, onnx=double(external=True))
        with pytest.raises(ModelError, match="another file"):
            runtime.load("toy", tmp_path)

    @pytest.mark.parametrize("graph", [b"\xff" * 40, b"\x3a\x7f", b"\x0b", b"\x3a"])
    def test_garbage_is_refused(self, tmp_path: Path, graph: bytes) -> None:
        write(tmp_path, onnx=graph)
        with pytest.raises(ModelError):
            runtime.load("toy", tmp_path).run({"x": np.float32([1, 2])})

    @pytest.mark.parametrize(
        "change",
        [
            {"schema": 2},
            {"name": "other"},
            {"files": {}},
            {"files": {"../x": {"sha256": "0" * 64}}},
            {"files": {"x": {"sha256": "zz"}}},
            {"graph": "absent.onnx"},
            {"labels": "ab"},
            {"thresholds": {"injection": {"0.01": 2}}},
            {"thresholds": {"injection": 0.5}},
        ],
    )
    def test_a_bad_config_is_refused(self, tmp_path: Path, change: dict[str, object]) -> None:
        write(tmp_path, **change)
        with pytest.raises(ModelError):
            runtime.load("toy_v1", tmp_path)


def test_listing_leaves_out_shadowed_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a"), write(tmp_path / "b"), write(tmp_path / "b", "other_v3")
    monkeypatch.setenv(runtime.ENVIRONMENT, str(tmp_path / "b"))
    listed = {m.name: m for m in runtime.models(tmp_path / "a")}
    assert listed["toy_v1"].path.parent.name == "a" and listed["other_v3"].error is None


def test_shipped_models_verify() -> None:
    assert [m.error for m in runtime.verify() if m.error] == []


def test_importing_runtime_does_not_import_onnxruntime() -> None:
    code = "import sys, ondevice_guard.runtime; sys.exit('onnxruntime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
