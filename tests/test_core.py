"""The native module as a whole: stubs, backends, the array contract, threads, what the objects export."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from ondevice_guard import _core, errors

ROOT = Path(__file__).resolve().parents[1]
STUBS = ROOT / "python" / "ondevice_guard" / "_core"
SUBMODULES = sorted(name for name in dir(_core) if isinstance(getattr(_core, name), ModuleType))


def stub_functions(path: Path) -> dict[str, list[tuple[str, str, bool]]]:
    """Name → (parameter, kind, has a default) of every function of a stub file."""
    found = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            a = node.args
            plain = a.posonlyargs + a.args
            missing = len(plain) - len(a.defaults)
            found[node.name] = [(p.arg, "plain", i >= missing) for i, p in enumerate(plain)] + [
                (p.arg, "keyword", d is not None) for p, d in zip(a.kwonlyargs, a.kw_defaults, strict=True)
            ]
    return found


def native_functions(module: ModuleType) -> dict[str, list[tuple[str, str, bool]]]:
    """The same, read from the signature line that pybind11 writes into each docstring."""
    found = {}
    for name in dir(module):
        function = getattr(module, name)
        if name.startswith("_") or not callable(function) or isinstance(function, type):
            continue
        signature = re.match(rf"{name}\((.*)\)( -> .*)?$", (function.__doc__ or "").splitlines()[0])
        assert signature, f"{module.__name__}.{name} has no signature line"
        depth, parts, current = 0, [], ""
        for char in signature[1]:
            depth += (char in "([{") - (char in ")]}")
            if char == "," and depth == 0:
                parts.append(current)
                current = ""
            else:
                current += char
        parts.append(current)
        parameters, kind = [], "plain"
        for part in filter(None, (p.strip() for p in parts)):
            if part == "*":
                kind = "keyword"
            elif part != "/":
                parameters.append((re.split(r"[:=]", part)[0].strip(), kind, "=" in part))
        found[name] = parameters
    return found


@pytest.mark.parametrize("name", SUBMODULES)
def test_stub_matches_binary(name: str) -> None:
    stubs = stub_functions(STUBS / f"{name}.pyi")
    assert stubs == native_functions(getattr(_core, name))


def test_every_submodule_has_a_stub() -> None:
    assert sorted(p.stem for p in STUBS.glob("*.pyi")) == sorted(["__init__", *SUBMODULES])


def test_forcing_a_backend_is_visible(backend: str) -> None:
    assert _core.backend.active() == backend


def test_unknown_backend_is_refused_and_changes_nothing() -> None:
    before = _core.backend.active()
    with pytest.raises(errors.BackendError, match="usable: "):
        _core.backend.force("sse9")
    assert _core.backend.active() == before


def test_unknown_backend_in_the_environment_refuses_to_work() -> None:
    code = (
        "import numpy as np; from ondevice_guard import _core, errors\n"
        "for _ in range(2):\n"
        "    try: _core.purify.median(np.zeros((4, 4), np.uint8))\n"
        "    except errors.BackendError: pass\n"
        "    else: raise SystemExit('worked')\n"
    )
    env = dict(os.environ, ONDEVICE_GUARD_BACKEND="sse9", PYTHONPATH=os.pathsep.join(sys.path))
    subprocess.run([sys.executable, "-c", code], env=env, check=True)


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        (None, "numpy array"),
        ([[1, 2]], "numpy array"),
        (np.zeros((4, 4), np.float32), "float32"),
        (np.zeros((4, 4), np.int8), "int8"),
        (np.zeros((4, 4), np.uint16), "uint16"),
        (np.zeros((4, 4), object), "object"),
        (np.zeros((4, 4), bool), "bool"),
        (np.zeros((), np.uint8), "dimensions"),
        (np.zeros(4, np.uint8), "dimensions"),
        (np.zeros((1, 4, 4, 3), np.uint8), "dimensions"),
        (np.zeros((4, 4, 2), np.uint8), "channels"),
        (np.zeros((3, 4, 5), np.uint8), "channels"),
        (np.zeros((0, 4, 3), np.uint8), "empty"),
        (np.zeros((4, 0), np.uint8), "empty"),
    ],
)
def test_unusable_arrays_are_named(bad: object, word: str) -> None:
    with pytest.raises(errors.UnsupportedInput, match=rf"image: .*{word}"):
        _core.purify.median(bad)


def test_huge_arrays_are_refused_without_touching_memory() -> None:
    huge = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (1 << 20, 1 << 20, 3), (0, 0, 0))
    with pytest.raises(errors.LimitExceeded):
        _core.purify.median(huge)


def test_unusable_out_arrays_are_named() -> None:
    image = np.zeros((5, 6, 3), np.uint8)
    frozen = np.zeros_like(image)
    frozen.setflags(write=False)
    for out in (image[:4].copy(), np.zeros((5, 6), np.uint8), np.zeros((5, 12, 3), np.uint8)[:, ::2], frozen):
        with pytest.raises(errors.UnsupportedInput, match="out: "):
            _core.purify.median(image, out=out)


def test_fork_after_threads_does_not_hang() -> None:
    code = (
        "import os, numpy as np; from ondevice_guard import _core\n"
        "x = np.random.default_rng(0).integers(0, 256, (600, 500, 3), np.uint8)\n"
        "a = _core.purify.median(x, threads=4)\n"
        "pid = os.fork()\n"
        "same = (a == _core.purify.median(x, threads=4)).all()\n"
        "if pid == 0: os._exit(0 if same else 1)\n"
        "assert same and os.waitpid(pid, 0)[1] == 0\n"
    )
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path), PYTHONWARNINGS="ignore")
    subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=20)


def test_kernel_objects_export_only_their_table() -> None:
    """A weak copy of an inline function, compiled for AVX-512, could be the one the linker keeps for everybody."""
    objects = sorted(ROOT.glob("build/**/og_kernels_*.dir/isa/*.o"))
    if not objects or not shutil.which("nm"):
        pytest.skip("needs a build directory and nm")
    for path in objects:
        names = subprocess.run(["nm", "-C", "--defined-only", "-g", path], capture_output=True, text=True, check=True)
        lines = [line.split(maxsplit=2)[2] for line in names.stdout.splitlines()]
        assert len(lines) == 1, f"{path}: {lines}"
        assert lines[0].endswith("_kernels")


def test_self_check_prints_the_hashes_of_every_machine() -> None:
    """Every kernel family on every backend and one to four threads, without Python: what runs under emulation for arm64."""
    built = [p for p in ROOT.glob("build*/**/og_selfcheck") if p.is_file()]
    if not built:
        pytest.skip("the self-check is not built: ./dev test builds it, or cmake with OG_TESTS")
    newest = max(built, key=lambda p: p.stat().st_mtime)
    done = subprocess.run([newest], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:]
    assert done.stdout == (ROOT / "tests" / "golden" / "selfcheck.txt").read_text()
