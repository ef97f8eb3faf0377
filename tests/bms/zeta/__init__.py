"""Voltgo packs, over Bluetooth and on RS485."""
