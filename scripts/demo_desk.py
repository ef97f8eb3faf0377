"""Packs that fall silent while one looks on: what a person can type in the terminal of the demo."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
import os
from typing import NamedTuple

from tests.simulator.pack import SimPack

from .demo_batteries import Battery

_AGAIN = 1.0  # s until a demo in the background looks whether it is in front


class _Place(NamedTuple):
    """A pack that can be unplugged."""

    battery: str
    number: int  # as its device is called
    pack: SimPack


class Desk:
    """All packs that have a device of their own, numbered through; a bank that speaks for its packs has none."""

    def __init__(self, batteries: Iterable[Battery]) -> None:
        """Number them."""
        places = [
            _Place(battery.name, number, battery.bank.packs[address])
            for battery in batteries
            if not battery.speaks_for_bank
            for number, address in enumerate(sorted(battery.bank.packs), 1)
        ]
        self._places = dict(enumerate(places, 1))

    @property
    def help(self) -> str:
        """What can be typed, and which number is whose."""
        numbers: dict[str, list[int]] = {}
        for number, place in self._places.items():
            numbers.setdefault(place.battery, []).append(number)
        whose = ", ".join(f"{own[0]} to {own[-1]} of the {name}" for name, own in numbers.items())
        return f"Type unplug 4 and Enter to make pack 4 silent, plug 4 to let it answer again. Packs: {whose}."

    def obey(self, line: str) -> str:
        """Do what was typed, and say what was done."""
        match line.split():
            case [("unplug" | "plug") as verb, digits] if digits.isdecimal() and int(digits) in self._places:
                place = self._places[int(digits)]
                place.pack.silent = verb == "unplug"
                done = "answers nothing any more" if place.pack.silent else "answers again"
                return f"Pack {place.number} of the {place.battery} {done}; the home notices within half a minute"
            case _:
                return self.help

    @contextmanager
    def open(self, descriptor: int, say: Callable[[str], None]) -> Iterator[None]:
        """Listen to a terminal; to nothing else, for a pipe has nobody behind it who reads the answers."""
        if not os.isatty(descriptor):
            yield
            return
        say(self.help)
        loop = asyncio.get_running_loop()
        typed = bytearray()
        later: asyncio.TimerHandle | None = None

        def listen() -> None:
            loop.add_reader(descriptor, read)

        def read() -> None:
            nonlocal later
            try:
                if os.tcgetpgrp(descriptor) != os.getpgrp():  # whoever reads from behind is stopped by the terminal
                    loop.remove_reader(descriptor)
                    later = loop.call_later(_AGAIN, listen)
                    return
                data = os.read(descriptor, 4096)
            except OSError:
                data = b""  # the terminal is gone
            if not data:
                loop.remove_reader(descriptor)
                return
            typed.extend(data)
            *lines, rest = bytes(typed).split(b"\n")
            typed[:] = rest
            for line in lines:
                say(self.obey(line.decode(errors="replace")))

        listen()
        try:
            yield
        finally:
            if later is not None:
                later.cancel()
            with suppress(OSError, ValueError):
                loop.remove_reader(descriptor)
