"""Bluetooth LE without a radio: packs that are GATT servers, and a central for them, on Bumble's in-process link."""
