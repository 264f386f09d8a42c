# SPDX-License-Identifier: Apache-2.0
"""Whom an install trusts, in its order: each refusal ends with 3 and a sentence, before anything is
written. tests/fixtures/bad_chunked.py has the signatures that are wrong in themselves."""

import pytest

import make_bundle
import make_cms
from make_bundle import ROOT, SERIALS, SIGNER, make
from old_slot import OldSlot, assert_one_error
from tree import image, uki

BOOT, SYSTEM = uki("3", linux_size=16384), image(256 << 10, "three")
REFUSED, USAGE = 3, 2
OTHER_ROOT = make_cms.pem("CERTIFICATE", make_cms.certificate("Other", "Other", 9, ca=True))


@pytest.fixture
def keyring(signed):
    return signed.config.parent / "keyring.pem"


@pytest.fixture
def set_config(signed):
    """set_config(key=value) in [system]; None: left out."""
    def set_config(**keys):
        lines = signed.config.read_text().splitlines()
        names = {key.replace("_", "-"): value for key, value in keys.items()}
        kept = [line for line in lines if line.split("=")[0] not in names]
        place = kept.index("[system]") + 1
        kept[place:place] = [f"{k}={v}" for k, v in names.items() if v is not None]
        signed.config.write_text("\n".join(kept) + "\n")
    return set_config


@pytest.fixture
def install(on, tmp_path):
    """install(content, *options) -> Result"""
    def install(content, *options):
        path = tmp_path / "os.bundle"
        path.write_bytes(content)
        return on("install", "--json", *options, path)
    return install


@pytest.fixture
def refused(signed, status, install):
    """refused(content, what is said, *options)"""
    def refused(content, *says, options=(), code=REFUSED):
        old = OldSlot(signed, status)
        assert_one_error(install(content, *options), code, *says)
        old.assert_intact()
    return refused


def result_of(installed):
    assert installed.code == 0, installed
    return installed.event("result")[0]


@pytest.fixture
def second(signed, on):
    """Slot B with version 2, epoch 1, is running and confirmed."""
    assert on("activate", "--activate=reboot").code == 0
    assert signed.reboot() == "B" and on("mark-good").code == 0
    return signed


# Signatures and who made them


def test_signed(signed, install):
    result = result_of(install(make(BOOT, SYSTEM)))
    assert result["signer"]["subject"] == f"CN={SIGNER}"
    import hashlib
    assert result["signer"]["sha256"] == hashlib.sha256(
        make_bundle.SIGNER_CERTIFICATE).hexdigest()
    assert result["unsigned"] is False


def test_summary_names_the_signer(signed, on, tmp_path):
    (tmp_path / "os.bundle").write_bytes(make(BOOT, SYSTEM))
    result = on("install", tmp_path / "os.bundle")
    assert f"It is signed by CN={SIGNER}." in result.stdout, result


def test_unsigned(refused, install):
    refused(make(BOOT, SYSTEM, signature=b""), "no signature", "--allow-unsigned")
    result = result_of(install(make(BOOT, SYSTEM, signature=b""), "--allow-unsigned"))
    assert result["unsigned"] is True and result["signer"] is None


def test_allowed_by_configuration(set_config, install):
    set_config(allow_unsigned="yes")
    assert result_of(install(make(BOOT, SYSTEM, signature=b"")))["unsigned"] is True


def test_a_bad_signature_is_no_missing_one(refused, set_config):
    """Who may go unsigned may still not be signed wrongly."""
    set_config(allow_unsigned="yes")
    signature = make_bundle.signature(b"another manifest")
    refused(make(BOOT, SYSTEM, signature=signature), "does not fit", options=["--allow-unsigned"])


@pytest.mark.parametrize("manifest", [b"{", b"not JSON \xff\0", b'{"format": 99}'])
def test_nothing_is_parsed_before(refused, manifest):
    refused(make(BOOT, SYSTEM, manifest=manifest, signature=make_bundle.signature(b"{}")),
            "does not fit")
    refused(make(BOOT, SYSTEM, manifest=manifest, signature=b""), "no signature")


def test_no_keyring(refused, install, keyring):
    keyring.unlink()
    refused(make(BOOT, SYSTEM), "there is no keyring '/etc/bistable/keyring.pem'")
    installed = install(make(BOOT, SYSTEM), "--allow-unsigned")
    result = result_of(installed)
    assert result["signer"] is None and result["unsigned"] is True
    assert any("signature is not verified" in event["text"] for event in installed.event("warning"))


def test_keyring_elsewhere(signed, refused, install, set_config, keyring):
    set_config(keyring="/etc/other.pem")
    refused(make(BOOT, SYSTEM), "there is no keyring '/etc/other.pem'")
    keyring.rename(signed.root / "etc/other.pem")
    assert result_of(install(make(BOOT, SYSTEM)))["signer"]


@pytest.mark.parametrize("content, says", [
    (b"", "no certificate"), (b"hello", "no certificate"),
    (b"-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n", "keyring.pem"),
])
def test_bad_keyring(refused, keyring, content, says):
    keyring.write_bytes(content)
    refused(make(BOOT, SYSTEM), "keyring.pem", says, code=USAGE)


