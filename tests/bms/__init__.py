"""Tests of the part that knows no Home Assistant."""
