# SPDX-License-Identifier: Apache-2.0
"""The cache of built things: a directory per thing and key, shared by parallel sessions."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
SOURCES = REPOSITORY / "tests" / "vm"


def cache_dir() -> Path:
    """The directory for generated things: $BISTABLE_VM_CACHE, else build/vm of this repository."""
    path = Path(os.environ.get("BISTABLE_VM_CACHE", REPOSITORY / "build" / "vm"))
    path.mkdir(parents=True, exist_ok=True)
    return path.resolve()


def bistable_binary() -> Path:
    """The program under test: $BISTABLE, else build/bistable."""
    return Path(os.environ.get("BISTABLE", REPOSITORY / "build" / "bistable")).resolve()


@contextlib.contextmanager
def locked(name: str = "") -> Iterator[None]:
    """Holds a lock of the cache, so that parallel test sessions build a thing once."""
    with open(cache_dir() / f"lock{name}", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def files_below(*folders: Path) -> list[Path]:
    """All files there, in an order that does not change."""
    return sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())


def digest(*parts: bytes | str | Path) -> str:
    """A short key over texts, bytes and the contents of files."""
    state = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            part = part.read_bytes()
        elif isinstance(part, str):
            part = part.encode()
        state.update(hashlib.sha256(part).digest())
    return state.hexdigest()[:12]


def built(name: str, key: str, build: Callable[[Path], None]) -> Path:
    """The directory `name-key`, filled by `build` if it does not exist. Call it with the lock held.

    Older versions of the same thing are removed an hour later: another session may still use them.
    """
    path = cache_dir() / f"{name}-{key}"
    if not path.exists():
        work = cache_dir() / f".{name}-{key}.new"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        build(work)
        work.rename(path)
        _remove_old(name, path)
    return path


def _remove_old(name: str, current: Path) -> None:
    newest = current.stat().st_mtime
    for path in cache_dir().glob(f"{name}-*"):
        if path != current and newest - path.stat().st_mtime > 3600:
            shutil.rmtree(path, ignore_errors=True)


def tool(*command: str | Path, cwd: Path | None = None) -> str:
    """Runs a tool of the host and returns its output; raises with its messages when it fails."""
    environment = dict(os.environ, LC_ALL="C", PATH=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        said = f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
        raise RuntimeError(f"{' '.join(words)}: {said}")
    return done.stdout
