# SPDX-License-Identifier: Apache-2.0
"""What fuzzing found once: INPUTS[target][name] is replayed by every test run."""

import struct


def end64(extra: int, comment: int) -> bytes:
    """An empty ZIP whose ZIP64 end record is `extra` bytes longer than usual."""
    return (
        struct.pack("<IQHHIIQQQQ", 0x06064B50, 44 + extra, 45, 45, 0, 0, 0, 0, 0, 0)
        + bytes(extra)
        + struct.pack("<IIQI", 0x07064B50, 0, 0, 1)
        + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 0, 0, 0, 0, comment)
        + bytes(comment)
    )


INPUTS: dict[str, dict[str, bytes]] = {
    "http_head": {
        # A bare CR inside a value went into If-Range as it stood.
        "bare-cr": b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:52:37 GMT\r\n"
        b"Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\rx\r\n",
        # A date in quotes was sent as a validator and then taken for an ETag.
        "quoted-date": b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:52:37 GMT\r\n"
        b'Last-Modified: "Sun, 06 Nov 1994 08:49:37 GMT\r\n',
    },
    "zip": {
        # Further from the end than readers look.
        "end64-over-cap": end64(4096 - 56 + 1, 65535),
        "end64-at-cap": end64(4096 - 56, 65535),
    },
}
