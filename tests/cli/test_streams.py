# SPDX-License-Identifier: Apache-2.0
"""Standard output and error that have no room at the moment, are closed, or are read slowly."""

import fcntl
import json
import os
import socket
import threading
import time

import pytest
from conftest import TIMEOUT, wait_until_idle

SMALL = 4096  # bytes of a pipe, and less than what is said


def pipe():
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, SMALL)
    return reader, writer


def socket_pair():
    ends = socket.socketpair()
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
    return ends[0].detach(), ends[1].detach()


def fill(writer):
    """Until there is no room left. How many bytes went in."""
    size = 0
    while True:
        try:
            size += os.write(writer, b"x")
        except BlockingIOError:
            return size


def read_slowly(reader, process, into):
    """In small pieces, and only once the program cannot go on without it."""
    wait_until_idle(process)
    while piece := os.read(reader, 500):
        into.append(piece)
        time.sleep(0.001)


@pytest.mark.parametrize("make", [pipe, socket_pair])
@pytest.mark.parametrize(("stream", "arguments"), [
    ("stdout", ["status", "--json"]),
    ("stdout", ["doctor", "--json"]),
    ("stdout", ["install", "--json"]),
    ("stdout", ["install", "--help"]),
    ("stderr", ["install"]),
    ("stderr", ["no-such-command"]),
], ids=lambda value: " ".join(value) if isinstance(value, list) else value)
def test_no_room(tree, bundle_file, on, start, make, stream, arguments):
    """Somebody else has set it to O_NONBLOCK and filled it: all comes, whole and in order."""
    if arguments[0] == "install" and "--help" not in arguments:
        arguments = [*arguments, bundle_file]
    reader, writer = make()
    os.set_blocking(writer, False)
    filled = fill(writer)
    process = start("--root", tree.root, *arguments, **{stream: writer})
    pieces = []
    late = threading.Thread(target=read_slowly, args=(reader, process, pieces))
    late.start()
    process.communicate(timeout=TIMEOUT)
    assert not os.get_blocking(writer), "it is not the program's to change"
    os.close(writer)
    late.join(TIMEOUT)
    os.close(reader)
    said = b"".join(pieces)[filled:]
    assert process.returncode == (2 if arguments == ["no-such-command"] else 0)
    if "--json" in arguments and arguments[0] == "install":
        events = [json.loads(line) for line in said.splitlines()]
        assert events[-1]["event"] == "result"
    elif "--json" in arguments:
        assert json.loads(said)["schema"] == 1
    elif stream == "stdout":
        assert said == on(*arguments).stdout.encode()
    else:
        assert said.endswith(b"\n") and len(said) > 60


def test_a_reader_that_goes_away(tree, start):
    """While the program waits for room: it ends, with the code of what was not shown."""
    reader, writer = pipe()
    os.set_blocking(writer, False)
    fill(writer)
    process = start("--root", tree.root, "status", "--json", stdout=writer)
    os.close(writer)
    wait_until_idle(process)
    os.close(reader)
    _, stderr = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1
    assert b"cannot write to standard output: Broken pipe" in stderr
