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


def _decode(arguments: argparse.Namespace) -> int:
    for line in sys.stdin.buffer:
        print(json.dumps(answer(line)), flush=True)
    return 0


def _no_arguments(parser: argparse.ArgumentParser) -> None:
    """For commands that take none."""


class _Command(NamedTuple):
    """One subcommand."""

    help: str
    run: Callable[[argparse.Namespace], int]  # the exit status
    arguments: Callable[[argparse.ArgumentParser], None] = _no_arguments


_COMMANDS = {
    "decode": _Command("decode captured bytes: JSON lines in, JSON lines out", _decode),
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
        command.arguments(commands.add_parser(name, help=command.help, description=command.help))
    arguments = parser.parse_args(argv)
    try:
        return _COMMANDS[arguments.command].run(arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # whoever read the answers has gone; leave nothing for the interpreter to flush
        sys.stdout = None
        return 1


if __name__ == "__main__":
    sys.exit(main())
