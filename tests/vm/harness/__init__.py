# SPDX-License-Identifier: Apache-2.0
"""Builds a small test OS and runs it under QEMU and OVMF, by software emulation only."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "fixtures"))
