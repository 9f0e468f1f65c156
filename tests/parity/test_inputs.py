"""The inputs of a check: the same bytes everywhere, no two clips alike, and the look of a prepared scan."""

from __future__ import annotations

import hashlib
import itertools
import pickle

import numpy as np
import pytest

from swift_export.models.swift.check_inputs import Given, Noise, Phantom, noise, phantom, standard_inputs
from swift_export.models.swift.clip import Clip
from swift_export.models.swift.config import SwiFTConfig

CONFIG = SwiFTConfig(
    img_size=(12, 18, 24, 6),
    in_chans=2,
    embed_dim=12,
    window_size=(4, 4, 4, 4),
    first_window_size=(4, 4, 4, 4),
    patch_size=(6, 6, 6, 1),
    depths=(2,),
    num_heads=(3,),
    c_multiplier=2,
    last_layer_full_MSA=True,
)
DRAWS = {"noise": noise, "phantom": phantom}


def given(clips: int = 1, frames: int = 6) -> Given:
    array = np.random.default_rng(0).standard_normal((clips, 2, 12, 18, 24, frames), dtype=np.float32)
    return Given(Clip("scan.nii.gz", array, {}))


SOURCES = [Noise(CONFIG), Phantom(CONFIG), given(), given(clips=2), given(frames=1)]


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("noise", "c84459bdbfa289cb62b07179de228e85a07a75b1949768ada12a663b3eef3d9b"),
        ("phantom", "5c11884d62bc689c9fe6eddf2305ce1e4fc12b61776893f5f603288a13b65ada"),
    ],
)
def test_bytes_are_the_same_on_every_machine(name, digest):
    drawn = DRAWS[name](CONFIG, 2, frames=4, seed=5)
    assert drawn.dtype == np.float32
    assert drawn.shape == (2, 2, 12, 18, 24, 4)
    assert hashlib.sha256(drawn.astype("<f4").tobytes()).hexdigest() == digest


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_seed_and_frames_count(draw):
    assert draw(CONFIG, 1).shape == (1, 2, 12, 18, 24, 6)
    assert not np.array_equal(draw(CONFIG, 1, seed=0), draw(CONFIG, 1, seed=1))


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_items_do_not_depend_on_the_batch_and_differ(source):
    whole = source.at(9)
    assert whole.dtype == np.float32
    for batch in (1, 2, 5):
        np.testing.assert_array_equal(source.at(batch), whole[:batch])
    for one, two in itertools.combinations(whole, 2):
        assert np.linalg.norm(one - two) > 1e-3 * np.linalg.norm(one)


def test_a_given_clip_comes_first_and_untouched():
    source = given(clips=2)
    np.testing.assert_array_equal(source.at(2), source.clip.array)
    later = source.clip.array[0] * np.float32(1 + 2 / 64)
    np.testing.assert_array_equal(source.at(5)[4][..., 2:], later[..., :-2])
    assert source.name == "scan.nii.gz"


def test_noise_is_standard_normal():
    values = noise(CONFIG, 4).astype(np.float64)
    assert abs(values.mean()) < 0.01
    assert abs(values.std() - 1) < 0.01


def test_phantom_is_a_lopsided_brain_on_a_constant_background():
    clip = phantom(CONFIG, 1)[0, 0]
    brain = clip != np.float32(-2.5)
    assert 0.15 < brain.mean() < 0.35
    assert (brain.all(axis=-1) | ~brain.any(axis=-1)).all(), "background is the same in every frame"
    for axis in range(3):
        assert not np.array_equal(np.flip(brain, axis), brain)
    inside = clip[brain]
    assert abs(inside.mean()) < 0.5
    assert 0.5 < inside.std() < 1.5


def test_sources_can_be_sent_to_another_process():
    for source in SOURCES:
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(source)).at(2), source.at(2))


def test_standard_inputs_are_noise_and_phantom():
    assert [source.name for source in standard_inputs(CONFIG, frames=3)] == ["noise", "phantom"]
    assert all(source.at(2).shape == (2, 2, 12, 18, 24, 3) for source in standard_inputs(CONFIG, frames=3))