def test_other_root(refused, keyring, set_config):
    set_config(crl=None)
    keyring.write_bytes(OTHER_ROOT)
    refused(make(BOOT, SYSTEM), "leads to no root", "keyring")


def test_two_roots(install, keyring):
    keyring.write_bytes(OTHER_ROOT + make_bundle.KEYRING)
    assert result_of(install(make(BOOT, SYSTEM)))["signer"]


def test_crl(signed, refused, install, set_config):
    crl = signed.config.parent / "crl.pem"
    crl.write_bytes(make_cms.pem("X509 CRL", make_cms.crl(ROOT, SERIALS[SIGNER])))
    refused(make(BOOT, SYSTEM), "revoked")
    crl.unlink()
    refused(make(BOOT, SYSTEM), "there is no crl '/etc/bistable/crl.pem'", code=USAGE)
    set_config(crl=None)
    assert result_of(install(make(BOOT, SYSTEM)))["signer"]


def test_purpose(refused, install, set_config):
    """A certificate for anything but code signing is good enough unless told otherwise."""
    manifest = make_bundle.Bundle([
        make_bundle.Payload("boot", "kernel_efi.efi", BOOT),
        make_bundle.Payload("system", "verity_rootfs.img", SYSTEM)]).make_manifest()
    signature = make_cms.cms(
        [make_cms.signer_info(manifest, ROOT, 5)],
        [make_cms.certificate("All-purpose", ROOT, 5, ca=True)])
    content = make(BOOT, SYSTEM, manifest=manifest, signature=signature)
    refused(content, "code signing")
    set_config(check_purpose=None)
    assert result_of(install(content))["signer"]["subject"] == "CN=All-purpose"


# What is signed


def test_compatible(refused, install, set_config):
    content = make(BOOT, SYSTEM, keys={"compatible": "acme-edge"})
    refused(content, "for 'acme-edge'", "'acme'")
    set_config(compatible=None)
    assert install(content).code == 0


def test_architecture(refused):
    refused(make(BOOT, SYSTEM, keys={"architecture": "arm64"}), "arm64", "x86-64")


@pytest.mark.parametrize("options", [["--allow-downgrade"], []])
@pytest.mark.parametrize("keys, says", [
    ({"version": "3", "epoch": 0}, "epoch is 0, the running system's is 1"),
    ({"version": "1.9"}, "version 1.9 is older than 2"),
    ({"version": "2~rc1"}, "older"),
    ({"version": "1", "epoch": 7}, "older"),
])
def test_downgrade(second, refused, install, set_config, keys, says, options):
    content = make(BOOT, SYSTEM, keys=keys)
    refused(content, says, "--allow-downgrade")
    if not options:
        set_config(allow_downgrade="yes")
    assert result_of(install(content, *options))["version"] == keys["version"]


@pytest.mark.parametrize("keys", [
    {"version": "2"}, {"version": "2.0.1"}, {"version": "10"}, {"version": "2", "epoch": 5}])
def test_no_downgrade(second, install, keys):
    assert install(make(BOOT, SYSTEM, keys=keys)).code == 0


def test_downgrade_that_cannot_be_told(signed, on, tmp_path):
    """The system from the factory has no record."""
    (tmp_path / "os.bundle").write_bytes(make(BOOT, SYSTEM, keys={"version": "0.1"}))
    result = on("install", "-v", tmp_path / "os.bundle")
    assert result.code == 0 and "whether 0.1 is older cannot be told" in result.stderr, result


def test_not_after(refused, install):
    keys = {"created": "2025-10-01T00:00:00Z", "not_after": "2026-01-01T00:00:00Z"}
    refused(make(BOOT, SYSTEM, keys=keys), "not to be installed from 2026-01-01T00:00:00Z on")
    assert install(make(BOOT, SYSTEM, keys={"not_after": "2126-01-01T00:00:00Z"})).code == 0


def test_a_clock_that_must_be_wrong(signed, refused, install, on):
    """It cannot be earlier than the build of the system that runs."""
    built = {"created": "2090-01-01T00:00:00Z", "version": "3"}
    manifest = make_bundle.Bundle([
        make_bundle.Payload("boot", "kernel_efi.efi", BOOT),
        make_bundle.Payload("system", "verity_rootfs.img", SYSTEM)], keys=built).make_manifest()
    assert install(make(BOOT, SYSTEM, manifest=manifest), "--activate=reboot").code == 0
    assert signed.reboot() == "B" and on("mark-good").code == 0
    later = {"version": "4", "created": "2089-01-01T00:00:00Z"}  # later than now, by any clock
    refused(make(BOOT, SYSTEM, keys={**later, "not_after": "2089-06-01T00:00:00Z"}, signature=b""),
            "not to be installed", options=["--allow-unsigned"])
    refused(make(BOOT, SYSTEM, keys=later), "expired")


def test_unknown_requirement(refused):
    refused(make(BOOT, SYSTEM, keys={"requires": ["delta"]}), "'delta'", "update bistable first")


@pytest.mark.parametrize("options", [["--dry-run"], []])
def test_dry_run_refuses_as_well(refused, options):
    refused(make(BOOT, SYSTEM, keys={"compatible": "x"}), "for 'x'", options=options)
