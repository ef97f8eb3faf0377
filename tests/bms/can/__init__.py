"""Batteries that broadcast on a CAN bus."""
