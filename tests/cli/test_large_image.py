# SPDX-License-Identifier: Apache-2.0
"""An image that is large enough for several threads, with a real dm-verity tree behind its data."""

import json
import os
import subprocess

import pytest

from tree import MIB, bundle, noise, uki

DATA_SIZE = 40 * MIB + 4096  # five pieces for the threads, and a bit of one more
BLOCK = 4096


@pytest.fixture(scope="module")
def verity(tmp_path_factory):
    """The image, and its root hash."""
    path = tmp_path_factory.mktemp("verity") / "image"
    path.write_bytes(noise(MIB, "verity") * 40 + noise(4096, "end"))
    done = subprocess.run(
        ["/usr/sbin/veritysetup", "format", f"--hash-offset={DATA_SIZE}", path, path],
        capture_output=True, text=True, check=True)
    return path.read_bytes(), done.stdout.split("Root hash:")[1].split()[0]


def write_bundle(path, image, root_hash):
    boot = uki(cmdline=f"root=PARTLABEL=METROPOLIS-SYSTEM-X roothash={root_hash}".encode())
    path.write_bytes(bundle(boot, image))
    return path


def written(result):
    assert result.code == 0, result
    return json.loads(result.stdout.splitlines()[-1])["written"]


@pytest.fixture
def large(tree):
    os.truncate(tree.partition("B"), 48 * MIB)
    return tree


def test_the_tree_holds(on, large, verity, tmp_path):
    image, root_hash = verity
    path = write_bundle(tmp_path / "os.zip", image, root_hash)
    assert on("install", path).code == 0
    assert large.partition("B").read_bytes()[:len(image)] == image
    assert written(on("install", path, "--json")) == 0
    # The last chunk alone differs.
    with open(large.partition("B"), "r+b") as partition:
        partition.seek(len(image) - 1)
        partition.write(bytes([image[-1] ^ 1]))
    assert written(on("install", path, "--json")) == 2 * BLOCK  # and the first block again
    assert large.partition("B").read_bytes()[:len(image)] == image


@pytest.mark.parametrize("block", [0, 2047, 2048, 5000, DATA_SIZE // BLOCK - 1])
def test_one_damaged_block(on, large, verity, tmp_path, status, block):
    """The bundle's own CRC-32 holds: only the tree tells."""
    image, root_hash = verity
    place = block * BLOCK + 77
    image = image[:place] + bytes([image[place] ^ 1]) + image[place + 1:]
    result = on("install", write_bundle(tmp_path / "os.zip", image, root_hash))
    assert result.code == 1
    assert f"data block {block} does not match the image's hash tree" in result.stderr, result
    assert status()["slots"]["B"]["complete"] is False


def test_a_damaged_hash_block(on, large, verity, tmp_path):
    image, root_hash = verity
    place = DATA_SIZE + 3 * BLOCK + 9
    image = image[:place] + bytes([image[place] ^ 1]) + image[place + 1:]
    result = on("install", write_bundle(tmp_path / "os.zip", image, root_hash))
    assert result.code == 1 and "hash block" in result.stderr, result
