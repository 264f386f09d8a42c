# SPDX-License-Identifier: Apache-2.0
"""Debian 13's boot programs (stub, ukify, systemd-boot, shim, GRUB), unpacked into the cache (never
installed)."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import cache

SUITE = "trixie"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
PACKAGES = [
    *("systemd-boot-efi", "systemd-ukify", "python3-pefile"),
    *("shim-signed", "shim-unsigned", "grub-efi-amd64-signed"),
]


@dataclass(frozen=True)
class BootPrograms:
    root: Path

    @property
    def stub(self) -> Path:
        return self.root / "usr/lib/systemd/boot/efi/linuxx64.efi.stub"

    def ukify(self, output: Path, stub: Path, *words: str | Path) -> None:
        """Debian 13's ukify; the words are its options."""
        environment = dict(os.environ, PYTHONPATH=str(self.root / "usr/lib/python3/dist-packages"))
        ukify = self.root / "usr/bin/ukify"
        command = ["/usr/bin/python3", ukify, "build", f"--stub={stub}", f"--output={output}"]
        done = subprocess.run(
            [*command, *words], env=environment, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise RuntimeError(f"ukify: {done.stderr}")


def get_boot_programs() -> BootPrograms:
    """The cached ones, or today's packages unpacked. Call it with the lock held."""
    found = sorted(cache.cache_dir().glob("boot-programs-*"))
    return BootPrograms(found[-1] if found else cache.built("boot-programs", SUITE, _download))


def _mirror() -> str:
    """Where this machine has Debian's main archive from."""
    form = "$(ORIGIN) $(COMPONENT) $(CODENAME) $(REPO_URI)"
    listing = cache.tool("apt-get", "indextargets", "--format", form, "Created-By: Packages")
    found = re.search(r"^Debian main [a-z]+ (\S+)$", listing, re.M)
    if found is None:
        raise RuntimeError(f"apt has no source of Debian's main archive:\n{listing}")
    return found.group(1)


def _download(work: Path) -> None:
    apt = work / "apt"
    for name in ("lists/partial", "archives/partial"):
        (apt / name).mkdir(parents=True)
    sources = apt / "sources.list"
    sources.write_text(f"deb [signed-by={KEYRING}] {_mirror()} {SUITE} main\n")
    options = [f"Dir::Etc::SourceList={sources}", "Dir::Etc::SourceParts=/dev/null"]
    options += [f"Dir::State::Lists={apt}/lists", f"Dir::Cache={apt}", "APT::Architecture=amd64"]
    # Another user may not get into the cache.
    options.append("APT::Sandbox::User=root")
    words = [word for option in options for word in ("-o", option)]
    cache.tool("apt-get", *words, "-qq", "update")
    cache.tool("apt-get", *words, "-qq", "download", *PACKAGES, cwd=work)
    for archive in sorted(work.glob("*.deb")):
        cache.tool("dpkg-deb", "-x", archive, work)
        archive.unlink()
    cache.tool("rm", "-rf", apt, work / "usr/share")
