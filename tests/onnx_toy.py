"""Tiny ONNX graphs written byte by byte, so that tests need no onnx package."""

from __future__ import annotations

import numpy as np


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited protobuf field."""
    out = bytearray([number << 3 | 2])
    size = len(payload)
    while size >= 0x80:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes(out) + bytes([size]) + payload


def value_info(name: bytes, dims: tuple[int, ...]) -> bytes:
    """A float32 tensor of this shape."""
    shape = b"".join(field(1, bytes([8, d])) for d in dims)
    return field(1, name) + field(2, field(1, b"\x08\x01" + field(2, shape)))


def model(graph: bytes) -> bytes:
    """A ModelProto of opset 13."""
    return b"\x08\x08" + field(7, graph) + field(8, b"\x10\x0d")


def double(external: bool = False) -> bytes:
    """y = x + (1, 2); with `external`, the constant claims to live in another file."""
    values = field(9, np.float32([1, 2]).tobytes())
    elsewhere = field(13, field(1, b"location") + field(2, b"/etc/passwd")) + b"\x70\x01"
    tensor = b"\x08\x02\x10\x01" + field(8, b"c") + (elsewhere if external else values)
    node = field(1, b"x") + field(1, b"c") + field(2, b"y") + field(4, b"Add")
    ends = field(11, value_info(b"x", (2,))) + field(12, value_info(b"y", (2,)))
    return model(field(1, node) + field(2, b"g") + field(5, tensor) + ends)


def mean_of_channels() -> bytes:
    """y[1, 3] = the mean of each channel of x[1, 3, 8, 8]."""
    axes = field(1, b"axes") + b"\x40\x02\x40\x03" + b"\xa0\x01\x07"
    keep = field(1, b"keepdims") + b"\x18\x00" + b"\xa0\x01\x02"
    node = field(1, b"x") + field(2, b"y") + field(4, b"ReduceMean") + field(5, axes) + field(5, keep)
    ends = field(11, value_info(b"x", (1, 3, 8, 8))) + field(12, value_info(b"y", (1, 3)))
    return model(field(1, node) + field(2, b"g") + ends)
