# SPDX-License-Identifier: Apache-2.0
"""The process that fetches and the one that looks up names, seen from outside: what they may do and
hold, what an install makes of their end, and that they end with it. And what goes with them: closed
standard streams, a user who is not root, the files that say whom to trust."""

import collections
import contextlib
import functools
import io
import os
import re
import shutil
import signal
import threading
import time
import zipfile
from pathlib import Path

import pytest

import make_bundle
import make_cms
from conftest import TIMEOUT, Result, wait_until
from old_slot import OldSlot, assert_one_error, record
from pki import tls_server
from test_no_permission import open_to_all
from test_signals import SAID
from tree import MIB, Tree, bundle, noise, uki

BOOT, SYSTEM = uki("2"), noise(3 * MIB, "two")
UNSIGNED = functools.partial(make_bundle.make, method=make_bundle.STORED, signature=b"")
BUNDLES = {"plain": bundle(BOOT, SYSTEM, zipfile.ZIP_STORED), "chunked": UNSIGNED(BOOT, SYSTEM)}
# Where a download stands still: before anything came, in the boot file, in the image, and in the
# image while several connections fetch it.
MOMENTS = [*((format, moment) for format in BUNDLES for moment in ("head", "boot", "image")),
           ("chunked", "lanes")]
BEGUN = ("image", "lanes")  # the target is being written
PROMPT = TIMEOUT / 3  # seconds: far less than a stall lasts, far more than anything needs
NOBODY = 65534
SOMEBODY = 12345  # owns nothing
IS_ROOT = os.geteuid() == 0
HARMLESS = re.compile(r"/dev/null|(socket|pipe):\[\d+\]|anon_inode:\[?event(fd|poll)\]?")

only_root = pytest.mark.skipif(not IS_ROOT, reason="only root can look into what is locked in")
Held = collections.namedtuple("Held", "process fetcher resolver")


# What /proc tells


def children(pid):
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(path.parent.name))
    return found


def threads(pid):
    """The fields of `status` of each."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/status"):
        with contextlib.suppress(OSError):
            found.append(dict(line.split(":", 1) for line in path.read_text().splitlines()))
    return found


def is_alive(pid):
    """One that has ended stays a zombie where nobody waits for it."""
    return any(thread["State"].split()[0] not in "ZX" for thread in threads(pid))


def assert_holds(pid, *paths):
    """No standard streams; sockets and the like, and these files, to read them."""
    found = []
    for number in os.listdir(f"/proc/{pid}/fd"):
        name = os.readlink(f"/proc/{pid}/fd/{number}")
        about = Path(f"/proc/{pid}/fdinfo/{number}").read_text()
        assert number not in ("0", "1") or name == "/dev/null"
        if not HARMLESS.fullmatch(name):
            assert int(re.search(r"flags:\s*(\d+)", about)[1], 8) & os.O_ACCMODE == os.O_RDONLY
            found.append(name)
    assert found == [str(path) for path in paths]


def assert_locked_in(pid, user):
    """Every thread of it, whatever the program itself may do."""
    for thread in threads(pid):
        fields = {name: value.split() for name, value in thread.items()}
        assert fields["Seccomp"] == ["2"] and fields["NoNewPrivs"] == ["1"], thread
        assert fields["Uid"] == fields["Gid"] == [str(user)] * 4, thread
        assert fields["Groups"] == [], thread
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(thread[name], 16) == 0, thread
        # Who is not root cannot empty it, and gains nothing from it.
        assert int(thread["CapBnd"], 16) == 0 or user != NOBODY, thread
    limits = Path(f"/proc/{pid}/limits").read_text()
    for name in ("Max core file size", "Max file size"):
        assert re.search(rf"^{name} +0 +0 ", limits, re.M), limits
    # Not even another process of the same user may look into it.
    assert os.stat(f"/proc/{pid}/mem").st_uid == 0


def assert_memory_is_its_own(pid, tree):
    """Nothing that could be written is executed or belongs to a file, nothing is of the tree."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        access, name = line.split()[1], (line.split(maxsplit=5) + [""])[5]
        assert not {"w", "x"} <= set(access), line
        assert not {"w", "s"} <= set(access) or name == "/dev/zero (deleted)", line
        assert not name.startswith(str(tree.root)), line


