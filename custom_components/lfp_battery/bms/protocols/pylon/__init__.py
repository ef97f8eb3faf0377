"""Pylontech's ASCII frames, of packs (VER 20) and of groups (V3.5), and the dialects that must not be taken for them."""
