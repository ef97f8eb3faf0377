"""One link as Home Assistant sees it: hears the client, and keeps coordinators, devices, records and the log.

Decides who is who behind the link. Knows no entities: platforms say what to call when a unit appears or grows.
"""

import asyncio
from collections.abc import Callable, Mapping, Set as AbstractSet
from typing import Any

from homeassistant.config_entries import ConfigEntry
from homeassistant.const import CONF_PROTOCOL
from homeassistant.core import CALLBACK_TYPE, Event, HomeAssistant, callback
from homeassistant.helpers import device_registry as dr

from . import bus_texts
from .bank_issues import BankIssues
from .bms.clients.base import BatteryClient, Pausable
from .bms.clients.polled import SHORTEST_INTERVAL
from .bms.clock import Clock, Handle
from .bms.errors import LinkError, LinkProblem
from .bms.model import BankState, CycleReport, PackState, PollReport
from .bms.protocols import PROTOCOLS
from .const import CONF_ADDRESSES, CONF_BANK, CONF_OBSERVE, CONF_OTHER_PROTOCOL, CONF_PACKS, DOMAIN, LOGGER
from .coordinator import LfpBankCoordinator, LfpPackCoordinator, LfpUnit
from .findings import on_can, over_bluetooth, speaks_for_packs, unique_id
from .identity import Record, could_be_serial, is_another, moved
from .issues import LineIssues
from .link_log import LinkLog
from .memory import Memory
from .moving import followed
from .pause import Pause
from .settings import Settings
from .units import Units

# Entities begin with values when a bank answers within so many seconds of set-up; Home Assistant grumbles after ten.
_FIRST_CYCLE = 8.0
# After a fault of our own the client is started anew, not at once and not never.
_RESTART = 30.0
# How often it is looked, in seconds, whether values have grown old without anybody saying so.
_LOOK_FOR_STALE = 5.0
# A pack that is seen for the first time is given so many readings to say who it is.
_READINGS_FOR_IDENTITY = 3

type LfpConfigEntry = ConfigEntry[LfpLink]
type UnitBuilder = Callable[[LfpUnit], None]


@callback
def async_keep(hass: HomeAssistant, entry: LfpConfigEntry, data: Mapping[str, Any]) -> None:
    """Store what is remembered with the entry, which goes by the first battery that is left.

    A battery that is gone from here may be set up elsewhere.
    """
    hass.config_entries.async_update_entry(entry, data=data, unique_id=unique_id(data))


