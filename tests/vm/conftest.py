# SPDX-License-Identifier: Apache-2.0
"""Fixtures for the tests in virtual machines: the test OS, a web server, a machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import cache
from harness.boot_programs import BootPrograms, get_boot_programs
from harness.debian import factory_machine as debian_machine
from harness.debian import get_debian
from harness.machine import Machine, factory_machine
from harness.testos import TestOs, get_testos
from harness.uki import STUB
from harness.webserver import NGINX, WebServer

NEEDED = {
    "qemu-system-x86_64": "qemu-system-x86",
    "/usr/share/OVMF/OVMF_CODE_4M.fd": "ovmf",
    str(STUB): "systemd-boot-efi",
    NGINX: "nginx-light",
    "/bin/busybox": "busybox-static",
    "mkfs.erofs": "erofs-utils",
    "/usr/sbin/veritysetup": "cryptsetup-bin",
    "/usr/sbin/mkfs.fat": "dosfstools",
    "/usr/sbin/cryptsetup": "cryptsetup-bin",
    "/usr/sbin/dmsetup": "dmsetup",
    "/usr/sbin/lvm": "lvm2",
    "/usr/sbin/mdadm": "mdadm",
    "mcopy": "mtools",
    "openssl": "openssl",
    "mmdebstrap": "mmdebstrap",
}

WORKERS = 2  # tools/run-tests
FAILED = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: another one of a kind; left to `make test-long`")
    missing = [
        package
        for tool, package in NEEDED.items()
        if not (shutil.which(tool) or Path(tool).exists())
    ]
    if missing:
        raise pytest.UsageError("the VM tests need these packages: " + " ".join(missing))
    program = cache.bistable_binary()
    if not program.exists():
        raise pytest.UsageError(f"{program} does not exist: build it, or set BISTABLE")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest first, so that no processor waits for them at the end: xdist hands out batches to
    begin with, and one of them begins each."""
    if not os.environ.get("VM_ALL"):
        left = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]
    batch = max(len(items) // (4 * WORKERS), 2)
    longest = [item for item in items if "debian" in item.path.name]
    items[:] = [item for item in items if item not in longest]
    for number, item in enumerate(longest):
        items.insert(number * batch, item)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = (yield).get_result()
    if report.failed:
        item.stash[FAILED] = True


@pytest.fixture(scope="session")
def system() -> TestOs:
    return get_testos()


@pytest.fixture(scope="session")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    server = WebServer(tmp_path_factory.mktemp("www"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def programs() -> BootPrograms:
    with cache.locked():
        return get_boot_programs()


@pytest.fixture
def debian(request: pytest.FixtureRequest, tmp_path: Path, suite: str) -> Iterator[Machine]:
    """The same with a real Debian: of the suite that the test's parameter `suite` names."""
    yield from _lent(request, debian_machine(tmp_path, get_debian(suite)))


@pytest.fixture
def machine(request: pytest.FixtureRequest, tmp_path: Path, system: TestOs) -> Iterator[Machine]:
    """A machine as it leaves the factory, powered off. Its disk is kept when the test fails."""
    yield from _lent(request, factory_machine(tmp_path, system))


def _lent(request: pytest.FixtureRequest, made: Machine) -> Iterator[Machine]:
    yield made
    made.power_cut()
    if not request.node.stash.get(FAILED, False):
        for path in (made.disk, made.write_log):
            if path is not None:
                path.unlink(missing_ok=True)


@pytest.fixture
def bundle(web: WebServer, system: TestOs):  # type: ignore[no-untyped-def]
    """bundle("Y") is the URL of variant Y's plain bundle, as a guest sees it."""
    return lambda letter: web.offer(system.variant(letter).bundle)
