"""The registry: every protocol by the name that entries, captures and the command line use."""

from .base import BatteryProtocol, Codec, PolledProtocol
from .can import CAN
from .console.protocol import PylontechConsole, PytesConsole, PytesEboxConsole, PytesV5Console
from .modbus.cvte import Cvte
from .modbus.growatt import Growatt
from .modbus.pace import PaceModbus, SrneWow
from .modbus.voltronic import Voltronic
from .pace.protocol import PaceRs232, PaceRs485
from .pylon.dialects import Eg4V20, SeplosV20, TdtV25
from .pylon.protocol import PylonPacks, PylonSystem, PylonV28
from .zeta.bluetooth import Zeta1000, Zeta1006
from .zeta.serial import ZtNative

# What is asked on a serial line, and may be tried and overheard there.
SERIAL: dict[str, PolledProtocol] = {
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

# What is asked over Bluetooth, the present generation of packs first; never on a line that others share.
BLUETOOTH: dict[str, PolledProtocol] = {protocol.name: protocol for protocol in (Zeta1006(), Zeta1000())}

POLLED: dict[str, PolledProtocol] = {**SERIAL, **BLUETOOTH}

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
