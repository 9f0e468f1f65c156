"""Bundles: what is written, that it loads back bit for bit, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from swift_export.errors import MachineError, UsageError, WeightsError
from swift_export.models.swift.weights import Weights, load_weights, write_bundle
from swift_export.models.swift.weights.weights import Training
from swift_export.scans.placement import parse_placement
from swift_export.system import folders

ROOT = Path(__file__).parents[4]
Refused = Callable[..., AbstractContextManager[None]]


@pytest.fixture
def weights(lightning: Path) -> Weights:
    return load_weights(lightning / "lightning-1.ckpt")


@pytest.fixture
def bundle(weights: Weights, tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    write_bundle(weights, folder)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_round_trip_is_bit_identical(weights: Weights, bundle: Path) -> None:
    loaded = load_weights(bundle)
    assert loaded.config == weights.config
    assert loaded.digest == weights.digest
    for found, expected in ((loaded.tensors, weights.tensors), (loaded.extras, weights.extras)):
        assert {n: (a.shape, a.tobytes()) for n, a in found.items()} == {
            n: (a.shape, a.tobytes()) for n, a in expected.items()
        }
    assert sorted(weights.extras) == ["model.norm.bias", "model.norm.weight"]
    origin = loaded.provenance
    assert (origin.kind, origin.name, origin.synthetic) == ("bundle", "mine", False)
    assert origin.dropped == weights.provenance.dropped == ("output_head.head.bias", "output_head.head.weight")
    assert origin.notes == (f"bundled from checkpoint lightning-1.ckpt (sha256 {weights.provenance.sha256})",)


def test_a_bundle_of_a_bundle_is_the_same_bundle(bundle: Path, tmp_path: Path) -> None:
    write_bundle(load_weights(bundle), tmp_path / "again")
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (bundle / "model.safetensors").read_bytes()
    write_bundle(load_weights(bundle), bundle, force=True)
    assert load_weights(bundle).digest == load_weights(tmp_path / "again").digest


def test_two_writes_are_byte_identical(weights: Weights, bundle: Path, tmp_path: Path) -> None:
    write_bundle(weights, tmp_path / "other")
    assert files(tmp_path / "other") == files(bundle)


def test_config_has_ilexs_layout(weights: Weights, bundle: Path) -> None:
    config = json.loads((bundle / "config.json").read_text())
    ilex = config["_ilex"]
    assert set(ilex) == {
        "architecture", "constructor_kwargs", "format", "framework_version", "origin", "weights_status",
    }  # fmt: skip
    assert ilex["architecture"] == "ilex.models.swift.model.SwiFT"
    assert ilex["format"] == "ilex"
    assert ilex["constructor_kwargs"] == weights.config.to_dict()
    assert ilex["constructor_kwargs"]["first_window_size"] == [2, 2, 2, 2]
    assert ilex["constructor_kwargs"]["last_layer_full_MSA"] is False
    tensors = load_file(bundle / "model.safetensors")
    assert sorted(tensors) == sorted([*weights.tensors, *weights.extras, *weights.head().tensors])


def test_card_tells_licence_citation_and_provenance(weights: Weights, bundle: Path, tmp_path: Path) -> None:
    card = (bundle / "README.md").read_text()
    assert card.startswith("---\nlicense: other\n")
    for part in (
        "arXiv:2307.05916",
        "lightning-1.ckpt",
        weights.provenance.sha256,
        weights.digest,
        "With its head `output_head`",
    ):
        assert part in card
    assert "left out" not in card
    assert "Synthetic" not in card
    write_bundle(replace(weights, variant="contrastive"), tmp_path / "published")
    assert (tmp_path / "published" / "README.md").read_text().startswith("---\nlicense: apache-2.0\n")


def test_synthetic_stays_synthetic(tmp_path: Path) -> None:
    write_bundle(load_weights("synthetic:7", variant="contrastive"), tmp_path / "s")
    loaded = load_weights(tmp_path / "s", variant="contrastive")
    assert (loaded.provenance.kind, loaded.provenance.seed, loaded.provenance.synthetic) == ("bundle", 7, True)
    assert loaded.variant == "contrastive"
    assert "**Synthetic weights** (seed 7)" in (tmp_path / "s" / "README.md").read_text()
    assert json.loads((tmp_path / "s" / "config.json").read_text())["_ilex"]["weights_status"] == "synthetic"


def test_assumed_settings_survive(weights: Weights, tmp_path: Path) -> None:
    origin = replace(weights.provenance, assumed={"first_window_size": (2, 2, 2, 2)})
    write_bundle(replace(weights, provenance=origin), tmp_path / "b")
    assert load_weights(tmp_path / "b").provenance.assumed == {"first_window_size": [2, 2, 2, 2]}


CONTRACTS = {
    "trained on HCP": Training("S1200", 2),
    "trained on ABCD": Training("ABCD"),
    "trained on nobody knows what": Training(None, 3),
}


@pytest.mark.parametrize("what", CONTRACTS)
def test_the_input_contract_goes_with_the_bundle(what: str, weights: Weights, tmp_path: Path) -> None:
    trained = replace(weights, training=CONTRACTS[what])
    write_bundle(trained, tmp_path / "b")
    assert json.loads((tmp_path / "b/config.json").read_text())["_swift_export"]["input"] == trained.contract.to_dict()
    loaded = load_weights(tmp_path / "b")
    assert loaded.contract == trained.contract
    write_bundle(loaded, tmp_path / "again")
    assert load_weights(tmp_path / "again").contract == trained.contract
    card = (tmp_path / "b/README.md").read_text()
    assert f"Preparation: {trained.contract.text}." in card


def test_what_the_user_says_of_the_placement_goes_with_the_bundle(weights: Weights, tmp_path: Path) -> None:
    said = weights.with_contract(weights.contract.changed(parse_placement("0,-20,4"), "RAS", (3, 2)))
    write_bundle(said, tmp_path / "b")
    contract = load_weights(tmp_path / "b").contract
    assert (contract.placement, contract.orientation, contract.drop_frames) == ("0,-20,4", "RAS", (3, 2))
    assert contract.source == "given with --placement"


def test_older_bundles_state_no_contract(weights: Weights, bundle: Path) -> None:
    config = json.loads((bundle / "config.json").read_text())
    del config["_swift_export"]["input"]
    (bundle / "config.json").write_text(json.dumps(config))
    loaded = load_weights(bundle)
    assert (loaded.digest, loaded.contract.placement, loaded.contract.stride) == (weights.digest, None, 1)


@pytest.mark.parametrize(
    "table",
    ["hcp", [], {}, {"stride": 1}, {"placement": "mni"}, {"point": [0, 0, 0]}, {"orientation": "keep"}],
    ids=str,
)
def test_contracts_that_are_none(weights: Weights, bundle: Path, refused: Refused, table: object) -> None:
    config = json.loads((bundle / "config.json").read_text())
    good = replace(weights, training=Training("S1200")).contract.to_dict()
    changed = good | table if isinstance(table, dict) and table not in ({}, {"stride": 1}) else table
    config["_swift_export"]["input"] = changed
    (bundle / "config.json").write_text(json.dumps(config))
    with refused("config.json: ", "input"):
        load_weights(bundle)


def test_ilexs_own_bundle(weights: Weights, tmp_path: Path) -> None:
    """As ilex publishes them, as far as it is known: no table of ours, names without prefix, norm and head inside."""
    tensors = {name.removeprefix("model."): a for name, a in (dict(weights.tensors) | dict(weights.extras)).items()}
    tensors |= {"head.weight": np.zeros((1, 4), np.float32), "head.bias": np.zeros(1, np.float32)}
    folder = tmp_path / "swift.contrastive.1"
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    kwargs = weights.config.to_dict() | {"drop_rate": 0.0}
    (folder / "config.json").write_text(json.dumps({"_ilex": {"constructor_kwargs": kwargs, "format": "ilex"}}))
    loaded = load_weights(folder)
    assert loaded.digest == weights.digest
    assert loaded.provenance.dropped == ("head.bias", "head.weight")
    assert load_weights(folder / "model.safetensors").digest == weights.digest


def test_bfloat16_bundle(weights: Weights, bundle: Path) -> None:
    tensors = {name: a.astype(ml_dtypes.bfloat16) for name, a in weights.tensors.items()}
    save_file(tensors, bundle / "model.safetensors")
    config = json.loads((bundle / "config.json").read_text())
    del config["_swift_export"]
    (bundle / "config.json").write_text(json.dumps(config))
    loaded = load_weights(bundle)
    for name, array in loaded.tensors.items():
        np.testing.assert_array_equal(array, tensors[name].astype(np.float32))
    assert loaded.provenance.notes == ("tensors stored as bfloat16 were widened to float32",)


# ------------------------------------------------------------------------------------------------------- bad input


def test_incomplete_bundles(bundle: Path, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "empty").mkdir()
    with refused("empty", "found no model.safetensors", "swift-export bundle"):
        load_weights(tmp_path / "empty")
    (bundle / "config.json").unlink()
    with refused("mine", "found no config.json"):
        load_weights(bundle)


CONFIGS = {
    "no JSON": b"{",
    "not UTF-8": b'{"\xff": 1}',
    "nested too deep": b"[" * 200_000,
    "too long": b" " * (2**20 + 1),
    "a list": b"[]",
    "no _ilex": b"{}",
    "_ilex is a list": b'{"_ilex": []}',
    "no constructor_kwargs": b'{"_ilex": {}}',
    "a number of 5000 digits": b'{"_ilex": {"constructor_kwargs": {"embed_dim": ' + b"9" * 5000 + b"}}}",
    "an empty table of ours": b'{"_ilex": {"constructor_kwargs": {}}, "_swift_export": {}}',
    "a seed of text": b'{"_ilex": {"constructor_kwargs": {}}, "_swift_export": {"variant": "custom", '
    b'"weights_digest": "", "provenance": {"kind": "x", "name": "y", "seed": "0", "assumed": {}, "dropped": [], '
    b'"notes": []}}}',
}


@pytest.mark.parametrize("what", CONFIGS)
def test_odd_configs(what: str, bundle: Path, refused: Refused) -> None:
    (bundle / "config.json").write_bytes(CONFIGS[what])
    with refused("config.json"):
        load_weights(bundle)


TENSORS = {
    "empty": b"",
    "four bytes": b"\x01\0\0\0",
    "header of 2**64": b"\xff" * 8 + b"{}",
    "header of 9 MB": (9 * 2**20).to_bytes(8, "little") + b" " * (9 * 2**20),
    "header beyond the file": (1000).to_bytes(8, "little") + b"{}",
    "no JSON": (4).to_bytes(8, "little") + b"abcd",
    "deep JSON": (2**20).to_bytes(8, "little") + b"[" * 2**20,
    "data beyond the file": (63).to_bytes(8, "little")
    + b'{"a":{"dtype":"F32","shape":[1000000],"data_offsets":[0,4000000]}}',
    "a checkpoint": b"PK\x03\x04" + bytes(100),
}


@pytest.mark.parametrize("what", TENSORS)
def test_odd_safetensors(what: str, bundle: Path, refused: Refused) -> None:
    (bundle / "model.safetensors").write_bytes(TENSORS[what])
    with refused("model.safetensors"):
        load_weights(bundle)


def test_truncated_safetensors(bundle: Path, refused: Refused) -> None:
    path = bundle / "model.safetensors"
    whole = path.read_bytes()
    for length in range(0, len(whole), 301):
        path.write_bytes(whole[:length])
        with refused("model.safetensors"):
            load_weights(bundle)


@pytest.mark.parametrize(
    ("name", "what"), [("model.patch_embed.fc.bias", "tensors"), ("output_head.head.bias", "a head")]
)
def test_changed_values_are_noticed(name: str, what: str, bundle: Path, refused: Refused) -> None:
    path = bundle / "model.safetensors"
    tensors = load_file(path)
    tensors[name] = np.nextafter(tensors[name], np.float32(9))
    save_file(tensors, path)
    with refused("model.safetensors", f"expected {what} with digest", "as its config.json states"):
        load_weights(bundle)


def test_a_head_comes_back(weights: Weights, bundle: Path, tmp_path: Path) -> None:
    head, found = weights.head(), load_weights(bundle).head()
    assert {n: a.tobytes() for n, a in found.tensors.items()} == {n: a.tobytes() for n, a in head.tensors.items()}
    assert found.facts == head.facts
    tensors = load_file(bundle / "model.safetensors")
    assert weights.digest == load_weights(bundle).digest

    config = json.loads((bundle / "config.json").read_text())
    assert config["_swift_export"]["provenance"]["dropped"] == []
    config["_swift_export"]["head"]["classes"] = "F"
    (bundle / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=r"_swift_export\.head: expected what swift-export writes, found classes F"):
        load_weights(bundle)

    # A head that nobody can use is left out, as training code is.
    tensors["output_head.head.bias"][:] = np.nan
    del config["_swift_export"]
    (bundle / "config.json").write_text(json.dumps(config))
    save_file(tensors, bundle / "model.safetensors")
    write_bundle(load_weights(bundle), tmp_path / "headless")
    assert "output_head.head.bias" not in load_file(tmp_path / "headless" / "model.safetensors")
    with pytest.raises(WeightsError, match=r"expected a head .*, found none"):
        load_weights(tmp_path / "headless").head()


def test_other_tensors(bundle: Path, refused: Refused) -> None:
    save_file({"model.patch_embed.fc.bias": np.zeros(3, np.float32), "x": np.zeros(1)}, bundle / "model.safetensors")
    with refused("missing: ", "expected (2), found (3)", "unexpected: x (1)"):
        load_weights(bundle)


def test_variants_that_disagree(tmp_path: Path, refused: Refused) -> None:
    write_bundle(load_weights("synthetic", variant="contrastive"), tmp_path / "b")
    assert load_weights(tmp_path / "b").variant == "custom"
    with refused("expected hcp-sex, found a bundle of contrastive"):
        load_weights(tmp_path / "b", variant="hcp-sex")


# --------------------------------------------------------------------------------------------------------- writing


def test_existing_bundles_need_force(weights: Weights, bundle: Path, refused: Refused) -> None:
    before = files(bundle)
    other = load_weights("synthetic:1")
    with refused("mine", "--force", error=UsageError):
        write_bundle(other, bundle)
    assert files(bundle) == before
    write_bundle(other, bundle, force=True)
    assert load_weights(bundle).digest == other.digest
    assert sorted(p.name for p in bundle.parent.iterdir() if p.name != "cache") == ["mine"]


def test_an_empty_folder_will_do(weights: Weights, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    write_bundle(weights, tmp_path / "b")
    assert load_weights(tmp_path / "b").digest == weights.digest


def test_other_peoples_folders_are_never_replaced(weights: Weights, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with refused("found other files (thesis.tex)", error=UsageError):
        write_bundle(weights, tmp_path, force=True)
    with refused("found a file", error=UsageError):
        write_bundle(weights, tmp_path / "thesis.tex", force=True)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_folder_that_cannot_be_made(weights: Weights, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "file").write_text("")
    with refused("file: expected a folder, found a file", error=UsageError):
        write_bundle(weights, tmp_path / "file" / "bundle")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("existing", [False, True])
def test_full_disk(
    existing: bool, weights: Weights, bundle: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    """The disk says so through the kernel: the card's write goes to /dev/full."""
    target = bundle if existing else bundle.parent / "new"
    before = files(bundle)
    write_text = Path.write_text

    def write(path: Path, text: str, encoding: str) -> int:
        return write_text(Path("/dev/full") if path.name == "README.md" else path, text, encoding)

    monkeypatch.setattr(Path, "write_text", write)
    with refused(f"{target}: the disk is full", "nothing was changed", error=MachineError, status=1):
        write_bundle(weights, target, force=True)
    assert files(bundle) == before
    assert sorted(p.name for p in bundle.parent.iterdir() if p.name != "cache") == ["mine"]


