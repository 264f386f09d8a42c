# SPDX-License-Identifier: Apache-2.0
"""What a disk and a machine need to know of the system on them."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from .layout import Layout


class Variant(Protocol):
    """One version of a system."""

    @property
    def image(self) -> Path: ...

    @property
    def uki(self) -> Path: ...


class System(Protocol):
    @property
    def kind(self) -> str: ...

    @property
    def name(self) -> str:
        """Changes with everything that the system is made of."""

    @property
    def layout(self) -> Layout: ...

    def variant(self, letter: str) -> Variant: ...
