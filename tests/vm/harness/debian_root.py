# SPDX-License-Identifier: Apache-2.0
"""The root of a real Debian, as its own packages make it, with its own initrd."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from . import cache

FILES = cache.SOURCES / "debian"
PACKAGES = {
    "bookworm": "libcurl4 libssl3 libjansson4",
    "trixie": "libcurl4t64 libssl3t64 libjansson4 systemd-cryptsetup",
}
# systemd as PID 1 with logind; an initrd of systemd, which dm-verity's options on the kernel's
# command line need (initramfs-tools has nothing for dm-verity); what bistable is linked with.
COMMON = (
    "systemd systemd-sysv udev dbus libpam-systemd kmod "
    "linux-image-cloud-amd64 systemd-boot-efi dracut zstd cryptsetup-bin "
    "libisal2 zlib1g libzstd1 libblkid1 libseccomp2 libsystemd0"
)
# What an image for such a machine does without, once it has its initrd.
UNWANTED = (
    "usr/share/doc usr/share/man usr/share/info usr/share/locale usr/share/perl "
    "usr/lib/x86_64-linux-gnu/perl "
    "usr/lib/modules/*/kernel/drivers/infiniband usr/lib/modules/*/kernel/drivers/net/ethernet "
    "usr/lib/modules/*/kernel/drivers/scsi usr/lib/modules/*/kernel/net/netfilter "
    "usr/lib/modules/*/kernel/fs/btrfs usr/lib/modules/*/kernel/fs/nfs* "
    "usr/lib/modules/*/kernel/fs/xfs usr/lib/modules/*/kernel/arch/x86/kvm "
    "etc/resolv.conf var/cache/apt var/lib/apt"
)


@dataclass(frozen=True)
class Root:
    suite: str
    directory: Path

    @property
    def tree(self) -> Path:
        return self.directory / "root"

    @property
    def release(self) -> str:
        """Of the kernel."""
        (folder,) = (self.tree / "usr/lib/modules").iterdir()
        return folder.name

    @property
    def kernel(self) -> Path:
        return self.tree / f"boot/vmlinuz-{self.release}"

    @property
    def initrd(self) -> Path:
        return self.tree / "boot/initrd"

    @property
    def stub(self) -> Path:
        return self.tree / "usr/lib/systemd/boot/efi/linuxx64.efi.stub"


def get_root(suite: str) -> Root:
    """The root of Debian `suite`, from the cache or made of today's packages."""
    if os.geteuid() != 0:
        raise RuntimeError("the root of a Debian is made by root: run these tests as root")
    with cache.locked(suite):
        files = cache.files_below(*_overlays(suite))
        key = cache.digest(Path(__file__), *files)
        return Root(suite, cache.built(f"{suite}-root", key, lambda work: _build(work, suite)))


def _overlays(suite: str) -> list[Path]:
    """What is put into the root before its initrd is made."""
    return [path for path in (FILES / "initrd", FILES / f"initrd-{suite}") if path.exists()]


def _build(work: Path, suite: str) -> None:
    packages = ",".join(f"{COMMON} {PACKAGES[suite]}".split())
    hooks = [f'cp -R {path}/. "$1"' for path in _overlays(suite)]
    hooks += ['rm -rf "$1"/usr/lib/udev/hwdb*']  # a third of the initrd, for hardware of all kinds
    hooks += ['chroot "$1" sh -c "dracut --force /boot/initrd \\$(ls /usr/lib/modules)" 2>&1']
    hooks += [f'cd "$1" && rm -rf {UNWANTED}']
    cache.tool(
        *("env", "INITRD=No"),  # dracut's hook in the kernel's package: there is time for that
        *("mmdebstrap", "--mode=root", "--variant=essential", "--format=directory"),
        *("--aptopt=Apt::Install-Recommends false", "--dpkgopt=force-unsafe-io"),
        *(f"--include={packages}", *[f"--customize-hook={hook}" for hook in hooks]),
        *(suite, work / "root", *_mirrors(suite)),
    )


def _mirrors(suite: str) -> list[str]:
    """Lines for apt: of the mirror that the host, itself a Debian, has its packages from."""
    wanted = "$(REPO_URI) $(LABEL)"
    rows = cache.tool("apt-get", "indextargets", "--format", wanted, "Created-By: Packages")
    uris = {label: uri for uri, label in (row.rsplit(" ", 1) for row in rows.splitlines())}
    signed = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    suites = {"Debian": suite, "Debian-Security": f"{suite}-security"}
    return [f"deb {signed} {uris[label]} {suites[label]} main" for label in suites if label in uris]
