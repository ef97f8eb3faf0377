"""What tests of clients share."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from .rig import MakeRig, Rig


@pytest.fixture
async def make_rig() -> AsyncIterator[MakeRig]:
    """Rigs that are stopped after the test, and that leave no task behind."""
    rigs: list[Rig] = []

    async def make(seconds: float = 0.0, **kwargs: Any) -> Rig:
        rig = Rig(**kwargs)
        rigs.append(rig)
        await rig.start(seconds)
        return rig

    yield make
    for rig in rigs:
        await rig.stop()
        assert rig.bus.port.line is None, "the port was not given back"
        assert not rig.speaker.forbidden
    assert len(asyncio.all_tasks()) == 1
