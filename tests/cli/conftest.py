# SPDX-License-Identifier: Apache-2.0
"""Fixtures for the tests of the program: the binary, a tree to run it on, a web server."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(PROJECT / "tests/fixtures")]

import make_bundle  # noqa: E402
import tree as tree_module  # noqa: E402
from bad_chunked import REVOKED  # noqa: E402
from cold_boot import ColdBoot  # noqa: E402
from http_server import Server  # noqa: E402
from pki import make_pki  # noqa: E402

# Whoever started the tests in the background may have had signals ignored, which the program then
# leaves ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

TIMEOUT = 900  # seconds; what hangs is a bug, what is slow is not


def wait_until(condition):
    """What it returns when that is true at last."""
    deadline = time.monotonic() + TIMEOUT
    while not (found := condition()):
        assert time.monotonic() < deadline, "it does not come to that"
        time.sleep(0.01)
    return found


def wait_until_idle(process):
    """It has come to an end, or waits for something: nothing ran in it for a while."""
    def look():
        status = Path(f"/proc/{process.pid}/status").read_text()
        return re.search(r"^State:\t(.)", status, re.M)[1], re.findall(r"switches:\t(\d+)", status)

    same, before = 0, None
    deadline = time.monotonic() + TIMEOUT
    while process.poll() is None and same < 20:
        assert time.monotonic() < deadline, "it does not come to rest"
        now = look()
        same = same + 1 if now == before and now[0] == "S" else 0
        before = now
        time.sleep(0.01)


class Result:
    """What a run of the program left behind."""

    def __init__(self, process, stdout, stderr):
        self.code = process.returncode
        self.stdout = stdout.decode(errors="replace")
        self.stderr = stderr.decode(errors="replace")

    @property
    def document(self):
        return json.loads(self.stdout)

    @property
    def events(self):
        return [json.loads(line) for line in self.stdout.splitlines()]

    def event(self, kind):
        return [event for event in self.events if event["event"] == kind]

    def __repr__(self):
        return f"exit {self.code}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


def find_binary():
    named = os.environ.get("BISTABLE")
    candidates = [named] if named else [PROJECT / "build-asan/bistable", PROJECT / "build/bistable"]
    for path in candidates:
        if Path(path).is_file():
            return str(Path(path).resolve())
    pytest.exit(f"no program to test: none of {', '.join(map(str, candidates))} exists", 2)


@pytest.fixture(autouse=True)
def bounded():
    """What hangs fails, and says where."""
    def give_up(number, frame):
        raise TimeoutError("the test hangs")

    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(3 * TIMEOUT)
    yield
    signal.alarm(0)


@pytest.fixture(scope="session")
def binary():
    return find_binary()


@pytest.fixture
def environment():
    keep = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    keep.pop("NO_COLOR", None)
    return {**keep, "TERM": "xterm", "LC_ALL": "C.UTF-8"}


@pytest.fixture
def start(binary, environment):
    """start(*arguments, **Popen's) -> Popen, killed at the end of the test."""
    running = []

    def run(*arguments, **options):
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
                   "stderr": subprocess.PIPE, "env": environment, **options}
        running.append(subprocess.Popen([binary, *map(str, arguments)], **options))
        return running[-1]

    yield run
    for process in running:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                stream.close()


@pytest.fixture
def run(start):
    """run(*arguments, input=bytes, **Popen's) -> Result"""

    def run(*arguments, input=None, **options):
        if input is not None:
            options["stdin"] = subprocess.PIPE
        cold_boot = ColdBoot([str(argument) for argument in arguments])
        process = start(*arguments, **options)
        stdout, stderr = process.communicate(input, timeout=TIMEOUT)
        result = Result(process, stdout or b"", stderr or b"")
        assert result.code >= 0, f"died of signal {-result.code}: {result}"
        assert "Sanitizer" not in result.stderr, result
        cold_boot.check(result.code)
        return result

    return run


@pytest.fixture
def tree(tmp_path):
    return tree_module.Tree(tmp_path / "root")


@pytest.fixture
def on(run, tree):
    """on(*arguments) runs the program on the tree."""
    return lambda *arguments, **options: run("--root", tree.root, *arguments, **options)


@pytest.fixture
def status(on):
    """status() -> the JSON document."""

    def status():
        result = on("status", "--json")
        assert result.code == 0, result
        return result.document

    return status


@pytest.fixture
def bundle_file(tmp_path):
    path = tmp_path / "bundle.zip"
    path.write_bytes(tree_module.bundle())
    return path


@pytest.fixture
def installed(on, tree, bundle_file):
    """The tree with version 2 in slot B, chosen for the next reboot."""
    result = on("install", bundle_file)
    assert result.code == 0, result
    return tree


@pytest.fixture(scope="session")
def settled_template(binary, tmp_path_factory):
    folder = tmp_path_factory.mktemp("settled")
    template = tree_module.Tree(folder / "root", partition_size=tree_module.MIB)
    archive = folder / "two.zip"
    archive.write_bytes(tree_module.bundle(system=tree_module.image(256 << 10)))
    subprocess.run([binary, "--root", template.root, "install", "-q", "--activate=none", archive],
                   check=True, timeout=TIMEOUT)
    return template


@pytest.fixture(scope="session")
def settled_status(binary, settled_template):
    """The document of `status` on it."""
    output = subprocess.run([binary, "--root", settled_template.root, "status", "--json"],
                            check=True, timeout=TIMEOUT, stdout=subprocess.PIPE).stdout
    return json.loads(output)


@pytest.fixture
def settled(settled_template, tree):
    """`tree` in the middle of its life: A runs, B holds a complete version 2 that could start."""
    tree.become(settled_template)
    return tree


SIGNED_CONFIG = """\
compatible=acme
crl=/etc/bistable/crl.pem
check-purpose=yes
"""


@pytest.fixture(scope="session")
def signed_template(binary, tmp_path_factory):
    """A machine that takes signed bundles only, with version 2 in slot B."""
    folder = tmp_path_factory.mktemp("signed")
    template = tree_module.Tree(folder / "root", partition_size=tree_module.MIB)
    template.config.write_text(
        template.config.read_text().replace("allow-unsigned=yes\n", SIGNED_CONFIG))
    (template.config.parent / "keyring.pem").write_bytes(make_bundle.KEYRING)
    (template.config.parent / "crl.pem").write_bytes(REVOKED)
    archive = folder / "two.bundle"
    archive.write_bytes(make_bundle.make(tree_module.uki("2"), tree_module.image(256 << 10, "two"),
                                         keys={"version": "2"}))
    subprocess.run([binary, "--root", template.root, "install", "-q", "--activate=none", archive],
                   check=True, timeout=TIMEOUT)
    return template


@pytest.fixture
def signed(signed_template, tree):
    tree.become(signed_template)
    return tree


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    directory = tmp_path_factory.mktemp("pki")
    make_pki(directory)
    return directory


@pytest.fixture
def web():
    """A web server on the loopback interface: web.put(path, content, ...) -> URL."""
    with Server() as server:
        yield server
