# SPDX-License-Identifier: Apache-2.0
"""Narrow environments for a program that is about to start: preexec functions of subprocess."""

import ctypes
import resource
import struct

LD, JEQ, JGE, RET = 0x20, 0x15, 0x35, 0x06  # BPF: load a word, jump if, return (linux/filter.h)
ALLOW, ERRNO = 0x7FFF0000, 0x00050000  # linux/seccomp.h
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER = 38, 22, 2


def limits(**limits):
    """limits(NOFILE=64, ...): hard limits; (soft, hard) for both."""
    def set_limits():
        for name, value in limits.items():
            pair = value if isinstance(value, tuple) else (value, value)
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), pair)
    return set_limits


def calls(number, errno, and_newer=False):
    """The system call (its number), or all with this number and above, fail with `errno`."""
    code = [(LD, 0, 0, 0), (JGE if and_newer else JEQ, 0, 1, number), (RET, 0, 0, ERRNO | errno),
            (RET, 0, 0, ALLOW)]
    program = b"".join(struct.pack("<HBBI", *line) for line in code)

    def set_filter():
        libc = ctypes.CDLL(None, use_errno=True)
        buffer = ctypes.create_string_buffer(program, len(program))
        filter = struct.pack("<HxxxxxxQ", len(code), ctypes.addressof(buffer))
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if libc.prctl(PR_SET_SECCOMP, FILTER, ctypes.c_char_p(filter), 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "PR_SET_SECCOMP")
    return set_filter
