# SPDX-License-Identifier: Apache-2.0
"""Tells a machine that is slow from one that stands still."""

from __future__ import annotations

import re
import time
from pathlib import Path

from .qmp import Qmp

SILENCE = 120.0  # seconds without a sign of life, as many as several whole boots take
RESETS = 12  # a machine that starts more often than that starts for ever
LONGEST = 1800.0  # seconds for one step, whatever the machine does meanwhile
# How systemd shows that it waits.
WAITING = re.compile(rb"[^\n]*Job [^\n]* running[^\n]*\n")


class Progress:
    """Signs of life: lines on the console, and what the disks are asked for."""

    def __init__(self, console: Path, qmp: Qmp) -> None:
        self._console = console
        self._qmp = qmp
        self._read = console.stat().st_size if console.exists() else 0
        self._resets = qmp.collect().count("RESET")
        self._began = self._alive = time.monotonic()
        self._disks: object = None

    def trouble(self) -> str | None:
        """Why it is no use to wait any longer. Call it about once a second."""
        now = time.monotonic()
        try:
            disks = [each["stats"] for each in self._qmp.command("query-blockstats")]
        except OSError:
            return None  # QEMU ends: whoever waits notices
        if self._new_lines() or disks != self._disks:
            self._alive = now
        self._disks = disks
        if now - self._alive > SILENCE:
            return f"nothing happens for {SILENCE:.0f} s"
        if self._qmp.events.count("RESET") - self._resets > RESETS:
            return f"{RESETS} restarts"
        return "it takes too long" if now - self._began > LONGEST else None

    def _new_lines(self) -> bytes:
        if not self._console.exists():
            return b""
        with open(self._console, "rb") as console:
            console.seek(self._read)
            text = console.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        return WAITING.sub(b"", whole)
