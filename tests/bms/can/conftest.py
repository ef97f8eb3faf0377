"""What tests of buses share."""

from collections.abc import Iterator

import pytest

from .real_bus import readers


@pytest.fixture
def no_thread_left() -> Iterator[None]:
    """Every test closes what it opened."""
    yield
    assert readers() == []
