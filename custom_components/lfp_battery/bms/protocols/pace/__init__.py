"""PACE's ASCII protocol (VER 25), in Pylontech's frame."""
