# SPDX-License-Identifier: Apache-2.0
"""Builds a small test OS and runs it under QEMU and OVMF, by software emulation only."""
