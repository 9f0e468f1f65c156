"""Seeded random damage: a reader either succeeds or says so in one line, whatever the bytes are."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from swift_export.errors import ArchitectureError, WeightsError
from swift_export.models.swift.weights import load_weights, write_bundle

ROUNDS = 400


def flip(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        changed[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(changed)


def cut(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.choice([1, 8, 100, len(data)]) :]


def repeat(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + data[start : start + rng.randrange(1, 200)] + data[start:]


def outcome(path: Path) -> str:
    try:
        load_weights(path)
    except (WeightsError, ArchitectureError) as error:
        message = str(error)
        assert len(message.splitlines()) == 1
        assert message.isprintable()
        return "refused"
    return "read"


@pytest.mark.parametrize("damage", [flip, cut, repeat])
@pytest.mark.parametrize("target", ["archive", "pickle"])
def test_damaged_checkpoints(
    target: str,
    damage: Callable[[bytes, random.Random], bytes],
    lightning: Path,
    torch_file: ModuleType,
    tmp_path: Path,
) -> None:
    """Damage to the archive, and, behind intact checksums, to the pickle alone."""
    rng = random.Random(f"{target} {damage.__name__}")
    whole = (lightning / "lightning-1.ckpt").read_bytes()
    members = _members(lightning / "lightning-1.ckpt")
    path, outcomes = tmp_path / "a.ckpt", set()
    for _ in range(ROUNDS):
        if target == "archive":
            path.write_bytes(damage(whole, rng))
        else:
            torch_file.write_archive(path, members | {"data.pkl": damage(members["data.pkl"], rng)})
        begin = time.process_time()
        outcomes.add(outcome(path))
        assert time.process_time() - begin < 60
    assert "refused" in outcomes


@pytest.mark.parametrize("damage", [flip, cut, repeat])
@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_damaged_bundles(
    file: str, damage: Callable[[bytes, random.Random], bytes], lightning: Path, tmp_path: Path
) -> None:
    rng = random.Random(f"{file} {damage.__name__}")
    folder = tmp_path / "bundle"
    write_bundle(load_weights(lightning / "lightning-1.ckpt"), folder)
    whole = (folder / file).read_bytes()
    outcomes = set()
    for _ in range(ROUNDS):
        (folder / file).write_bytes(damage(whole, rng))
        outcomes.add(outcome(folder))
    assert "refused" in outcomes


def test_undamaged_values_cannot_change_unnoticed(lightning: Path, tmp_path: Path) -> None:
    """Whatever single byte of the archive is changed: what is read is what was written, or nothing."""
    whole = (lightning / "lightning-2.ckpt").read_bytes()
    original = load_weights(lightning / "lightning-2.ckpt")
    path, rng = tmp_path / "a.ckpt", np.random.default_rng(0)
    for at in rng.integers(len(whole), size=ROUNDS):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << int(rng.integers(8)))]) + whole[at + 1 :])
        if outcome(path) == "read":
            loaded = load_weights(path)
            assert (loaded.digest, loaded.config) == (original.digest, original.config)


def _members(path: Path) -> dict[str, bytes]:
    import zipfile

    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
