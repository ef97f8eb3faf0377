"""Cuts what comes over Bluetooth into answers: one notification may hold two of them, or a piece of one.

Source: ble.md sections 3 and 4.
"""

from collections.abc import Iterator
from typing import Final, override

from ..modbus.splitter import EXCEPTION, READ_WORDS, ModbusSplitter
from . import settings

BMS: Final = 0x01  # whatever the module ID is set to
_SENDERS: Final = (BMS, settings.BOARD)
_FURTHER_CELLS: Final = (0x04, 0x20)  # of packs with more than 16: number of the frame, then so many bytes
_FURTHER_SIZE: Final = 4 + 0x20 + 2


class ZetaSplitter(ModbusSplitter):
    """As `ModbusSplitter`, for the two senders behind one connection."""

    __slots__ = ()

    @override
    def _await(self, question: bytes) -> None:
        if question[:1] == bytes((settings.BOARD,)):
            self._answer = (settings.BOARD, question[1], 0) if settings.is_question(question) else None
        else:
            super()._await(question)

    @override
    def _may_grow(self, start: int) -> bool:
        if len(self._buffer) - start == 1:
            return self._buffer[start] in _SENDERS
        return super()._may_grow(start)

    @override
    def _sizes(self, start: int) -> Iterator[int]:
        buffer = self._buffer
        left = len(buffer) - start
        sender, function = buffer[start], buffer[start + 1]
        if sender == settings.BOARD and function ^ EXCEPTION in settings.FUNCTIONS:
            yield settings.SHORTEST
        elif sender == settings.BOARD and function in settings.FUNCTIONS:
            if left < 3:
                yield settings.SHORTEST
            elif settings.fits(function, buffer[start + 2]):
                yield settings.SHORTEST + buffer[start + 2]
        elif sender == BMS and function ^ EXCEPTION in settings.SETS:  # the board may have handed it on
            yield settings.SHORTEST
        elif sender == BMS and function & ~EXCEPTION in READ_WORDS:
            yield from super()._sizes(start)
            if left > 3 and (function, buffer[start + 3]) == _FURTHER_CELLS:
                yield _FURTHER_SIZE

    @override
    def _awaited_size(self, start: int) -> int | None:
        buffer = self._buffer
        if self._answer is None or self._answer[0] != settings.BOARD or len(buffer) - start < 3:
            return super()._awaited_size(start)
        sender, function, length = buffer[start : start + 3]
        if (sender, function) != self._answer[:2] or not length or not settings.fits(function, length):
            return None
        return settings.SHORTEST + length