class LfpLink:
    """The listener of one client; implements `ClientListener`."""

    client: BatteryClient

    def __init__(self, hass: HomeAssistant, entry: LfpConfigEntry, clock: Clock) -> None:
        """Nothing is opened or registered yet."""
        self._hass = hass
        self._entry = entry
        self._clock = clock
        self._settings = Settings.of(entry.data, entry.options)
        self._protocol = PROTOCOLS[entry.data[CONF_PROTOCOL]]
        self._builders: list[UnitBuilder] = []
        self._error: LinkError | None = None  # why the link is down; None before it was first opened, too
        self._opened: asyncio.Future[None] = hass.loop.create_future()
        self._first_cycle: asyncio.Future[None] = hass.loop.create_future()
        self._unsaved = False
        self._heard = False  # something that is to be remembered, since it last was
        self._moving = False  # a reload is under way: packs changed places, or the set of frames is another
        self._skipped: frozenset[int] = frozenset()  # addresses whose devices are disabled
        self._issues = LineIssues(hass, entry, self._protocol)
        self._bank_issues = BankIssues(hass, entry)
        self._nameless: dict[int, int] = {}  # address of a pack that is not known yet: readings without an identity
        self._log = LinkLog(entry)
        self._timer: Handle | None = None
        self.memory = Memory(hass, entry.entry_id, clock, lambda: self.units.remembered())
        self.units: Units

    @property
    def bank(self) -> LfpBankCoordinator:
        """The bank, also where there is one pack."""
        return self.units.bank

    @property
    def packs(self) -> dict[int, LfpPackCoordinator]:
        """The packs that have a place now, by address."""
        return self.units.packs

    @property
    def _listens(self) -> bool:
        """Whether nobody is asked."""
        return self._settings.observe or on_can(self._entry.data)

    @property
    def _asks(self) -> bool:
        """Whether the client may go on by itself; to listen costs the line nothing, so nobody can have it disabled."""
        return self._listens or not self._entry.pref_disable_polling

    # --- set-up ------------------------------------------------------------------------------------------------------

    async def async_start(self, client: BatteryClient) -> None:
        """Register what is known, open the link and wait a little for the packs.

        Silence on an open link is no failure: packs that are asleep keep their entities.

        Raises:
            LinkError: the link cannot be opened.
        """
        self.client = client
        await self.memory.async_load(inverted=self._settings.invert_current)
        self._entry.async_on_unload(self.memory.async_stop)
        self.units = Units(
            self._hass, self._entry, client, settings=self._settings, clock=self._clock, memory=self.memory
        )
        if over_bluetooth(self._entry.data) and isinstance(client, Pausable):
            self.bank.pause = pause = Pause(client, self._clock, self.bank.async_renew)
            self._entry.async_on_unload(pause.stop)
        for unit in self.units:
            self.units.register(unit)
        self.memory.keep(lambda identity: self.units.device_of(identity) is not None)
        self._update_skipped()
        self.bank.async_renew()
        await self._issues.async_start()
        self._bank_issues.async_start()
        self._entry.async_on_unload(self._hass.bus.async_listen(dr.EVENT_DEVICE_REGISTRY_UPDATED, self._device_changed))
        self._entry.async_create_background_task(self._hass, self._run(), f"{DOMAIN} {self._entry.title}")
        await self._opened
        self._entry.async_on_unload(self._stop_timer)
        self._renew_stale()
        if self._asks:
            await self._clock.wait(self._first_cycle, _FIRST_CYCLE)
        self._log.started = True

    async def _run(self) -> None:
        while True:
            try:
                await self.client.run()
            except Exception as err:  # noqa: BLE001 - a fault of ours must not leave values standing as if they were fresh
                self._log.fault(err)
                self.link_changed(LinkError(LinkProblem.FAILED))
            await self._clock.sleep(_RESTART)

    @callback
    def _renew_stale(self) -> None:
        """Show how old values are where no reading does it: nobody asks, or only now and then."""
        self._timer = self._clock.call_later(_LOOK_FOR_STALE, self._renew_stale)
        if on_can(self._entry.data) and not bus_texts.keeps_silent(self._entry.data, self._entry.options):
            known = self.client.diagnostics()
            frames, errors = known.get("frames_received"), known.get("errors")
            if isinstance(frames, int) and isinstance(errors, int):
                self._issues.bus_heard(frames, errors, self._clock.monotonic())
        if self._asks and self.bank.over.outdate():
            self.bank.async_update_listeners()
        # what was never heard since the start has nothing that grows old but what is remembered of it
        stale = [unit for unit in self.units if (not unit.online if unit.age is None else unit.age > SHORTEST_INTERVAL)]
        if stale and self.bank not in stale:
            stale.append(self.bank)  # whether a bank may be acted by goes by its packs
        for unit in (*stale, *self.units.away.values()):
            unit.async_update_listeners()

    @callback
    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    @callback
    def async_on_unit(self, builder: UnitBuilder) -> CALLBACK_TYPE:
        """Call `builder` for every unit there is, and whenever one appears or reports something for the first time."""
        self._builders.append(builder)
        for unit in self.units:
            builder(unit)
        return lambda: self._builders.remove(builder)

    # --- what the client tells ---------------------------------------------------------------------------------------

    @callback
    def pack_polled(self, report: PollReport[PackState]) -> None:
        """See `ClientListener`."""
        self._issues.heard(report, lone=not self.packs.keys() - {report.address})
        serial = report.identity.serial if report.identity else None
        pack = self.packs.get(report.address)
        if self._moving or (pack is None and not report.online):
            return
        if (pack is None or pack.record.identifier is not None) and self._came_from_elsewhere(report.address, serial):
            return
        if pack is None:
            if serial is None and not self._waited_for_identity(report.address):
                return
            pack, new = self._new_pack(report.address, serial), True
            LOGGER.info("%s: found battery pack %s", self._entry.title, pack.number)
        elif new := is_another(pack.record, serial, self.units.serials_but(pack.address)):
            LOGGER.info("%s: another battery answers as battery pack %s", self._entry.title, pack.number)
            self.units.put_away(pack)
            pack = self._new_pack(report.address, serial)
        if report.address in self._skipped:
            return  # asked before its device was disabled
        there = pack.is_back(report)
        came_or_went = there != pack.online
        self._log_presence(pack, there)
        grown = pack.async_publish(report) or new
        self._heard |= there
        if came_or_went:
            self.bank.over.turned(there)
        # at each pack's answer the bank's values would be written as many times a round as there are packs
        if grown or (came_or_went and not there):
            self.bank.async_renew()
        if grown:
            self._grown(pack)
        if not self._asks:
            self._taken_in(None)

    @callback
    def bank_polled(self, report: PollReport[BankState]) -> None:
        """See `ClientListener`."""
        if speaks_for_packs(self._entry.data):
            self._issues.heard(report, lone=True, bank=True)
        if self._moving:
            return
        there = self.bank.is_back(report)
        self._heard |= there
        self._log_presence(self.bank, there)
        if self.bank.async_publish(report):
            self._grown(self.bank)
        if not self._asks:
            self._taken_in(None)

    @callback
    def cycle_finished(self, report: CycleReport) -> None:
        """See `ClientListener`."""
        if not self._first_cycle.done():
            self._first_cycle.set_result(None)
        for unit in self.units:
            unit.async_cycle_finished(report.seconds)
        self._taken_in(report)

    def _taken_in(self, round_over: CycleReport | None) -> None:
        """See to what goes by the bank as a whole: once a round, or after each answer where nobody asks by itself."""
        self.bank.over.settle(round_over, listens=self._listens)
        # without rounds it is enough that it is known who answers
        self.bank.async_begin_energy(round_finished=round_over is not None or self.bank.over.known)
        self.bank.async_renew()
        self._save()
        if self._heard:
            self._heard = False
            self.memory.async_changed()
        self._bank_issues.renew(self.bank)

    @callback
    def link_changed(self, error: LinkError | None) -> None:
        """See `ClientListener`."""
        self._issues.link_changed(error)
        if not self._opened.done():
            if error is None:
                self._opened.set_result(None)
            else:
                self._opened.set_exception(error)
                return
        self._log.standing(self._error, error)
        self._error = error
        self.bank.link_up = error is None
        for unit in self.units:
            unit.async_link_changed(error)
        self.bank.async_renew()

    @callback
    def other_master(self, protocol: str | None = None) -> None:
        """See `ClientListener`; the verdict outlives a restart, and from now on the entry has a client that listens."""
        LOGGER.warning("%s: another device asks on this line, so from now on it is only listened to", self._entry.title)
        self._save()
        verdict = {CONF_OBSERVE: True, CONF_OTHER_PROTOCOL: protocol}
        self._hass.config_entries.async_update_entry(self._entry, data={**self._entry.data, **verdict})
        if not self._first_cycle.done():
            self._first_cycle.set_result(None)  # there will be none
        self._hass.config_entries.async_schedule_reload(self._entry.entry_id)

    @callback
    def family_changed(self, name: str) -> None:
        """See `ClientListener`; the entry loads anew, because other things can be said now."""
        LOGGER.info("%s: the battery sends another set of frames by now (%s)", self._entry.title, name)
        self._save()
        self._stop_taking_in()
        async_keep(self._hass, self._entry, followed(self._entry.data, name))
        self._hass.config_entries.async_schedule_reload(self._entry.entry_id)

    @callback
    def unacknowledged(self, active: bool) -> None:
        """See `ClientListener`."""
        self._issues.unacknowledged(active)

    def _log_presence(self, unit: LfpUnit, online: bool) -> None:
        """Say once that a unit went or came; not for a link's loss and return, which has its own line."""
        if unit.replies == online or (online and not unit.silent):
            return
        unit.silent = not online
        device = self.units.device(unit)
        own = "the bank" if isinstance(unit, LfpBankCoordinator) else f"battery pack {unit.number}"
        name = (device.name_by_user if device is not None else None) or own
        self._log.presence(name, online=online, listened_to=self._listens)

    def _build(self, unit: LfpUnit) -> None:
        for builder in self._builders:
            builder(unit)

    def _grown(self, unit: LfpUnit) -> None:
        self._unsaved = True
        self.units.register(unit)
        grown = [unit]
        if unit is not self.bank:
            self.units.register(self.bank)  # shows what all packs share
            grown.append(self.bank)
        for pack in self.packs.values():
            if pack is not unit and pack.record.model is None:
                self.units.register(pack)  # shows the model of its bank
        for one in grown:
            self._build(one)

    # --- who is who --------------------------------------------------------------------------------------------------

    def _new_pack(self, address: int, serial: str | None) -> LfpPackCoordinator:
        self._unsaved = True
        pack = self.units.add(address, serial)
        self._update_skipped()  # the registry remembers what somebody disabled
        return pack

    def _waited_for_identity(self, address: int) -> bool:
        """Whether a pack that does not say who it is was given time to; from then on its address identifies it."""
        if not self._protocol.tells_serials:
            return True
        self._nameless[address] = self._nameless.get(address, 0) + 1
        return self._nameless[address] >= _READINGS_FOR_IDENTITY

    def _came_from_elsewhere(self, address: int, serial: str | None) -> bool:
        """Follow a pack whose address was changed: its record moves, and the entry loads anew.

        Where the one that is known by this serial number still answers at its old address, nobody moved: a master
        gave its own number for another pack.
        """
        if serial is None or not could_be_serial(serial):
            return False
        old = self.units.find(lambda pack: pack.record.identifier == serial)
        if old is None or old.address == address or old.online:
            return False
        number = self._protocol.pack_number(address)
        LOGGER.info("%s: battery pack %s is now battery pack %s", self._entry.title, old.number, number)
        self._stop_taking_in()
        self._store(moved(self.units.records(), old.address, address))
        self._hass.config_entries.async_schedule_reload(self._entry.entry_id)
        return True

    def _stop_taking_in(self) -> None:
        """Nothing may be learned, nor stand as present, until the entry has loaded anew."""
        self._moving = True
        for unit in self.units:
            unit.async_link_changed(None)
        self.bank.async_renew()

    # --- records -----------------------------------------------------------------------------------------------------

    def _save(self) -> None:
        """Keep what was learned with the entry, at most once a cycle."""
        if self._unsaved and not self._moving:
            self._unsaved = False
            self._store(self.units.records())

    def _store(self, records: dict[int, Record]) -> None:
        data = {
            **self._entry.data,
            CONF_PACKS: {str(address): record.as_mapping() for address, record in sorted(records.items())},
        }
        if self.bank.record != Record():
            data[CONF_BANK] = self.bank.record.as_mapping()
        if records and not speaks_for_packs(data):
            data[CONF_ADDRESSES] = sorted(records)
        async_keep(self._hass, self._entry, data)

    @callback
    def async_forget(self, identities: AbstractSet[str]) -> bool:
        """Forget the pack with one of these identities unless it answers; whether its device may go."""
        pack = self.units.find(lambda pack: pack.identity in identities)
        if pack is None:  # its place was taken by another battery
            self.units.forget(identities)
            return True
        if pack.online or (pack.address in self._skipped and pack.answering and self._error is None):
            return False
        self.units.forget(identities)
        self._nameless.pop(pack.address, None)
        self._issues.forget(pack.address)
        self.client.forget(pack.address)
        self._update_skipped()
        self._store(self.units.records())
        self.bank.async_renew()
        self._build(self.bank)  # one pack alone leaves nothing to work out
        return True

    # --- devices that were disabled ----------------------------------------------------------------------------------

    @callback
    def _device_changed(self, event: Event[dr.EventDeviceRegistryUpdatedData]) -> None:
        if event.data["action"] != "update" or "disabled_by" not in event.data["changes"]:
            return
        devices = (self.units.device(unit) for unit in self.units)
        if event.data["device_id"] in {device.id for device in devices if device is not None}:
            self._update_skipped()
            self.bank.async_renew()

    def _update_skipped(self) -> None:
        """What nobody wants to see costs no time on the bus."""
        skipped = {address: pack for address, pack in self.packs.items() if self.units.is_disabled(pack)}
        self._skipped = self.bank.over.unasked = frozenset(skipped)
        self.client.set_skipped(skipped)
        for pack in skipped.values():
            pack.async_link_changed(self._error)
        # a bank that speaks for its packs is all there is to read
        wanted = bool(self.packs) or not self.units.is_disabled(self.bank)
        self.client.set_polling(wanted and self._asks)
