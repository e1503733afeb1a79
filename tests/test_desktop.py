"""The desktop demo under a virtual screen: what it shows is what the guard found."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ondevice_guard import Guard, decode

tk = pytest.importorskip("tkinter")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def screen() -> Iterator[str]:
    server = shutil.which("Xvfb")
    if not server:
        pytest.skip("needs Xvfb")
    command = [server, "-displayfd", "1", "-screen", "0", "1280x960x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        yield f":{process.stdout.readline().strip()}"
        process.terminate()


def test_boxes_findings_and_verdict_are_shown(screen: str, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("desktop", ROOT / "examples" / "desktop.py")
    desktop = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(desktop)
    rng = np.random.default_rng(0)
    attacked = np.clip(rng.normal(128, 12, (1000, 760, 3)), 0, 255).astype(np.uint8)
    attacked[2::4, 2::4] = 255 - attacked[2::4, 2::4]
    attacked[2:400:4, 2::4] = 0
    (tmp_path / "grid.png").write_bytes(decode.encode(attacked))
    (tmp_path / "plain.png").write_bytes(decode.encode(np.full((90, 200, 3), 200, np.uint8)))
    (tmp_path / "broken.png").write_bytes(decode.encode(attacked)[:500])
    with np.load(ROOT / "tests" / "golden" / "perturbation.npz") as golden:
        perturbed = (golden["clean"].astype(np.int16) + golden["delta"]).astype(np.uint8)
    (tmp_path / "noise.png").write_bytes(decode.encode(perturbed))
    guard = Guard({"detectors": ["structural", "adversarial"]})
    root = tk.Tk(screenName=screen)
    window = desktop.Window(root, guard)

    def shown(name: str) -> str:
        window.open(tmp_path / name)
        root.update()
        end = time.monotonic() + 60
        while window.headline.cget("text").endswith("…"):
            assert time.monotonic() < end
            root.update()
            time.sleep(0.01)
        root.update()
        return window.headline.cget("text")

    assert shown("plain.png").startswith("plain.png: ALLOW")
    assert window.left.find_all()
    assert window.right.find_all()
    assert not window.left.find_withtag("box")
    assert shown("grid.png").startswith("grid.png: SANITIZED")
    rows = [window.table.item(i, "values") for i in window.table.get_children()]
    assert {r[0]: r[1] for r in rows} == {f.kind: f"{f.score:.3f}" for f in window.verdict.findings}
    (picture,) = window._shown[:1]
    assert (picture.width(), picture.height()) == (365, desktop.EDGE)
    text = shown("noise.png")
    boxes = window.left.find_withtag("box")
    expected = guard.check(tmp_path / "noise.png")
    assert text.startswith(f"noise.png: {expected.decision.name}")
    assert len(boxes) == sum(len(f.regions) for f in expected.counted) > 0
    assert window.left.coords(boxes[0])[:2] == pytest.approx(
        list(next(f for f in expected.counted if f.regions).regions[0][0])
    )
    assert shown("broken.png").startswith("broken.png: BLOCK")
    assert not window.left.find_all()  # nothing of it reaches the screen
    assert not window.right.find_all()
    assert "none.png" in shown("none.png")
    root.destroy()
