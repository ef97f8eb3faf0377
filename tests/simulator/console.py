"""The text console of Pytes and Pylontech packs, as whoever is plugged into the master sees it.

Written from pytes-console.md alone; section 10 says what it must be able to do. A Pylontech console that nobody has
used for long listens at 1200 baud until it is woken: `Bus.at_other_speed` has to be told of it.
"""

from collections.abc import Callable
from typing import Final, override

from .bank import SimBank
from .console_text import MAKES, Printer, Profile, Values
from .ledger import Ledger
from .pack import SimPack
from .speaker import Disguise, Reply

SPEED: Final = 115200
FRAMED_SPEED: Final = 1200
WAKE_UP: Final = b"~20014682C0048520FCC3\r"  # section 2

# Section 4: commands that change something. A client of ours must never be seen to send one.
FORBIDDEN: Final = frozenset({"login", "logout", "shut", "trst", "updata", "config", "cleardata", "reset"})

_COMPLETED: Final = "Command completed successfully"
_INVALID: Final = "Invalid command or fail to excute."
_USAGE: Final = {
    "bat": "Battery data show - bat [pwr][index]",
    "pwr": "Power data show - pwr [index]",
    "soh": "State of health - soh [addr]",
    "info": "Device infomation - info [addr]",
    "stat": "Statistic data show - stat",
    "time": "Time - time [year] [month] [day] [hour] [minute] [second]",
    "login": "Login Admin mode - login [password]",
}
_PAGER: Final = "Press [Enter] to be continued,other key to exit"
_OVERWRITE: Final = f"\r\r{' ' * 50}\r\r"
_LINE, _TABLE_LINE = "\r\n\r", "\r\r\n"
_HELP_PAGES: Final = (("Local command:", *_USAGE.values()), ("Remote command:", _USAGE["info"]))
_LOG_PAGES: Final = tuple((f"Index : {number}", "Code : 0x5", "Info : Charge") for number in range(4))

type _Told = dict[int | None, Values]


