"""Fixtures that every test module may use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ondevice_guard import _core


@pytest.fixture(params=_core.backend.available())
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test once on every backend this machine has."""
    _core.backend.force(request.param)
    yield request.param
    _core.backend.force(None)
