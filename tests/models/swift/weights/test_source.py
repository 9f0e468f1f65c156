"""From a user's words to weights: which road is taken, and who decides about the architecture."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import swift_export.models.swift.weights
from swift_export.errors import ArchitectureError, UsageError
from swift_export.models.swift.config import SwiFTConfig, parameter_shapes
from swift_export.models.swift.variants import VARIANTS, Variant
from swift_export.models.swift.weights import Provenance, Weights, load_weights
from swift_export.models.swift.weights.file_digests import file_digests
from swift_export.scans.placement import DATASETS

Refused = Callable[..., AbstractContextManager[None]]


@pytest.fixture
def case(recipe: ModuleType) -> dict[str, Any]:
    return recipe.load_case("tiny-padded")


@pytest.fixture
def tiny(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Variant:
    """A published variant of the size of a golden case."""
    config = SwiFTConfig.from_hyper_parameters(case["hyper_parameters"])
    variant = Variant("tiny", "for tests", config, "pretrained_models/tiny.ckpt", "0" * 40)
    monkeypatch.setitem(VARIANTS, "tiny", variant)
    return variant


@pytest.fixture
def write(case: dict[str, Any], recipe: ModuleType, torch_file: ModuleType, tmp_path: Path) -> Callable[..., Path]:
    """Write a checkpoint of the golden case with other hyper-parameters; None leaves one out."""
    state = recipe.checkpoint_state(case)

    def checkpoint(**changes: Any) -> Path:
        values = {k: v for k, v in (case["hyper_parameters"] | changes).items() if v is not None}
        return torch_file.write(tmp_path / "mine.ckpt", torch_file.checkpoint(state, values))

    return checkpoint


def test_a_checkpoint(write: Callable[..., Path], case: dict[str, Any], recipe: ModuleType) -> None:
    path = write()
    weights = load_weights(path)
    assert weights.config.to_dict() == case["hyper_parameters"]
    assert weights.variant == "custom"
    state = recipe.checkpoint_state(case)
    assert list(weights.tensors) == sorted(parameter_shapes(weights.config))
    assert all(array.tobytes() == state[name].tobytes() for name, array in weights.tensors.items())
    digests = file_digests(path)
    assert weights.provenance == Provenance("checkpoint", "mine.ckpt", digests.sha256, digests.git_blob)
    assert load_weights(str(path)).digest == weights.digest


def test_digest_is_over_names_shapes_and_little_endian_values(write: Callable[..., Path]) -> None:
    weights = load_weights(write())
    expected = hashlib.sha256()
    for name, array in sorted(weights.tensors.items()):
        expected.update(f"{name} {','.join(map(str, array.shape))}\n".encode() + array.astype("<f4").tobytes())
    assert weights.digest == expected.hexdigest()
    first = next(iter(weights.tensors))
    changed = replace(
        weights, tensors=dict(weights.tensors) | {first: np.nextafter(weights.tensors[first], np.float32(9))}
    )
    assert changed.digest != weights.digest


def test_a_variant_that_agrees(write: Callable[..., Path], tiny: Variant) -> None:
    weights = load_weights(write(), variant="tiny")
    assert (weights.variant, weights.config, weights.provenance.assumed) == ("tiny", tiny.config, {})


def test_each_difference_from_the_variant_is_listed(
    write: Callable[..., Path], tiny: Variant, refused: Refused
) -> None:
    path = write(window_size=[2, 2, 2, 2], last_layer_full_MSA=not tiny.config.last_layer_full_MSA)
    with refused(
        str(path),
        "differs from --variant tiny in",
        f"window_size (file (2, 2, 2, 2), variant {tiny.config.window_size})",
        f"last_layer_full_MSA (file {not tiny.config.last_layer_full_MSA}, variant {tiny.config.last_layer_full_MSA})",
    ):
        load_weights(path, variant="tiny")
    assert load_weights(path).config.window_size == (2, 2, 2, 2)


def test_what_the_file_lacks_is_assumed_and_recorded(write: Callable[..., Path], tiny: Variant) -> None:
    weights = load_weights(write(first_window_size=None, last_layer_full_MSA=None), variant="tiny")
    assert weights.config == tiny.config
    assert weights.provenance.assumed == {
        "first_window_size": tiny.config.first_window_size,
        "last_layer_full_MSA": tiny.config.last_layer_full_MSA,
    }
    assert weights.provenance.to_dict()["assumed"]["first_window_size"] == list(tiny.config.first_window_size)


def test_what_the_file_lacks_without_a_variant(write: Callable[..., Path], refused: Refused) -> None:
    path = write(first_window_size=None, window_size=None)
    with refused(str(path), "lack window_size, first_window_size", "give --variant"):
        load_weights(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("patch_size", [6, 6, 6, 2]),
        ("num_heads", [5, 5]),
        ("embed_dim", "12"),
        ("embed_dim", 10**3000),
        ("embed_dim", [10**5000]),
        ("depths", []),
        ("depths", ["x\n" * 5000] * 60),
        ("window_size", [4, 4, 4]),
        ("last_layer_full_MSA", 1),
        ("img_size", [-48, 48, 48, 8]),
    ],
)
def test_architectures_that_are_none(name: str, value: Any, write: Callable[..., Path], refused: Refused) -> None:
    path = write(**{name: value})
    with refused(f"{path}: {name}", error=ArchitectureError):
        load_weights(path)


def test_hyper_parameters_that_do_not_fit_the_tensors(write: Callable[..., Path], refused: Refused) -> None:
    with refused("misshapen: model.", "missing: "):
        load_weights(write(embed_dim=24, depths=[2, 3]))


def test_huge_depths(write: Callable[..., Path], refused: Refused) -> None:
    with refused("expected at most 1000 blocks", error=ArchitectureError):
        load_weights(write(depths=[2**20, 2**20]))


def test_published_files_are_recognised_by_their_digest(
    write: Callable[..., Path], tiny: Variant, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    path = write()
    monkeypatch.setitem(VARIANTS, "tiny", replace(tiny, git_blob=file_digests(path).git_blob))
    monkeypatch.setitem(VARIANTS, "twin", replace(tiny, name="twin"))
    assert load_weights(path, variant="tiny").provenance.kind == "published"
    with refused("expected twin, found the published file of tiny"):
        load_weights(path, variant="twin")


def test_the_published_file_is_known_by_its_content(
    write: Callable[..., Path], tiny: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is called, and without --variant: how scans become its input does not depend on either."""
    path = write()
    assert load_weights(path).contract.placement is None
    published = replace(tiny, git_blob=file_digests(path).git_blob, placement="hcp", placed_because="tiny was on HCP")
    monkeypatch.setitem(VARIANTS, "tiny", published)
    weights = load_weights(path.rename(path.with_name("renamed.ckpt")))
    assert (weights.variant, weights.provenance.kind) == ("custom", "published")
    assert weights.contract == published.contract
    assert (weights.contract.placement, weights.contract.source) == ("hcp", "tiny was on HCP")


