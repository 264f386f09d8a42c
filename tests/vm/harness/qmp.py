# SPDX-License-Identifier: Apache-2.0
"""A small client for QEMU's machine protocol: commands, and the events that arrived so far."""

from __future__ import annotations

import json
import socket


class Qmp:
    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._socket.settimeout(10)
        self._buffer = b""
        self.events: list[str] = []
        self._receive()  # the greeting
        self.command("qmp_capabilities")

    def command(self, name: str, **arguments: object) -> object:
        """Runs a command and returns what it returned; raises what it complained about."""
        request = {"execute": name, "arguments": arguments}
        self._socket.settimeout(10)
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        while True:
            answer = self._receive()
            if "error" in answer:
                raise RuntimeError(f"QMP {name}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def collect(self) -> list[str]:
        """The names of all events so far."""
        self._socket.settimeout(0)
        try:
            while True:
                self._receive()
        except (BlockingIOError, ConnectionError):
            pass
        return self.events

    def close(self) -> None:
        self._socket.close()

    def _receive(self) -> dict:
        while b"\n" not in self._buffer:
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionError("QEMU closed the QMP connection")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        message = json.loads(line)
        if "event" in message:
            self.events.append(message["event"])
        return message
