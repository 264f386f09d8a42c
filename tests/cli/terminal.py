# SPDX-License-Identifier: Apache-2.0
"""Runs the program on a pseudo-terminal."""

import os
import pty


def read_terminal(process, master):
    """Everything the process writes to the terminal whose other end is master."""
    output = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # EIO: nobody has the terminal open any more
            break
        if not piece:
            break
        output += piece
    process.wait()
    return output.decode()


def on_terminal(start, *arguments, **options):
    """What the program writes to a terminal, standard output and error together."""
    master, slave = pty.openpty()
    process = start(*arguments, stdout=slave, stderr=slave, **options)
    os.close(slave)
    try:
        return read_terminal(process, master)
    finally:
        os.close(master)
