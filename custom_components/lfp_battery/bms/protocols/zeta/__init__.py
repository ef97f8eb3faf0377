"""ZT, Zetara, Voltgo and BigBattery packs: one map of registers, on RS485 and over Bluetooth."""
