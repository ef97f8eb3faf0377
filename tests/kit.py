"""Lets the published test kit run against a Home Assistant that is one release newer.

Loaded with `-p tests.kit` ahead of every other plugin, in the main process and in each worker. To be deleted, with
the option that names it, when pytest-homeassistant-custom-component is released for Home Assistant 2026.11.
"""

# Importing homeassistant aliases httpx to httpx2 and voluptuous to probatio for the whole process. It only takes
# hold when nothing has imported the originals yet, and several plugins do.
from homeassistant.components import logger
from homeassistant.components.logger import helpers

# Until 2026.10 this function was in the package itself, and the kit still imports it from there.
if not hasattr(logger, "_clear_logger_overwrites"):
    setattr(logger, "_clear_logger_overwrites", helpers._clear_logger_overwrites)  # noqa: B010
