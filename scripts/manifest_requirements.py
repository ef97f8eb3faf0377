"""Print what the integrations of the demo and the tests need, as Home Assistant itself pins it.

Home Assistant installs requirements when an integration is first set up. Installed up front, a start downloads
nothing. Follows the same rule as `homeassistant.requirements`: an integration's own requirements, then those of its
dependencies, of what it wants loaded before itself, and of the discovery it takes part in.
"""

from collections.abc import Iterable, Iterator
import json
from pathlib import Path
from typing import Any

from homeassistant import bootstrap, components
from homeassistant.auth.mfa_modules import totp
from homeassistant.requirements import DISCOVERY_INTEGRATIONS

CORE = Path(components.__path__[0])
CUSTOM = Path(__file__).parents[1] / "custom_components"

# What the demo's configuration.yaml asks for, beyond what every start sets up
DEMO = ("config", "energy", "history", "logbook")

# Wants every maker of Bluetooth proxies loaded before itself; each brings a library of its own, and none is used here.
PROXIES = "bluetooth_adapters"


def _started_always() -> Iterator[str]:
    """What every start sets up, as far as it is there: some names belong to other ways of installing."""
    yield from bootstrap.CORE_INTEGRATIONS
    yield from bootstrap.DEFAULT_INTEGRATIONS
    for _, domains, _ in bootstrap.STAGE_0_INTEGRATIONS:
        yield from domains - {"debugpy", "sentry"}


def _manifest(domain: str) -> dict[str, Any] | None:
    """Manifest of a custom or core integration; None for one that does not exist."""
    for root in (CUSTOM, CORE):
        path = root / domain / "manifest.json"
        if path.is_file():
            manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return manifest
    return None


def collect(domains: Iterable[str]) -> set[str]:
    """Requirements of the integrations and of everything they pull in."""
    # every home offers this second factor for logins; it is no integration, so no manifest names it
    requirements = set(totp.REQUIREMENTS)
    waiting = list(domains)
    done: set[str] = set()
    while waiting:
        domain = waiting.pop()
        if domain in done:
            continue
        done.add(domain)
        if (manifest := _manifest(domain)) is None:
            continue
        requirements.update(manifest.get("requirements", ()))
        waiting += manifest.get("dependencies", ())
        if domain != PROXIES:
            waiting += manifest.get("after_dependencies", ())
        waiting += [name for name, keys in DISCOVERY_INTEGRATIONS.items() if any(key in manifest for key in keys)]
    return requirements


if __name__ == "__main__":
    custom = (path.parent.name for path in CUSTOM.glob("*/manifest.json"))
    print("\n".join(sorted(collect([*_started_always(), *DEMO, *custom]))))
