"""The command line: `python -m bms ...` from the integration's directory, or `python -m custom_components.lfp_battery.bms`.

Only arguments are understood here; every command's work stands in a module of its own, which is imported when the
command is given.
"""

import argparse
from collections.abc import Callable, Sequence
import json
import sys
from typing import NamedTuple


def _decode(arguments: argparse.Namespace) -> int:
    from .decoding import answer  # noqa: PLC0415

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