# Installs that are held


def byte_of(content, moment):
    archive = zipfile.ZipFile(io.BytesIO(content))
    return {"head": 0, "boot": archive.getinfo("kernel_efi.efi").header_offset + 20_000,
            "image": archive.getinfo("verity_rootfs.img").header_offset + 2 * MIB}[moment]


@pytest.fixture
def hold(tree, start, web):
    """hold(format, moment, **Popen's) -> Held: an install whose download stands still then, `until`
    an event if there is one."""
    def hold(format, moment, server=web, host="127.0.0.1", until=None, **options):
        several, content = moment == "lanes", BUNDLES[format]
        stall = {"stall": 1000 if several else byte_of(content, moment), "seconds": TIMEOUT,
                 "until": until or server.stopping}
        # Several: after the head, the directory and the boot file.
        server.put("/os.bundle", content, ranges=several,
                   faults=[None] * 4 + [stall] * 99 if several else [stall])
        process = start("--root", tree.root, "install", "-q", server.url("/os.bundle", host),
                        **options)
        wait_until(lambda: server.stalled.is_set() or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        wait_until(lambda: moment not in BEGUN or record(tree, "B"))
        (fetcher,) = children(process.pid)
        (resolver,) = children(fetcher)
        return Held(process, fetcher, resolver)
    return hold


def finish(held):
    """Result; soon, and none of the processes is left."""
    stdout, stderr = held.process.communicate(timeout=PROMPT)
    wait_until(lambda: not is_alive(held.fetcher) and not is_alive(held.resolver))
    return Result(held.process, stdout, stderr)


def holds(tree):
    return tree.partition("B").read_bytes()[:len(SYSTEM)] == SYSTEM


@pytest.fixture
def plain_death(environment):
    """For the sanitizers: a signal from outside is no finding."""
    return {**environment, **{name: f"{environment.get(name, '')}:handle_segv=0"
                              for name in ("ASAN_OPTIONS", "TSAN_OPTIONS")}}


# What they may do and hold


def assert_both_locked_in(held, tree, user):
    for pid in (held.fetcher, held.resolver):
        assert_locked_in(pid, user)
        assert_memory_is_its_own(pid, tree)
        assert_holds(pid)


@only_root
@pytest.mark.parametrize("format, moment", MOMENTS)
def test_locked_in(hold, tree, format, moment):
    held = hold(format, moment, extra_groups=[4, 24])
    assert_both_locked_in(held, tree, NOBODY)
    assert moment != "lanes" or len(threads(held.fetcher)) > 2


@only_root
def test_locked_in_with_tls(hold, tree, pki):
    """What certificates and keys are read from is closed again."""
    tree.config.write_text(tree.config.read_text() + f"[download]\nca-file={pki}/ca.pem\n"
                           f"client-cert={pki}/client.pem\nclient-key={pki}/client.key\n")
    with tls_server(pki, "here", client_ca="ca.pem") as server:
        held = hold("chunked", "lanes", server=server)
        assert_both_locked_in(held, tree, NOBODY)


@pytest.fixture
def full_pipe():
    """Who writes there stands still."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x")
    os.set_blocking(writer, True)
    yield writer
    os.close(reader)
    os.close(writer)


@only_root
@pytest.mark.parametrize("format", BUNDLES)
@pytest.mark.parametrize("way", ["path", "stdin"])
def test_locked_in_with_a_file(tree, start, tmp_path, full_pipe, format, way):
    """It holds the bundle, to read it; nobody looks up names."""
    tree.variable_path("Boot0009").unlink()  # it would be told of first, and there is no room
    path = tmp_path / "os.bundle"
    path.write_bytes(BUNDLES[format])
    with open(path if way == "stdin" else os.devnull, "rb") as stdin:
        process = start("--root", tree.root, "install", "--json", path if way == "path" else "-",
                        stdin=stdin, stdout=full_pipe)
    (fetcher,) = wait_until(lambda: children(process.pid))
    wait_until(lambda: all(int(thread["Seccomp"]) for thread in threads(fetcher)))
    assert_locked_in(fetcher, NOBODY)
    assert_memory_is_its_own(fetcher, tree)
    assert_holds(fetcher, path)
    assert not children(fetcher)


# Their end


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
@pytest.mark.parametrize("format, moment", MOMENTS)
def test_killed(hold, on, status, tree, web, plain_death, format, moment, number):
    """An error, soon; and nothing that the next install could not put right."""
    old = OldSlot(tree, status)
    held = hold(format, moment, env=plain_death)
    os.kill(held.fetcher, number)
    assert_one_error(finish(held), 1, "the process that fetches the bundle was killed by signal "
                     f"{number.value} ({signal.strsignal(number)})")
    assert old.assert_intact(may_begin=True) == (moment in BEGUN)
    result = on("install", "-q", web.put("/os.bundle", BUNDLES[format]))
    assert result.code == 0 and holds(tree) and tree.reboot() == "B", result


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_are_for_the_program(hold, tree, number):
    """As by Ctrl-C, which goes to all of them: it is not for these to say what becomes of it."""
    go_on = threading.Event()
    held = hold("chunked", "image", until=go_on)
    os.kill(held.fetcher, number)
    os.kill(held.resolver, number)
    go_on.set()
    result = finish(held)
    assert result.code == 0 and holds(tree), result


@pytest.mark.parametrize("format, moment", MOMENTS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_none_is_left(hold, format, moment, number):
    held = hold(format, moment)
    held.process.send_signal(number)
    assert finish(held).code == (-number if number == signal.SIGKILL else 1)


def test_none_is_left_of_the_first_moment(tree, start, web, tmp_path):
    """The program is killed when the process that fetches is not locked in yet."""
    fifo = tmp_path / "ca.pem"
    os.mkfifo(fifo)
    tree.config.write_text(tree.config.read_text() + f"[download]\nca-file={fifo}\n")
    url = web.put("/os.bundle", BUNDLES["plain"], faults=[{"stall": 0, "seconds": TIMEOUT}])
    process = start("--root", tree.root, "install", "-q", url)

    def open_fifo():
        with contextlib.suppress(OSError):
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)

    writer = wait_until(open_fifo)  # now it reads
    (fetcher,) = children(process.pid)
    process.kill()
    process.wait(PROMPT)
    with contextlib.suppress(BrokenPipeError):
        os.write(writer, b"no certificate")
    os.close(writer)
    try:
        wait_until(lambda: not is_alive(fetcher))
    finally:
        for pid in (*children(fetcher), fetcher):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("format, moment", MOMENTS)
@pytest.mark.parametrize("frozen", ["fetcher", "resolver"])
def test_frozen(hold, status, tree, format, moment, frozen):
    old = OldSlot(tree, status)
    held = hold(format, moment)
    pid = getattr(held, frozen)
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: all(thread["State"].split()[0] == "T" for thread in threads(pid)))
    held.process.send_signal(signal.SIGINT)
    assert_one_error(finish(held), 1, SAID)
    assert old.assert_intact(may_begin=True) == (moment in BEGUN)


# Names


def test_a_name_is_looked_up(on, tree, web):
    web.put("/os.bundle", BUNDLES["chunked"])
    result = on("install", "-q", web.url("/os.bundle", "localhost"))
    assert result.code == 0 and holds(tree), result


def test_a_name_that_does_not_exist(on, status, tree):
    tree.config.write_text(tree.config.read_text() + "[download]\ntotal-timeout=2\n")
    old = OldSlot(tree, status)
    assert_one_error(on("install", "-q", "http://bundles.invalid/os.bundle"), 1,
                     "the host 'bundles.invalid' cannot be looked up: ", "/os.bundle")
    old.assert_intact()


def test_nobody_looks_up_names_any_more(hold, status, tree):
    """The connection breaks off; there is no other one without a name."""
    old = OldSlot(tree, status)
    go_on = threading.Event()
    held = hold("plain", "boot", host="localhost", until=go_on)
    os.kill(held.resolver, signal.SIGKILL)
    go_on.set()
    assert_one_error(finish(held), 1, "'localhost'", "the process that does it has ended")
    old.assert_intact()


def test_a_name_service_that_hangs(hold, status, tree):
    tree.config.write_text(tree.config.read_text() + "[download]\ntotal-timeout=2\n")
    old = OldSlot(tree, status)
    go_on = threading.Event()
    held = hold("plain", "boot", host="localhost", until=go_on)
    os.kill(held.resolver, signal.SIGSTOP)
    go_on.set()
    assert_one_error(finish(held), 1, "did not end within 2 s")
    old.assert_intact()


# Standard streams


def contents(tree):
    """Of every file; without the times in the records."""
    return {str(path.relative_to(tree.root)):
            re.sub(rb'"(time|installed)": \d+', b"", path.read_bytes())
            for path in tree.root.rglob("*") if path.is_file()}


def close_all(numbers):
    def close():
        for number in numbers:
            os.close(number)
    return close


@pytest.mark.parametrize("closed", [[0], [1], [2], [0, 1], [1, 2], [0, 1, 2]], ids=str)
@pytest.mark.parametrize("format", BUNDLES)
@pytest.mark.parametrize("way", ["path", "web"])
def test_closed_streams(tree, run, web, tmp_path, format, way, closed):
    """What is opened instead is not what is written to: all is as after any other install."""
    ordinary = Tree(tmp_path / "ordinary")
    path = tmp_path / "os.bundle"
    path.write_bytes(BUNDLES[format])
    for target, numbers in ((ordinary, []), (tree, closed)):
        # There is something to say, and something to open meanwhile.
        source = web.put("/os.bundle", BUNDLES[format], faults=[{"cut": 1000}])
        result = run("--root", target.root, "install", "-v", source if way == "web" else path,
                     preexec_fn=close_all(numbers))
        assert result.code == 0, result
        assert bool(result.stdout) == (1 not in numbers), result
        assert way == "path" or bool(result.stderr) == (2 not in numbers), result
    assert contents(tree) == contents(ordinary) and holds(tree)


@only_root
@pytest.mark.parametrize("format", BUNDLES)
def test_closed_streams_are_taken(hold, format):
    """While the target is open: what is printed goes nowhere, whatever was opened in what order."""
    held = hold(format, "image", preexec_fn=close_all([0, 1, 2]))
    for number in (0, 1, 2):
        assert os.readlink(f"/proc/{held.process.pid}/fd/{number}") == os.devnull
    assert_holds(held.fetcher)


def test_nothing_to_read(on, status, tree):
    old = OldSlot(tree, status)
    assert_one_error(on("install", "-q", "-", preexec_fn=close_all([0])), 1, "standard input")
    old.assert_intact()


# A user who is not root


@pytest.fixture
def owned(tree, binary, tmp_path):
    """Popen's options for a user who owns the tree, and nothing else."""
    if not IS_ROOT:
        pytest.skip("only root can become somebody else")
    program = shutil.copy(binary, tmp_path)  # the build folder may be closed to others
    open_to_all(tree.root)
    for path in (tree.root, *tree.root.rglob("*")):
        os.chown(path, SOMEBODY, SOMEBODY)
    return {"executable": program, "cwd": "/", "user": SOMEBODY, "group": SOMEBODY,
            "extra_groups": []}


@pytest.mark.parametrize("format", BUNDLES)
def test_not_root(hold, on, status, tree, web, owned, format):
    old = OldSlot(tree, status)
    held = hold(format, "image", **owned)
    assert_both_locked_in(held, tree, SOMEBODY)
    held.process.send_signal(signal.SIGINT)
    assert_one_error(finish(held), 1, SAID)
    assert old.assert_intact(may_begin=True)
    result = on("install", "-q", web.put("/os.bundle", BUNDLES[format]), **owned)
    assert result.code == 0 and holds(tree) and tree.reboot() == "B", result


# What says whom to trust: test_trust.py has what comes of it.


@pytest.fixture
def refused(signed, on, tmp_path):
    """refused(what is said, **Popen's): exit code 2, and nothing has changed."""
    path = tmp_path / "os.bundle"
    path.write_bytes(make_bundle.make(BOOT, SYSTEM[:256 << 10]))

    def refused(*says, **options):
        before = signed.snapshot()
        assert_one_error(on("install", "-q", path, **options), 2, *says)
        assert signed.snapshot() == before
    return refused


@pytest.mark.parametrize("line, wants", [
    ("compatible=", "text"),
    *((f"{key}={value}", "an absolute path") for key in ("keyring", "crl", "state-dir")
      for value in ("", "some/where", "./here")),
    *((f"{key}={value}", "yes or no") for key in ("check-purpose", "allow-downgrade")
      for value in ("", "Yes", "maybe", "2")),
])
def test_values_that_are_none(signed, refused, line, wants):
    key, value = line.split("=")
    signed.config.write_text(f"[system]\n{line}\n")
    refused(f"/etc/bistable/bistable.conf:2: '{key}' in [system] wants {wants}, not '{value}'")


@pytest.mark.parametrize("words, code", [("yes true on 1", 0), ("no false off 0", 3)])
def test_yes_and_no(signed, on, tmp_path, words, code):
    (tmp_path / "os.bundle").write_bytes(UNSIGNED(BOOT, SYSTEM[:256 << 10]))
    text = signed.config.read_text()
    for word in words.split():
        signed.config.write_text(text.replace("[system]", f"[system]\nallow-unsigned={word}"))
        result = on("install", "-q", tmp_path / "os.bundle")
        assert result.code == code, (word, result)


@pytest.mark.parametrize("name", ["keyring", "crl"])
@pytest.mark.parametrize("fault, says", [
    ("folder", "Is a directory"), ("too large", "File too large"), ("closed", "Permission denied"),
])
def test_unreadable(signed, refused, owned, name, fault, says):
    path = signed.config.parent / f"{name}.pem"
    if fault == "folder":
        path.unlink()
        path.mkdir()
    elif fault == "too large":
        path.write_bytes(path.read_bytes() + b"#" * 16 * MIB)
    else:
        path.chmod(0)
    refused(f"/etc/bistable/{name}.pem", says, **(owned if fault == "closed" else {}))


@pytest.mark.parametrize("content, says", [
    (b"hello", "holds no CRL"),
    (make_bundle.KEYRING, "holds no CRL"),
    (make_cms.pem("X509 CRL", b"hello"), "holds a damaged CRL"),
    (make_cms.pem("X509 CRL", make_cms.crl("Other", 5)), "no certificate of the keyring signed"),
    (b"", "holds no CRL"),
], ids=["garbage", "certificates", "damaged", "another issuer", "empty"])
def test_bad_crl(signed, refused, content, says):
    (signed.config.parent / "crl.pem").write_bytes(content)
    refused(says)


def test_bad_crl_is_named(signed, refused):
    (signed.config.parent / "crl.pem").write_bytes(b"hello")
    refused("/etc/bistable/crl.pem")
