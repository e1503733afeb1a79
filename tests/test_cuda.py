"""The CUDA kernels, run by the emulator on the CPU (cpp/cuda/emulator.hpp), against the CPU's own kernels, bit for bit.

Needs g++ and nothing else: no nvcc, no GPU. ONDEVICE_GUARD_TEST_CUDA_FLAGS adds compiler flags to the emulated plugin; the
sanitizers' run is described in docs/cuda.md.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ondevice_guard import Guard, _core, errors
from ondevice_guard.accelerator import Accelerator
from ondevice_guard.purification import PRESET_NAMES, purify, purify_many
from ondevice_guard.types import Finding, Views

ROOT = Path(__file__).parents[1]
CUDA = ROOT / "cpp" / "cuda"
ORDERS = {"forward": 0, "reverse": 1, "shuffled": 2}
#: Heights and widths: one pixel, thinner than every window, odd, several tiles with rests.
SHAPES = [(1, 1), (1, 7), (3, 1), (7, 3), (33, 33), (40, 70)]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The plugin, compiled against the emulator."""
    compiler = os.environ.get("CXX") or shutil.which("g++")
    if not compiler or not CUDA.is_dir():
        pytest.skip("needs g++ and the sources")
    folder = tmp_path_factory.mktemp("emulated")
    flags = [
        "-x",
        "c++",
        "-std=c++17",
        "-fPIC",
        "-fvisibility=hidden",
        "-ffp-contract=off",
        "-O1",
        "-Wall",
        "-Wextra",
        "-Werror",
    ]
    flags += ["-DOG_CUDA_EMULATED=1", *(f"-I{ROOT / 'cpp' / part}" for part in (".", "src", "include"))]
    extra = os.environ.get("ONDEVICE_GUARD_TEST_CUDA_FLAGS", "").split()

    def compile_one(source: Path) -> str:
        target = folder / f"{source.name}.o"
        subprocess.run([compiler, *flags, *extra, "-c", source, "-o", target], check=True)
        return str(target)

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compile_one, sorted([*CUDA.glob("*.cu"), *CUDA.glob("*.cpp")])))
    path = folder / "libondevice_guard_cuda.so"
    subprocess.run([compiler, "-shared", *extra, "-o", path, *objects], check=True)
    return str(path)


class Emulator:
    """What tests may tell the emulated machine."""

    def __init__(self, path: str) -> None:
        self._library = ctypes.CDLL(path)
        self._library.og_emulator_order.argtypes = [ctypes.c_int, ctypes.c_uint64]
        self._library.og_emulator_memory.argtypes = [ctypes.c_int64]
        self._library.og_emulator_site.restype = ctypes.c_char_p
        self._library.og_emulator_allocations.restype = ctypes.c_int64
        self._library.og_emulator_launches.restype = ctypes.c_int64
        self.reset()

    def reset(self) -> None:
        self.order("forward")
        self.skip(-1)
        self.devices(1)
        self.memory(-1)

    def order(self, name: str, seed: int = 12345) -> None:
        self._library.og_emulator_order(ORDERS[name], seed)

    def skip(self, site: int) -> None:
        self._library.og_emulator_skip(site)

    def sites(self) -> list[tuple[str, int]]:
        line = ctypes.c_int()
        names = []
        for i in range(self._library.og_emulator_sites()):
            name = self._library.og_emulator_site(i, ctypes.byref(line)).decode()
            names.append((name, line.value))
        return names

    def devices(self, count: int) -> None:
        self._library.og_emulator_devices(count)

    def memory(self, limit: int) -> None:
        self._library.og_emulator_memory(limit)

    def allocations(self) -> int:
        return int(self._library.og_emulator_allocations())

    def launches(self) -> int:
        return int(self._library.og_emulator_launches())


@pytest.fixture
def emulator(library: str) -> Iterator[Emulator]:
    machine = Emulator(library)
    yield machine
    machine.reset()