@pytest.mark.parametrize(
    ("dataset", "placement"), [("S1200", "hcp"), ("UKB", "ukb"), ("ABCD", "abcd"), ("Dummy", "hcp"), (7, "hcp")]
)
def test_the_training_data_set_decides_about_placement(
    write: Callable[..., Path], tiny: Variant, monkeypatch: pytest.MonkeyPatch, dataset: Any, placement: str
) -> None:
    monkeypatch.setitem(VARIANTS, "tiny", replace(tiny, placement="hcp", placed_because="tiny was on HCP"))
    path = write(dataset_name=dataset, stride_within_seq=3)
    contract = load_weights(path, variant="tiny").contract
    assert (contract.placement, contract.stride) == (placement, 3)
    # Without the variant what the file does not tell is not known.
    alone = load_weights(path).contract
    assert (alone.placement, alone.stride) == (placement if dataset in DATASETS else None, 3)
    assert load_weights(path).config == tiny.config


@pytest.mark.parametrize(("stride", "found"), [(None, 1), (1, 1), (1.0, 1), (4, 4)])
def test_frames_between_the_frames_of_a_clip(write: Callable[..., Path], stride: Any, found: int) -> None:
    assert load_weights(write(stride_within_seq=stride)).contract.stride == found


@pytest.mark.parametrize("stride", [0, -1, 1.5, True, "2", 1001, 10**400, [1]])
def test_strides_that_are_none(write: Callable[..., Path], refused: Refused, stride: Any) -> None:
    path = write(stride_within_seq=stride)
    with refused(f"{path}: stride_within_seq: expected 1 to 1000 frames, found"):
        load_weights(path)


def test_clips_with_two_more_volumes_are_refused(write: Callable[..., Path], refused: Refused) -> None:
    assert load_weights(write(with_voxel_norm=False)).contract.stride == 1
    for value in (True, 1, "True"):
        path = write(with_voxel_norm=value)
        with refused(
            f"{path}: expected a model trained without with_voxel_norm", "the mean and deviation of each voxel"
        ):
            load_weights(path)


def test_auto_and_variant_names_load_the_published_file(
    write: Callable[..., Path], tiny: Variant, web: ModuleType, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    path = write()
    published = replace(tiny, git_blob=file_digests(path).git_blob)
    monkeypatch.setitem(VARIANTS, "tiny", published)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with web.serve(web.Site({"/" + tiny.path: path.read_bytes()})) as site:
        monkeypatch.setenv("SWIFT_EXPORT_UPSTREAM", site.address)
        weights = load_weights("auto", variant="tiny")
    assert (weights.variant, weights.provenance.kind, weights.provenance.name) == ("tiny", "published", "tiny.ckpt")
    assert weights.digest == load_weights(path).digest == load_weights("tiny").digest
    assert load_weights("tiny").variant == "tiny"
    with refused("--variant contrastive", "found --weights tiny", error=UsageError):
        load_weights("tiny", variant="contrastive")


def test_auto_needs_a_variant(refused: Refused) -> None:
    with refused("--weights auto: expected --variant with one of contrastive, hcp-sex", error=UsageError):
        load_weights("auto")


def test_unknown_variants(write: Callable[..., Path], refused: Refused) -> None:
    for source in ("auto", "synthetic", write()):
        with refused("--variant resting", "contrastive, hcp-sex", error=UsageError):
            load_weights(source, variant="resting")


@pytest.mark.parametrize(
    "source", ["absent.ckpt", "runs/absent.ckpt", "./absent", "/absent/folder", "a/b/c", "", "x\ny", "\0"]
)
def test_sources_that_are_nothing(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    monkeypatch.chdir(tmp_path)
    with refused():
        load_weights(source)


def test_a_path_is_always_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused) -> None:
    monkeypatch.chdir(tmp_path)
    for word in ("auto", "synthetic", "contrastive", "owner/name"):
        with refused(f"--weights {word}: no such file or folder"):
            load_weights(Path(word))


def test_public_names() -> None:
    names = ["Provenance", "Weights", "load_weights", "synthetic_weights", "write_bundle"]
    assert sorted(swift_export.models.swift.weights.__all__) == names
    assert all(hasattr(swift_export.models.swift.weights, name) for name in names)


def test_from_home(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert isinstance(load_weights("~/mine.ckpt"), Weights)
