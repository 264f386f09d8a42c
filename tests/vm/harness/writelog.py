# SPDX-License-Identifier: Apache-2.0
"""Power cuts from the log of QEMU's blklogwrites driver: what a disk may hold after one.

The log's format is that of Linux's dm-log-writes (admin-guide/device-mapper/log-writes.rst).
Between two flushes a drive may have kept any subset of the writes; after a flush, all before it.
"""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAGIC = 0x6A736677736872
FLUSH, DISCARD, MARK = 1, 4, 8
ALL_SUBSETS_UP_TO = 9  # writes in one epoch; above that, subsets are sampled
SECTOR = 512


@dataclass(frozen=True)
class Write:
    offset: int  # bytes
    data: bytes


# Sector number -> its new content.
Overlay = dict[int, bytes]


def read_epochs(log: Path, start: int, end: int) -> list[list[Write]]:
    """The writes into bytes [start, end) of the disk, grouped by the flushes between them."""
    epochs: list[list[Write]] = [[]]
    with open(log, "rb") as file:
        magic, version, entries, sector_size = struct.unpack("<QQQI", file.read(28))
        if magic != MAGIC or version != 1:
            raise ValueError(f"{log} is no write log")
        position = sector_size
        for _ in range(entries):
            file.seek(position)
            sector, count, flags, _ = struct.unpack("<QQQQ", file.read(32))
            position += sector_size
            if flags & FLUSH and epochs[-1]:
                epochs.append([])
            if flags & (DISCARD | MARK) or count == 0:
                continue
            file.seek(position)
            data = file.read(count * sector_size)
            position += len(data)
            offset = sector * sector_size
            if start <= offset and offset + len(data) <= end:
                epochs[-1].append(Write(offset, data))
    return [epoch for epoch in epochs if epoch]


def apply(overlay: Overlay, write: Write) -> None:
    for index in range(0, len(write.data), SECTOR):
        overlay[(write.offset + index) // SECTOR] = write.data[index : index + SECTOR]


def states(
    epochs: list[list[Write]], seed: int = 1, samples: int = 200
) -> Iterator[tuple[str, Overlay]]:
    """Every state that a cut may leave: all subsets within each epoch, or a sample of many."""
    rng = random.Random(seed)
    durable: Overlay = {}
    for number, epoch in enumerate(epochs):
        for chosen in _subsets(len(epoch), rng, samples):
            overlay = dict(durable)
            for index in chosen:
                apply(overlay, epoch[index])
            yield f"epoch {number}, writes {list(chosen)} of {len(epoch)}", overlay
        for write in epoch:
            apply(durable, write)
    yield "the end", durable


def _subsets(count: int, rng: random.Random, samples: int) -> Iterator[tuple[int, ...]]:
    """Indexes in log order: of two writes of one sector the later one wins."""
    if count <= ALL_SUBSETS_UP_TO:
        for size in range(count + 1):
            yield from itertools.combinations(range(count), size)
        return
    for size in range(count + 1):
        yield tuple(range(size))
    for missing in range(count):
        yield tuple(index for index in range(count) if index != missing)
    for _ in range(samples):
        density = rng.random()
        yield tuple(index for index in range(count) if rng.random() < density)
