# SPDX-License-Identifier: Apache-2.0
"""A machine that is updated back and forth, and what has to hold on it whatever happened."""

import fcntl
import json
import os
import zipfile

import make_bundle
from cold_boot import cold_start
from tree import bundle, image, uki

PLACEHOLDER = b"METROPOLIS-SYSTEM-X"


class Life:
    def __init__(self, tree, on, status, folder, chunked=False):
        self.tree, self.on, self.status, self.chunked = tree, on, status, chunked
        self.path = folder / "next.zip"
        self.running = self.confirmed = "A"
        self.version = 1
        self.content = {slot: tree.partition(slot).read_bytes() for slot in "AB"}

    @property
    def other(self):
        return "B" if self.running == "A" else "A"

    def next_system(self):
        """A bundle of a new system, also as a file at `path`."""
        self.version += 1
        self.image = image(seed=f"image {self.version}")
        self.uki = uki(str(self.version))
        if self.chunked:
            content = make_bundle.make(self.uki, self.image, method=make_bundle.STORED,
                                       keys={"version": str(self.version)})
        else:
            content = bundle(self.uki, self.image, zipfile.ZIP_STORED)
        self.path.write_bytes(content)
        return content

    def ok(self, *arguments):
        result = self.on(*arguments)
        assert result.code == 0, result
        return result

    def assert_lock_is_free(self):
        folder = os.open(self.tree.boot_file("A").parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(folder)

    def assert_entries_right(self):
        """Foreign entries are as they were, nothing is listed twice, both records are readable,
        a slot that is not complete is not started, nor a trial after a power cut."""
        assert cold_start(self.tree.root) in (self.confirmed, self.running)
        order = self.tree.boot_order()
        assert len(order) == len(set(order)), order
        assert [number for number in order if number in (0, 7)] == [0, 7]
        for name, data in self.tree.FOREIGN.items():
            assert self.tree.variable(name) == data
        document = self.status()
        for slot in "AB":
            assert len(self.tree.entries(slot)) <= 1
            record = self.tree.boot_file(slot).with_suffix(".state")
            assert not record.exists() or json.loads(record.read_text())["format"] == 1
            # Between its record and its entry nothing of the target is touched yet.
            if not document["slots"][slot]["complete"] and any(self.tree.entries(slot).values()):
                assert self.tree.partition(slot).read_bytes() == self.content[slot]
        assert document["running"] == self.running
        assert document["slots"][self.running]["complete"] is True
        return document

    def assert_not_started(self):
        """What was broken off is not what starts."""
        document = self.assert_entries_right()
        assert document["next"] == document["default"] == self.running, document
        assert self.tree.boot_next() is None

    def assert_no_leftovers(self):
        assert [path.name for path in self.tree.esp.rglob("*.new*")] == []

    def assert_holds(self, slot):
        assert self.tree.partition(slot).read_bytes()[:len(self.image)] == self.image
        self.content[slot] = self.tree.partition(slot).read_bytes()
        bound = PLACEHOLDER[:-1] + slot.encode()
        assert self.tree.boot_file(slot).read_bytes() == self.uki.replace(PLACEHOLDER, bound)

    def converge(self):
        """The next try works: the other slot holds the next system, starts, and is confirmed."""
        self.ok("install", self.path)
        self.assert_holds(self.other)
        self.assert_no_leftovers()
        self.start()
        self.confirm()

    def start(self):
        self.running = self.other
        assert self.tree.reboot() == self.running

    def confirm(self):
        self.ok("mark-good")
        self.confirmed = self.running
        assert cold_start(self.tree.root) == self.running
        document = self.assert_entries_right()
        assert document["default"] == document["next"] == self.running
        assert document["slots"][self.running]["confirmed"] is True
        self.assert_no_leftovers()