@pytest.fixture
def device(library: str, emulator: Emulator) -> _core.cuda.Device:
    return _core.cuda.Device(library)


def picture(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Smooth ground, noise and a few flat stretches, so that every branch of a filter has something to do."""
    rng = np.random.default_rng(seed + 1000 * height + width)
    y, x = np.mgrid[:height, :width]
    ground = 128 + 90 * np.sin(y / 5 + seed) * np.cos(x / 7)
    values = ground[..., None] + rng.normal(0, 25, (height, width, channels))
    values[height // 2 :, : width // 3] = 255 * (seed % 2)
    pixels = np.clip(values, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels[..., 0]) if channels == 1 else pixels


# --------------------------------------------------------------------------------------- every step beside its reference

FILTERS = {
    "median3": ("median", {"size": 3}, lambda x: _core.purify.median(x, 3)),
    "median5": ("median", {"size": 5}, lambda x: _core.purify.median(x, 5)),
    "bit_depth": ("bit_depth", {"bits": 3}, lambda x: _core.purify.bit_depth(x, 3)),
    "low_bits": ("low_bits", {"bits": 2}, lambda x: _core.purify.reset_low_bits(x, 2)),
    "dct420": ("dct", {"quality": 30}, lambda x: _core.purify.dct_quantise(x, 30)),
    "dct444": ("dct", {"quality": 60, "subsample": False}, lambda x: _core.purify.dct_quantise(x, 60, subsample=False)),
    "dct_shifts": ("dct", {"quality": 25, "shifts": 2}, lambda x: _core.purify.dct_quantise(x, 25, shifts=2)),
    "dct_shrink": ("dct_shrink", {"threshold": 40.0}, lambda x: _core.purify.dct_shrink(x, 40.0)),
    "bilateral": (
        "bilateral",
        {"sigma_color": 50.0, "sigma_space": 75.0},
        lambda x: _core.purify.bilateral(x, 50.0, 75.0),
    ),
    "bilateral1": ("bilateral", {"radius": 1}, lambda x: _core.purify.bilateral(x, radius=1)),
    "bilateral8": (
        "bilateral",
        {"radius": 8, "sigma_color": 20.0},
        lambda x: _core.purify.bilateral(x, 20.0, 75.0, radius=8),
    ),
    "guided": ("guided", {"radius": 4, "eps": 400.0}, lambda x: _core.purify.guided(x, 4, 400.0)),
    "guided16": ("guided", {"radius": 16, "eps": 90.0}, lambda x: _core.purify.guided(x, 16, 90.0)),
    "nlm": ("nlm", {"h": 12.0, "search": 2}, lambda x: _core.purify.nlm(x, 12.0, search=2)),
    "tv": ("total_variation", {"iterations": 6}, lambda x: _core.purify.total_variation(x, 0.1, 6)),
    "tv_once": ("total_variation", {"iterations": 1}, lambda x: _core.purify.total_variation(x, 0.1, 1)),
    "wavelet": ("wavelet", {"shifts": 1}, lambda x: _core.purify.wavelet_shrink(x, shifts=1)),
    "wavelet_sigma": (
        "wavelet",
        {"sigma": 12.0, "shifts": 2},
        lambda x: _core.purify.wavelet_shrink(x, 12.0, shifts=2),
    ),
    "resize_pad": ("resize_pad", {"seed": 7}, lambda x: _core.purify.resize_pad(x, 7)),
    "local_contrast": ("local_contrast", {}, _core.views.local_contrast),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", FILTERS)
def test_filters_equal_the_cpu(device: _core.cuda.Device, emulator: Emulator, name: str, order: str) -> None:
    step, parameters, reference = FILTERS[name]
    emulator.order(order)
    images = [picture(h, w, c, seed=i) for i, (h, w) in enumerate(SHAPES) for c in (1, 3, 4)]
    for image, got in zip(images, device.run(images, [(step, parameters)]), strict=True):
        np.testing.assert_array_equal(got, reference(image), err_msg=str(image.shape))


#: At 224 x 224 one order is enough: the tiles' rests were looked at above.
@pytest.mark.parametrize(
    "name", ["median3", "dct420", "bilateral1", "guided", "tv_once", "wavelet_sigma", "local_contrast"]
)
def test_filters_equal_the_cpu_on_a_models_input_size(device: _core.cuda.Device, emulator: Emulator, name: str) -> None:
    step, parameters, reference = FILTERS[name]
    emulator.order("reverse")
    image = picture(224, 224)
    np.testing.assert_array_equal(device.run([image], [(step, parameters)])[0], reference(image))


KERNELS = [(k, True) for k in ("nearest", "box", "bilinear", "bicubic", "lanczos", "area")]
KERNELS += [(k, False) for k in ("nearest", "bilinear", "bicubic", "corner_bilinear")]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("kernel", "antialias"), KERNELS)
def test_resampling_equals_the_cpu(
    device: _core.cuda.Device, emulator: Emulator, kernel: str, antialias: bool, order: str
) -> None:
    emulator.order(order)
    for target in ((1, 1), (9, 40), (33, 70), (60, 33)):
        step = ("resize", {"height": target[0], "width": target[1], "kernel": kernel, "antialias": antialias})
        images = [picture(h, w, c) for h, w in [(1, 1), (3, 7), (70, 33)] for c in (1, 3, 4)]
        if kernel != "corner_bilinear":
            images = [i for i in images if i.shape[:2] != target]  # nothing to do is no step
        for image, got in zip(images, device.run(images, [step]), strict=True):
            expected = _core.views.resize(image, *target, kernel, antialias=antialias)
            np.testing.assert_array_equal(got, expected, err_msg=f"{image.shape} {target}")


@pytest.mark.parametrize("order", ORDERS)
def test_compositing_and_luma_equal_the_cpu(device: _core.cuda.Device, emulator: Emulator, order: str) -> None:
    emulator.order(order)
    images = [picture(h, w) for h, w in SHAPES]
    alphas = [picture(h, w, 1, seed=3) for h, w in SHAPES]
    for image, alpha, got in zip(
        images, alphas, device.run(images, [("composite", {"background": (9, 250, 77)})], alphas=alphas), strict=True
    ):
        np.testing.assert_array_equal(got, _core.views.composite(image, alpha, (9, 250, 77)))
    for channels in (3, 4):
        images = [picture(h, w, channels) for h, w in SHAPES]
        for image, got in zip(images, device.run(images, [("luma", {})]), strict=True):
            np.testing.assert_array_equal(got, _core.views.luma(image))


@pytest.mark.parametrize("order", ORDERS)
def test_the_text_maps_input_and_strips_equal_the_cpu(
    device: _core.cuda.Device, emulator: Emulator, order: str
) -> None:
    emulator.order(order)
    images = [picture(h, w, c) for h, w in SHAPES for c in (1, 3)]
    for image, got in zip(images, device.run(images, [("patches", {})]), strict=True):
        np.testing.assert_array_equal(got, _core.typographic.patches(image).reshape(got.shape))
    quads = np.array(
        [
            [[2, 3], [60, 5], [59, 18], [1, 16]],
            [[-4, -2], [20, 1], [20, 40], [-4, 33]],
            [[9, 9], [9.5, 9], [9.5, 9.4], [9, 9.4]],
        ],
        np.float32,
    )
    for image in (picture(40, 70), picture(40, 70, 1)):
        step = ("strips", {"quads": quads.tolist(), "height": 16, "max_width": 128})
        expected = _core.typographic.rectify(image, quads, height=16, max_width=128)
        np.testing.assert_array_equal(device.run([image], [step])[0], np.concatenate([s.ravel() for s in expected]))


@pytest.mark.parametrize("order", ORDERS)
def test_signal_statistics_are_exact(device: _core.cuda.Device, emulator: Emulator, order: str) -> None:
    """Whole numbers, so plain numpy is the reference (the CPU's own kernels have the same one in test_signal)."""
    emulator.order(order)
    for h, w in [(1, 1), (3, 7), (50, 33), (9, 600)]:
        for channels in (1, 3):
            image = picture(h, w, channels)
            wide = image.astype(int)
            luma = wide if channels == 1 else (wide[..., 0] + 2 * wide[..., 1] + wide[..., 2] + 2) >> 2
            bins = [(y * 5) % 9 - 1 for y in range(h)]
            for d in (1, 2):
                clamp = lambda i, n: np.clip(i, 0, n - 1)  # noqa: E731
                rows, columns = np.arange(h), np.arange(w)
                around = np.stack(
                    [
                        luma[clamp(rows - d, h)],
                        luma[clamp(rows + d, h)],
                        luma[:, clamp(columns - d, w)],
                        luma[:, clamp(columns + d, w)],
                    ]
                )
                middle = np.sort(around, axis=0)[1:3]
                plane = np.maximum(np.maximum(middle[0] - luma, luma - middle[1]), 0)
                plane[np.array(bins) < 0] = 0
                got = device.run([image], [("residual", {"distance": d, "bins": bins})])[0]
                sums, squares = got[: 16 * h].view(np.uint64).reshape(2, h)
                np.testing.assert_array_equal(sums, plane.sum(1))
                np.testing.assert_array_equal(squares, (plane**2).sum(1))
                by_bin = got[16 * h : 16 * h + 32 * w].view(np.uint32).reshape(8, w)
                np.testing.assert_array_equal(by_bin, [plane[np.array(bins) == b].sum(0) for b in range(8)])
                np.testing.assert_array_equal(got[16 * h + 32 * w :].reshape(h, w), plane)
            bits = np.packbits(image.ravel()[: image.size // 8 * 8] & 1)
            np.testing.assert_array_equal(device.run([image], [("pack_low_bits", {})])[0], bits)


@pytest.mark.parametrize("order", ORDERS)
def test_residual_tile_sums_equal_the_cpu(device: _core.cuda.Device, emulator: Emulator, order: str) -> None:
    emulator.order(order)
    for h, w in [(1, 1), (4, 9), (5, 5), (21, 70), (53, 37)]:
        for channels in (1, 3, 4):
            image = picture(h, w, channels)
            for every in (1, 2):
                got = device.run([image], [("tile_sums", {"every": every})])[0].view(np.int64)
                expected = _core.residual.tile_sums(image, every=every)
                np.testing.assert_array_equal(got.reshape(expected.shape), expected, err_msg=f"{image.shape} {every}")


# -------------------------------------------------------------------------------------------------------------- barriers


#: The kernels with shared memory of each file: on more than one tile and more than one channel.
SHARED = {
    "purify.cu": [FILTERS[name][:2] for name in ("median3", "median5")],
    "dct.cu": [FILTERS[name][:2] for name in ("dct420", "dct444")],
    "edge.cu": [FILTERS[name][:2] for name in ("bilateral", "guided")],
    "denoise.cu": [FILTERS[name][:2] for name in ("nlm", "tv", "wavelet", "wavelet_sigma")],
    "views.cu": [FILTERS["local_contrast"][:2]],
    "typographic.cu": [("patches", {})],
    "residual.cu": [("tile_sums", {})],
    "signal.cu": [("residual", {"distance": 1, "bins": [y % 8 for y in range(21)]})],
}


def _runs(device: _core.cuda.Device, file: str) -> list[bytes]:
    image = picture(21, 70)
    return [device.run([image], [step])[0].tobytes() for step in SHARED[file]]


@pytest.mark.skipif(
    "sanitize" in os.environ.get("ONDEVICE_GUARD_TEST_CUDA_FLAGS", ""),
    reason="without a barrier threads add up what nobody has written yet, which the sanitizer rightly stops",
)
def test_every_barrier_is_needed_and_its_absence_noticed(device: _core.cuda.Device, emulator: Emulator) -> None:
    expected = {file: _runs(device, file) for file in SHARED}
    sites = emulator.sites()
    shared = {path.name for path in CUDA.glob("*.cu") if "OG_SHARED" in path.read_text("utf-8")}
    written = {
        (path.name, number)
        for path in CUDA.glob("*.cu")
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if line.strip() == "__syncthreads();"
    }
    assert {name for name, _ in sites} == shared
    assert set(sites) == written, "a barrier that no test meets"
    for index, site in enumerate(sites):
        emulator.skip(index)
        noticed = False
        for order in ORDERS:
            emulator.order(order)
            try:
                noticed = noticed or _runs(device, site[0]) != expected[site[0]]
            except errors.BackendError:  # threads met different barriers
                noticed = True
            if noticed:
                break
        emulator.skip(-1)
        assert noticed, f"{site[0]}:{site[1]} can go unnoticed"
    emulator.order("forward")
    assert all(_runs(device, file) == expected[file] for file in SHARED)


# -------------------------------------------------------------------------------------------------- batches and failures


def test_a_chain_runs_on_the_device_and_a_batch_of_none_does_nothing(
    device: _core.cuda.Device, emulator: Emulator
) -> None:
    steps = [("bilateral", {"sigma_color": 50.0, "sigma_space": 75.0}), ("dct", {"quality": 50})]
    images = [picture(5 + i, 9 + 3 * (i % 3), seed=i) for i in range(7)]  # more than there are streams
    for image, got in zip(images, device.run(images, steps), strict=True):
        np.testing.assert_array_equal(got, _core.purify.dct_quantise(_core.purify.bilateral(image, 50.0, 75.0), 50))
    launches = emulator.launches()
    assert device.run([], steps) == []
    assert emulator.launches() == launches


def test_strided_and_read_only_pictures_are_welcome(device: _core.cuda.Device) -> None:
    image = picture(30, 40)
    image.setflags(write=False)
    for view in (image[3:20], image[::-1], image[:, ::2], image[2:9, 5:30]):
        np.testing.assert_array_equal(device.run([view], [("median", {"size": 3})])[0], _core.purify.median(view, 3))


def test_misuse_is_named(device: _core.cuda.Device) -> None:
    image = picture(8, 8)
    for steps, message in [
        ([], "at least one"),
        ([("medium", {})], "unknown step 'medium'"),
        ([("median", {"size": 4})], "3 or 5"),
        ([("median", {"radius": 4})], "does not take"),
        ([("bit_depth", {})], "needs bits"),
        ([("dct", {"quality": "best"})], "quality has the wrong type"),
        ([("patches", {}), ("median", {})], "no picture"),
        ([("composite", {"background": (0, 0, 0)})], "alpha"),
        ([("resize", {"height": 0, "width": 8, "kernel": "area"})], "size"),
        ([("nlm", {"search": 21})], "from 1 to 20"),
    ]:
        with pytest.raises(errors.UnsupportedInput, match=message):
            device.run([image], steps)
    with pytest.raises(errors.UnsupportedInput, match="float"):
        device.run([image.astype(np.float32)], [("median", {})])


def test_no_device_is_a_typed_error(library: str, emulator: Emulator) -> None:
    emulator.devices(0)
    with pytest.raises(errors.BackendError, match="no usable CUDA device"):
        _core.cuda.Device(library)
    emulator.devices(1)
    with pytest.raises(errors.BackendError, match="no usable CUDA device"):
        _core.cuda.Device(library, 1)


def test_running_out_of_memory_is_a_typed_error_and_leaves_the_device_usable(
    device: _core.cuda.Device, emulator: Emulator
) -> None:
    image = picture(64, 64)
    emulator.memory(3000)
    with pytest.raises(errors.BackendError, match="out of memory"):
        device.run([image] * 4, [("guided", {})])
    emulator.memory(-1)
    np.testing.assert_array_equal(device.run([image], [("guided", {})])[0], _core.purify.guided(image, 4, 400.0))


def test_memory_goes_back_with_the_device(library: str, emulator: Emulator) -> None:
    before = emulator.allocations()
    device = _core.cuda.Device(library)
    device.run([picture(9, 9)], [("guided", {})], on_device=True)
    assert emulator.allocations() > before
    del device
    assert emulator.allocations() == before


def test_a_file_that_is_no_plugin_and_one_of_another_version_are_refused(library: str, tmp_path: Path) -> None:
    with pytest.raises(errors.BackendError, match="cannot be opened"):
        _core.cuda.Device(str(tmp_path / "none.so"))
    compiler = os.environ.get("CXX") or shutil.which("g++")
    for name, code, message in [
        ("empty", "", "is none"),
        (
            "old",
            'extern "C" __attribute__((visibility("default"))) const void* ondevice_guard_cuda_plugin(unsigned) { return 0; }',
            "version",
        ),
    ]:
        source, target = tmp_path / f"{name}.cpp", tmp_path / f"{name}.so"
        source.write_text(code)
        subprocess.run([compiler, "-shared", "-fPIC", "-o", target, source], check=True)
        with pytest.raises(errors.BackendError, match=message):
            _core.cuda.Device(str(target))


# ---------------------------------------------------------------------------------------------------------------- DLPack


class _DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
        ("manager", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    )


class CudaTensor:
    """Looks like a CUDA tensor to DLPack; the emulator's device memory is the host's."""

    _capsule = ctypes.pythonapi.PyCapsule_New
    _capsule.restype = ctypes.py_object
    _capsule.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
    _deleter_type = ctypes.CFUNCTYPE(None, ctypes.c_void_p)

    def __init__(self, array: np.ndarray, device: tuple[int, int] = (2, 0), bits: int = 8, offset: int = 0) -> None:
        self.array = array
        self.deleted = 0
        self.streams: list[object] = []
        self._device = device
        self._deleter = self._deleter_type(self._delete)
        shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        strides = (ctypes.c_int64 * array.ndim)(*array.strides)
        self._keep = (shape, strides)
        self.tensor = _DLTensor(
            array.ctypes.data - offset, *device, array.ndim, 1, bits, 1, shape, strides, offset, None,
            ctypes.cast(self._deleter, ctypes.c_void_p),
        )  # fmt: skip

    def _delete(self, _: int) -> None:
        self.deleted += 1

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device

    def __dlpack__(self, stream: object = None) -> object:
        self.streams.append(stream)
        return self._capsule(ctypes.addressof(self.tensor), b"dltensor", None)


def test_dlpack_in_and_out_without_the_host(device: _core.cuda.Device) -> None:
    image = picture(33, 40)
    for part in (image, image[4:, :30], np.ascontiguousarray(image[..., 0]), picture(12, 8, 4)):
        tensor = CudaTensor(part, offset=16)
        (result,) = device.run([tensor], [("median", {"size": 3}), ("bit_depth", {"bits": 4})], on_device=True)
        assert tensor.deleted == 1
        assert tensor.streams == [1], "the producer must be told to make the legacy default stream wait"
        assert result.shape == part.shape
        assert result.__dlpack_device__() == (2, 0)
        # Read what lies there: a capsule of our own, taken over like torch does.
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype = ctypes.c_void_p
        pointer.argtypes = (ctypes.py_object, ctypes.c_char_p)
        capsule = result.__dlpack__(stream=None)
        tensor_out = _DLTensor.from_address(pointer(capsule, b"dltensor"))
        assert (tensor_out.device_type, tensor_out.code, tensor_out.bits, tensor_out.lanes) == (2, 1, 8, 1)
        assert [tensor_out.shape[i] for i in range(tensor_out.ndim)] == list(part.shape)
        assert not tensor_out.strides
        pixels = np.frombuffer(ctypes.string_at(tensor_out.data, part.size), np.uint8).reshape(part.shape)
        np.testing.assert_array_equal(pixels, _core.purify.bit_depth(_core.purify.median(part, 3), 4))
        del capsule


def test_dlpack_that_cannot_be_used_is_named(device: _core.cuda.Device) -> None:
    image = picture(8, 8)
    for tensor, message in [
        (CudaTensor(image, device=(1, 0)), "not in CUDA memory"),
        (CudaTensor(image, device=(2, 3)), "device 3"),
        (CudaTensor(image, bits=16), "uint8"),
        (CudaTensor(image[:, ::2]), "contiguous"),
        (CudaTensor(image[::-1]), "contiguous"),
        (CudaTensor(picture(8, 8, 1)[0]), "HxW"),
        (CudaTensor(np.zeros((4, 4, 2), np.uint8)), "HxW"),
    ]:
        with pytest.raises(errors.UnsupportedInput, match=message):
            device.run([tensor], [("median", {})])
        assert tensor.deleted == 1, "what was taken over must be given back"


# ---------------------------------------------------------------------------------------------------------- on a real GPU


@pytest.mark.gpu
def test_a_real_device_equals_the_cpu() -> None:
    """`pytest -m gpu`: the plugin that ONDEVICE_GUARD_CUDA names, every step, on whatever card there is."""
    path = os.environ.get("ONDEVICE_GUARD_CUDA")
    if not path:
        pytest.skip("ONDEVICE_GUARD_CUDA names no plugin")
    device = _core.cuda.Device(path)
    for name, (step, parameters, reference) in FILTERS.items():
        images = [picture(h, w, c) for h, w in [*SHAPES, (224, 224), (1080, 1920)] for c in (1, 3, 4)]
        for image, got in zip(images, device.run(images, [(step, parameters)]), strict=True):
            np.testing.assert_array_equal(got, reference(image), err_msg=f"{name} {image.shape}")
    for kernel, antialias in KERNELS:
        image = picture(1080, 1920)
        step = ("resize", {"height": 224, "width": 336, "kernel": kernel, "antialias": antialias})
        expected = _core.views.resize(image, 224, 336, kernel, antialias=antialias)
        np.testing.assert_array_equal(device.run([image], [step])[0], expected)


@pytest.mark.gpu
def test_torch_tensors_never_visit_the_host() -> None:
    torch = pytest.importorskip("torch")
    path = os.environ.get("ONDEVICE_GUARD_CUDA")
    if not path or not torch.cuda.is_available():
        pytest.skip("needs a card and ONDEVICE_GUARD_CUDA")
    image = picture(480, 640)
    tensor = torch.from_numpy(image).cuda()
    (result,) = _core.cuda.Device(path).run([tensor], [("dct", {"quality": 50})], on_device=True)
    back = torch.from_dlpack(result)
    assert back.is_cuda
    np.testing.assert_array_equal(back.cpu().numpy(), _core.purify.dct_quantise(image, 50))


# --------------------------------------------------------------------------------------------- the accelerator of a guard


@pytest.fixture
def plugin(library: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    monkeypatch.setenv("ONDEVICE_GUARD_CUDA", library)
    return emulator


def test_presets_on_the_device_give_the_bytes_of_the_cpu(plugin: Emulator) -> None:
    accelerator = Accelerator("cuda")
    assert accelerator.backend == f"{_core.backend.active()}+cuda:0"
    images = [picture(20 + i, 30, seed=i) for i in range(4)] + [np.full((25, 25, 3), 99, np.uint8)]
    for preset in PRESET_NAMES:
        launches = plugin.launches()
        got = purify_many(images, preset, seed=11, accelerator=accelerator)
        assert (plugin.launches() > launches) == (preset != "strong")  # a network and a turn: on the CPU
        for image, pixels in zip(images, got, strict=True):
            np.testing.assert_array_equal(pixels, purify(image, preset, seed=11))
    out = np.zeros_like(images[0])
    assert purify(images[0], steps=["median"], out=out, accelerator=accelerator) is out
    np.testing.assert_array_equal(out, purify(images[0], steps=["median"]))
    assert purify_many([], accelerator=accelerator) == []


def test_auto_falls_back_and_says_so(plugin: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin.devices(0)
    with pytest.raises(errors.BackendError, match="no usable CUDA device"):
        Accelerator("cuda")
    accelerator = Accelerator("auto")
    assert "no cuda: no usable CUDA device" in accelerator.backend
    assert accelerator.run([picture(5, 5)], [("median", {})]) is None
    plugin.devices(1)
    with pytest.raises(errors.BackendError, match="no usable CUDA device"):
        Accelerator("cuda:4")
    monkeypatch.setenv("ONDEVICE_GUARD_CUDA", "/nonexistent/plugin.so")
    with pytest.raises(errors.BackendError, match="cannot be opened"):
        Accelerator("cuda")
    monkeypatch.delenv("ONDEVICE_GUARD_CUDA")
    with pytest.raises(errors.BackendError, match="not installed"):
        Accelerator("cuda")
    assert "not installed" in Accelerator("auto").backend
    assert Accelerator("cpu").backend == _core.backend.active()
    for name in ("gpu", "cuda:", "cuda:-1", "CPU", None):
        with pytest.raises(errors.UnsupportedInput, match="device"):
            Accelerator(name)


def test_a_device_that_fails_later_is_replaced_under_auto_alone(plugin: Emulator) -> None:
    image = picture(64, 64)
    expected = purify(image, steps=["guided"])
    auto, must = Accelerator("auto"), Accelerator("cuda")
    plugin.memory(2000)
    with pytest.raises(errors.BackendError, match="out of memory"):
        purify(image, steps=["guided"], accelerator=must)
    np.testing.assert_array_equal(purify(image, steps=["guided"], accelerator=auto), expected)
    assert "out of memory" in auto.backend
    np.testing.assert_array_equal(purify_many([image], steps=["guided"], accelerator=auto)[0], expected)
    plugin.memory(-1)
    np.testing.assert_array_equal(purify(image, steps=["guided"], accelerator=must), expected)


class _Perturbed:
    """A detector that is sure of a perturbation, so that the guard purifies."""

    name = "sure"
    kinds = ("adversarial",)

    def __call__(self, views: Views) -> list[Finding]:
        return [Finding("adversarial", 1.0, "a test says so", self.name)]


def test_a_guard_purifies_on_its_device_and_reports_it(plugin: Emulator) -> None:
    image = picture(50, 60)
    policy = {"detectors": [], "purify": "fast"}  # kernels alone: networks run on the CPU
    on_cpu = Guard(policy, detectors=[_Perturbed()]).check(image)
    assert on_cpu.decision.name == "SANITIZED"
    assert on_cpu.backend == _core.backend.active()
    launches = plugin.launches()
    guard = Guard(policy, detectors=[_Perturbed()], device="cuda")
    verdict = guard.check(image)
    assert plugin.launches() > launches
    assert verdict.backend.endswith("+cuda:0")
    np.testing.assert_array_equal(verdict.to_numpy(), on_cpu.to_numpy())
    assert (verdict.decision, verdict.scores) == (on_cpu.decision, on_cpu.scores)
    image = picture(150, 160)
    on_cpu = Guard(policy, detectors=[_Perturbed()]).check(image)
    plugin.memory(1000)
    failed = guard.check(image)  # fails closed: nothing is handed out that was not purified
    assert failed.decision.name == "ERROR"
    assert "out of memory" in failed.reasons[0]
    replaced = Guard(policy, detectors=[_Perturbed()], device="auto").check(image)
    assert replaced.decision.name == "SANITIZED"
    assert "out of memory" in replaced.backend
    np.testing.assert_array_equal(replaced.to_numpy(), on_cpu.to_numpy())
    plugin.devices(0)
    with pytest.raises(errors.BackendError):
        Guard(policy, device="cuda")
