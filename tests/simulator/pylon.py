"""The batteries' side of the Pylontech RS485 protocol, written from the protocol note alone.

It shares no code with the integration's codec, so that one misreading cannot hide in both. Sections and rules are
those of pylon-rs485.md; 12 says what each profile does.
"""

from collections.abc import Callable
from enum import StrEnum
import struct
from typing import Final, override

from custom_components.lfp_battery.bms.model import Alarm, Condition, Severity

from .bank import SimBank
from .ledger import Ledger
from .pack import SimPack
from .pylon_system import COLD, HOT, SYSTEM_COMMANDS
from .pylon_wire import WITH_ADDRESS, Answer, celsius, checksum, encode, kelvin, request, word
from .speaker import Disguise, Reply

_SOI: Final = 0x7E
_EOI: Final = 0x0D
_HEX: Final = frozenset(b"0123456789ABCDEFabcdef")
_LONGEST: Final = 4200  # section 8
_GROUP_ASKED: Final = 0xFF

RTN_OK: Final = 0x00
RTN_CHECKSUM: Final = 0x02
RTN_COMMAND: Final = 0x04
RTN_FORMAT: Final = 0x05
RTN_DATA: Final = 0x06

# Section 6: everything that changes something. A client of ours must never be seen to send one.
FORBIDDEN: Final = frozenset({0x94, 0x95, 0x64, 0x99, 0x91})


class Profile(StrEnum):
    """Which packs are being imitated."""

    C = "c"  # US2000C, US3000C, US5000
    OLD = "old"  # US2000, US3000: answer for the whole group, 16-bit capacities
    V35 = "v35"  # system commands only, as ES packs may


_PACK_COMMANDS: Final = frozenset({0x4F, 0x51, 0x42, 0x44, 0x47, 0x92, 0x93, 0x96})
_COMMANDS: Final[dict[Profile, frozenset[int]]] = {
    Profile.C: _PACK_COMMANDS,
    Profile.OLD: _PACK_COMMANDS,
    Profile.V35: frozenset({0x60, 0x61, 0x62, 0x63, 0x4F, 0x51}),
}


# condition with protection -> bits of 0x44 status 1 (section 6.2)
_STATUS1: Final = {
    Condition.PACK_UNDERVOLTAGE: 0x80,
    Condition.CHARGE_OVERTEMPERATURE: 0x40,
    Condition.DISCHARGE_OVERTEMPERATURE: 0x20,
    Condition.DISCHARGE_OVERCURRENT: 0x10,
    Condition.CHARGE_OVERCURRENT: 0x04,
    Condition.CELL_UNDERVOLTAGE: 0x02,
    Condition.PACK_OVERVOLTAGE: 0x01,
}


