# SPDX-License-Identifier: Apache-2.0
"""Root hashes on the command line, as systemd and the kernel read them, against real hash trees:
`bundle create`, and installs of a bundle of either kind, come to the same."""

import dataclasses
import subprocess

import pytest

from bundles import SYSTEM, Bundle
from tree import MIB, Tree, bundle, image, uki

OTHER, THIRD = "5" * 64, "7" * 64
PLACE = "root=PARTLABEL=METROPOLIS-SYSTEM-X"
MATCH, OTHERS, NONE, FOREIGN = "no warning", "uses", "no hash tree was found", "Flatcar"
KINDS = ["plain", "format 1"]


@dataclasses.dataclass
class Image:
    path: object
    root: str  # the root hash of its tree
    table: str  # a line of dm-mod.create


def format_image(folder, *options, size=MIB, gap=0, blocks=(4096, 4096), algorithm="sha256",
                 superblock=True):
    """An image with a hash tree `gap` bytes behind its data."""
    path = folder / "image"
    path.write_bytes(image(size) + bytes(gap))
    offset, count = size + gap, size // blocks[0]
    said = subprocess.run(
        ["/usr/sbin/veritysetup", "format", f"--hash-offset={offset}", f"--data-blocks={count}",
         f"--data-block-size={blocks[0]}", f"--hash-block-size={blocks[1]}", f"--hash={algorithm}",
         "--salt=c0ffee", *([] if superblock else ["--no-superblock"]), *options, path, path],
        check=True, stdout=subprocess.PIPE, text=True).stdout
    root = said.split("Root hash:")[1].split()[0]
    start = (offset + 512 * superblock + blocks[1] - 1) // blocks[1]
    return Image(path, root, f"0 {size // 512} verity 1 /dev/x /dev/x {blocks[0]} {blocks[1]} "
                             f"{count} {start} {algorithm} {root} c0ffee")


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    def make(**options):
        return format_image(tmp_path_factory.mktemp("image"), **options)
    bare = tmp_path_factory.mktemp("image") / "image"
    bare.write_bytes(image(MIB))
    return {
        "usual": make(),
        "small blocks": make(size=MIB + 1024, blocks=(1024, 4096)),
        "gap": make(gap=3 * 4096),
        "bare tree": make(superblock=False),
        "sha1": make(algorithm="sha1"),
        "sha512": make(algorithm="sha512"),
        "none": Image(bare, OTHER, ""),
    }


def create_dm(*lines):
    return 'dm-mod.create="' + ";".join(f"d{i},,,ro,{line}" for i, line in enumerate(lines)) + '"'


def zero_table(root):
    """Of another device, whose tree would lie in this image's data."""
    return f"0 8 verity 1 /dev/y /dev/y 4096 4096 100 7 sha256 {root} -"


# Image, what the command line says of it, what is told, the root hash in the manifest.
GOOD = {
    "root": ("usual", "roothash={root}", MATCH, "{root}"),
    "usr": ("usual", "usrhash={root}", MATCH, "{root}"),
    "empty usr": ("usual", "roothash={root} usrhash=", MATCH, "{root}"),
    "empty root": ("usual", "roothash= usrhash={root}", MATCH, "{root}"),
    "both empty": ("usual", "roothash= usrhash=", MATCH, None),
    "root, and another usr": ("usual", "roothash={root} usrhash=" + OTHER, MATCH, "{root}"),
    "usr, and another root": ("usual", "usrhash={root} roothash=" + OTHER, MATCH, "{root}"),
    "the last of two": ("usual", f"roothash={OTHER} roothash={{root}}", MATCH, "{root}"),
    "the last of a bad one and a good one": ("usual", "roothash=abc roothash={root}", MATCH,
                                             "{root}"),
    "taken back": ("usual", f"roothash={OTHER} roothash=", MATCH, None),
    "in the initrd": ("usual", "rd.roothash={root}", MATCH, "{root}"),
    "single quotes": ("usual", "'roothash={root}'", MATCH, "{root}"),
    "left to another unit": ("usual", "systemd.verity=0 roothash={root}", MATCH, "{root}"),
    "small blocks": ("small blocks", "roothash={root}", MATCH, "{root}"),
    "a superblock behind a gap": (
        "gap", f"roothash={{root}} systemd.verity_root_options=hash-offset={MIB + 3 * 4096}",
        MATCH, "{root}"),
    "a superblock behind a gap of usr": (
        "gap", f"roothash={OTHER} usrhash={{root}} systemd.verity_usr_options="
               f"ignore-zero-blocks,hash-offset={(MIB + 3 * 4096) // 1024}K", MATCH, "{root}"),
    "a table": ("bare tree", "{table}", MATCH, "{root}"),
    "two tables": ("bare tree", "{two}", MATCH, "{root}"),
    "two tables, the other way": ("bare tree", "{owt}", MATCH, "{root}"),
    "a table and a root hash": ("bare tree", "{table} roothash=" + OTHER, MATCH, "{root}"),
    "the last of two tables": ("bare tree", create_dm(zero_table(OTHER)) + " {table}", MATCH,
                               "{root}"),
    "SHA-1": ("sha1", "roothash={root}", OTHERS, None),
    "SHA-1, and another usr": ("sha1", "roothash={root} usrhash=" + OTHER, OTHERS, None),
    "SHA-512": ("sha512", "roothash={root}", OTHERS, "{root}"),
    "a table of SHA-1": ("sha1", "{table}", OTHERS, None),
    "no tree": ("none", "roothash=" + OTHER, NONE, OTHER),
    "no tree of SHA-1": ("none", "roothash=" + "ab" * 20, NONE, None),
    "no tree of two": ("none", f"roothash={OTHER} usrhash={THIRD}", NONE, None),
    "a gap that is not told of": ("gap", "roothash={root}", NONE, "{root}"),
    "Flatcar": ("usual", "verity.usrhash=" + OTHER, FOREIGN, None),
    "Flatcar, and a root": ("usual", f"verity.usrhash={OTHER} roothash={{root}}", FOREIGN,
                            "{root}"),
}
# Image, command line, the root hashes that the refusal names.
BAD = {
    "another root": ("usual", "roothash=" + OTHER, [OTHER]),
    "another usr": ("usual", "roothash= usrhash=" + OTHER, [OTHER]),
    "neither of two": ("usual", f"roothash={OTHER} usrhash={THIRD}", [OTHER, THIRD]),
    "the first of two": ("usual", f"roothash={{root}} roothash={OTHER}", [OTHER]),
    "SHA-1 for SHA-256": ("usual", "roothash=" + "ab" * 20, ["ab" * 20]),
    "another one behind a gap": (
        "gap", f"roothash={OTHER} systemd.verity_root_options=hash-offset={MIB + 3 * 4096}",
        [OTHER]),
    "another table": ("bare tree", "{other}", [OTHER]),
    "neither of two tables": ("bare tree", create_dm(zero_table(OTHER), zero_table(THIRD)),
                              [OTHER, THIRD]),
}


