"""`python -m tests.simulator`; see `--help`."""

from functools import partial
from pathlib import Path
import sys
from types import ModuleType

if __name__ == "__main__":
    # Importing the integration loads Home Assistant, which takes seconds and may not be there; the simulator needs
    # only what is below bms/, so the package above it stays empty in this process.
    name = "custom_components.lfp_battery"
    bare = ModuleType(name)
    bare.__path__ = [str(Path(__file__).parents[2] / name.replace(".", "/"))]
    sys.modules[name] = bare

    from .program import main

    sys.exit(main(None, partial(print, flush=True)))
