# SPDX-License-Identifier: Apache-2.0
"""How much anonymous memory a process has while it runs."""

import re
import threading
from pathlib import Path

INTERVAL = 0.01  # seconds


class PeakRss(threading.Thread):
    """Watches a process until it ends; `peak` is in bytes then, or 0 if it ended too soon."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.status = Path(f"/proc/{pid}/status")
        self.peak = 0
        self.ended = threading.Event()
        self.start()

    def run(self):
        while True:
            try:
                found = re.search(r"^RssAnon:\s+(\d+) kB$", self.status.read_text(), re.M)
            except OSError:
                return
            if found:
                self.peak = max(self.peak, int(found[1]) << 10)
            if self.ended.wait(INTERVAL):
                return

    def stop(self):
        self.ended.set()
        self.join()
        return self.peak
