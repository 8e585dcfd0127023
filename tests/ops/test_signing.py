"""A signature says who signed just this checkpoint: checked by us and by the program of OpenSSF Model Signing."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from art.errors import ConfigurationError, CorruptCheckpointError
from art.names import ModelRef
from art.ops.signing import PASSWORD_VARIABLE, Signed, check_signatures, sign
from art.ops.verify import Signature, check, verify
from art.remote.remote import Remote
from art.store.store import CheckpointStore
from cli.conftest import Art, art  # noqa: F401 - fixtures
from remote.conftest import _no_credentials_of_this_machine, moto, moto_bucket  # noqa: F401 - fixtures
from store.conftest import tree, write_foreign, write_run

pytest.importorskip("model_signing", reason="signing is an extra")

MAIN, BRANCH = ModelRef("shop", "agent-1"), ModelRef("shop", "agent-2")


@pytest.fixture
def place() -> Iterator[Path]:
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture
def store(place: Path) -> CheckpointStore:
    store = CheckpointStore(place / "root")
    write_run(store, MAIN, 1, 2)
    return store


@pytest.fixture
def key(place: Path) -> Path:
    return write_keys(place / "mine", ec.generate_private_key(ec.SECP256R1()))


def write_keys(path: Path, key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, password: str = "") -> Path:
    """Write a private key, and beside it the public one."""
    encryption = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    path.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, encryption))
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    path.with_suffix(".pub").write_bytes(public)
    return path


def checked(store: CheckpointStore, model: ModelRef, step: int, key: Path) -> Signature:
    (report,) = check_signatures(store, [check(store, model.at(step))], key.with_suffix(".pub"))
    assert report.signature is not None
    assert report.is_wrong == bool(report.signature.problem or report.faults)
    return report.signature


def stock(folder: Path, signature: Path, key: Path) -> subprocess.CompletedProcess[str]:
    """Ask the program that others have."""
    command = [Path(sys.executable).with_name("model_signing"), "verify", "key", folder, "--signature", signature]
    return subprocess.run(
        [*command, "--public_key", key.with_suffix(".pub")], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_what_was_signed_is_known_to_be(store: CheckpointStore, place: Path, curve: ec.EllipticCurve):
    key = write_keys(place / "other", ec.generate_private_key(curve))
    checkpoint = store.open(MAIN.at(2))
    before = tree(checkpoint.path)

    signed = sign(store, checkpoint, key)

    assert checked(store, MAIN, 2, key) == Signature(file=signed.where)
    assert checked(store, MAIN, 1, key).problem == "it is not signed"
    assert tree(checkpoint.path) == before
    assert store.open(MAIN.at(2)) == checkpoint


@pytest.mark.slow
def test_the_program_of_others_agrees(store: CheckpointStore, place: Path, key: Path):
    checkpoint = store.open(MAIN.at(2))
    stranger = write_keys(place / "stranger", ec.generate_private_key(ec.SECP256R1()))

    signed = sign(store, checkpoint, key)

    assert stock(checkpoint.path, Path(signed.where), key).returncode == 0
    assert stock(store.open(MAIN.at(1)).path, Path(signed.where), key).returncode != 0
    assert stock(checkpoint.path, Path(signed.where), stranger).returncode != 0


def test_a_signature_that_the_program_of_others_made_counts(store: CheckpointStore, key: Path):
    checkpoint = store.open(MAIN.at(2))
    ours = Path(sign(store, checkpoint, key).where)
    ours.unlink()
    command = [Path(sys.executable).with_name("model_signing"), "sign", "key", checkpoint.path]

    subprocess.run([*command, "--signature", ours, "--private_key", key], check=True, capture_output=True)

    assert checked(store, MAIN, 2, key) == Signature(file=str(ours))


def test_another_key_is_refused(store: CheckpointStore, place: Path, key: Path):
    stranger = write_keys(place / "stranger", ec.generate_private_key(ec.SECP256R1()))
    sign(store, store.open(MAIN.at(2)), key)

    assert "Key mismatch" in str(checked(store, MAIN, 2, stranger).problem)


def test_two_people_can_sign_one_checkpoint(store: CheckpointStore, place: Path, key: Path):
    other = write_keys(place / "other", ec.generate_private_key(ec.SECP384R1()))
    both = [sign(store, store.open(MAIN.at(2)), one) for one in (key, other)]

    assert [checked(store, MAIN, 2, one).file for one in (key, other)] == [signed.where for signed in both]


def alter_weights(signed: Signed, checkpoint: Path) -> None:
    path = checkpoint / "adapter_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()
    path.write_bytes(content)


def alter_manifest(signed: Signed, checkpoint: Path) -> None:
    path = checkpoint / "checkpoint.json"
    content = path.read_bytes().replace(b'"reward": 0.5', b'"reward": 0.9')
    path.unlink()
    path.write_bytes(content)


def add_a_file(signed: Signed, checkpoint: Path) -> None:
    (checkpoint / "more.bin").write_bytes(b"x")


def swap_signature(signed: Signed, checkpoint: Path) -> None:
    other = next(path for path in Path(signed.where).parent.iterdir() if path != Path(signed.where))
    other.replace(Path(signed.where))


def cut_signature(signed: Signed, checkpoint: Path) -> None:
    content = Path(signed.where).read_bytes()
    Path(signed.where).unlink()
    Path(signed.where).write_bytes(content[:-9])


def forge_payload(signed: Signed, checkpoint: Path) -> None:
    bundle = json.loads(Path(signed.where).read_bytes())
    bundle["dsseEnvelope"]["payload"] = bundle["dsseEnvelope"]["payload"].replace("A", "B", 1)
    Path(signed.where).unlink()
    Path(signed.where).write_text(json.dumps(bundle))


def forge_shape(signed: Signed, checkpoint: Path) -> None:
    Path(signed.where).unlink()
    Path(signed.where).write_text('{"verificationMaterial": [], "dsseEnvelope": {"payload": 5}}')


def link_signature(signed: Signed, checkpoint: Path) -> None:
    Path(signed.where).symlink_to(Path(signed.where).rename(checkpoint.parents[5] / "elsewhere.sig"))


CHANGES = [alter_weights, alter_manifest, add_a_file, swap_signature]
FORGERIES = [cut_signature, forge_payload, forge_shape, link_signature]


@pytest.mark.parametrize("change", [*CHANGES, *FORGERIES])
def test_what_was_changed_since_is_refused(store: CheckpointStore, key: Path, change: Callable[[Signed, Path], None]):
    sign(store, store.open(MAIN.at(1)), key)
    signed = sign(store, store.open(MAIN.at(2)), key)
    change(signed, store.open(MAIN.at(2)).path)

    (report,) = check_signatures(store, [check(store, MAIN.at(2))], key.with_suffix(".pub"))

    assert report.is_wrong
    assert report.signature is not None
    assert report.signature.problem


def test_a_signature_goes_to_a_bucket_and_comes_back(store: CheckpointStore, place: Path, key: Path):
    (place / "bucket").mkdir()
    remote, elsewhere = Remote.open(f"file://{place}/bucket"), CheckpointStore(place / "elsewhere")
    signed = sign(store, store.open(MAIN.at(2)), key)

    remote.push(store.open(MAIN.at(2)))
    remote.push_history(store, MAIN)
    remote.fetch(remote.open_checkpoint(MAIN.at(2)), elsewhere)
    remote.fetch_history(elsewhere, MAIN)

    there = elsewhere.root / Path(signed.where).relative_to(store.root)
    assert there.read_bytes() == Path(signed.where).read_bytes()
    assert checked(elsewhere, MAIN, 2, key) == Signature(file=str(there))


def test_a_bucket_keeps_the_signature_that_it_has(store: CheckpointStore, place: Path, key: Path):
    (place / "bucket").mkdir()
    remote = Remote.open(f"file://{place}/bucket")
    signed = sign(store, store.open(MAIN.at(2)), key)
    remote.push_history(store, MAIN)
    there = place / "bucket" / Path(signed.where).relative_to(store.root)
    first = there.read_bytes()

    sign(store, store.open(MAIN.at(2)), key)
    remote.push_history(store, MAIN)

    assert Path(signed.where).read_bytes() != first
    assert there.read_bytes() == first


def test_strange_names_beside_signatures_in_a_bucket_stay_there(store: CheckpointStore, place: Path):
    names = ["x.sig", f"{'a' * 64}.{'b' * 16}.sig.exe", ".sig"]
    (place / "bucket/shop/models/agent-1/signatures").mkdir(parents=True)
    for name in names:
        (place / "bucket/shop/models/agent-1/signatures" / name).write_bytes(b"x")

    Remote.open(f"file://{place}/bucket").fetch_history(store, MAIN)

    assert not (store.root / "shop/models/agent-1/signatures").exists()


def test_a_fork_is_not_signed_by_the_signature_of_its_source(store: CheckpointStore, key: Path):
    sign(store, store.open(MAIN.at(2)), key)

    store.fork(store.open(MAIN.at(2)), BRANCH)

    assert checked(store, BRANCH, 2, key).problem == "it is not signed; shop/agent-1@2, which it was forked from, is"
    sign(store, store.open(BRANCH.at(2)), key)
    assert checked(store, BRANCH, 2, key).problem is None


def test_a_step_that_was_trained_again_is_not_signed_by_the_old_signature(store: CheckpointStore, key: Path):
    sign(store, store.open(MAIN.at(2)), key)
    store.rewind(store.open(MAIN.at(1)))
    with store.stage(MAIN.at(2)) as stage:
        for path in (store.root / "shop/models/agent-1/set_aside/0001/0002").glob("a*"):
            shutil.copy(path, stage.path)
        stage.commit(parent=store.open(MAIN.at(1)))

    assert checked(store, MAIN, 2, key).problem == "it is not signed"


def test_a_damaged_checkpoint_is_not_signed(store: CheckpointStore, key: Path):
    checkpoint = store.open(MAIN.at(2))
    path = checkpoint.path / "trainer.json"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content.replace(b"2", b"3"))

    with pytest.raises(CorruptCheckpointError, match=r"trainer.json was altered"):
        sign(store, checkpoint, key)

    assert not (store.root / "shop/models/agent-1/signatures").exists()
    assert not store.staging.exists()


def test_a_foreign_checkpoint_is_not_signed(store: CheckpointStore, key: Path):
    write_foreign(store.root / "shop/models/theirs/checkpoints/0003")
    theirs = ModelRef("shop", "theirs")

    with pytest.raises(ConfigurationError, match="has no manifest"):
        sign(store, store.open(theirs.at(3)), key)

    assert "no manifest" in str(checked(store, theirs, 3, key).problem)


def test_a_key_that_cannot_sign_is_said(store: CheckpointStore, place: Path, monkeypatch: pytest.MonkeyPatch):
    checkpoint = store.open(MAIN.at(2))
    locked = write_keys(place / "locked", ec.generate_private_key(ec.SECP256R1()), password="abc")
    bad = [
        write_keys(place / "edwards", ed25519.Ed25519PrivateKey.generate()),
        write_keys(place / "koblitz", ec.generate_private_key(ec.SECP256K1())),
        locked,
        locked.with_suffix(".pub"),
        place / "none",
    ]
    for key in bad:
        with pytest.raises(ConfigurationError, match="cannot sign"):
            sign(store, checkpoint, key)
    for key in (bad[1], place / "none"):
        with pytest.raises(ConfigurationError, match="is no public key"):
            checked(store, MAIN, 2, key)

    monkeypatch.setenv(PASSWORD_VARIABLE, "abc")
    sign(store, checkpoint, locked)
    assert checked(store, MAIN, 2, locked).problem is None


def test_a_signature_stays_when_its_checkpoint_is_deleted_and_counts_when_it_comes_back(
    store: CheckpointStore, place: Path, key: Path
):
    (place / "bucket").mkdir()
    remote = Remote.open(f"file://{place}/bucket")
    remote.push(store.open(MAIN.at(2)))
    sign(store, store.open(MAIN.at(2)), key)

    store.delete(store.open(MAIN.at(2)))
    store.collect()
    remote.fetch(remote.open_checkpoint(MAIN.at(2)), store)

    assert checked(store, MAIN, 2, key).problem is None


@pytest.fixture(params=["file", "memory", "moto"])
def bucket(request: pytest.FixtureRequest, store: CheckpointStore, place: Path) -> Remote:
    """Each kind of bucket, with both steps."""
    (place / "bucket").mkdir()
    urls = {"file": f"file://{place}/bucket", "memory": "memory://"}
    url = urls.get(request.param) or f"s3://{request.getfixturevalue('moto_bucket')}"
    remote = Remote.open(url)
    for step in (1, 2):
        remote.push(store.open(MAIN.at(step)))
    return remote


def test_what_lies_in_a_bucket_is_signed_and_checked_there(store: CheckpointStore, bucket: Remote, key: Path):
    second = bucket.open_checkpoint(MAIN.at(2))

    signed = [sign(bucket, second, key).where for _ in range(2)][-1]
    bucket.fetch_history(store, MAIN)

    reports = check_signatures(bucket, verify(bucket, [MAIN]), key.with_suffix(".pub"))
    assert [report.signature for report in reports] == [Signature(problem="it is not signed"), Signature(file=signed)]
    assert checked(store, MAIN, 2, key).problem is None
    assert bucket.open_checkpoint(MAIN.at(2)) == second


def test_a_signature_in_a_bucket_that_fits_no_more_is_said(
    store: CheckpointStore, bucket: Remote, key: Path, place: Path
):
    stranger = write_keys(place / "stranger", ec.generate_private_key(ec.SECP256R1()))
    for step in (1, 2):
        sign(bucket, bucket.open_checkpoint(MAIN.at(step)), key)
    (first,), (second,) = (bucket.signatures(MAIN, bucket.open_checkpoint(MAIN.at(step)).digest) for step in (1, 2))
    keys = bucket.signatures(MAIN, None)
    bucket.write_signature(MAIN, Path(second).name, bucket.read_signature(keys[first]))
    before = set(Path(tempfile.gettempdir()).iterdir())

    (swapped,) = check_signatures(bucket, [check(bucket, MAIN.at(2))], key.with_suffix(".pub"))
    (other,) = check_signatures(bucket, [check(bucket, MAIN.at(1))], stranger.with_suffix(".pub"))

    assert swapped.is_wrong
    assert other.is_wrong
    assert "does not fit" in str(swapped.signature)
    assert "Key mismatch" in str(other.signature)
    assert set(Path(tempfile.gettempdir()).iterdir()) <= before, "nothing of a bucket stays on this disk"


def test_the_program_signs_and_checks_in_a_bucket(
    art: Art,  # noqa: F811 - the fixture
    store: CheckpointStore,
    place: Path,
    key: Path,
):
    (place / "bucket").mkdir()
    url = f"file://{place}/bucket"
    assert art("push", str(MAIN), url, root=store.root).returncode == 0

    signed = art("sign", f"{url}::{MAIN}@2", "--key", str(key), "--json", root=place / "nowhere")
    asked = ["--signature", "--key", str(key.with_suffix(".pub"))]
    one, whole = (art("verify", what, *asked, "--json", root=place / "nowhere") for what in (f"{url}::{MAIN}@2", url))

    assert json.loads(signed.stdout)["path"].startswith(url)
    assert (signed.returncode, one.returncode, whole.returncode) == (0, 0, 1)
    assert json.loads(one.stdout)["checkpoints"][0]["signature"]["file"] == json.loads(signed.stdout)["path"]
