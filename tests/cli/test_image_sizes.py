# SPDX-License-Identifier: Apache-2.0
"""Images and partitions of every shape: blocks, chunks of 1 MiB and what does not fit them."""

import pytest

from tree import MIB, Tree, bundle, noise

BLOCK = 4096
ODD = 3 * MIB + 5 * 512  # a partition that ends in the midst of a block

# Partition, image
SIZES = [
    (ODD, 1),
    (ODD, BLOCK - 1),
    (ODD, BLOCK),
    (ODD, BLOCK + 1),
    (ODD, MIB - 1),
    (ODD, MIB),
    (ODD, MIB + 1),
    (ODD, 2 * MIB + 3 * 512),
    (ODD, 3 * MIB),
    (ODD, ODD - 1),
    (ODD, ODD),
    (6 * MIB, 5 * MIB),  # more chunks than are in memory at once
    (6 * MIB, 6 * MIB - BLOCK),
    (6 * MIB, 6 * MIB),
    (512, 512),
]


@pytest.fixture
def partition(tree, request):
    """Slot B's, full of something else."""
    tree.become(Tree(tree.root.with_name("other"), partition_size=request.param))
    path = tree.partition("B")
    path.write_bytes(noise(request.param, "old"))
    return path


@pytest.mark.parametrize("partition, size", SIZES, indirect=["partition"])
def test_image(on, status, tree, tmp_path, partition, size):
    old, system = partition.read_bytes(), noise(size, "new")
    archive = tmp_path / "os.zip"
    archive.write_bytes(bundle(system=system))
    result = on("install", "--json", archive)
    assert result.code == 0, result
    found = partition.read_bytes()
    # With its first block goes what stood behind a smaller image.
    behind = old[:size] + bytes(max(0, min(BLOCK, len(old)) - size)) + old[max(size, BLOCK):]
    assert found == system + behind[size:]
    assert status()["slots"]["B"]["complete"] is True

    written = partition.stat().st_mtime_ns
    result = on("install", archive)
    assert result.code == 0, result
    assert partition.stat().st_mtime_ns == written

    # One byte differs, in the image's last block.
    partition.write_bytes(found[:size - 1] + bytes([found[size - 1] ^ 1]) + found[size:])
    result = on("install", archive)
    assert result.code == 0, result
    assert partition.read_bytes() == found


@pytest.mark.parametrize("partition", [ODD, 6 * MIB], indirect=True)
def test_image_that_does_not_fit(on, tree, tmp_path, partition):
    archive = tmp_path / "os.zip"
    archive.write_bytes(bundle(system=noise(partition.stat().st_size + 1, "new")))
    before = tree.snapshot()
    result = on("install", archive)
    assert result.code == 1 and "has only" in result.stderr, result
    assert tree.snapshot() == before
