"""A Voltgo pack as its Bluetooth side answers, written from ble.md alone: battery data and the comm board's settings."""

from collections import deque
from collections.abc import Callable, Sequence
import struct
from typing import Final, override

from .bank import SimBank
from .ledger import Ledger
from .modbus import READ, WRITES, Page, ascii_words, crc, sealed, signed, word
from .modbus_zt import put_state
from .pack import PackSpec, SimPack
from .speaker import Disguise, Reply

CURRENT: Final = "1006"
OLDER: Final = "1000"

BMS: Final = 0x01  # whatever the module ID is set to (section 4)
COMM_BOARD: Final = 0x10
LONGEST: Final = 200  # bytes of the device's buffer (section 3)
HEATING_BIT: Final = 0x0010  # of r40
FILM_BIT: Final = 0x8000  # of r25

RS485_PROTOCOLS: Final = ("P01-GRW", "P02-LUX", "P03-SCH", "P04-INH", "P05-VOL")  # capture rs485-idx0
CAN_PROTOCOLS: Final = (  # capture can-idx0; the manual of VLRV has NOARK as the twelfth
    *("P01-GRW", "P02-SLK", "P03-DY", "P04-MGR", "P05-VCT", "P06-LUX"),
    *("P07-SMA", "P08-INH", "P09-SOL", "P10-AFO", "P11-STU", "P12-NOA"),
)
_NAME_BYTES: Final = 10

_READ_INPUT: Final = 0x04
_SET_HEATING: Final = 0x0A
FIRMWARE: Final = 0x64  # never to be seen
_DONE, _REFUSED = 0, 1

_STATUS: Final = 41  # registers that the current generation has in its status block
_PROBES: Final = 6
_KEPT: Final = 20000  # requests remembered

# A VLRV of 25.6 V with its film: a few degrees an hour
VLRV: Final = PackSpec(cells=8, capacity=100.0, heater_power=60.0, heater_on=0.0, heater_off=3.0, serial="")