class ConsoleSpeaker(Ledger):
    """Answers on the master's RS232 plug; implements `Speaker`. What it should do wrong is set on it."""

    def __init__(self, bank: SimBank, profile: Profile | str = Profile.V5, *, asleep: bool = False) -> None:
        """Speak for `bank`, whose packs have the numbers of their slots; `asleep`: idle for long, at 1200 baud."""
        super().__init__()
        self.bank = bank
        self.profile = Profile(profile)
        self.make = MAKES[self.profile]
        self.prompt = self.make.prompt
        self.asleep = asleep and self.make.wakes
        self.delay: float | None = None  # s until an answer begins; None: the turn-round of the bus
        self.idle_noise = b""  # in front of the next answer, once
        self.truncated = 0  # so many answers end in the middle
        self.unsolicited: str | None = None  # a line that comes into the next answer
        self.misprints = 0  # one answer in so many has a wrong character in its barcodes, each time at another place
        self.misprinted = 0  # answers that had
        self.damaged_cells: frozenset[int] = frozenset()
        self.reordered = False  # `pwr` prints its columns in another order, with one more
        self.commands: list[str] = []  # understood, in order
        self._printer = Printer(self.make)
        self._answers_given = 0
        self._typed = bytearray()
        self._pages: list[tuple[str, ...]] = []
        self._answers: dict[str, Callable[[int | None], tuple[str, _Told] | None]] = {
            "pwr": self._power,
            "bat": self._cells,
            "soh": self._health,
            "stat": self._statistics,
            "info": self._information,
            "time": lambda _: (self._block(["PCF8563 2026-03-01 12:00:00"]), {}),
            "help": lambda _: (self._page(list(_HELP_PAGES)), {}),
            "log": lambda _: (self._page(list(_LOG_PAGES)), {}),
        }

    @property
    def paging(self) -> bool:
        """Whether a pager waits for a key."""
        return bool(self._pages)

    @override
    def reset(self) -> None:
        """See `Speaker`."""
        self._typed.clear()

    def at_other_speed(self, data: bytes, baudrate: int) -> None:
        """For `Bus.at_other_speed`: a console that fell back is woken there, and garbles what it says first."""
        if self.asleep and baudrate == FRAMED_SPEED and WAKE_UP in data:
            self.asleep = False
            self.idle_noise = b"\x00\xfe\xff"

    @override
    def feed(self, data: bytes, now: float) -> list[Reply]:
        """See `Speaker`."""
        if self.asleep or self._master() is None:
            return []
        replies = []
        for byte in data:
            if self._pages:
                replies.append(Reply(self._turn(enter=byte in b"\r\n").encode("latin-1"), self.delay))
            elif byte in b"\r\n":
                words = self._typed.decode("latin-1").strip()
                self._typed.clear()
                replies.append(self._reply(words))
            else:
                self._typed.append(byte)
        if self._typed and not replies:
            replies.append(Reply(bytes(self._typed)))  # what is typed is echoed at once
        return replies

    @override
    def disguise(self, reply: Reply, disguise: Disguise) -> bytes:
        """See `Speaker`. There is no checksum: the end mark is what an answer can lack. A master has no twin."""
        match disguise:
            case Disguise.BAD_CHECK:
                return reply.data.replace(b"\r$$\r", b"\r$#\r")
            case Disguise.WRONG_ADDRESS:
                command, _, _ = reply.request.decode("latin-1").partition(" ")
                others = [slot for slot in self._slots() if slot != reply.address]
                words = f"{command} {others[0]}" if others else "time"
                return self._reply(words).data
            case Disguise.TWIN:
                return reply.data

    # --- what is there -----------------------------------------------------------------------------------------------

    def _slots(self) -> dict[int, SimPack]:
        packs = sorted(self.bank.packs.items())
        return {slot: pack for slot, pack in packs if not pack.silent and slot <= self.make.slots}

    def _master(self) -> SimPack | None:
        """The pack whose plug this is; without it there is no console."""
        return self.bank.present(min(self.bank.packs, default=0))

    def _pack(self, number: int | None) -> tuple[int, SimPack] | None:
        slot = min(self.bank.packs) if number is None else number
        return None if (pack := self._slots().get(slot)) is None else (slot, pack)

    # --- one command -------------------------------------------------------------------------------------------------

    def _reply(self, words: str) -> Reply:
        request = f"{words}\r".encode("latin-1")
        self.bank.advance()
        if not words:
            return self._sent(f"\n\r{self.prompt}>", {}, request)
        command, _, rest = words.partition(" ")
        self.commands.append(words)
        if command in FORBIDDEN or (command == "time" and rest):
            self.forbidden.append(request)
            return self._sent(self._refused(words), {}, request)
        if (answer := self._answers.get(command)) is None:
            return self._sent(
                self._whole(words, self._block([f"Unknown command '{command}' - try 'help'"]), ok=False), {}, request
            )
        number = int(rest) if rest.isdecimal() else None
        if (rest and number is None) or (found := answer(number)) is None:
            return self._sent(self._refused(words), {}, request, number)
        text, told = found
        if self._pages:
            return self._sent(f"{words}\n\r@{_TABLE_LINE}{text}", {}, request)
        return self._sent(self._whole(words, text), told, request, number, command)

    def _whole(self, words: str, text: str, *, ok: bool = True) -> str:
        """Echo, start mark, content, end mark, prompt, with the line ends of section 3."""
        completed = f"{_COMPLETED}{_LINE}" if ok else ""
        if self.unsolicited is not None:
            text, self.unsolicited = f"{_LINE}{self.unsolicited}{text}", None
        return f"{words}\n\r@{text}{_LINE}{completed}$${_LINE}{self.prompt}>"

    def _refused(self, words: str) -> str:
        usage = _USAGE.get(words.partition(" ")[0], "")
        return self._whole(words, f"{_LINE}{_INVALID}{_LINE}Usage:\r\n{usage}", ok=False)

    def _sent(self, text: str, told: _Told, request: bytes, number: int | None = None, command: str = "") -> Reply:
        data = text.encode("latin-1")
        data, self.idle_noise = self.idle_noise + self._misprint(data), b""
        on_wire = self.noting(command, told) if told else None
        if self.truncated and command:
            self.truncated -= 1
            data, on_wire = data[: len(data) // 2], None
        address = min(self.bank.packs) if number is None else number
        return Reply(data, self.delay, address=address, request=request, on_wire=on_wire)

    def _misprint(self, data: bytes) -> bytes:
        self._answers_given += 1
        if not self.misprints or self._answers_given % self.misprints:
            return data
        text = data
        for pack in self.bank.packs.values():
            serial = pack.spec.serial
            at = self._answers_given // self.misprints % len(serial)
            text = text.replace(
                serial.encode(), f"{serial[:at]}{'Q' if serial[at] != 'Q' else 'Z'}{serial[at + 1 :]}".encode()
            )
        self.misprinted += text != data
        return text

    # --- pager -------------------------------------------------------------------------------------------------------

    def _page(self, pages: list[tuple[str, ...]]) -> str:
        self._pages = pages[1:]
        return f"{_LINE.join(pages[0])}\n\r{_PAGER}\r"

    def _turn(self, *, enter: bool) -> str:
        """A key while the pager waits: Enter shows the next page, any other ends it."""
        page, self._pages = self._pages[0], self._pages[1:] if enter else []
        text = _OVERWRITE + (_LINE.join(page) if enter else "")
        if self._pages:
            return f"{text}\n\r{_PAGER}\r"
        return f"{text}{_LINE}{_COMPLETED}{_LINE}$${_LINE}{self.prompt}>"

    # --- content -----------------------------------------------------------------------------------------------------

    @staticmethod
    def _table(lines: list[str]) -> str:
        return "".join(_TABLE_LINE + line for line in lines)

    @staticmethod
    def _block(lines: list[str]) -> str:
        return "".join(_LINE + line for line in lines)

    def _power(self, number: int | None) -> tuple[str, _Told] | None:
        if number is not None:
            if (found := self._pack(number)) is None:
                return None
            lines, values = self._printer.details(*found)
            return self._table(lines), {found[0]: values}
        columns = self.make.columns
        if self.reordered:
            columns = (columns[0], *reversed(columns[1:8]), "New.\xc9", *columns[8:])
        lines = [self._printer.heading(columns)]
        told: _Told = {}
        packs = self._slots()
        for slot in range(1, self.make.slots + 1):
            if (pack := packs.get(slot)) is None:
                lines.append(self._printer.empty(slot))
                continue
            line, told[slot] = self._printer.row(slot, pack, columns)
            lines.append(line)
        return self._table(lines), told

    def _cells(self, number: int | None) -> tuple[str, _Told] | None:
        if (found := self._pack(number)) is None:
            return None
        lines, values = self._printer.cells(found[1], self.damaged_cells)
        return self._table([self._printer.cell_heading(), *lines]), {found[0]: values}

    def _health(self, number: int | None) -> tuple[str, _Told] | None:
        if (found := self._pack(number)) is None:
            return None
        lines, values = self._printer.health(*found)
        return self._table(lines), {found[0]: values}

    def _statistics(self, number: int | None) -> tuple[str, _Told] | None:
        if (found := self._pack(number)) is None or (number is not None and not self.make.stat_takes_number):
            return None
        lines, values = self._printer.statistics(*found)
        return self._table(lines), {found[0]: values}

    def _information(self, number: int | None) -> tuple[str, _Told] | None:
        if (found := self._pack(number)) is None:
            return None
        lines, values = self._printer.information(*found)
        return self._block(lines), {found[0]: values}
