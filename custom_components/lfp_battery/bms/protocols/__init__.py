"""The registry: every protocol by the name that entries, captures and the command line use."""

from .base import BatteryProtocol, Codec, PolledProtocol
from .can import CAN
from .console import PylontechConsole, PytesConsole, PytesEboxConsole, PytesV5Console
from .cvte import Cvte
from .growatt import Growatt
from .pace import PaceRs232, PaceRs485
from .pace_modbus import PaceModbus, SrneWow
from .pylon import PylonPacks, PylonSystem, PylonV28
from .pylon_dialects import Eg4V20, SeplosV20, TdtV25
from .voltronic import Voltronic
from .zt import ZtNative

POLLED: dict[str, PolledProtocol] = {
    protocol.name: protocol
    for protocol in (
        PylonPacks(),
        PylonSystem(),
        PaceRs232(),
        PaceRs485(),
        Growatt(),
        Cvte(),
        Voltronic(),
        PaceModbus(),
        ZtNative(),
        PytesConsole(),
        PylontechConsole(),
    )
}

# Everything that an entry can be set up with.
PROTOCOLS: dict[str, BatteryProtocol] = {**POLLED, **CAN}

# Everything that bytes can be read as, what is recognised only to be refused included.
DECODERS: dict[str, Codec] = {
    **POLLED,
    **{
        codec.name: codec
        for codec in (PylonV28(), SeplosV20(), TdtV25(), Eg4V20(), SrneWow(), PytesV5Console(), PytesEboxConsole())
    },
}