class PylonSpeaker(Ledger):
    """Answers for every pack of a bank; implements `Speaker`."""

    def __init__(
        self,
        bank: SimBank,
        profile: Profile | str = Profile.C,
        *,
        lenient: bool = False,
        version: int = 0x20,
        answer_as: int | None = None,
    ) -> None:
        """Speak for `bank`.

        `lenient` does what python-pylontech needs and no pack does: answer 4F and 51 at address 0, and commands whose
        INFO lacks the address; with it the C profile answers FF as well. `answer_as`: the address in the answers of
        the v35 profile (JK says 02 when asked at 12); None repeats the one that was asked.
        """
        self.bank = bank
        self.profile = Profile(profile)
        self.lenient = lenient
        self.version = version
        self.answer_as = answer_as
        super().__init__()
        self.malformed = 0
        self._buffer = bytearray()
        self._read: dict[int, tuple[int, int]] = {}  # changes that an INFOFLAG has announced
        pack_commands: dict[int, Callable[[int, SimPack], Answer]] = {
            0x42: self._analog,
            0x44: self._alarms,
            0x47: self._parameters,
            0x4F: self._version,
            0x51: self._manufacturer,
            0x92: self._management,
            0x93: self._serial,
            0x96: self._firmware,
        }
        self._pack_commands = pack_commands

    @override
    def reset(self) -> None:
        """See `Speaker`."""
        self._buffer.clear()

    @override
    def feed(self, data: bytes, now: float) -> list[Reply]:
        """See `Speaker`."""
        buffer = self._buffer
        buffer += data
        replies = []
        while (end := buffer.find(_EOI)) >= 0:
            line = bytes(buffer[: end + 1])
            del buffer[: end + 1]
            if (start := line.rfind(b"~")) < 0:
                continue
            frame = line[start:]
            if (reply := self._answer(frame)) is not None:
                replies.append(reply)
        if len(buffer) > _LONGEST:
            buffer.clear()
        return replies

    @override
    def disguise(self, reply: Reply, disguise: Disguise) -> bytes:
        """See `Speaker`."""
        data = reply.data
        match disguise:
            case Disguise.BAD_CHECK:
                return data[:-2] + (b"1" if data[-2:-1] == b"0" else b"0") + data[-1:]
            case Disguise.WRONG_ADDRESS:
                others = [a for a in self.bank.packs if a != reply.address]
                other = others[0] if others else reply.address + 1
                return self._readdressed(data, other)
            case Disguise.TWIN:
                # another pack's answer to the same question, under this one's address
                for address in self.bank.packs:
                    command = int(reply.request[7:9], 16)
                    if address != reply.address and (twin := self._answer(request(address, command))) is not None:
                        return self._readdressed(twin.data, reply.address)
                return data

    @staticmethod
    def _readdressed(data: bytes, address: int) -> bytes:
        """The same answer from another address, the address byte in INFO and the checksum made to match."""
        body = bytearray(data[1:-5])
        old = bytes(body[2:4])
        body[2:4] = b"%02X" % address
        for place in (12, 14):  # INFO begins with the address, or with INFOFLAG and the address
            if bytes(body[place : place + 2]) == old:
                body[place : place + 2] = b"%02X" % address
                break
        return b"~%b%04X\r" % (bytes(body), checksum(bytes(body)))

    def _answer(self, frame: bytes) -> Reply | None:
        """Judge one frame; malformed ones and strangers' get silence."""
        body, check = frame[1:-5], frame[-5:-1]
        if len(frame) < 18 or not _HEX.issuperset(frame[1:-1]) or body[4:6] != b"46":
            self.malformed += 1
            return None
        length = int(body[8:12], 16)
        lenid = length & 0xFFF
        nibbles = (lenid >> 8) + (lenid >> 4 & 15) + (lenid & 15)
        if lenid != len(body) - 12 or lenid % 2 or (nibbles + (length >> 12)) & 15:
            self.malformed += 1
            return None
        address, command = int(body[2:4], 16), int(body[6:8], 16)
        speaking = self._speaking(address, command)
        if speaking is None:
            return None
        if checksum(body) != int(check, 16):
            return self._refusal(address, RTN_CHECKSUM, frame)
        if command in FORBIDDEN:
            self.forbidden.append(frame)
            return self._refusal(address, RTN_COMMAND, frame)
        if command not in _COMMANDS[self.profile]:
            return self._refusal(address, RTN_COMMAND, frame)
        info = bytes.fromhex(body[12:].decode())
        self.bank.advance()
        if command in SYSTEM_COMMANDS:
            shown = address if self.answer_as is None else self.answer_as
            return self._reply(shown, speaking, command, frame, SYSTEM_COMMANDS[command](self._system(address)))
        group = False
        if command in WITH_ADDRESS:
            asked = info[0] if info else address if self.lenient else None
            if asked is None:
                return self._refusal(address, RTN_FORMAT, frame)
            if asked == _GROUP_ASKED and command in {0x42, 0x44}:
                if (address & 0x0F) != 2 or not (self.profile is Profile.OLD or self.lenient):
                    return None
                group = True
            elif asked != address:
                return self._refusal(address, RTN_DATA, frame)
        if group:
            answer = self._whole_group(command, address)
        else:
            pack = self.bank.packs[speaking]
            answer = self._pack_commands[command](speaking, pack)
        return self._reply(address, speaking, command, frame, answer)

    def _speaking(self, address: int, command: int) -> int | None:
        """The pack that answers when this address is called; None is silence."""
        if self.profile is Profile.V35:
            group = self._system(address)
            return min(group) if group else None
        if self.lenient and address == 0 and command in {0x4F, 0x51}:
            return min(self.bank.group(0x02), default=None)
        if (address & 0x0F) < 2 or address > 0x7F or self.bank.present(address) is None:
            return None
        return address

    def _system(self, address: int) -> dict[int, SimPack]:
        """The packs behind a system address: 12 to 72 by the text, and 02 in practice (section 5)."""
        if address & 0x0F != 2 or address > 0x72:
            return {}
        own = self.bank.group(address)
        return own or (self.bank.group(0x02) if address == 0x12 else {})

    def _reply(self, shown: int, address: int, command: int, frame: bytes, answer: Answer) -> Reply:
        info, values = answer

        return Reply(
            encode(shown, RTN_OK, info, version=self.version), None, address, frame, self.noting(command, values)
        )

    def _refusal(self, address: int, code: int, frame: bytes) -> Reply:
        return Reply(encode(address, code, version=self.version), None, address, frame)

    def _infoflag(self, address: int, pack: SimPack) -> int:
        """Section 6: 11 on the first answer after something changed, else 00."""
        now = (pack.alarm_changes, pack.switch_changes)
        if self._read.get(address) == now:
            return 0x00
        self._read[address] = now
        return 0x11

    # 6.1

    def _analog(self, address: int, pack: SimPack) -> Answer:
        record, values = self._analog_record(pack)
        return bytes((self._infoflag(address, pack), address)) + record, {address: values}

    def _analog_record(self, pack: SimPack) -> tuple[bytes, dict[str, object]]:
        old = self.profile is Profile.OLD
        cells = [word(v, 1000) for v in pack.cell_voltages]
        probes = [kelvin(pack.board_temperature), *map(kelvin, pack.cell_temperatures)]
        if not old and pack.sensors == 4:  # the sixth is the MOSFET; fewer leave no room for it
            probes.append(kelvin(pack.mosfet_temperature))
        current = word(pack.current, 10, signed=True)
        voltage = word(pack.voltage, 1000)
        left, full = round(pack.remaining_capacity * 1000), round(pack.full_capacity * 1000)
        left16, full16 = (v if v <= 65000 else 0xFFFF for v in (left, full))
        cycles = int(pack.cycles)
        record = struct.pack(
            f">B{len(cells)}HB{len(probes)}HhHHBHH",
            len(cells), *cells, len(probes), *probes, current, voltage, left16, 2 if old else 4, full16, cycles,
        )  # fmt: skip
        if not old:
            record += left.to_bytes(3) + full.to_bytes(3)
        values: dict[str, object] = {
            "cell_voltages": tuple([v / 1000 for v in cells]),
            "pcb_temperature": celsius(probes[0]),
            "cell_temperatures": tuple([celsius(v) for v in probes[1:5]]),
            "current": current / 10,
            "voltage": voltage / 1000,
            "remaining_capacity": None if old and left16 == 0xFFFF else left / 1000,
            "full_capacity": None if old and full16 == 0xFFFF else full / 1000,
            "cycles": cycles,
        }
        if len(probes) > 5:
            values["mosfet_temperature"] = celsius(probes[5])
        return record, values

    # 6.2

    def _alarms(self, address: int, pack: SimPack) -> Answer:
        record, values = self._alarm_record(pack)
        trailing = b"" if self.profile is Profile.OLD else b"\x00"
        return bytes((self._infoflag(address, pack), address)) + record + trailing, {address: values}

    def _alarm_record(self, pack: SimPack) -> tuple[bytes, dict[str, object]]:
        count = pack.spec.cells
        probes = 1 + pack.sensors  # no place for the MOSFET: captures of C-series packs have five here
        cells, temperatures = bytearray(count), bytearray(probes)
        said: set[Alarm] = set()
        charge = module = discharge = status1 = status3 = faulty = 0
        for alarm in pack.alarms:
            condition, severity, cell = alarm.condition, alarm.severity, alarm.cell
            if condition is Condition.FULLY_CHARGED:
                status3 |= 0x08
                said.add(Alarm(condition=condition, severity=Severity.WARNING))
                continue
            if condition is Condition.CELL_FAILURE and cell is not None:
                faulty |= 1 << (cell - 1)
                said.add(Alarm(condition=condition, severity=Severity.FAULT, cell=cell))
                continue
            if severity is not Severity.PROTECTION:
                continue  # the protocol has no word for warnings
            if bit := _STATUS1.get(condition):
                status1 |= bit
                said.add(Alarm(condition=condition, severity=severity))
            if condition is Condition.CELL_OVERVOLTAGE or condition is Condition.CELL_UNDERVOLTAGE:
                place = (cell or 1) - 1
                cells[place] = 2 if condition is Condition.CELL_OVERVOLTAGE else 1
                said.add(Alarm(condition=condition, severity=severity, cell=place + 1))
            elif condition in HOT:
                temperatures[2] = 2
                said.add(Alarm(condition=Condition.OVERTEMPERATURE, severity=severity))
            elif condition in COLD:
                temperatures[1] = 1
                said.add(Alarm(condition=Condition.UNDERTEMPERATURE, severity=severity))
            elif condition is Condition.CHARGE_OVERCURRENT:
                charge = 2
            elif condition is Condition.DISCHARGE_OVERCURRENT:
                discharge = 2
            elif condition is Condition.PACK_OVERVOLTAGE:
                module = 2
            elif condition is Condition.PACK_UNDERVOLTAGE:
                module = 1
        status2 = 0x08 | (0x04 if pack.discharge_enabled else 0) | (0x02 if pack.charge_enabled else 0)
        status3 |= (0x80 if pack.current > 0.1 else 0) | (0x40 if pack.current < -0.1 else 0)
        status3 |= (0x20 if pack.heater_active else 0) | (0x01 if status1 else 0)
        record = bytes((count, *cells, probes, *temperatures, charge, module, discharge))
        record += bytes((status1, status2, status3, faulty & 0xFF, faulty >> 8 & 0xFF))
        return record, {"alarms": frozenset(said), "heater_active": pack.heater_active}

    def _whole_group(self, command: int, address: int) -> Answer:
        packs = self.bank.group(address)
        build = self._analog_record if command == 0x42 else self._alarm_record
        info = bytes((self._infoflag(address, self.bank.packs[address]), len(packs)))
        values: dict[int | None, dict[str, object]] = {}
        for member, pack in packs.items():
            record, values[member] = build(pack)
            info += record
        return info, values

    # 6.3

    def _parameters(self, address: int, pack: SimPack) -> Answer:
        count = pack.spec.cells
        words = struct.pack(
            ">HHHHHhHHHHHh",
            3650, 3050, 2800, kelvin(55.0), kelvin(0.0), word(pack.charge_base, 10, signed=True),
            3600 * count, 3067 * count, 2900 * count, kelvin(60.0), kelvin(-10.0),
            word(-pack.discharge_base, 10, signed=True),
        )  # fmt: skip
        return bytes((self._infoflag(address, pack),)) + words, {address: {}}

    # 6.4

    def _management(self, address: int, pack: SimPack) -> Answer:
        soc = pack.soc
        forced = pack.force_charge_requested
        bits = (
            (0x80, pack.charge_enabled),
            (0x40, pack.discharge_enabled),
            (0x20, forced and soc < 9.0),
            (0x10, forced and soc >= 9.0),
            (0x08, pack.full_charge_requested),
        )
        status = sum(bit for bit, on in bits if on)
        charge_v, discharge_v = word(pack.charge_voltage_limit, 1000), word(pack.discharge_voltage_limit, 1000)
        charge_i = word(pack.charge_limit, 10, signed=True)
        discharge_i = word(-pack.discharge_limit, 10, signed=True)
        info = struct.pack(">BHHhhB", address, charge_v, discharge_v, charge_i, discharge_i, status)
        return info, {
            address: {
                "charge_voltage_limit": charge_v / 1000,
                "discharge_voltage_limit": discharge_v / 1000,
                "charge_current_limit": charge_i / 10,
                "discharge_current_limit": -discharge_i / 10,
                "charge_enabled": pack.charge_enabled,
                "discharge_enabled": pack.discharge_enabled,
                "force_charge_requested": forced,
                "full_charge_requested": pack.full_charge_requested,
            }
        }

    # 6.5

    def _version(self, address: int, pack: SimPack) -> Answer:
        return b"", {address: {}}

    def _manufacturer(self, address: int, pack: SimPack) -> Answer:
        group = self.bank.group(address)
        spec = (group[min(group)] if group else pack).spec  # always the master's
        name = spec.model.encode("ascii")[:10].ljust(10, b"\x00")
        maker = spec.manufacturer.encode("ascii")[:20].ljust(20, b"-")
        info = name + bytes(spec.firmware[:2]) + maker
        return info, {address: {"manufacturer": spec.manufacturer, "model": spec.model}}

    def _serial(self, address: int, pack: SimPack) -> Answer:
        serial = pack.spec.serial.encode("ascii")[:16].ljust(16)
        return bytes((address,)) + serial, {address: {"serial": serial.decode()}}

    def _firmware(self, address: int, pack: SimPack) -> Answer:
        firmware = pack.spec.firmware[:5]
        return bytes((address, *firmware)), {address: {"firmware": f"{firmware[0]}.{firmware[1]}"}}
