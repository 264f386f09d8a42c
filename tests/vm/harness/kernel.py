# SPDX-License-Identifier: Apache-2.0
"""Debian's cloud kernel, unpacked into the cache (never installed), and its modules."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from . import cache

META_PACKAGE = "linux-image-cloud-amd64"


@dataclass(frozen=True)
class Kernel:
    release: str
    image: Path
    modules: Path

    def with_dependencies(self, names: list[str]) -> list[Path]:
        """The module files for these names and all they depend on, each after its dependencies."""
        files = {normal(path.stem): path for path in self.modules.rglob("*.ko")}
        order: list[Path] = []

        def visit(name: str) -> None:
            path = files[normal(name)]
            if path in order:
                return
            for dependency in depends(path):
                visit(dependency)
            order.append(path)

        for name in names:
            visit(name)
        return order


def normal(name: str) -> str:
    return name.replace("-", "_")


def depends(module: Path) -> list[str]:
    """What a module's .modinfo says it depends on."""
    found = re.search(rb"\0depends=([^\0]*)\0", module.read_bytes())
    return [name for name in found.group(1).decode().split(",") if name] if found else []


def get_kernel() -> Kernel:
    """The cached kernel, or today's Debian package unpacked. Call it with the lock held."""
    found = sorted(cache.cache_dir().glob("kernel-*"))
    root = found[-1] if found else _download()
    image = next((root / "boot").glob("vmlinuz-*"))
    release = image.name.removeprefix("vmlinuz-")
    return Kernel(release, image, next(root.glob(f"**/lib/modules/{release}")))


def _download() -> Path:
    listing = cache.tool("apt-cache", "depends", META_PACKAGE)
    package = re.search(r"Depends: (linux-image-\S+)", listing)
    if package is None:
        raise RuntimeError(f"apt-cache does not know what {META_PACKAGE} depends on:\n{listing}")

    def build(work: Path) -> None:
        cache.tool("apt-get", "download", package.group(1), cwd=work)
        archive = next(work.glob("*.deb"))
        cache.tool("dpkg-deb", "-x", archive, work)
        archive.unlink()

    return cache.built("kernel", package.group(1), build)
