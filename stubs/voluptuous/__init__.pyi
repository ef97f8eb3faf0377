# Home Assistant 2026.11 answers `import voluptuous` with probatio; so the types must be probatio's as well.
from probatio import *  # noqa: F403
