"""A proxy that hears a simulated Voltgo pack, in the demo's Home Assistant; its actions are for whoever checks the demo.

`set` turns knobs of the pack and of the air, by name. `status` says what the pack received and what it is.
"""

from typing import Any, Final

from homeassistant.const import EVENT_HOMEASSISTANT_STOP
from homeassistant.core import Event, HomeAssistant, ServiceCall, SupportsResponse
from homeassistant.exceptions import ServiceValidationError
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers.typing import ConfigType
import voluptuous as vol

from custom_components.lfp_battery.bms.model import Alarm, Condition, Severity
from tests.simulator.bank import SimBank, Steady, make_packs
from tests.simulator.gatt.air import Air
from tests.simulator.gatt.impostor import jbd_pack
from tests.simulator.gatt.proxy import Proxy
from tests.simulator.gatt.server import GattPack
from tests.simulator.program import report
from tests.simulator.zeta import VLRV, ZetaSpeaker

DOMAIN: Final = "lfp_simulated_radio"
ADDRESS: Final = "A4:C1:37:00:00:01"
NAME: Final = "ZT-25.6V100Ah-0001"

_SHORTED: Final = Alarm(condition=Condition.SHORT_CIRCUIT, severity=Severity.PROTECTION)

CONFIG_SCHEMA = cv.empty_config_schema(DOMAIN)

_OF_SPEAKER: Final = frozenset(
    {
        *("refuse_heating", "ignore_heating", "apply_on_restart", "silent_sets", "disturb_r40", "heating"),
        *("zero_block", "module_id", "rs485_index", "can_index"),
    }
)
_OF_PACK: Final = frozenset({"silence", "bad_crc", "joined", "drop_mid_frame", "late", "drop_after_set", "away"})
_OF_AIR: Final = frozenset({"slots"})
_ADVERTISING: Final = "advertising"  # False: out of range, or the phone app has it
_SHORT_CIRCUIT: Final = "short_circuit"  # a protection that has nothing to do with cold
_KNOBS: Final = _OF_SPEAKER | _OF_PACK | _OF_AIR


async def async_setup(hass: HomeAssistant, config: ConfigType) -> bool:
    """Put a pack on a cold night into the air, with a stranger beside it, and let Home Assistant hear both."""
    air = Air()
    bank = SimBank(make_packs(1, VLRV, first=1), air.clock, profile=Steady(rate=-0.02, ambient=-4.0))
    bank.packs[1].temperature = -2.0
    bank.step(1)
    speaker = ZetaSpeaker(bank)
    pack = GattPack(air, ADDRESS, NAME, speaker)
    stranger = jbd_pack(air)
    await air.start()
    for one in (pack, stranger):
        await one.start()
    proxy = Proxy(hass, air, (pack, stranger))
    proxy.start()

    async def turn(call: ServiceCall) -> None:
        for name, value in call.data.items():
            if name == _ADVERTISING:
                await pack.advertise(bool(value))
                continue
            if name == _SHORT_CIRCUIT:
                (speaker.pack.force if value else speaker.pack.release)(_SHORTED)
                continue
            owner = speaker if name in _OF_SPEAKER else pack if name in _OF_PACK else air
            if name not in _KNOBS or not isinstance(value, int | float | None):
                raise ServiceValidationError(f"no knob {name} for {value!r}")
            setattr(owner, name, value)

    async def status(_call: ServiceCall) -> dict[str, Any]:
        return {
            "advertising": pack.advertising,
            "sessions": pack.sessions,
            "connected": pack.connection is not None,
            "heating": speaker.heating,
            "film": speaker.film,
            "received": [frame.hex() for _, frame in speaker.received][-50:],
            "writes": [frame.hex() for _, frame in speaker.writes],
            "since_write": air.clock.monotonic() - speaker.writes[-1][0] if speaker.writes else None,
            "forbidden": [frame.hex() for frame in (*speaker.forbidden, *stranger.speaker.forbidden)],
            "sent": report(speaker),
        }

    async def stop(_event: Event) -> None:
        proxy.stop()
        for one in (pack, stranger):
            await one.stop()
        await air.stop()

    hass.services.async_register(DOMAIN, "set", turn, vol.Schema(dict))
    hass.services.async_register(DOMAIN, "status", status, supports_response=SupportsResponse.ONLY)
    hass.bus.async_listen_once(EVENT_HOMEASSISTANT_STOP, stop)
    return True
