# SPDX-License-Identifier: Apache-2.0
"""A folder on a file system of its own, of a limited size."""

import contextlib
import subprocess

import pytest


@contextlib.contextmanager
def small_disk(folder, options):
    """A tmpfs with the same files on a folder; a function that mounts it with other options."""
    folder.mkdir(exist_ok=True)
    content = {path.relative_to(folder): path.read_bytes()
               for path in folder.rglob("*") if path.is_file()}

    def mount(*arguments):
        return subprocess.run(["mount", *arguments, str(folder)], capture_output=True, text=True)

    mounted = mount("-t", "tmpfs", "-o", options, "tmpfs")
    if mounted.returncode != 0:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr.strip()}")
    try:
        for path, data in content.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        yield lambda options: mount("-o", f"remount,{options}").check_returncode()
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