@pytest.mark.parametrize("moment", [1, 2])
def test_interrupted(moment: int, weights: Weights, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in either of the two renames of a system that does not exchange: the old bundle is there, and only it."""
    monkeypatch.setattr(folders, "_exchange", lambda first, second: False)
    before = files(bundle)
    calls = 0
    rename = Path.rename

    def interrupt(path: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls == moment:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_bundle(load_weights("synthetic"), bundle, force=True)
    assert files(bundle) == before
    assert sorted(p.name for p in bundle.parent.iterdir() if p.name != "cache") == ["mine"]


def test_a_link_to_a_bundle_stays_a_link(weights: Weights, bundle: Path, tmp_path: Path, refused: Refused) -> None:
    other = load_weights("synthetic:1")
    for name, leads_to in (("link", bundle), ("dangling", tmp_path / "made")):
        (tmp_path / name).symlink_to(leads_to)
    with refused("link: expected a new folder, found a bundle", error=UsageError):
        write_bundle(other, tmp_path / "link")
    write_bundle(other, tmp_path / "link", force=True)
    write_bundle(other, tmp_path / "dangling")
    for name, leads_to in (("link", bundle), ("dangling", tmp_path / "made")):
        assert (tmp_path / name).readlink() == leads_to
        assert load_weights(leads_to).digest == other.digest
    (tmp_path / "circle").symlink_to("circle")
    with refused("found a loop of links", error=UsageError):
        write_bundle(other, tmp_path / "circle", force=True)


#: Replaces a bundle, and is killed right before the rename of that number.
KILLED = """
import os, signal, sys
from pathlib import Path
from swift_export.system import folders
from swift_export.models.swift.weights import load_weights, write_bundle

bundle, moment, way = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
if way == "renames":  # as where the system does not exchange two folders
    folders._exchange = lambda first, second: False
weights, seen = load_weights("synthetic:1"), 0

def hook(event, arguments):
    global seen
    critical = event == "os.rename" or (event, arguments[1:]) == ("ctypes.dlsym", ("renameat2",))
    seen += critical
    if critical and seen == moment:
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(hook)
write_bundle(weights, bundle, force=True)
"""


@pytest.mark.parametrize(("way", "moment"), [("exchange", 1), ("renames", 1), ("renames", 2)])
def test_killed_while_a_bundle_is_replaced_it_is_there(weights: Weights, bundle: Path, way: str, moment: int) -> None:
    (bundle.parent / "link").symlink_to(bundle)
    command = [sys.executable, "-c", KILLED, str(bundle), str(moment), way]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == -signal.SIGKILL
    assert bundle.exists() == ((way, moment) != ("renames", 2))
    assert load_weights(bundle.parent / "link").digest == weights.digest
    assert load_weights(bundle).digest == weights.digest
    other = load_weights("synthetic:2")
    write_bundle(other, bundle, force=True)
    assert load_weights(bundle).digest == other.digest


def test_a_bundle_that_cannot_be_put_back(
    weights: Weights, bundle: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    bundle.rename(bundle.with_name(".swift-export-old-mine"))
    (bundle.parent / ".swift-export-lock").mkdir()
    with refused("swift-export-lock: expected a lock file", error=UsageError):
        load_weights(bundle)
    (bundle.parent / ".swift-export-lock").rmdir()

    def refuse(path: Path, target: Path) -> Path:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        with refused("killed while it replaced this bundle", "Permission denied", error=WeightsError):
            load_weights(bundle)
    assert load_weights(bundle).digest == weights.digest
