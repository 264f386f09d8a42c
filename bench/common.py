# SPDX-License-Identifier: Apache-2.0
"""What the benches share: an image, a machine with a web server, how time and memory are taken."""

import contextlib
import os
import pathlib
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from statistics import median

TOP = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TOP / "tests" / part) for part in ("cli", "fixtures", "vm")]

import rss  # noqa: E402
import tree  # noqa: E402
from harness.webserver import WebServer  # noqa: E402

PROGRAM = TOP / "build/bistable"
IMAGE_SIZE = 500_000_000
BOOT_SIZE = 16 << 20


def run(*command, **options):
    return subprocess.run([str(word) for word in command], check=True, capture_output=True,
                          text=True, errors="replace", **options).stdout.strip()


def make_image(path: pathlib.Path, work: pathlib.Path) -> str:
    """Files of /usr until the size is reached, and their tree; returns the UKI's command line."""
    source, total = work / "files", 0
    for folder, _, names in os.walk("/usr/lib"):
        for name in names:
            file = pathlib.Path(folder, name)
            if file.is_symlink() or not file.is_file():
                continue
            target = source / file.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(file, target) if os.stat(file).st_dev == os.stat(work).st_dev else run(
                "cp", file, target)
            total += file.stat().st_size
            if total > IMAGE_SIZE:
                break
        if total > IMAGE_SIZE:
            break
    run("mkfs.erofs", "--quiet", path, source)
    size = path.stat().st_size
    blocks = size // 4096
    text = run("/usr/sbin/veritysetup", "format", "--no-superblock", f"--data-blocks={blocks}",
               f"--hash-offset={size}", path, path)
    root_hash, salt = (text.split(name)[1].split()[0] for name in ("Root hash:", "Salt:"))
    device = "PARTLABEL=METROPOLIS-SYSTEM-X"
    return (f'root=/dev/dm-0 dm-mod.create="system,,,ro,0 {blocks * 8} verity 1 {device} {device} '
            f'4096 4096 {blocks} {blocks} sha256 {root_hash} {salt}"')


@contextlib.contextmanager
def work_folder():
    with tempfile.TemporaryDirectory(prefix="bistable-bench-", dir="/var/tmp") as name:
        yield pathlib.Path(name)


def make_key(work: pathlib.Path) -> None:
    """key.pem and cert.pem, which is its own root."""
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=bench", "-days",
        "30", "-addext", "extendedKeyUsage=emailProtection", "-addext",
        "keyUsage=digitalSignature", "-keyout", work / "key.pem", "-out", work / "cert.pem")


def map_size(size: int, chunk: int = 32 << 10) -> int:
    """Bytes of the chunk map of a payload of `size` bytes (docs/bundle-format.md)."""
    return 40 + 36 * -(-size // chunk) + 8 * -(-size // 4096)


def index_size(size: int) -> int:
    """Bytes of the table in which all blocks of a payload are looked for (src/engine/hints.c)."""
    places = 16
    while places < -(-size // 4096) * 3 // 2:
        places *= 2
    return places * 8


def repeat(image: pathlib.Path, copies: int) -> None:
    """Makes an image so many times as large."""
    content = image.read_bytes()
    with open(image, "ab") as file:
        for _ in range(copies - 1):
            file.write(content)


def seconds(command, prepare) -> float:
    """What it takes."""
    prepare()
    start = time.monotonic()
    run(*command)
    return time.monotonic() - start


def memory(command, prepare) -> float:
    """The largest anonymous memory of a process and its children together, in MiB: sampled, which
    takes time of its own."""
    prepare()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak = rss.PeakRss(process.pid)
    code = process.wait()
    if code:
        sys.exit(f"{command}: exit {code}")
    return peak.stop() / (1 << 20)


class Bench:
    """A web server with a bundle, and a machine whose slot B is a loop device over a file below
    `medium`."""

    def __init__(self, name: str, medium: pathlib.Path, image: pathlib.Path,
                 archive: pathlib.Path) -> None:
        self.medium, self.size = name, image.stat().st_size
        home = pathlib.Path(tempfile.mkdtemp(dir=medium))
        disk = home / "disk"
        with open(disk, "wb") as file:
            file.truncate(self.size + (64 << 20))
        # As a disk: what is written is not in memory a second time. (For tmpfs: Linux 6.6.)
        self.device = run("/usr/sbin/losetup", "--find", "--show", "--direct-io=on", disk)
        self.archive = archive
        self.tree = tree.Tree(home / "root")
        node = self.tree.partition("B")
        node.unlink()
        os.mknod(node, stat.S_IFBLK | 0o600, os.stat(self.device).st_rdev)
        self.web = WebServer(home / "www")
        self.web.start()
        self.url = self.offer(archive)

    def offer(self, path: pathlib.Path) -> str:
        return self.web.offer(path).replace("10.0.2.2", "127.0.0.1")

    def trust(self, certificate: pathlib.Path) -> None:
        """Signed bundles only, by this signer."""
        shutil.copy(certificate, self.tree.config.parent / "keyring.pem")
        text = self.tree.config.read_text().replace("allow-unsigned=yes", "allow-unsigned=no")
        self.tree.config.write_text(text)

    def close(self) -> None:
        self.web.stop()
        run("/usr/sbin/losetup", "--detach", self.device)

    def prepare(self) -> None:
        """Another content than the bundle's, on the medium, no boot file, and no cache of it."""
        for path in self.tree.boot_file("B").parent.glob("boot-b.*"):
            path.unlink()
        run("/usr/sbin/blkdiscard", "-f", "-z", self.device)
        os.sync()
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("1")
        with open(self.archive, "rb") as file:  # but for the bundle, which nginx sends from memory
            while file.read(1 << 24):
                pass

    def install(self) -> list:
        return [PROGRAM, "--root", self.tree.root, "install", "--activate=none", "-q",
                self.url]


def compare(bench: Bench, ways: dict, runs: int) -> None:
    """Measures the ways in turn, then the memory of each, and prints the table; the first one is
    bistable's."""
    results = {way: [] for way in ways}
    for _ in range(runs):
        for way, command in ways.items():
            results[way].append(seconds(command, bench.prepare))
    ours = median(results["bistable"])
    print(f"image {bench.size / 1e6:.0f} MB, bundle {bench.archive.stat().st_size / 1e6:.0f} MB, "
          f"medians of {runs}, a loop device over {bench.medium}\n")
    print("| way | seconds | bistable takes | RssAnon MiB |\n|---|---|---|---|")
    for way, rows in results.items():
        took = median(rows)
        shown = f"{memory(ways[way], bench.prepare):.0f}" if "|" not in way else "-"
        print(f"| {way.replace(' | ', ', ')} | {took:.2f} | {ours / took:.2f} × | {shown} |",
              flush=True)
    print()


@contextlib.contextmanager
def memory_medium(work: pathlib.Path):
    """A file system in memory."""
    place = work / "memory"
    place.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=6g", "tmpfs", place)
    try:
        yield place
    finally:
        run("umount", place)
