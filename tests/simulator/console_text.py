"""What the text console prints of a pack, as (line, values by the model's field names).

Written from pytes-console.md sections 5 to 8 alone; shares no code with the integration's codec.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from custom_components.lfp_battery.bms.model import Alarm, Condition, Mode, Severity

from .pack import SimPack

type Values = dict[str, object]


class Profile(StrEnum):
    """Which packs are imitated."""

    V5 = "v5"
    EBOX = "e-box"
    US2KBPL = "us2kbpl"
    US_C = "us-c"
    US_NEW = "us-new"


@dataclass(frozen=True, slots=True, kw_only=True)
class Make:
    """How the packs of a profile print."""

    prompt: str
    slots: int
    columns: tuple[str, ...]  # of `pwr`
    cell_columns: tuple[str, ...]  # of `bat`
    manufacturer: str
    whole_degrees: bool = True
    wakes: bool = False  # falls back to 1200 baud when idle
    stat_takes_number: bool = True


_OLD: Final = (
    "Power", "Volt", "Curr", "Tempr", "Tlow", "Thigh", "Vlow", "Vhigh", "Base.St", "Volt.St", "Curr.St", "Temp.St",
    "Coulomb", "Time", "B.V.St", "B.T.St",
)  # fmt: skip
_NEW: Final = (
    "Power", "Volt", "Curr", "Tempr", "Tlow", "Tlow.Id", "Thigh", "Thigh.Id", "Vlow", "Vlow.Id", "Vhigh", "Vhigh.Id",
    "Base.St", "Volt.St", "Curr.St", "Temp.St", "Coulomb", "Time", "B.V.St", "B.T.St", "MosTempr", "M.T.St",
    "SysAlarm.St",
)  # fmt: skip
_CELL: Final = ("Battery", "Volt", "Curr", "Tempr", "Base State", "Volt. State", "Curr. State", "Temp. State")

MAKES: Final[Mapping[Profile, Make]] = {
    Profile.V5: Make(
        prompt="PYTES",
        slots=16,
        columns=(*_OLD, "Barcode", "DevType"),
        cell_columns=(*_CELL[:2], *_CELL[3:], "Coulomb"),
        manufacturer="PYTES",
        stat_takes_number=False,
    ),
    Profile.EBOX: Make(prompt="PYTES", slots=8, columns=_OLD, cell_columns=(*_CELL, "Coulomb"), manufacturer="PYTES"),
    Profile.US2KBPL: Make(
        prompt="pylon", slots=8, columns=_OLD, cell_columns=(*_CELL, "Coulomb"), manufacturer="Pylon", wakes=True
    ),
    Profile.US_C: Make(
        prompt="pylon",
        slots=16,
        columns=(*_OLD, "MosTempr", "M.T.St"),
        cell_columns=(*_CELL, "SOC", "Coulomb", "BAL"),
        manufacturer="Pylon",
        whole_degrees=False,
        wakes=True,
    ),
    Profile.US_NEW: Make(
        prompt="pylon",
        slots=16,
        columns=_NEW,
        cell_columns=(*_CELL[:7], "DTemp. State", "CTemp. State", "SOC", "Coulomb", "BAL"),
        manufacturer="Pylon",
        whole_degrees=False,
        wakes=True,
    ),
}

_WIDTHS: Final = {
    "Power": 6, "Volt": 7, "Curr": 7, "Tempr": 7, "Tlow": 7, "Thigh": 7, "Vlow": 7, "Vhigh": 7, "Time": 21,
    "Barcode": 21, "DevType": 20,
}  # fmt: skip
_CELL_WIDTHS: Final = {"Base State": 13, "Volt. State": 13, "Curr. State": 13, "SOC": 13, "Coulomb": 15}
_WIDTH: Final = 9
_CELL_WIDTH: Final = 9
_STATE_WIDTH: Final = 13
_CLOCK: Final = "2026-03-01 12:00:00"

# --- words -----------------------------------------------------------------------------------------------------------

_W, _P, _F = Severity.WARNING, Severity.PROTECTION, Severity.FAULT


def _limits(low: Condition, high: Condition) -> dict[tuple[Condition, Severity], str]:
    return {(low, _W): "Low", (low, _P): "Under", (high, _W): "High", (high, _P): "Over"}


# What a simulated pack can have, by the column that shows it, and what that column can say of it.
_COLUMN_OF: Final[Mapping[Condition, tuple[str, Condition]]] = {
    Condition.PACK_OVERVOLTAGE: ("voltage", Condition.PACK_OVERVOLTAGE),
    Condition.PACK_UNDERVOLTAGE: ("voltage", Condition.PACK_UNDERVOLTAGE),
    Condition.CELL_OVERVOLTAGE: ("cell voltage", Condition.CELL_OVERVOLTAGE),
    Condition.CELL_UNDERVOLTAGE: ("cell voltage", Condition.CELL_UNDERVOLTAGE),
    Condition.CHARGE_OVERCURRENT: ("current", Condition.OVERCURRENT),
    Condition.DISCHARGE_OVERCURRENT: ("current", Condition.OVERCURRENT),
    Condition.CHARGE_OVERTEMPERATURE: ("temperature", Condition.OVERTEMPERATURE),
    Condition.DISCHARGE_OVERTEMPERATURE: ("temperature", Condition.OVERTEMPERATURE),
    Condition.CHARGE_UNDERTEMPERATURE: ("temperature", Condition.UNDERTEMPERATURE),
    Condition.DISCHARGE_UNDERTEMPERATURE: ("temperature", Condition.UNDERTEMPERATURE),
    Condition.MOSFET_OVERTEMPERATURE: ("mosfet", Condition.MOSFET_OVERTEMPERATURE),
    Condition.LOW_SOC: ("charge", Condition.LOW_SOC),
    Condition.FULLY_CHARGED: ("charge", Condition.FULLY_CHARGED),
    Condition.CELL_FAILURE: ("health", Condition.CELL_FAILURE),
}
_LOW: Final = frozenset(
    {Condition.PACK_UNDERVOLTAGE, Condition.CELL_UNDERVOLTAGE, Condition.UNDERTEMPERATURE, Condition.LOW_SOC}
)
_FAULT_BITS: Final = {Condition.MOSFET_FAILURE: 10, Condition.COMMUNICATION_FAILURE: 9, Condition.REVERSE_POLARITY: 0}


def _word(pack: SimPack, column: str, cell: int | None = None) -> tuple[str, frozenset[Alarm]]:
    """The worst that a state column has to say, of one cell where it is named, and what is said with it."""
    found = [
        (alarm.severity, _COLUMN_OF[alarm.condition][1])
        for alarm in pack.alarms
        if alarm.condition in _COLUMN_OF
        and _COLUMN_OF[alarm.condition][0] == column
        and (cell is None or alarm.cell == cell)
    ]
    if not found:
        return "Normal", frozenset()
    severity, condition = max(found, key=lambda one: one[0])
    if column == "health":
        return "Failed", frozenset({Alarm(condition=condition, severity=_F, cell=cell)})
    worst = severity >= _P
    word = ("Under" if worst else "Low") if condition in _LOW else ("Over" if worst else "High")
    said = _W if not worst or condition is Condition.FULLY_CHARGED else _P
    return word, frozenset({Alarm(condition=condition, severity=said, cell=cell)})


def _base(pack: SimPack) -> tuple[str, Mode]:
    if pack.mode is Mode.FAULT:
        return "SysError", Mode.FAULT
    if pack.current > _IDLE:
        return "Charge", Mode.CHARGING
    if pack.current < -_IDLE:
        return "Dischg", Mode.DISCHARGING
    return "Idle", Mode.STANDBY


_IDLE: Final = 0.1  # A


# --- numbers ---------------------------------------------------------------------------------------------------------


class Printer:
    """Prints packs as one make does, and says what it printed."""

    def __init__(self, make: Make) -> None:
        """Print like this make."""
        self.make = make

    def milli(self, value: float) -> tuple[int, float]:
        """Volts or amperes in thousandths, and what that says."""
        raw = round(value * 1000)
        return raw, raw / 1000

    def degrees(self, value: float) -> tuple[int, float]:
        """A temperature in thousandths of a degree, as finely as the make prints it."""
        raw = round(value) * 1000 if self.make.whole_degrees else round(value * 10) * 100
        return raw, raw / 1000

    # --- pwr ---------------------------------------------------------------------------------------------------------

    def heading(self, columns: tuple[str, ...]) -> str:
        """Headings of `pwr`."""
        return "".join(name.ljust(_WIDTHS.get(name, _WIDTH)) for name in columns)

    def row(self, slot: int, pack: SimPack, columns: tuple[str, ...]) -> tuple[str, Values]:
        """The row of a pack that is there."""
        values: Values = {}
        printed: dict[str, str] = {"Power": str(slot), "Time": _CLOCK}
        cells, warmth = pack.cell_voltages, pack.cell_temperatures
        measured: tuple[tuple[str, str, Callable[[float], tuple[int, float]], float], ...] = (
            ("Volt", "voltage", self.milli, pack.voltage),
            ("Curr", "current", self.milli, pack.current),
            ("Tempr", "temperature", self.degrees, pack.board_temperature),
            ("Tlow", "cell_temperature_min", self.degrees, min(warmth)),
            ("Thigh", "cell_temperature_max", self.degrees, max(warmth)),
            ("Vlow", "cell_voltage_min", self.milli, min(cells)),
            ("Vhigh", "cell_voltage_max", self.milli, max(cells)),
            ("MosTempr", "mosfet_temperature", self.degrees, pack.mosfet_temperature),
        )
        for name, field, how, value in measured:
            if name in columns:
                raw, values[field] = how(value)
                printed[name] = str(raw)
        places = {"Vlow.Id": cells.index(min(cells)), "Vhigh.Id": cells.index(max(cells))}
        places |= {"Tlow.Id": warmth.index(min(warmth)), "Thigh.Id": warmth.index(max(warmth))}
        printed |= {name: str(place) for name, place in places.items()}
        if "Vlow.Id" in columns:
            values["cell_voltage_min_cell"] = places["Vlow.Id"] + 1
            values["cell_voltage_max_cell"] = places["Vhigh.Id"] + 1
        printed["Base.St"], values["mode"] = _base(pack)
        values["soc"] = float(round(pack.soc))
        printed["Coulomb"] = f"{round(pack.soc)}%"
        alarms: frozenset[Alarm] = frozenset()
        shown = {"Volt.St": "voltage", "Curr.St": "current", "Temp.St": "temperature", "B.V.St": "cell voltage"}
        shown |= {"B.T.St": "temperature", "M.T.St": "mosfet", "SysAlarm.St": "nothing"}
        for name, column in shown.items():
            printed[name], said = _word(pack, column)
            if name in columns:
                alarms |= said
        values["alarms"] = alarms
        printed["Barcode"], printed["DevType"] = pack.spec.serial, pack.spec.model
        if "Barcode" in columns:
            values |= {"serial": pack.spec.serial, "model": pack.spec.model}
        line = "".join(self._padded(printed.get(name, "7"), _WIDTHS.get(name, _WIDTH)) for name in columns)
        return line, values

    @staticmethod
    def _padded(text: str, width: int) -> str:
        return text.ljust(width) if len(text) < width else f"{text} "

    def empty(self, slot: int) -> str:
        """The row of an empty slot: always in the old layout."""
        columns = self.make.columns if "Barcode" in self.make.columns else _OLD
        texts = {"Power": str(slot), "Base.St": "Absent"}
        return "".join(texts.get(name, "-").ljust(_WIDTHS.get(name, _WIDTH)) for name in columns)

    # --- pwr N -------------------------------------------------------------------------------------------------------

    def details(self, slot: int, pack: SimPack) -> tuple[list[str], Values]:
        """The block of one pack."""
        voltage, current = self.milli(pack.voltage), self.milli(pack.current)
        warmth = self.degrees(pack.board_temperature)
        base, mode = _base(pack)
        full = round(pack.full_capacity * 1000)
        design = round(pack.spec.capacity * 1000)
        v5 = "Barcode" in self.make.columns
        values: Values = {
            "voltage": voltage[1],
            "current": current[1],
            "temperature": warmth[1],
            "soc": float(round(pack.soc)),
            "mode": mode,
            "design_capacity": design / 1000,
            "heater_active": pack.heater_active,
        }
        width = 20 if v5 else 12
        lines = [" ----------------------------", f" Power  {slot}", ""]

        def add(label: str, value: object, unit: str = "") -> None:
            lines.append(f" {label:<15} : {str(value).ljust(width if unit else 8)}{unit}")

        add("Voltage", voltage[0], "mV")
        if v5:
            add("SOC Voltage", voltage[0], "mV")
        add("Current", current[0], "mA")
        add("Temperature", warmth[0], "mC")
        add("Coulomb", round(pack.soc), "%")
        add("Total Coulomb", design * 3600 if v5 else design, "mAS" if v5 else "mAH")
        if self.make.prompt == "PYTES":
            add("Real Coulomb", full, "mAH")
            values["full_capacity"] = full / 1000
        if v5:
            values |= {"serial": pack.spec.serial, "model": pack.spec.model, "firmware": firmware(pack)}
            add("Total Power In", round(pack.meter.charged), "AS")
            add("Work Status", 2)
            add("Bat Num", pack.spec.cells)
            add("Barcode", pack.spec.serial)
            add("DevType", pack.spec.model)
            add("Firm Version", firmware(pack))
        else:
            add("Max Voltage", 54000, "mV")
        add("Charge Times", round(pack.cycles * 60))
        add("Basic Status", base)
        alarms: frozenset[Alarm] = frozenset()
        for label, column in (
            ("Volt Status", "voltage"),
            ("Current Status", "current"),
            ("Tmpr. Status", "temperature"),
            ("Coul. Status", "charge"),
            ("Soh. Status", "health"),
        ):
            if v5 and column == "health":
                continue
            word, said = _word(pack, column)
            add(label, word)
            alarms |= said
        add("Heater Status", "ON" if pack.heater_active else "OFF")
        if v5:
            add("CMOS Status", "ON" if pack.charge_enabled else "OFF")
            add("DMOS Status", "ON" if pack.discharge_enabled else "OFF")
            values |= {"charge_enabled": pack.charge_enabled, "discharge_enabled": pack.discharge_enabled}
        faults = {alarm.condition for alarm in pack.alarms} & _FAULT_BITS.keys()
        alarms |= {Alarm(condition=condition, severity=_F) for condition in faults}
        add("Protect ENA", "BOV BHV BLV BUV POV PHV PLV PUV")
        add("Bat Events", "0x0")
        add("Power Events", "0x0")
        add("System Fault", f"0x{sum(1 << _FAULT_BITS[condition] for condition in faults):x}")
        lines.append(" ----------------------------")
        values["alarms"] = alarms
        return lines, values

    # --- bat N -------------------------------------------------------------------------------------------------------

    def cell_heading(self) -> str:
        """Headings of `bat`."""
        return "".join(name.ljust(self._cell_width(name)) for name in self.make.cell_columns)

    @staticmethod
    def _cell_width(name: str) -> int:
        return _CELL_WIDTHS.get(name, _STATE_WIDTH if "State" in name else _CELL_WIDTH)

    def cells(self, pack: SimPack, damaged: frozenset[int]) -> tuple[list[str], Values]:
        """One row for every cell; `damaged` ones lose a word and show the share where a state belongs."""
        columns = self.make.cell_columns
        voltages, temperatures = [], []
        alarms: frozenset[Alarm] = frozenset()
        lines = []
        share = f"{round(pack.soc)}%"
        charge = f"{round(pack.remaining_capacity * 1000)} mAH"
        for cell, volts in enumerate(pack.cell_voltages, 1):
            raw, voltage = self.milli(volts)
            warm, warmth = self.degrees(pack.cell_temperatures[(cell - 1) * pack.sensors // pack.spec.cells])
            voltages.append(voltage)
            temperatures.append(warmth)
            word, said = _word(pack, "cell voltage", cell)
            hot, heat = _word(pack, "temperature", cell)
            if cell not in damaged:
                alarms |= said | heat
            printed = {
                "Battery": str(cell - 1), "Volt": str(raw), "Curr": str(self.milli(pack.current)[0]),
                "Tempr": str(warm), "Base State": _base(pack)[0], "Volt. State": word, "Curr. State": "Normal",
                "Temp. State": hot, "DTemp. State": "Normal", "CTemp. State": "Normal", "SOC": share,
                "Coulomb": charge if "SOC" in columns else f"{share:<9}{charge}",
                "BAL": "Y" if cell in pack.balancing_cells else "N",
            }  # fmt: skip
            if cell in damaged:
                printed["Curr. State"], printed["Coulomb"] = f"    {share}", charge
            lines.append("".join(self._padded(printed[name], self._cell_width(name)) for name in columns))
        values: Values = {
            "cell_voltages": tuple(voltages),
            "cell_temperatures": tuple(temperatures),
            "alarms": alarms,
        }
        if "BAL" in columns:
            values["balancing_cells"] = pack.balancing_cells
        return lines, values

    # --- soh N, stat N, info N ---------------------------------------------------------------------------------------

    def health(self, slot: int, pack: SimPack) -> tuple[list[str], Values]:
        """A word for every cell, or a code that nobody can read."""
        coded = "Barcode" in self.make.columns
        lines = [f"Power   {slot}"]
        lines.append(f"Battery    Voltage    {'SOHStatus  \xc8$        ' if coded else 'SOHCount   SOHStatus '}")
        alarms: frozenset[Alarm] = frozenset()
        for cell, volts in enumerate(pack.cell_voltages, 1):
            word, said = _word(pack, "health", cell)
            alarms |= said
            tail = f"{int(word != 'Normal'):08X}" if coded else f"{int(word != 'Normal'):<11}{word:<10}"
            lines.append(f"{cell - 1:<11}{self.milli(volts)[0]:<11}{tail}")
        return lines, {} if coded else {"alarms": alarms}

    def statistics(self, slot: int, pack: SimPack) -> tuple[list[str], Values]:
        """Counters."""
        charge = round(pack.remaining_capacity * 3_600_000)
        counters = {
            "Data Items": 1475, "Charge Times": round(pack.cycles * 60), "Idle Times": 647, "SC Times": 0,
            "Shut Times": 27, "CYCLE Times": int(pack.cycles), "Pwr Percent": round(pack.soc), "Pwr Coulomb": charge,
        }  # fmt: skip
        values: Values = {
            "cycles": int(pack.cycles),
            "soc": float(round(pack.soc)),
            "remaining_capacity": charge / 3_600_000,
        }
        if self.make.prompt == "pylon":
            counters["SOH"] = round(pack.soh)
            values["soh"] = float(round(pack.soh))
        lines = [f"Device address           {slot:>2}", *(f"{label:<16}: {n:>10}" for label, n in counters.items())]
        return lines, values

    def information(self, slot: int, pack: SimPack) -> tuple[list[str], Values]:
        """Who the pack is."""
        spec, nominal = pack.spec, 48 if pack.spec.cells < _SIXTEEN else 51.2
        texts = {
            "Device address": slot,
            "Manufacturer": self.make.manufacturer,
            "Device name": spec.model,
            "Board version": "SIMV10R03",
            "Main Soft version": firmware(pack),
            "Soft  version": "V1.10",
            "Release Date": "26-01-31",
            "Barcode": spec.serial,
            "Specification": f"{nominal}V/{round(spec.capacity)}AH",
            "Cell Number": spec.cells,
            "Max Dischg Curr": f"-{round(pack.discharge_base * 1000)}mA",
            "Max Charge Curr": f"{round(pack.charge_base * 1000)}mA",
            "Console Port rate": 115200,
        }
        values: Values = {
            "manufacturer": self.make.manufacturer,
            "model": spec.model,
            "firmware": firmware(pack),
            "serial": spec.serial,
            "cells": spec.cells,
            "hardware": "SIMV10R03",
        }
        values["design_capacity"] = float(round(spec.capacity))
        return [f"{label:<20}: {text}" for label, text in texts.items()], values


_SIXTEEN: Final = 16


def firmware(pack: SimPack) -> str:
    """The version as a console prints it."""
    return f"SIM{pack.spec.cells}S.V{'.'.join(map(str, pack.spec.firmware))}"
