"""Batteries that broadcast on a simulated CAN bus, written from can.md alone: nothing here is shared with the codecs."""
