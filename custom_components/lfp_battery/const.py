"""Names that the config entry, its options and the platforms share."""

import logging
from typing import Final

DOMAIN: Final = "lfp_battery"
LOGGER: Final = logging.getLogger(__package__)

# entry.data, beside CONF_DEVICE, CONF_PROTOCOL and CONF_MODEL of Home Assistant, and CONF_PORT where a bus sits on one
CONF_BAUDRATE: Final = "baudrate"
CONF_ADDRESSES: Final = "addresses"
CONF_PACKS: Final = "packs"  # str(address): a record as in identity.py
CONF_BANK: Final = "bank"  # a record of what the bank says of itself
CONF_MOVED: Final = "moved"  # the protocol was changed once: an address alone may have meant another pack before
# str(address) over Bluetooth: {"withdrawn": why, absent while it is offered; "acts": when a frame was sent, UTC}
CONF_HEATING: Final = "heating"
CONF_UNVERIFIED: Final = "unverified"  # it answers, but nobody has ever said that a battery of its kind does
CONF_FAMILY: Final = "family"  # of the catalog, as the person named it; absent: not known

# Only listen: in entry.data the verdict that somebody else asks on this line, in entry.options the person's own wish
CONF_OBSERVE: Final = "observe"
CONF_OTHER_PROTOCOL: Final = "other_protocol"  # in which somebody else asks on the line

# entry.options; CONF_MODEL there goes before the one in entry.data
NO_MODEL: Final = "none"  # as CONF_MODEL: none of the catalog
CONF_INTERVAL: Final = "interval"  # s; absent: as fast as the line allows
CONF_INVERT_CURRENT: Final = "invert_current"
CONF_SOC_FLOOR: Final = "soc_floor"  # %
CONF_LOW_BATTERY: Final = "low_battery"  # %; absent: what the manual of the model says
CONF_ACKNOWLEDGE: Final = "acknowledge"  # the battery is alone with the adapter on CAN: frames must be acknowledged
CONF_PACK_COUNT: Final = "pack_count"  # where an answer cannot be read without it; absent: not known

CONF_ALLOW_HEATING: Final = "allow_heating"  # a person wants Home Assistant to switch it
CONF_HOLD: Final = "hold_connection"  # over Bluetooth: keep it between readings, where nobody else can have it

MIN_INTERVAL: Final = 10  # s
MIN_BUS_INTERVAL: Final = 1  # s, on CAN
MAX_INTERVAL: Final = 300  # s
DEFAULT_BUS_INTERVAL: Final = 5  # s, on CAN
DEFAULT_SOC_FLOOR: Final = 10  # %
DEFAULT_LOW_BATTERY: Final = 10  # %
MAX_PACKS: Final = 64
