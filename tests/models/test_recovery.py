"""Models made again from what an artifact records."""

from __future__ import annotations

from typing import Any

import pytest

from swift_export.errors import ArtifactError
from swift_export.models.recovery import Recorded, recorded_model
from swift_export.models.swift.settings import SwiFTSettings


def recorded(config: Any, architecture: dict[str, Any] | None = None, **settings: Any) -> Recorded:
    return Recorded(
        "custom",
        {**config.to_dict(), **(architecture or {})},
        {**SwiFTSettings().to_dict(), **settings},
        None,
        "folder/manifest.json",
    )


def test_a_swift_is_known_by_its_record(config_of) -> None:
    config = config_of()
    record = recorded(config, outputs=["features", "stage0"], batch=2)
    assert record.swift == config
    model = recorded_model(record)
    assert model.outputs == ("features", "stage0")
    assert [(spec.name, spec.dims) for spec in model.inputs] == [("bold", (2, *config.input_shape()))]
    assert model.batch == 2


@pytest.mark.parametrize(
    ("architecture", "words"),
    [
        ({"depths": [2, 2]}, "depths and num_heads"),
        ({"img_size": None}, "img_size"),
        ({"embed_dim": "4"}, "embed_dim"),
    ],
)
def test_an_architecture_that_is_no_swift_is_one_line(config_of, architecture: dict[str, Any], words: str) -> None:
    with pytest.raises(ArtifactError, match=f"^folder/manifest.json: .*{words}.*; export again$"):
        recorded_model(recorded(config_of(), architecture))


@pytest.mark.parametrize("settings", [{"frames": "2"}, {"frames": 10**6}, {"outputs": ["stage9"]}, {"batch": 0}])
def test_settings_that_no_export_has_are_one_line(config_of, settings: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match=r"^folder/manifest.json: records settings that no export has .*again$"):
        recorded_model(recorded(config_of(), **settings))


def test_a_model_of_another_kind_needs_its_signature() -> None:
    with pytest.raises(ArtifactError, match="its signature needs TensorFlow to be read"):
        recorded_model(Recorded("resnet", {"stablehlo_sha256": "0" * 64}, {}, None, "folder/manifest.json"))
