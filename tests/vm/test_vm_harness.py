# SPDX-License-Identifier: Apache-2.0
"""When the harness gives a machine up: one that stands still, never one that is slow."""

import pytest

from harness import progress


class Disks:
    """In the place of QEMU's monitor."""

    def __init__(self) -> None:
        self.requests = 0
        self.events: list[str] = []

    def command(self, name: str) -> list[dict]:
        assert name == "query-blockstats"
        return [{"device": "disk", "stats": {"rd_operations": self.requests}}]

    def collect(self) -> list[str]:
        return self.events


class Watched:
    def __init__(self, directory, monkeypatch) -> None:
        self.now, self.disks, self.console = 0.0, Disks(), directory / "console.log"
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)
        self.progress = progress.Progress(self.console, self.disks)

    def after(self, seconds: float, said: str = "", requests: int = 0) -> str | None:
        self.now += seconds
        self.disks.requests += requests
        with open(self.console, "a") as console:
            console.write(said)
        return self.progress.trouble()


@pytest.fixture
def watched(tmp_path, monkeypatch) -> Watched:
    found = Watched(tmp_path, monkeypatch)
    assert found.after(1, "[    0.000000] Linux version\n") is None
    return found


@pytest.mark.parametrize("sign", [{"said": "[  OK  ] Started it.\n"}, {"requests": 1}])
def test_slow_is_not_still(watched, sign):
    for _ in range(10):
        assert watched.after(progress.SILENCE - 1, **sign) is None
    assert "nothing happens" in watched.after(progress.SILENCE + 1)


def test_waiting_is_no_sign_of_life(watched):
    waits = "\x1b[K[***   ] (1 of 2) Job dev-mapper-root.device/start running (15s / no limit)\n"
    assert watched.after(progress.SILENCE - 1, waits) is None
    assert "nothing happens" in watched.after(2, waits)


def test_restarts_without_end(watched):
    for number in range(progress.RESETS):
        watched.disks.events.append("RESET")
        assert watched.after(9, f"boot {number}\n") is None
    watched.disks.events.append("RESET")
    assert "restarts" in watched.after(9, "once more\n")
