# SPDX-License-Identifier: Apache-2.0
"""Where less is allowed than elsewhere: small limits, older kernels, containers that forbid system
calls, clocks that say 1970. It works, or says what is missing before anything is written."""

import errno
import os
import resource
import shutil
import subprocess

import pytest

import make_bundle
from conftest import PROJECT
from narrow import calls, limits
from tree import bundle, image, uki

MIB = 1 << 20
ANY = resource.RLIM_INFINITY
CLOSE_RANGE, OPENAT2 = 436, 437  # the same on all architectures
LANDLOCK_CREATE_RULESET = 444


@pytest.fixture(scope="session")
def plain():
    """The program without sanitizers, which need terabytes of address space."""
    path = PROJECT / "build/bistable"
    if not path.exists():
        pytest.skip(f"{path} is not built")
    return str(path)


@pytest.fixture
def sources(signed, tmp_path, web):
    """Of a plain and of a signed bundle, of files and of a server; the tree takes both."""
    boot, system = uki("3", linux_size=65536), image(MIB // 2, "three")
    signed.config.write_text(
        signed.config.read_text().replace("[system]\n", "[system]\nallow-unsigned=yes\n"))
    contents = {"plain": bundle(boot, system), "signed": make_bundle.make(boot, system)}
    found = [web.put(f"/{name}", content) for name, content in contents.items()]
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        found.append(tmp_path / name)
    return found


@pytest.fixture
def installs(on, sources):
    """installs(preexec_fn=...): each kind of bundle, from each kind of source."""
    def installs(**options):
        for source in sources:
            done = on("install", "-q", "--activate=none", source, **options)
            assert done.code == 0, f"{source}: {done}"
    return installs


@pytest.fixture
def refused(on, signed, sources):
    """refused(what is said, preexec_fn=...), and nothing is written."""
    def refused(says, **options):
        for source in sources:
            before = signed.snapshot()
            result = on("install", "-q", "--activate=none", source, **options)
            assert result.code == 1 and says in result.stderr, f"{source}: {result}"
            assert len(result.stderr.splitlines()) == 1, result
            assert signed.snapshot() == before
    return refused


# Limits

@pytest.mark.parametrize("narrow", [
    {"NOFILE": 64}, {"NOFILE": 20}, {"STACK": (64 << 10, ANY)}, {"STACK": (256 << 10, 256 << 10)},
    {"MEMLOCK": 0}, {"SIGPENDING": 0}, {"NOFILE": 64, "STACK": (128 << 10, MIB), "CORE": 0},
], ids=str)
def test_small_limits(installs, narrow):
    installs(preexec_fn=limits(**narrow))


@pytest.mark.parametrize("narrow", [
    {"DATA": 64 * MIB}, {"DATA": 16 * MIB}, {"AS": 128 * MIB}, {"AS": 64 * MIB},
    # A service's: what one thread may take as stack would count for each.
    {"STACK": (64 * MIB, ANY), "AS": 128 * MIB}, {"STACK": (ANY, ANY), "AS": 128 * MIB},
    {"NOFILE": 64, "DATA": 64 * MIB, "STACK": (256 << 10, MIB), "MEMLOCK": 64 << 10},
], ids=str)
def test_small_memory(installs, plain, narrow):
    installs(preexec_fn=limits(**narrow), executable=plain)


@pytest.mark.parametrize("narrow, says", [
    ({"NOFILE": 10}, "the limit of open files, ulimit -n or LimitNOFILE=, is 10"),
    ({"NOFILE": 5}, "the limit of open files, ulimit -n or LimitNOFILE=, is 5"),
    ({"STACK": 128 << 10}, "ulimit -s, LimitSTACK="),
    ({"FSIZE": 60000}, "the limit of a file's size, ulimit -f or LimitFSIZE=, is 58.6 KiB"),
], ids=str)
def test_a_limit_that_is_too_small(refused, narrow, says):
    refused(says, preexec_fn=limits(**narrow))


@pytest.mark.parametrize("narrow, says", [
    ({"DATA": 3 * MIB // 2}, "the limit of memory, ulimit -d or LimitDATA=, is 1.5 MiB"),
    ({"AS": 26 * MIB}, "the limit of address space, ulimit -v or LimitAS=, is 26.0 MiB"),
], ids=str)
def test_too_little_memory(on, signed, sources, plain, narrow, says):
    """How much is enough depends on the libraries: that it is said counts, or that it works."""
    seen = set()
    before = signed.snapshot()
    for source in sources:
        done = on("install", "-q", "--dry-run", source, preexec_fn=limits(**narrow),
                  executable=plain)
        if done.code == 127:
            pytest.skip(f"the libraries alone take more: {done.stderr}")
        assert done.code == 0 or (done.code == 1 and says in done.stderr), done
        seen.add(done.code)
    assert signed.snapshot() == before
    assert seen, narrow


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody without processes")
def test_too_few_processes(run, signed, sources, binary, tmp_path):
    """Root may have any number; so it is somebody else, to whom the tree belongs."""
    nobody = 61234
    private = tmp_path / "bistable"
    shutil.copy(binary, private)
    for folder in [signed.root, *signed.root.parents]:
        if folder.stat().st_uid == os.geteuid() and folder.is_relative_to("/tmp"):
            folder.chmod(0o755)
    for path in [signed.root, *signed.root.rglob("*")]:
        os.chown(path, nobody, nobody)

    def become():
        limits(NPROC=2)()
        os.setgroups([])
        os.setgid(nobody)
        os.setuid(nobody)

    for source in sources:
        before = signed.snapshot()
        result = run("--root", signed.root, "install", "-q", source, preexec_fn=become, cwd="/",
                     executable=str(private))
        assert result.code == 1, result
        assert "ulimit -u or LimitNPROC=, is 2" in result.stderr, result
        assert signed.snapshot() == before


# Kernels and containers

@pytest.mark.parametrize("filter", [
    calls(CLOSE_RANGE, errno.ENOSYS), calls(CLOSE_RANGE, errno.EPERM),
    calls(OPENAT2, errno.ENOSYS), calls(OPENAT2, errno.EPERM),
    calls(LANDLOCK_CREATE_RULESET, errno.EPERM), calls(LANDLOCK_CREATE_RULESET, errno.EOPNOTSUPP),
    # Linux 5.8, and a container whose filter is as old.
    calls(CLOSE_RANGE, errno.ENOSYS, and_newer=True),
    calls(CLOSE_RANGE, errno.EPERM, and_newer=True),
    # Linux 5.0: system calls have had the same numbers on all architectures since.
    calls(424, errno.ENOSYS, and_newer=True),
], ids=["close_range", "close_range EPERM", "openat2", "openat2 EPERM", "Landlock EPERM",
        "Landlock off", "Linux 5.8", "container", "Linux 5.0"])
def test_older_kernels(installs, on, filter, tmp_path):
    installs(preexec_fn=filter)
    for command in (["status"], ["verify", "B"], ["mark-good"]):
        done = on(*command, preexec_fn=filter)
        assert done.code == 0, done


def test_bundles_are_made_on_older_kernels(run, tmp_path):
    (tmp_path / "uki").write_bytes(uki("3"))
    (tmp_path / "image").write_bytes(image(MIB))
    made = []
    for name, options in {"new": {}, "old": {"preexec_fn": calls(424, errno.ENOSYS, True)}}.items():
        output = tmp_path / f"{name}.bundle"
        done = run("bundle", "create", "--compatible=x", "--created=2026-11-23T10:00:00Z",
                   tmp_path / "uki", tmp_path / "image", output, **options)
        assert done.code == 0, done
        made.append(output.read_bytes())
    assert made[0] == made[1]


# Clocks

CLOCK = """
#include <time.h>
#include <sys/time.h>
#include <sys/syscall.h>
#include <unistd.h>
time_t time(time_t *ret) { if (ret) *ret = 130; return 130; }
int gettimeofday(struct timeval *ret, void *zone)
{ (void)zone; *ret = (struct timeval){ 130, 0 }; return 0; }
int clock_gettime(clockid_t clock, struct timespec *ret)
{
	if (clock != CLOCK_REALTIME) return (int)syscall(SYS_clock_gettime, clock, ret);
	*ret = (struct timespec){ 130, 0 }; return 0;
}
"""


@pytest.fixture(scope="session")
def dead_battery(tmp_path_factory, plain):
    """Options for a program that starts on a machine whose clock began anew two minutes ago."""
    folder = tmp_path_factory.mktemp("clock")
    (folder / "clock.c").write_text(CLOCK)
    library = folder / "clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, folder / "clock.c"], check=True)
    return {"executable": plain, "env": {**os.environ, "LD_PRELOAD": str(library)}}


def test_install_in_1970(signed, on, status, tmp_path, dead_battery):
    """A slot from the factory runs, and nothing is known but that this program exists."""
    path = tmp_path / "os.bundle"
    path.write_bytes(make_bundle.make(uki("3"), image(MIB // 2, "three"), keys={"version": "3"}))
    done = on("install", "--activate=none", path, **dead_battery)
    assert done.code == 0, done
    assert "The clock says 1970-01-01T00:02:10Z, which is wrong" in done.stderr, done
    assert status()["slots"]["B"]["version"] == "3"
    # It was installed after it was made, and verifies by a clock that is right as well.
    assert on("verify", "B").code == on("verify", "B", **dead_battery).code == 0
    assert on("install", "-q", "--activate=none", path).code == 0


def test_doctor_in_1970(tree, on, dead_battery):
    result = on("doctor", "--json", **dead_battery)
    check = next(check for check in result.document["checks"] if check["name"] == "clock")
    assert check["level"] == "warning" and "1970-01-01T00:02:10Z" in check["what"], check
    assert "Set the clock" in check["advice"]


def test_making_a_bundle_in_1970(run, tmp_path, dead_battery):
    (tmp_path / "uki").write_bytes(uki("3"))
    (tmp_path / "image").write_bytes(image(MIB))
    words = ["bundle", "create", "--compatible=x", tmp_path / "uki", tmp_path / "image"]
    refused = run(*words, tmp_path / "a.bundle", **dead_battery)
    assert refused.code == 2 and "the clock is wrong" in refused.stderr, refused
    assert not (tmp_path / "a.bundle").exists()
    done = run(*words, "--created=2026-11-23T10:00:00Z", tmp_path / "a.bundle", **dead_battery)
    assert done.code == 0, done
