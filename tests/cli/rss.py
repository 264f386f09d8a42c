# SPDX-License-Identifier: Apache-2.0
"""How much anonymous memory a process has while it runs, and those that it started."""

import re
import threading
from pathlib import Path

INTERVAL = 0.01  # seconds


def family(pid):
    """The process and its descendants."""
    yield pid
    try:
        found = [child for children in Path(f"/proc/{pid}/task").glob("*/children")
                 for child in children.read_text().split()]
    except OSError:
        return
    for child in found:
        yield from family(int(child))


def anonymous(pid):
    """Bytes of anonymous memory of all of them (pages they share count once for each); 0: it has
    ended."""
    total = 0
    for member in family(pid):
        try:
            status = Path(f"/proc/{member}/status").read_text()
        except OSError:
            continue
        found = re.search(r"^RssAnon:\s+(\d+) kB$", status, re.M)
        total += (int(found[1]) << 10) if found else 0
    return total


class PeakRss(threading.Thread):
    """Watches a process until it ends; `peak` is in bytes then, or 0 if it ended too soon."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid = pid
        self.peak = 0
        self.ended = threading.Event()
        self.start()

    def run(self):
        while total := anonymous(self.pid):
            self.peak = max(self.peak, total)
            if self.ended.wait(INTERVAL):
                return

    def stop(self):
        self.ended.set()
        self.join()
        return self.peak
