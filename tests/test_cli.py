"""Command line: exit codes, formats, and outputs that mirror the input."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from ondevice_guard import cli

POLICY = 'name = "structural"\ndetectors = ["structural"]\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tree with two clean pictures, one with something after its end, one that is no picture."""
    root = tmp_path / "in"
    (root / "sub").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    PILImage.fromarray(pixels).save(root / "a.png")
    PILImage.fromarray(pixels).save(root / "sub" / "b.jpg")
    (root / "sub" / "c.png").write_bytes((root / "a.png").read_bytes() + b"more bytes after the end of the picture")
    (root / "d.gif").write_bytes(b"GIF89a nothing else")
    (root / "notes.txt").write_text("not a picture")
    (tmp_path / "p.toml").write_text(POLICY)
    return root


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = cli.main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_scan_reports_every_picture_and_its_exit_code(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = folder.parent / "p.toml"
    code, out, err = run(capsys, "scan", folder, "--policy", policy)
    assert code == 1 and err == ""
    assert "4 pictures: 2 ALLOW, 1 SANITIZED, 1 BLOCK" in out and "notes.txt" not in out
    code, out, _ = run(capsys, "scan", folder / "a.png", "--policy", policy)
    assert code == 0 and out.startswith("ALLOW")
    code, out, _ = run(capsys, "scan", folder / "a.png", folder / "absent.png", "--policy", policy)
    assert code == 3 and "cannot read" in out


@pytest.mark.parametrize("format", ["json", "jsonl", "csv", "html"])
def test_formats_hold_the_same_decisions(folder: Path, capsys: pytest.CaptureFixture[str], format: str) -> None:
    code, out, _ = run(capsys, "scan", folder, "--policy", folder.parent / "p.toml", "--format", format)
    assert code == 1
    if format == "json":
        decisions = [row["decision"] for row in json.loads(out)]
    elif format == "jsonl":
        decisions = [json.loads(line)["decision"] for line in out.splitlines()]
    elif format == "csv":
        decisions = [row["decision"] for row in csv.DictReader(io.StringIO(out))]
    else:
        assert (
            out.startswith("<!doctype html>")
            and "<script" not in out
            and "http" not in out.replace("http-equiv", "").replace("http://www.w3.org", "")
        )
        return
    assert sorted(decisions) == ["ALLOW", "ALLOW", "BLOCK", "SANITIZED"]


def test_sanitize_mirrors_the_tree(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    code, text, _ = run(capsys, "sanitize", folder, "-o", out, "--policy", folder.parent / "p.toml")
    assert code == 1 and "→" in text
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()) == ["a.png", "sub/b.jpg", "sub/c.png"]
    np.testing.assert_array_equal(
        np.asarray(PILImage.open(out / "sub" / "c.png")), np.asarray(PILImage.open(folder / "a.png"))
    )
    assert b"more bytes" not in (out / "sub" / "c.png").read_bytes()


def test_dry_run_writes_nothing(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(tmp_path.rglob("*"))
    code, text, _ = run(
        capsys, "sanitize", folder, "-o", tmp_path / "out", "--dry-run", "--policy", folder.parent / "p.toml"
    )
    assert code == 1 and "out/a.png" in text.replace(os.sep, "/")
    assert sorted(tmp_path.rglob("*")) == before


def test_no_two_inputs_share_an_output_and_no_input_is_overwritten(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = folder.parent / "p.toml"
    pixels = np.asarray(PILImage.open(folder / "a.png"))
    PILImage.fromarray(pixels).save(folder / "a.bmp")
    run(capsys, "sanitize", folder / "a.png", folder / "a.bmp", "-o", tmp_path / "out", "--policy", policy)
    assert len(list((tmp_path / "out").iterdir())) == 2
    before = (folder / "a.png").read_bytes()
    code, _, err = run(capsys, "sanitize", folder / "a.png", "-o", folder, "--policy", policy)
    assert code == 3 and "overwrite" in err and (folder / "a.png").read_bytes() == before


def test_wrong_usage_is_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys)[0] == 2
    assert run(capsys, "sanitize", folder)[0] == 2
    assert run(capsys, "scan", folder, "--policy", "lenient")[0] == 2
    assert run(capsys, "scan", folder, "--profile", "clip-9000")[0] == 2
    assert run(capsys, "sanitize", folder, "-o", "-")[0] == 2
    with pytest.raises(SystemExit) as caught:
        cli.main(["scan"])
    assert caught.value.code == 2


def test_stdin_to_stdout(folder: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "ondevice_guard",
        "sanitize",
        "-",
        "-o",
        "-",
        "--as",
        "png",
        "--policy",
        str(folder.parent / "p.toml"),
    ]
    done = subprocess.run(command, input=(folder / "sub" / "c.png").read_bytes(), capture_output=True, check=False)
    assert done.returncode == 1 and done.stderr == b""
    np.testing.assert_array_equal(
        np.asarray(PILImage.open(io.BytesIO(done.stdout))), np.asarray(PILImage.open(folder / "a.png"))
    )


def test_doctor_finds_the_core_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "doctor", "--format", "json")
    table = json.loads(out)
    assert code == 0 and table["healthy"] and table["backend"] in table["backends"]


def test_models_are_listed_and_verified(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "models", "verify", "--format", "json")
    listed = json.loads(out)
    assert code == 0 and all(m["error"] is None and m["bytes"] > 0 for m in listed)
