"""Clients by behaviour, not by medium: those that ask and those that only listen."""
