# SPDX-License-Identifier: Apache-2.0
"""One virtual machine: its disk, its firmware variables, its console, and the agent inside."""

from __future__ import annotations

import base64
import json
import re
import select
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from . import disk
from .progress import Progress
from .qmp import Qmp
from .system import System

OVMF = Path("/usr/share/OVMF")
CORES = 1  # two machines at a time on two cores: more is slower


class MachineError(AssertionError):
    """The machine did something else than expected; the message ends with its console."""


@dataclass(frozen=True)
class Ready:
    """The agent's announcement."""

    variant: str
    boot_id: str
    uptime: float  # seconds of the guest's kernel
    at: float  # time.monotonic() of the host


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"exit code {self.status}\n--- stdout\n{self.out}--- stderr\n{self.err}"


class Machine:
    """Runs under QEMU's TCG, as often as wanted, always from the same disk and variables."""

    def __init__(self, directory: Path, system: System) -> None:
        self.directory = directory
        self.system = system
        self.disk = directory / "disk.raw"
        self.variables = directory / "vars.fd"
        self.console = directory / "console.log"
        self.chipset = "q35"
        # Emulated faster than one with all features: the kernel and the libraries choose plainer
        # code.
        self.cpu = "Westmere"
        self.memory = 1024  # MiB
        self.orderly = False  # a command that restarts the system returns before it does
        self.attach = "virtio-blk-pci"  # how the disk is connected: a QEMU device with properties
        self.more_disks: list[tuple[Path, str]] = []  # the same of others
        self.write_log: Path | None = None  # where to log all writes to the disk, for writelog.py
        self.ready: Ready | None = None
        self._process: subprocess.Popen | None = None
        self._qmp: Qmp | None = None
        self._agent: socket.socket | None = None
        self._sockets: tempfile.TemporaryDirectory | None = None
        self._lines: list[str] = []
        self._partial = b""
        self._request = 0
        self.fresh_variables()

    def fresh_variables(self) -> None:
        """What a lost or cleared NVRAM looks like at the next start."""
        shutil.copy(OVMF / "OVMF_VARS_4M.fd", self.variables)

    # Power

    def start(self, *options: str) -> None:
        """Power on. The console of the previous run is kept in the same log."""
        assert self._process is None, "the machine is running"
        # Socket paths are limited to 107 bytes; pytest's directories may be longer.
        self._sockets = tempfile.TemporaryDirectory(prefix="vm-")
        sockets = Path(self._sockets.name)
        log = open(self.directory / "qemu.log", "ab")
        self._process = subprocess.Popen(
            [*self._command(sockets), *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        log.close()
        self._qmp = Qmp(self._connect(sockets / "qmp"))
        self._agent = self._connect(sockets / "agent")
        self._lines, self._partial = [], b""

    def power_cut(self) -> None:
        """Pulls the plug: the guest gets no chance to write anything."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
        self._cleanup()

    def power_off(self) -> None:
        """An orderly power off from inside."""
        self.send("sync; poweroff -f")
        self.wait_exit()

    def wait_exit(self) -> None:
        process = self._process
        assert process is not None
        self.until(lambda: process.poll() is not None, "the machine to go off")
        self._cleanup()

    def boot(self, expect: str | None = None) -> Ready:
        """Power on and wait for the agent; `expect` is the variant that must come up."""
        self.start()
        return self.wait_ready(expect)

    def cold_boot(self, expect: str | None = None) -> Ready:
        """Power cut, power on."""
        self.power_cut()
        return self.boot(expect)

    # Its state

    def save(self, memory: Path) -> None:
        """Stops it in the middle of what it does. Then its files are what resume() needs."""
        assert self._qmp is not None
        self._qmp.command("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        self._qmp.command("migrate", uri=f"exec:cat >{memory}")
        state = lambda: self._qmp.command("query-migrate").get("status")  # noqa: E731
        self.until(lambda: state() == "completed", "its state to be saved")
        memory.with_suffix(".ready").write_text(json.dumps(asdict(self.ready)))

    def resume(self, memory: Path) -> None:
        """Goes on from where a machine of the same kind was saved, with copies of its files."""
        self.start("-incoming", f"exec:cat {memory}")
        runs = lambda: self._qmp.command("query-status")["running"]  # noqa: E731
        self.until(runs, "its state to be loaded")
        self.ready = Ready(**json.loads(memory.with_suffix(".ready").read_text()))

    # The agent

    def wait_ready(self, expect: str | None = None) -> Ready:
        """Waits until a userland announces itself that has not done so before."""
        while True:
            line = self._next_line("a system to come up")
            found = re.fullmatch(r"READY variant=(\w+) boot_id=(\S+) uptime=([\d.]+)", line)
            if found and (self.ready is None or found.group(2) != self.ready.boot_id):
                break
            # A command that should have ended in another system, and did not.
            answer = self._answer(line)
            if answer and not (self.orderly and answer.status == 0):
                raise self._error(f"the command returned, and no other system starts: {answer}")
        self.ready = Ready(found.group(1), found.group(2), float(found.group(3)), time.monotonic())
        if expect is not None and self.ready.variant != expect:
            raise self._error(f"variant {self.ready.variant} came up, not {expect}")
        return self.ready

    def send(self, command: str) -> None:
        """Hands a command to the guest's shell without waiting for it."""
        assert self._agent is not None, "the machine is off"
        self._request += 1
        line = f"{self._request} {base64.b64encode(command.encode()).decode()}\n"
        self._agent.sendall(line.encode())

    def run(self, command: str) -> Result:
        """Runs a shell command in the guest."""
        self.send(command)
        while True:
            line = self._next_line(f"the answer to: {command}")
            if line.startswith("READY "):
                raise self._error(f"the guest restarted during: {command}")
            if answer := self._answer(line):
                return answer

    def check(self, command: str) -> str:
        """Runs a shell command that must succeed; returns its output."""
        result = self.run(command)
        if result.status != 0:
            raise self._error(f"{command}: {result}")
        return result.out

    def restart(self, command: str, expect: str | None = None) -> Ready:
        """Runs a command that ends in another system: by kexec or by firmware."""
        self.send(command)
        return self.wait_ready(expect)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Waits for something that does not announce itself, as long as the machine is alive."""
        progress = self._progress()
        asked = time.monotonic()
        while not condition():
            if time.monotonic() - asked >= 1:
                self._give_up(progress, what)
                asked = time.monotonic()
            time.sleep(0.02)

    def status(self, options: str = "") -> dict:
        """What `bistable status --json` tells."""
        return json.loads(self.check(f"bistable status --json {options}"))

    # What happened

    def firmware_boots(self) -> int:
        """How often the firmware started since the power went on, the first time included."""
        assert self._qmp is not None
        return 1 + self._qmp.collect().count("RESET")

    def firmware_path(self) -> str:
        """The device path that the firmware started last, as it prints it."""
        started = re.findall(r"BdsDxe: starting Boot.* from (.*)", self.console_tail(1000))
        return started[-1].strip() if started else ""

    def firmware_entry(self) -> str:
        """The description of the boot entry that the firmware started last."""
        started = re.findall(r'BdsDxe: starting Boot[0-9A-F]{4} "([^"]*)"', self.console_tail(1000))
        return started[-1] if started else ""

    def booted_by_kexec(self) -> bool:
        return self.check("cat /proc/sys/kernel/bootloader_type").strip() == "208"

    def console_tail(self, lines: int = 25) -> str:
        if not self.console.exists():
            return ""
        text = self.console.read_bytes().decode(errors="replace")
        text = re.sub(r"\x1b\[[0-9;=]*[A-Za-z]|\r", "", text)
        return "\n".join(text.splitlines()[-lines:])

    # Inside

    def _command(self, sockets: Path) -> list[str]:
        return [
            *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none"),
            *("-machine", f"{self.chipset},accel=tcg", "-cpu", self.cpu),
            *("-m", str(self.memory)),
            *("-smp", str(CORES)),
            *("-drive", f"if=pflash,format=raw,readonly=on,file={OVMF}/OVMF_CODE_4M.fd"),
            *("-drive", f"if=pflash,format=raw,file={self.variables}"),
            *("-blockdev", self._block_device()),
            *("-device", f"{self.attach},drive=disk"),
            *self._more_disks(),
            *("-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="),
            *("-chardev", f"socket,id=agent,path={sockets}/agent,server=on,wait=off"),
            *("-device", "virtio-serial-pci"),
            *("-device", "virtserialport,chardev=agent,name=org.testos.agent"),
            *("-chardev", f"file,id=console,path={self.console},append=on"),
            *("-serial", "chardev:console"),
            *("-qmp", f"unix:{sockets}/qmp,server=on,wait=off"),
        ]

    def _block_device(self) -> str:
        file = f"driver=file,filename={self.disk},discard=unmap"
        if self.write_log is None:
            return f"node-name=disk,driver=raw,file.{file.replace(',', ',file.')}"
        self.write_log.touch()
        return (
            f"node-name=disk,driver=blklogwrites,file.{file.replace(',', ',file.')},"
            f"log.driver=file,log.filename={self.write_log},log-super-update-interval=1"
        )

    def _more_disks(self) -> list[str]:
        words = []
        for number, (path, attach) in enumerate(self.more_disks):
            file = f"file.driver=file,file.filename={path}"
            words += ["-blockdev", f"node-name=more{number},driver=raw,{file}"]
            words += ["-device", f"{attach},drive=more{number}"]
        return words

    def _connect(self, path: Path) -> socket.socket:
        """Connects to QEMU's socket, as soon as QEMU listens on it."""
        assert self._process is not None
        deadline = time.monotonic() + 20
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(path))
                return connection
            except OSError as error:
                connection.close()
                if self._process.poll() is not None or time.monotonic() > deadline:
                    log = (self.directory / "qemu.log").read_text()
                    raise self._error(f"QEMU did not start: {error}\n{log}") from None
            time.sleep(0.02)

    def _next_line(self, what: str) -> str:
        assert self._agent is not None and self._process is not None, "the machine is off"
        progress = None
        while not self._lines:
            readable, _, _ = select.select([self._agent], [], [], 1.0)
            if not readable:
                progress = progress or self._progress()
                self._give_up(progress, what)
                continue
            data = self._agent.recv(1 << 20)
            if not data:
                raise self._error(f"QEMU ended during the wait for {what}")
            *complete, self._partial = (self._partial + data).split(b"\n")
            self._lines += [line.decode(errors="replace").strip() for line in complete]
        return self._lines.pop(0)

    def _progress(self) -> Progress:
        assert self._qmp is not None, "the machine is off"
        return Progress(self.console, self._qmp)

    def _give_up(self, progress: Progress, what: str) -> None:
        if trouble := progress.trouble():
            raise self._error(f"waited in vain for {what}: {trouble}")

    def _answer(self, line: str) -> Result | None:
        """The answer to the last request; None for other lines, or one cut short by a restart."""
        found = re.fullmatch(r"(\d+) (\d+) (\S*)- (\S*)-", line)
        if found is None or int(found.group(1)) != self._request:
            return None
        out, err = (base64.b64decode(found.group(i)).decode(errors="replace") for i in (3, 4))
        return Result(int(found.group(2)), out, err)

    def _error(self, message: str) -> MachineError:
        tail = f"--- console of {self.directory.name}\n{self.console_tail()}"
        return MachineError(f"{message}\n{tail}")

    def _cleanup(self) -> None:
        for thing in (self._agent, self._qmp):
            if thing is not None:
                thing.close()
        if self._sockets is not None:
            self._sockets.cleanup()
        self._agent = self._qmp = self._sockets = self._process = None


def factory_machine(directory: Path, system: System) -> Machine:
    """A machine fresh from the factory: X in slot A, slot B empty, no boot entries of ours."""
    disk.make_factory_disk(directory / "disk.raw", system)
    return Machine(directory, system)
