"""The protocols of a Pylontech bank, and records of 42 that tests put into answers of their own."""

from custom_components.lfp_battery.bms.protocols import POLLED

PACKS = POLLED["pylon-rs485"]
SYSTEM = POLLED["pylon-rs485-v35"]

RECORD = bytes.fromhex("080CDA0CDB0CDC0CDD0CDE0CDF0CE00CE1040B690B640B640B7401CC6704FFFF04FFFF000300B0400186A0")
SHORT_RECORD = bytes.fromhex("080CDA0CDB0CDC0CDD0CDE0CDF0CE00CE1040B690B640B640B7401CC6704B04002C3500003")
