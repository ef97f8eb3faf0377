"""Tests of the integration, and the simulator they share with the demo."""
