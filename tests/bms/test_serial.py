"""The serial transport on real pseudo terminals and sockets."""

import asyncio
from collections.abc import Iterator
import os
from pathlib import Path
import tty

import pytest

from custom_components.lfp_battery.bms.errors import LinkError, LinkProblem
from custom_components.lfp_battery.bms.transports.serial import SerialTransport, check_url


class Pty:
    """A pseudo terminal whose far end the test holds."""

    def __init__(self) -> None:
        """Open one, raw."""
        self.master, slave = os.openpty()
        tty.setraw(slave)
        self.path = os.ttyname(slave)
        os.close(slave)

    def close(self) -> None:
        """Pull the plug; harmless twice."""
        if self.master >= 0:
            os.close(self.master)
            self.master = -1


@pytest.fixture
def line() -> Iterator[Pty]:
    """A pseudo terminal that is gone after the test."""
    pty = Pty()
    yield pty
    pty.close()


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", LinkProblem.BAD_ADDRESS),
        ("   ", LinkProblem.BAD_ADDRESS),
        ("/dev/tty\n", LinkProblem.BAD_ADDRESS),
        ("x" * 5000, LinkProblem.BAD_ADDRESS),
        ("socket://[::1", LinkProblem.BAD_ADDRESS),
        ("file:///etc/passwd", LinkProblem.BAD_ADDRESS),
        ("http://127.0.0.1:80", LinkProblem.BAD_ADDRESS),
        ("socket://user:secret@127.0.0.1:1", LinkProblem.CREDENTIALS),
        ("rfc2217://user@127.0.0.1:1", LinkProblem.CREDENTIALS),
        ("esphome://127.0.0.1/?KEY=abc", LinkProblem.CREDENTIALS),
        ("esphome://127.0.0.1/?password=abc", LinkProblem.CREDENTIALS),
    ],
)
def test_an_address_that_must_not_be_opened_is_refused_before_it_is_touched(url: str, problem: LinkProblem) -> None:
    """Secrets in an address would end up in logs; unknown schemes would fail later with a worse message."""
    with pytest.raises(LinkError) as caught:
        check_url(url)
    assert caught.value.problem is problem
    assert "secret" not in str(caught.value)
    assert "abc" not in str(caught.value)


@pytest.mark.parametrize("url", ["/dev/ttyUSB0", "socket://10.0.0.9:8899", "rfc2217://gateway:2000", "tcp://h:1"])
def test_paths_and_known_urls_pass(url: str) -> None:
    """What people really have is accepted as it was typed."""
    check_url(url)
    assert SerialTransport(url, 9600).name == url


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("/dev/does-not-exist", LinkProblem.MISSING),
        ("/dev/null", LinkProblem.BAD_ADDRESS),
        ("socket://127.0.0.1", LinkProblem.BAD_ADDRESS),
        ("socket://127.0.0.1:9", LinkProblem.UNREACHABLE),
        ("rfc2217://127.0.0.1:9", LinkProblem.UNREACHABLE),
    ],
)
async def test_what_cannot_be_opened_says_why(url: str, problem: LinkProblem, socket_enabled: None) -> None:
    """Each failure of the operating system has one name of ours."""
    with pytest.raises(LinkError) as caught:
        await SerialTransport(url, 9600).open()
    assert caught.value.problem is problem


async def test_folders_and_files_are_not_ports(tmp_path: Path) -> None:
    """Someone will pick one."""
    file = tmp_path / "file"
    file.write_text("x")
    for path in (tmp_path, file):
        with pytest.raises(LinkError) as caught:
            await SerialTransport(str(path), 9600).open()
        assert caught.value.problem is LinkProblem.BAD_ADDRESS
    assert file.read_text() == "x"


async def test_a_port_in_use_is_busy(line: Pty) -> None:
    """Two masters corrupt the bus, so the second is refused."""
    first = SerialTransport(line.path, 9600)
    await first.open()
    with pytest.raises(LinkError) as caught:
        await SerialTransport(line.path, 9600).open()
    assert caught.value.problem is LinkProblem.BUSY
    await first.close()
    second = SerialTransport(line.path, 9600)
    await second.open()
    await second.close()


async def test_bytes_pass_both_ways_and_silence_is_empty(line: Pty) -> None:
    """Receiving returns what is there at once, and nothing after the time that was given."""
    transport = SerialTransport(line.path, 9600)
    await transport.open()
    assert await transport.receive(0.01) == b""
    os.write(line.master, b"\x00\xffhello\r")
    assert await transport.receive(1) == b"\x00\xffhello\r"
    await transport.send(b"\x01\x02")
    await asyncio.sleep(0.02)
    assert os.read(line.master, 10) == b"\x01\x02"
    os.write(line.master, b"late")
    await asyncio.sleep(0.02)
    assert transport.drain() == b"late"
    assert transport.drain() == b""
    await transport.close()


async def test_a_pulled_plug_is_noticed_while_waiting(line: Pty) -> None:
    """A read that waits for ten seconds ends at once when the adapter goes."""
    transport = SerialTransport(line.path, 9600)
    await transport.open()
    loop = asyncio.get_running_loop()
    loop.call_later(0.05, line.close)
    started = loop.time()
    with pytest.raises(LinkError) as caught:
        await transport.receive(10)
    assert caught.value.problem is LinkProblem.LOST
    assert loop.time() - started < 1
    with pytest.raises(LinkError):
        await transport.send(b"x")
    with pytest.raises(LinkError):
        await transport.receive(1)


async def test_a_babbling_line_does_not_fill_the_memory(line: Pty) -> None:
    """Only the newest 64 KiB are kept while nobody reads."""
    transport = SerialTransport(line.path, 9600)
    await transport.open()
    kept = transport._receiver.buffer
    async with asyncio.timeout(10):
        for number in range(100):
            os.write(line.master, bytes([number]) * 2000)
            while kept.count(number) < 2000:  # else a busy machine would be shown what is still on its way
                await asyncio.sleep(0.001)
            assert len(kept) <= 65536
    data = transport.drain()
    assert len(data) == 65536
    assert data[-1] == 99
    await transport.close()


async def test_opening_and_losing_a_line_many_times_leaves_nothing_behind() -> None:
    """No descriptor and no task is left, whichever way the line ended."""

    async def once(pull: bool) -> None:
        pty = Pty()
        transport = SerialTransport(pty.path, 9600)
        await transport.open()
        if pull:
            pty.close()
            with pytest.raises(LinkError):
                await transport.receive(1)
        await transport.close()
        pty.close()
        with pytest.raises(LinkError):
            await transport.open()

    await once(pull=True)  # warms up the executor
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(20):
        await once(pull=bool(number % 2))
    # the library closes what it could not open in a task of its own, which ends by itself
    async with asyncio.timeout(2):
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.01)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