class ZetaSpeaker(Ledger):
    """Answers for one pack; implements `Speaker`.

    The knobs may be turned at any time. `refuse_heating`: acknowledged with 01. `ignore_heating`: with 00, and r40 stays.
    `apply_on_restart`: with 00, and r40 follows after `restart()`. `silent_sets`: done, and nothing is answered.
    `disturb_r40`: these bits of r40 change with the setting (True: the lowest).
    """

    def __init__(
        self,
        bank: SimBank,
        *,
        registers: int = _STATUS,
        generation: str = CURRENT,
        first: int = 1,
        heating: bool = False,
        words_swapped: bool = False,
    ) -> None:
        """Speak for the pack at `first` of `bank`.

        `registers`: 39 as BigBattery packs have them, which do not answer a question for 41 (section 5).
        `generation`: of GATT, which counts capacity and charge current in 1 or in 0.1. `words_swapped`: cycles in the
        other word, as BB packs do it.
        """
        super().__init__()
        self.bank = bank
        self.registers = registers
        self.scale = 10 if generation == OLDER else 1
        self.generation = generation
        self.address = first
        self.words_swapped = words_swapped
        self.received: deque[tuple[float, bytes]] = deque(maxlen=_KEPT)  # every intact request, at which time
        self.writes: list[tuple[float, bytes]] = []  # set frames
        self.malformed = 0  # bytes that are no request
        self.crowded = 0  # requests that came in one piece with another
        self.refuse_heating = self.ignore_heating = self.apply_on_restart = self.silent_sets = False
        self.disturb_r40 = 0
        self.zero_block = False
        self.module_id = 1
        self.rs485_index = self.can_index = 0
        self.other_bits = 0  # of r40
        self.name: str | None = None  # as last set over the air
        self._pending: bool | None = None
        self._buffer = bytearray()
        self.heating = heating

    @property
    def pack(self) -> SimPack:
        """The pack that is spoken for, present or not."""
        return self.bank.packs[self.address]

    @property
    def heating(self) -> bool:
        """The setting as the owner left it."""
        return self.pack.heating_enabled

    @heating.setter
    def heating(self, enabled: bool) -> None:
        """As when it is changed in the app."""
        self.pack.heating_enabled = enabled

    @property
    def film(self) -> bool:
        """Whether it warms now."""
        self.bank.advance()
        return self.pack.heater_active

    def restart(self) -> None:
        """Switched off and on: what was set takes effect."""
        self.reset()
        if self._pending is not None:
            self.heating, self._pending = self._pending, None

    @override
    def reset(self) -> None:
        """See `Speaker`."""
        self.malformed += len(self._buffer)
        self._buffer.clear()

    @override
    def feed(self, data: bytes, now: float) -> list[Reply]:
        """See `Speaker`."""
        buffer = self._buffer
        buffer += data
        replies: list[Reply] = []
        requests = 0
        while (found := self._next_request()) is not None:
            start, frame = found
            self.malformed += start
            del buffer[: start + len(frame)]
            self.received.append((now, frame))
            requests += 1
            if (reply := self._answer(frame, now)) is not None:
                replies.append(reply)
        self.crowded += max(requests - 1, 0)
        if len(buffer) > LONGEST:
            self.malformed += len(buffer) - LONGEST
            del buffer[:-LONGEST]
        return replies

    def _next_request(self) -> tuple[int, bytes] | None:
        """The first intact request in the buffer, and where it begins."""
        buffer = self._buffer
        for start in range(len(buffer) - 4):
            size = 8
            if buffer[start] == COMM_BOARD:
                size = 5 + buffer[start + 2]
            elif buffer[start + 1] in {0x0F, 0x10} and len(buffer) > start + 6:
                size = 9 + buffer[start + 6]
            frame = bytes(buffer[start : start + size])
            if len(frame) == size and crc(frame[:-2]) == frame[-2:]:
                return start, frame
        return None

    def _answer(self, frame: bytes, now: float) -> Reply | None:
        self.bank.advance()
        if self.bank.present(self.address) is None:
            return None
        if frame[0] == COMM_BOARD:
            return self._setting(frame, now)
        if frame[0] != BMS:
            return None
        if frame[1] in WRITES:
            self.forbidden.append(frame)
        if frame[1] not in {READ, _READ_INPUT}:
            return None
        start, count = struct.unpack(">HH", frame[2:6])
        if not 0 < count <= (LONGEST - 5) // 2 or (start == 0 and self.registers < count):
            return None
        page = self.page()
        if self.zero_block and start < _STATUS:
            page = Page()
        words = [page.words.get(register, 0) for register in range(start, start + count)]
        data = sealed(struct.pack(f">BBB{count}H", BMS, frame[1], 2 * count, *words))
        return self._reply(frame, data, self.noting(f"{start:#06x}*{count}", page.said(start, count)))

    @staticmethod
    def _reply(frame: bytes, data: bytes, on_wire: Callable[[float], None] | None = None) -> Reply:
        return Reply(data, None, frame[0], frame, on_wire)

    # --- the comm board's settings (section 4) -----------------------------------------------------------------------

    def _setting(self, frame: bytes, now: float) -> Reply | None:
        function, value = frame[1], frame[3:-2]
        if function == FIRMWARE:
            self.forbidden.append(frame)
            return None
        if value:
            return self._set(frame, function, value, now)
        match function:
            case 0x02:  # module ID
                data = bytes((self.module_id,))
            case 0x03:  # RS485 protocols
                data = _list(self.rs485_index, RS485_PROTOCOLS)
            case 0x04:  # CAN protocols
                data = _list(self.can_index, CAN_PROTOCOLS)
            case _:  # 0D: no answer seen
                return None
        return self._reply(frame, sealed(bytes((COMM_BOARD, function, len(data))) + data))

    def _set(self, frame: bytes, function: int, value: bytes, now: float) -> Reply | None:
        self.writes.append((now, frame))
        # of all settings, ours may touch the heating only, and in the one way that is inferred (section 6)
        if function != _SET_HEATING or len(value) != 1 or value[0] > 1:
            self.forbidden.append(frame)
        result = self._apply(function, value)
        if self.silent_sets or result is None:
            return None
        return self._reply(frame, sealed(bytes((COMM_BOARD, function, 1, result))))

    def _apply(self, function: int, value: bytes) -> int | None:
        match function:
            case 0x05 if value[0] < len(RS485_PROTOCOLS) and value[0] != self.rs485_index:
                self.rs485_index = value[0]
            case 0x06 if value[0] < len(CAN_PROTOCOLS) and value[0] != self.can_index:
                self.can_index = value[0]
            case 0x07 if 1 <= value[0] <= 16:
                self.module_id = value[0]
            case 0x09:
                self.name = value.decode("utf-8", "replace")
            case 0x0A if len(value) == 1 and value[0] <= 1 and not self.refuse_heating:
                self._set_heating(bool(value[0]))
            case 0x05 | 0x06 | 0x07 | 0x0A:
                return _REFUSED
            case _:
                return None
        return _DONE

    def _set_heating(self, enabled: bool) -> None:
        self.other_bits ^= self.disturb_r40 & ~HEATING_BIT
        if self.apply_on_restart:
            self._pending = enabled
        elif not self.ignore_heating:
            self.heating = enabled

    # --- battery data (section 5) ------------------------------------------------------------------------------------

    def page(self) -> Page:
        """The registers now."""
        pack = self.pack
        page = Page(whose=BMS)
        self._measured(page, pack)
        self._charge(page, pack)
        put_state(page, pack, FILM_BIT if pack.heater_active else 0, heater_active=pack.heater_active)
        self._probes(page, pack)
        page.put(36, len(pack.cell_voltages))
        design = word(pack.spec.capacity, 10)
        page.put(37, design, design_capacity=design / 10)
        page.put(38, sum(1 << (cell - 1) for cell in pack.balancing_cells), balancing_cells=pack.balancing_cells)
        if self.registers > 40:
            setting = self.other_bits | (HEATING_BIT if pack.heating_enabled else 0)
            page.put(39, 0)
            page.put(40, setting, heating_enabled=pack.heating_enabled)
        # capture zt256-identity
        page.put(105, *ascii_words(f"TC\0\0-{len(pack.cell_voltages)}S{pack.spec.capacity:.0f}-V1.0", 12))
        page.put(117, *ascii_words("Z01T20", 3), *ascii_words("2024-01-11", 8), *[0] * 9)
        return page

    @staticmethod
    def _measured(page: Page, pack: SimPack) -> None:
        voltage, current = word(pack.voltage, 100), word(pack.current, 10, signed=True)
        page.put(0, voltage, voltage=voltage / 100)
        page.put(1, current, current=signed(current) / 10)
        cells = [word(volts, 1000) for volts in pack.cell_voltages]
        page.put(2, *cells, *[0] * (16 - len(cells)), cell_voltages=tuple(mv / 1000 for mv in cells))

    def _charge(self, page: Page, pack: SimPack) -> None:
        remaining, limit = word(pack.remaining_capacity, self.scale), word(pack.charge_limit, self.scale)
        page.put(21, remaining)
        page.put(22, limit, charge_current_limit=limit / self.scale)
        page.put(23, word(pack.soh), soh=word(pack.soh))
        page.put(24, word(pack.soc), soc=word(pack.soc))
        cycles = int(pack.cycles)
        page.put(29, *((0, cycles) if self.words_swapped else (cycles, 0)), cycles=cycles)
        full = round(3_600_000 * pack.full_capacity)
        page.put(31, *divmod(full, 0x10000), full_capacity=full / 3_600_000)
        # which scale r21 has, only the state of charge and the full capacity tell
        page.tell((21, 24, 31, 32), remaining_capacity=remaining / self.scale)

    @staticmethod
    def _probes(page: Page, pack: SimPack) -> None:
        board = word(pack.board_temperature, signed=True)
        degrees = [round(celsius) for celsius in pack.cell_temperatures]
        page.put(18, board, pcb_temperature=float(signed(board)))
        page.put(19, word(pack.temperature - 3, signed=True))  # called the average, and is not
        page.put(20, word(max(degrees), signed=True))
        raw = bytes(value % 256 for value in [*degrees, *[0] * (_PROBES - len(degrees))])
        page.put(33, *struct.unpack(">3H", raw), cell_temperatures=tuple(map(float, degrees)))

    @override
    def disguise(self, reply: Reply, disguise: Disguise) -> bytes:
        """See `Speaker`."""
        data = reply.data
        match disguise:
            case Disguise.BAD_CHECK:
                return data[:-1] + bytes((data[-1] ^ 0x55,))
            case Disguise.WRONG_ADDRESS:
                return sealed(bytes((data[0] + 1,)) + data[1:-2])
            case Disguise.TWIN:
                return data


def _list(index: int, names: Sequence[str]) -> bytes:
    """A list of protocols and which of them is selected."""
    entries = b"".join(name.encode("ascii").ljust(_NAME_BYTES, b"\0") for name in names)
    return bytes((index, len(names))) + entries
