# SPDX-License-Identifier: Apache-2.0
"""What must hold after an install that failed: the running slot is whole, and it is what starts."""

import json

from tree import EFI_GLOBAL

def variables(tree):
    return {path.name.removesuffix(f"-{EFI_GLOBAL}"): path.read_bytes()
            for path in tree.variables.iterdir()}


def record(tree, slot):
    path = tree.boot_file(slot).with_suffix(".state")
    return path.read_bytes() if path.is_file() else None


class OldSlot:
    """Looks at the tree when it is made, and later tells what became of it. `document` is what
    `status` says before, `status()` gives what it says then."""

    def __init__(self, tree, status, document=None):
        self.tree, self.status = tree, status
        self.document = document or status()
        self.running = self.document["running"]
        self.target = "B" if self.running == "A" else "A"
        self.before = tree.snapshot()
        self.variables, self.record = variables(tree), record(tree, self.target)
        self.order = tree.boot_order()

    def assert_untouched(self):
        """Nothing has changed, on the disk or in the firmware."""
        after = self.tree.snapshot()
        changed = {path for path in self.before.keys() | after.keys()
                   if self.before.get(path) != after.get(path)}
        assert not changed, changed

    def assert_intact(self, may_begin=False):
        """The old slot is untouched and first, nothing starts a target that is not whole, and
        foreign entries are as they were. Without `may_begin`, nothing has changed at all.
        Returns whether the target was written to: its record says then that it is incomplete."""
        begun = may_begin and record(self.tree, self.target) != self.record
        document = self.status()
        if begun:
            self.assert_incomplete(document["slots"][self.target])
        else:
            self.assert_untouched()
        self.assert_old_slot_starts(document)
        return begun

    def assert_old_slot_starts(self, document):
        tree = self.tree
        ours, theirs = (tree.entries(slot) for slot in (self.running, self.target))
        order = tree.boot_order()
        assert tree.boot_next() is None and any(ours.values())
        assert min(order.index(n) for n in ours if n in order) < min(
            (order.index(n) for n in theirs if n in order), default=len(order))
        assert [document[key] for key in ("running", "default", "next")] == [self.running] * 3
        assert document["slots"][self.running] == self.document["slots"][self.running]

    def assert_incomplete(self, slot):
        tree, after, files = self.tree, variables(self.tree), self.tree.snapshot()
        for path in (tree.partition(self.running), tree.boot_file(self.running)):
            name = str(path.relative_to(tree.root))
            assert files[name] == self.before[name], f"{name} was changed"
        assert json.loads(record(tree, self.target))["complete"] is False
        targets = tree.entries(self.target)
        assert not any(targets.values()), targets
        mine = {f"Boot{number:04X}" for number in targets}
        for name, content in self.variables.items():
            assert name in mine or name == "BootOrder" or after[name] == content, name
        assert [n for n in tree.boot_order() if n not in targets] == [
            n for n in self.order if n not in targets]
        left = list(tree.boot_file(self.target).parent.glob("*.new*"))
        assert not left, "a half-written file is left"
        assert slot["complete"] is False and slot["entry_active"] is False


def assert_one_error(result, code, *says):
    """One clear error of at most two lines, beside warnings; nothing that sounds like success. It
    says each of `says`; of a tuple one."""
    assert result.code == code, result
    lines = [line for line in result.stderr.splitlines() if "bistable: warning: " not in line]
    assert 1 <= len(lines) <= 2 and lines[0].startswith("bistable: "), result
    for text in says:
        alternatives = (text,) if isinstance(text, str) else text
        assert any(one in result.stderr for one in alternatives), (text, result)
    assert "Installed" not in result.stdout and "next reboot" not in result.stdout, result
