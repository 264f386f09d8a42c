# SPDX-License-Identifier: Apache-2.0
"""How the tests' disks are divided: ESP, two system slots, data."""

from __future__ import annotations

from .gpt import Partition

MIB = 1 << 20
Layout = dict[str, Partition]  # by label


def divide(slot: int, data: int) -> Layout:
    """With slots and a data partition of so many MiB; every partition starts at a MiB."""
    rows = [
        ("ESP", "c12a7328-f81f-11d2-ba4b-00a0c93ec93b", 160),
        ("METROPOLIS-SYSTEM-A", "ee96054b-f6d0-4267-aaaa-724b2afea74c", slot),
        ("METROPOLIS-SYSTEM-B", "ee96054b-f6d0-4267-bbbb-724b2afea74c", slot),
        ("METROPOLIS-NODE-DATA", "9eeec464-6885-414a-b278-4305c51f7966", data),
    ]
    found, start = {}, MIB
    for number, (label, type_guid, size) in enumerate(rows, 1):
        partition_uuid = f"7e570000-0000-4000-8000-00000000000{number}"
        found[label] = Partition(number, label, type_guid, partition_uuid, start, size * MIB)
        start += size * MIB
    return found
