"""The command line: `python -m bms ...` from the integration's directory, or `python -m custom_components.lfp_battery.bms`.

Which commands there are; what they do stands in `bringup` and `decoding`. Wire libraries load when a line is opened.
"""

import argparse
from collections.abc import Callable, Sequence
import json
import sys
from typing import NamedTuple

from . import bringup
from .decoding import answer
from .printing import NonsenseError, say
from .protocols import DECODERS

_DECODE = f"""\
Decode captured bytes. Every line of standard input is a JSON object, and gets one line of JSON on standard output:

  {{"protocol": NAME, "request": BYTES, "response": BYTES}}      an answer; "request" may be left out where none is needed
  {{"protocol": NAME, "stream": BYTES}}                         whatever passed over a line, to be split into messages
  {{"protocol": NAME, "chunks": [BYTES, ...]}}                  the same in pieces, as they came
  {{"protocol": NAME, "registers": {{"0x0013": 102, ...}}}}       registers of a Modbus battery
  {{"protocol": "can", "frames": [["355", "5000640000000000"], ...]}}
                                                              of a CAN bus: identifiers and bytes; "family": NAME forces
                                                              whose they are, "times": [s, ...] says when each came

BYTES are hexadecimal digits without spaces ("7e3230") or the text itself ("~2002...\\r").
An answer is {{"protocol", "packs", "bank", "info", "held_back"}}, or {{"error", "reason"}} for a line that cannot be decoded.
The exit status is 0 when at least one line could be decoded, else 1.

NAME is one of {", ".join(sorted(DECODERS))}.
"""


def _decode(arguments: argparse.Namespace) -> int:
    if sys.stdin.isatty():
        say("decode: type lines of JSON, as `decode --help` shows them; Ctrl-D ends")
    lines = decoded = 0
    for line in sys.stdin.buffer:
        shown = answer(line)
        print(json.dumps(shown), flush=True)
        lines += 1
        decoded += "error" not in shown
    if decoded:
        return 0
    say("decode: no line could be decoded; `decode --help` shows what they hold" if lines else "decode: no line came")
    return 1


def _no_arguments(parser: argparse.ArgumentParser) -> None:
    """For commands that take none."""


class _Command(NamedTuple):
    """One subcommand."""

    help: str
    run: Callable[[argparse.Namespace], int]  # the exit status
    arguments: Callable[[argparse.ArgumentParser], None] = _no_arguments
    description: str | None = None  # where `help` is too short


_COMMANDS = {
    "decode": _Command("decode captured bytes: JSON lines in, JSON lines out", _decode, description=_DECODE),
    "listen": _Command("show what passes over a line; transmits nothing", bringup.listen, bringup.listen_arguments),
    "observe": _Command(
        "read what packs tell another master; transmits nothing", bringup.observe, bringup.observe_arguments
    ),
    "scan": _Command("find out what is on a line", bringup.scan_line, bringup.scan_arguments),
    "poll": _Command("read the packs on a line again and again", bringup.poll, bringup.poll_arguments),
    "record": _Command("write down what passes over a line", bringup.record, bringup.record_arguments),
    "replay": _Command("decode what `record` wrote", bringup.replay, bringup.replay_arguments),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    parser = argparse.ArgumentParser(prog="bms", description="Reading LiFePO4 battery packs.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in _COMMANDS.items():
        form = argparse.RawDescriptionHelpFormatter if command.description else argparse.HelpFormatter
        text = command.description or command.help
        command.arguments(commands.add_parser(name, help=command.help, description=text, formatter_class=form))
    arguments = parser.parse_args(argv)
    try:
        return _COMMANDS[arguments.command].run(arguments)
    except NonsenseError as err:
        say(f"{arguments.command}: {err}")
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # whoever read the answers has gone; leave nothing for the interpreter to flush
        sys.stdout = None
        return 1


if __name__ == "__main__":
    sys.exit(main())
