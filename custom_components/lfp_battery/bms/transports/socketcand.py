"""Whether a socketcand server is there and has the bus, asked as python-can will ask."""

import socket
from typing import Final

from ..errors import LinkError, LinkProblem
from .can_address import CanAddress, read_socketcand

_TIMEOUT: Final = 5.0  # s


def _say(line: socket.socket, text: bytes, expected: bytes) -> bool:
    """One turn with socketcand: send `text`, if any; whether the answer is what was expected."""
    if text:
        line.sendall(text)
    answer = b""
    while b">" not in answer and len(answer) < 256:
        data = line.recv(256)
        if not data:
            return False
        answer += data
    return answer.strip() == expected


def probe(address: CanAddress) -> None:
    """Try what python-can will do.

    Its constructor spins for ten seconds where nobody listens (can.md section 10.2), and waits for ever where nobody
    answers.

    Raises:
        LinkError: UNREACHABLE, or MISSING when the server does not have the bus.
    """
    remote = read_socketcand(address.channel)
    problem: LinkError | None = None
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as line:
            line.settimeout(_TIMEOUT)
            line.connect((remote.host, remote.port))
            if not _say(line, b"", b"< hi >"):
                problem = LinkError(LinkProblem.UNREACHABLE, "not a socketcand server")
            elif not _say(line, f"< open {remote.channel} >".encode(), b"< ok >"):
                problem = LinkError(LinkProblem.MISSING, "the server does not have the bus")
            elif not _say(line, b"< rawmode >", b"< ok >"):
                problem = LinkError(LinkProblem.UNREACHABLE, "the server has no raw mode")
    except (OSError, ValueError) as err:
        problem = LinkError(LinkProblem.UNREACHABLE, type(err).__name__)
    if problem is not None:
        raise problem