def fill(found, text):
    other = found.table.replace(found.root, OTHER)
    return text.format(root=found.root, table=create_dm(found.table), other=create_dm(other),
                       two=create_dm(zero_table(OTHER), found.table),
                       owt=create_dm(found.table, zero_table(OTHER)))


def check_told(result, told, found, words):
    """Just what is told, and by name."""
    hashes = [word.split("=")[1] for word in words.split() if "hash=" in word]
    for sign in (OTHERS, NONE, FOREIGN):
        assert (f" {sign} " in result.stderr.replace("'", " ")) == (sign == told), result
    assert ("warning: The UKI's command line" in result.stderr) == (told == NONE), result
    if told in (OTHERS, NONE):
        assert any(h in result.stderr for h in (*hashes, found.root)), result


@pytest.fixture
def two_bundles(run, images, tmp_path):
    """two_bundles(case) -> the image, {kind: bundle or, when it was refused, None}, the Result."""
    def two_bundles(case):
        found = images[case[0]]
        boot = uki("3", cmdline=f"{PLACE} {fill(found, case[1])}".encode())
        (tmp_path / "u.efi").write_bytes(boot)
        made = run("bundle", "create", "-v", "--compatible=acme", tmp_path / "u.efi", found.path,
                   tmp_path / "os.bundle")
        (tmp_path / "os.zip").write_bytes(bundle(boot, found.path.read_bytes()))
        return found, {"plain": tmp_path / "os.zip",
                       "format 1": tmp_path / "os.bundle" if made.code == 0 else None}, made
    return two_bundles


@pytest.mark.parametrize("name", GOOD)
def test_good(run, two_bundles, tmp_path, name):
    _, words, told, wanted = GOOD[name]
    found, bundles, made = two_bundles(GOOD[name])
    assert made.code == 0, made
    check_told(made, told, found, words)
    verity = Bundle(bundles["format 1"]).payload(SYSTEM).get("verity")
    assert verity == (None if wanted is None else {"root_hash": fill(found, wanted)})
    if told == NONE:
        assert str(found.path) in made.stderr
    for kind in KINDS:
        tree = Tree(tmp_path / kind)
        tree.config.write_text(tree.config.read_text().replace(
            "[system]\n", "[system]\ncompatible=acme\n"))
        result = run("--root", tree.root, "install", "-v", "--allow-unsigned", bundles[kind])
        assert result.code == 0, result
        check_told(result, told, found, words)
        if told == NONE:
            assert "PARTLABEL=METROPOLIS-SYSTEM-B" in result.stderr
        content = found.path.read_bytes()
        assert tree.partition("B").read_bytes()[:len(content)] == content
        assert tree.reboot() == "B"


def test_verify_takes_each_of_them(run, two_bundles):
    _, bundles, _ = two_bundles(GOOD["usr, and another root"])
    assert run("bundle", "verify", bundles["format 1"]).code == 0


@pytest.mark.parametrize("name", BAD)
def test_bad(on, tree, two_bundles, name):
    hashes = BAD[name][2]
    found, bundles, made = two_bundles(BAD[name])
    assert made.code == 3 and "do not belong together" in made.stderr, made
    result = on("install", "--allow-unsigned", bundles["plain"])
    assert result.code == 1 and "do not belong together" in result.stderr, result
    for text in (made.stderr, result.stderr):
        assert all(h in text for h in hashes), text
    assert tree.reboot() == "A"
