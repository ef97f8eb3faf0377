"""The pack in the air: how it comes up by itself, what the dialog says when it cannot be read, and its heating.

Everything is done and looked at from outside, as the frontend does it. The pack runs inside of Home Assistant, behind a
simulated proxy; what it received and sent, and how it misbehaves, goes through two actions of that proxy's integration.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
import json
from pathlib import Path
from typing import Any, Final

from homeassistant.const import CONF_DEVICE, CONF_MODEL

from custom_components.lfp_battery.bms.protocols.writes import HEATING
from custom_components.lfp_battery.const import CONF_ALLOW_HEATING, DOMAIN

from .demo_shown import differences, shown_by_unit
from .home import Api, HomeError, at_most

ROOT: Final = Path(__file__).parents[1]
COMPONENT: Final = ROOT / "tests/simulator/gatt/home/lfp_simulated_radio"
ADDRESS: Final = "A4:C1:37:00:00:01"
UNHEARD: Final = "A4:C1:37:00:0F:F0"  # nobody has it
STRANGER: Final = "A4:C1:37:00:0B:AD"  # another maker's board under the same kind of advert
NAME: Final = "ZT-25.6V100Ah-0001"
MODEL: Final = "VLRV2560B"

FLOWS: Final = "/api/config/config_entries/flow"
_TIMEOUT: Final = 60.0  # s for any one thing
_PAUSE: Final = 10.5  # s between two changes of the heating

# What our integration must log when the pack refuses, and the only thing it may
LOGGED: Final = ("the heating is not switched any more (refused)",)

_FRAMES: Final = HEATING["zeta-1006"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RadioPack:
    """The pack as it is compared with what the home shows; see `Battery`."""

    history: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    name: str = "Voltgo pack over Bluetooth"

    @property
    def units(self) -> dict[str, int | None]:
        """Its device has no serial number, but an address."""
        return {ADDRESS: 1}

    def sent(self, _address: int | None) -> Iterable[Mapping[str, Any]]:
        """What it said lately."""
        return self.history


class Radio:
    """What can be asked of the simulated proxy, and done to its pack."""

    def __init__(self, api: Api) -> None:
        """Speak through this door."""
        self._api = api

    async def turn(self, **knobs: bool | float | None) -> None:
        """Let the pack or the air misbehave, or not any more."""
        await self._api.call("POST", f"/api/services/{COMPONENT.name}/set", knobs)

    async def status(self) -> dict[str, Any]:
        """What the pack received, and what it is now."""
        answer = await self._api.call("POST", f"/api/services/{COMPONENT.name}/status?return_response", {})
        return dict(answer["service_response"])

    async def pack(self) -> RadioPack:
        """What it sent."""
        sent = (await self.status())["sent"].get("1", ())
        return RadioPack(history=[{key: _frozen(value) for key, value in one["values"].items()} for one in sent])


def _frozen(value: Any) -> Any:
    """Lists were tuples before they were JSON."""
    return tuple(value) if isinstance(value, list) else value


class Walk:
    """One way through all of it; what it was told is kept."""

    def __init__(self, api: Api, say: Callable[[str], None]) -> None:
        """Nothing was done yet."""
        self.radio = Radio(api)
        self.entry = ""
        self.said: dict[str, str] = {}  # by what was wrong: the message
        self.shown: dict[str, str] = {}
        self._api = api
        self._say = say
        path = ROOT / "custom_components" / DOMAIN / "translations" / "en.json"
        self._texts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        self._seen = 0  # frames written to the pack, of those that were looked at

    async def all(self) -> dict[str, Any]:
        """From the card to the repair; what was shown and said."""
        flow = await self.discovered()
        await self.fail_to_confirm(flow)
        await self.refuse("foreign_battery", STRANGER)
        await self.refuse("out_of_range", UNHEARD)
        await self.confirm(flow)
        await self.switch_on()
        await self.switch_too_soon()
        await self.compare()
        await self.switch_in_vain()
        await self.pause()
        await self.switch_over_a_restart()
        await self.switch_refused()
        return {ADDRESS: self.shown, "said": self.said}

    # --- finding and adding it ---------------------------------------------------------------------------------------

    async def discovered(self) -> str:
        """Wait for the card of the pack; the id of its flow."""
        async with at_most(_TIMEOUT, lambda: "no card came up by itself"):
            while True:
                for flow in await self._api.command("config_entries/flow/progress"):
                    if (flow["handler"], flow["context"]["source"]) == (DOMAIN, "bluetooth"):
                        self._expect("the card is called", flow["context"]["title_placeholders"]["name"], NAME)
                        return str(flow["flow_id"])
                await asyncio.sleep(0.3)

    async def fail_to_confirm(self, flow: str) -> None:
        """Confirm the card while the pack cannot be read, for one reason after the other."""
        for reason, trouble, cure in (
            ("no_slot", {"slots": 0}, {"slots": 3}),
            ("no_connection", {"advertising": False}, {"advertising": True}),
            ("no_answer", {"silence": True}, {"silence": False}),
        ):
            await self.radio.turn(**trouble)
            step = await self._through(flow, {})
            await self.radio.turn(**cure)
            self._expect(f"the form after {reason}", (step["type"], step["step_id"]), ("form", "bluetooth_confirm"))
            self._expect(f"the error after {reason}", list((step.get("errors") or {}).values()), [reason])
            self._note(reason, self._texts["config"]["error"][reason], step)

    async def refuse(self, reason: str, address: str) -> None:
        """Type an address that leads to no pack."""
        step = await self._api.call("POST", FLOWS, {"handler": DOMAIN})
        flow = step["flow_id"]
        await self._api.call("POST", f"{FLOWS}/{flow}", {"next_step_id": "bluetooth"})
        step = await self._through(flow, {CONF_DEVICE: address})
        if step["type"] == "abort":
            self._expect(f"the end with {address}", step["reason"], reason)
            self._note(reason, self._texts["config"]["abort"][reason], step)
            return
        self._expect(f"the error with {address}", list((step.get("errors") or {}).values()), [reason])
        self._note(reason, self._texts["config"]["error"][reason], step)
        await self._api.call("DELETE", f"{FLOWS}/{flow}")

    async def confirm(self, flow: str) -> None:
        """Add the pack, and let Home Assistant switch its heating."""
        step = await self._through(flow, {})
        self._expect("the form of a pack that answers", step.get("step_id"), "bluetooth_found")
        step = await self._through(flow, {CONF_MODEL: MODEL, CONF_ALLOW_HEATING: True})
        self._expect("the end of the dialog", step["type"], "create_entry")
        self.entry = str(step["result"]["entry_id"])

    async def _through(self, flow: str, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a form, and wait for what follows the progress bar."""
        async with at_most(_TIMEOUT, lambda: "the dialog did not go on"):
            step: dict[str, Any] = await self._api.call("POST", f"{FLOWS}/{flow}", answer)
            while step["type"] == "progress":
                await asyncio.sleep(0.3)
                step = await self._api.call("GET", f"{FLOWS}/{flow}")
        return step

    # --- its heating -------------------------------------------------------------------------------------------------

    async def switch_on(self) -> None:
        """Turn the heating on by an action; the pack gets one frame, says so, warms, and all of it is shown."""
        self._expect("the setting before", (await self._state("switch", "heating"))["state"], "off")
        await self._written()
        await self._switch("turn_on")
        await self._written(_FRAMES.on)
        self._expect("the pack's own setting", (await self.radio.status())["heating"], True)
        await self._until("switch", "heating", "on")
        await self._until("binary_sensor", "heater", "on")
        await self._until("binary_sensor", "charging_blocked_by_cold", "on")

    async def switch_too_soon(self) -> None:
        """Turn it off at once, which is refused without a frame."""
        await self._refusal("too_soon", "turn_off")
        await self._written()

    async def switch_in_vain(self) -> None:
        """Turn it off when the pack says yes and does nothing, and change one's mind while a protection is active."""
        await self.radio.turn(ignore_heating=True)
        await self._rest()
        # ... which is seen while the setting is read back
        await asyncio.gather(self._refusal("accepted", "turn_off"), self._later(3.0, short_circuit=True))
        await self._written(_FRAMES.off)
        await self._until("switch", "heating", "on")
        await self._until("binary_sensor", "short_circuit", "on")
        await self._refusal("protection", "turn_on")
        await self._written()
        await self.radio.turn(short_circuit=False, ignore_heating=False)
        await self._until("binary_sensor", "short_circuit", "off")

    async def pause(self) -> None:
        """Leave the pack to somebody else, and take it up again: what was accepted before may have been done meanwhile."""
        await self._switch("turn_on", "pause")
        async with at_most(_TIMEOUT, lambda: "the pack is not let go of"):
            while (await self.radio.status())["connected"]:
                await asyncio.sleep(0.3)
        await self._until("switch", "heating", "unavailable")
        await self._switch("turn_off", "pause")
        await self._until("switch", "heating", "on")

    async def switch_over_a_restart(self) -> None:
        """Turn it off when the pack goes away for it, as some do; it is connected to again, and the setting has followed."""
        await self._rest()
        await self.radio.turn(apply_on_restart=True, drop_after_set=3.0)
        sessions = (await self.radio.status())["sessions"]
        await self._switch("turn_off")
        await self._written(_FRAMES.off)
        await self._until("switch", "heating", "off")
        self._expect("connections", (await self.radio.status())["sessions"], sessions + 1)
        await self.radio.turn(apply_on_restart=False, drop_after_set=None)

    async def switch_refused(self) -> None:
        """Turn it on when the pack refuses; the switch goes, the setting stays to be seen, and a repair says how to go on."""
        await self._rest()
        await self.radio.turn(refuse_heating=True)
        await self._refusal("refused", "turn_on")
        await self._written(_FRAMES.on)
        await self._until("binary_sensor", "heating", "off")
        if await self._find("switch", "heating") is not None:
            raise HomeError("the switch is still there after the pack refused to be switched")
        issues = [
            issue["issue_id"]
            for issue in (await self._api.command("repairs/list_issues"))["issues"]
            if issue["domain"] == DOMAIN and issue["translation_key"] == "heating_refused"
        ]
        self._expect("repairs about the heating", len(issues), 1)

    async def _later(self, seconds: float, **knobs: bool) -> None:
        await asyncio.sleep(seconds)
        await self.radio.turn(**knobs)

    async def _rest(self) -> None:
        """Wait until the heating may be switched again."""
        await asyncio.sleep(max(_PAUSE - (await self.radio.status())["since_write"], 0))

    async def _written(self, *frames: bytes) -> None:
        """See that the pack was written exactly this since this was last looked at, and never anything else."""
        status = await self.radio.status()
        self._expect("written to the pack", status["writes"][self._seen :], [frame.hex() for frame in frames])
        self._expect("what must never be sent", status["forbidden"], [])
        self._seen = len(status["writes"])

    async def _switch(self, action: str, key: str = "heating") -> None:
        entity = await self._state("switch", key)
        target = {"entity_id": entity["entity_id"]}
        await self._api.command("call_service", domain="switch", service=action, target=target)

    async def _refusal(self, reason: str, action: str) -> None:
        """Act, and keep what is said instead of doing it."""
        name = (await self._state("switch", "heating"))["attributes"]["friendly_name"].removesuffix(" Heating")
        text = self._texts["exceptions"][f"heating_{reason}"]["message"].format(name=name).rstrip(".")
        try:
            await self._switch(action)
        except HomeError as err:
            if text not in str(err):
                raise HomeError(f"{action} says {err}, and not: {text}") from None
        else:
            raise HomeError(f"{action} was not refused: {reason}")
        self.said[reason] = text
        self._say(f"{reason}: {text}")

    # --- looking -----------------------------------------------------------------------------------------------------

    async def compare(self) -> None:
        """Wait until every entity shows what the pack sent."""
        wrong: list[str] = []
        async with at_most(_TIMEOUT, lambda: "\n".join(wrong)):
            while True:
                report, wrong = differences(
                    await self.radio.pack(), (await shown_by_unit(self._api, [self.entry]))[self.entry]
                )
                if not wrong:
                    break
                await asyncio.sleep(0.5)
        self.shown |= report[ADDRESS]

    async def _find(self, platform: str, key: str) -> dict[str, Any] | None:
        """The state of the pack's entity with this key."""
        for entity in await self._api.command("config/entity_registry/list"):
            if entity["config_entry_id"] == self.entry and entity["unique_id"].endswith(f"_{key}"):
                if entity["entity_id"].startswith(f"{platform}."):
                    states = await self._api.call("GET", "/api/states")
                    return next((state for state in states if state["entity_id"] == entity["entity_id"]), None)
        return None

    async def _state(self, platform: str, key: str) -> dict[str, Any]:
        async with at_most(_TIMEOUT, lambda: f"there is no {platform} {key}"):
            while (state := await self._find(platform, key)) is None:
                await asyncio.sleep(0.3)
        return state

    async def _until(self, platform: str, key: str, wanted: str) -> None:
        """Wait until it shows this."""
        state: dict[str, Any] = {}
        async with at_most(_TIMEOUT, lambda: f"{platform} {key} does not come to show {wanted}"):
            while (state := await self._state(platform, key))["state"] != wanted:
                await asyncio.sleep(0.3)
        self.shown[state["entity_id"]] = wanted

    def _note(self, reason: str, text: str, step: Mapping[str, Any]) -> None:
        self.said[reason] = text.format_map(_Named(step.get("description_placeholders") or {}))
        self._say(f"{reason}: {self.said[reason]}")

    @staticmethod
    def _expect(what: str, found: object, wanted: object) -> None:
        if found != wanted:
            raise HomeError(f"{what}: {found!r}, not {wanted!r}")


class _Named(dict[str, Any]):
    """Placeholders; one that is missing is left to be seen."""

    def __missing__(self, key: str) -> str:
        return f"{{{key}}}"
