"""Probes: a planted difference is found, a null is not; what tables must hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import equinox as eqx
import numpy as np
import pytest
from PIL import Image

from swift_export.cli import entry
from swift_export.errors import InputError, UsageError
from swift_export.features.probe.embeddings import read_embeddings
from swift_export.features.probe.probe_fit import fit_probe
from swift_export.features.probe.samples import join, read_labels
from swift_export.formats.probe_file import read_probe
from swift_export.models.swift.backbone.swift import SwiFT

EXAMPLE = Path(__file__).parents[2] / "examples/probe/probe_end_to_end.py"

CHANNELS, WINDOWS = 5, 2
needs_sklearn = pytest.mark.requires("probe")


def table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    path.write_text("\n".join("\t".join(map(str, row)) for row in (columns, *rows)) + "\n")
    return path


def embedding_names(count: int = CHANNELS) -> list[str]:
    return [f"embedding_{n:03d}" for n in range(count)]


@pytest.fixture
def cohort(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Tables of a cohort whose target moves the embeddings by ``difference``; participants have two windows each."""

    def cohort(targets: Sequence[object], levels: Sequence[float], difference: float = 2.0) -> tuple[Path, Path]:
        rng = np.random.default_rng(1)
        direction = rng.standard_normal(CHANNELS)
        rows = []
        for number, level in enumerate(levels):
            centre = 3 + rng.standard_normal(CHANNELS) + difference * level * direction
            for _ in range(WINDOWS):
                rows.append([f"sub-{number:02d}", *(centre + 0.2 * rng.standard_normal(CHANNELS))])
        features = table(tmp_path / "features.tsv", ["participant_id", *embedding_names()], rows)
        people = [[f"sub-{number:02d}", target] for number, target in enumerate(targets)]
        return features, table(tmp_path / "participants.tsv", ["participant_id", "target"], people)

    return cohort


@needs_sklearn
def test_a_planted_difference_is_found_and_a_null_is_not(cohort, tmp_path: Path) -> None:
    groups = np.arange(36) % 2
    labels = ["control" if group == 0 else "patient" for group in groups]
    found = fit_probe(*cohort(labels, groups), "target", tmp_path / "p.safetensors", folds=3)
    assert found.fitted.scores["auroc"].mean > 0.95
    assert found.fitted.scores["balanced_accuracy"].mean > 0.85
    null = fit_probe(*cohort(labels, groups, difference=0.0), "target", tmp_path / "null.safetensors", folds=3)
    assert abs(null.fitted.scores["auroc"].pooled - 0.5) < 0.2

    # Held-out participants are the whole cohort, each once.
    assert sorted(np.concatenate(found.fitted.parts)) == list(range(36))
    facts = json.loads((tmp_path / "p.json").read_text())
    assert facts["classes"] == {"control": 18, "patient": 18}
    assert facts["counts"]["rows"] == 72
    assert facts["chance"]["accuracy"] == 0.5

    # The mean of a participant's outputs is the output for the mean embedding, and the sign tells the class.
    probe = read_probe(found.path)
    samples = found.samples
    scores = probe.outputs(samples.embeddings)[:, 0]
    assert (probe.classes, probe.weight.shape) == (("control", "patient"), (1, CHANNELS))
    assert ((scores > 0) == samples.targets).mean() > 0.9
    standard = (samples.embeddings - found.fitted.probe.mean) / found.fitted.probe.scale
    expected = standard @ found.fitted.probe.weight[0] + found.fitted.probe.bias[0]
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)


@needs_sklearn
def test_a_regression_predicts_in_the_unit_of_its_target(cohort, tmp_path: Path) -> None:
    levels = np.random.default_rng(2).uniform(-1, 1, 30)
    ages = [f"{45 + 20 * level:.2f}" for level in levels]
    found = fit_probe(
        *cohort(ages, levels, 5.0), "target", tmp_path / "p.safetensors", folds=3, permutations=3,
        picture=tmp_path / "p.png",
    )  # fmt: skip
    assert found.samples.kind == "regression"
    assert found.fitted.scores["r2"].mean > 0.8
    assert found.fitted.scores["mae"].mean < 5
    assert found.fitted.p_value == 0.25
    again = fit_probe(*cohort(ages, levels, 5.0), "target", tmp_path / "again.safetensors", folds=3)
    assert again.path.read_bytes() == found.path.read_bytes()
    predicted = read_probe(found.path).outputs(found.samples.embeddings)[:, 0]
    assert np.abs(predicted - found.samples.targets).mean() < 4
    with Image.open(tmp_path / "p.png") as drawn:
        assert drawn.size == (1500, 760)


@needs_sklearn
def test_the_command_tells_scores_and_writes_a_picture(cohort, tmp_path: Path, capsys) -> None:
    kinds = [number % 3 for number in range(24)]
    features, labels = cohort(["abc"[kind] for kind in kinds], kinds)
    given = ["probe", "fit", str(features), str(labels), "--target", "target", "-o", str(tmp_path / "p.safetensors")]
    assert entry.main([*given, "--folds", "3", "--picture", str(tmp_path / "p.png"), "--json"]) == 0
    out, error = capsys.readouterr()
    told = json.loads(out)
    assert told["command"] == "probe fit"
    assert told["result"] == json.loads((tmp_path / "p.json").read_text())
    assert told["result"]["scores"]["auroc"]["mean"] > 0.8
    assert "no sidecar states which weights made it" in error
    assert len(read_probe(tmp_path / "p.safetensors").classes) == 3
    with Image.open(tmp_path / "p.png") as drawn:
        assert drawn.size == (1500, 760)

    assert entry.main([*given, "--folds", "9"]) == 2
    assert "expected at least 9 participants of each class of target, found 8 of a; use --folds 8" in (
        capsys.readouterr().err
    )


@needs_sklearn
def test_the_example_runs(load_module, tmp_path: Path, capsys) -> None:
    example = load_module(EXAMPLE)
    made = example.main(tmp_path)
    assert made["auroc"] > 0.9
    assert "probability of group B" in capsys.readouterr().out
    # The file against the backbone of the example and NumPy.
    probe, weights = read_probe(tmp_path / "group.safetensors"), example.synthetic_weights(example.BACKBONE)
    features = np.asarray(eqx.filter_jit(SwiFT.from_weights(weights))(made["clips"]), np.float64)
    expected = probe.outputs(features.mean((2, 3, 4, 5)))
    np.testing.assert_allclose(made["logits"], expected, rtol=1e-5, atol=1e-6 * np.abs(probe.folded()[0]).sum())


def test_windows_count_for_their_participant_alone(tmp_path: Path) -> None:
    rows = [["sub-1", 1, 2], ["2", "n/a", 0], ["1", 3, 4], ["sub-2", 5, 6]]
    found = read_embeddings(table(tmp_path / "f.tsv", ["participant_id", *embedding_names(2)], rows))
    assert (found.participants, found.rows, found.missing) == (("1", "2"), (2, 1), 1)
    assert found.means.tolist() == [[2, 3], [5, 6]]


def test_rows_of_other_tables_count_as_they_should(tmp_path: Path) -> None:
    columns = ["participant_id", "statistic", "windows", "embedding_000"]
    rows = [["1", "mean", 3, 1], ["1", "std", 3, 100], ["1", "mean", 1, 5]]
    found = read_embeddings(table(tmp_path / "f.tsv", columns, rows))
    assert found.means.tolist() == [[(3 * 1 + 5) / 4]]


def test_the_sidecar_tells_the_model(tmp_path: Path) -> None:
    features = table(tmp_path / "f.tsv", ["participant_id", "embedding_000"], [["1", 2]])
    model = {"sha256": "a" * 64, "weights_sha256": "b" * 64}
    (tmp_path / "f.json").write_text(json.dumps({"Artifact": model, "Runs": [{"Placement": "ukb"}]}))
    expected = {"weights_sha256": "b" * 64, "artifact_sha256": "a" * 64, "placement": "ukb"}
    assert read_embeddings(features).source == expected
    stated = {"SHA256": {"Artifact": "a" * 64, "Weights": "b" * 64, "Scan": "c"}, "Placement": "ukb"}
    (tmp_path / "f.json").write_text(json.dumps(stated))
    assert read_embeddings(features).source == expected
    (tmp_path / "f.json").write_text(json.dumps([model]))
    with pytest.raises(InputError, match=r"f\.json: expected the sidecar of f\.tsv"):
        read_embeddings(features)
    (tmp_path / "f.json").write_text(json.dumps({"a": model, "b": {"weights_sha256": "c" * 64}}))
    with pytest.raises(InputError, match=r"expected embeddings of one model, found weights_sha256 b.* and c.*"):
        read_embeddings(features)


@pytest.mark.parametrize(
    ("columns", "rows", "told"),
    [
        (
            ["participant", "embedding_000"],
            [],
            "among them, found 2 columns, participant, embedding_000",
        ),
        (["participant_id", "a", "a"], [], "different columns, participant_id among them, found a twice"),
        (["participant_id", "a"], [["1", 2]], "found 0 of them"),
        (["participant_id", "embedding_000", "embedding_002"], [], "found 2 of them, without embedding_001"),
        (
            ["participant_id", "embedding_000"],
            [["1", 2, 3]],
            "line 2: expected 2 columns as in the first",
        ),
        (["participant_id", "embedding_000"], [["1", "x\x1b"]], r"line 2: expected finite numbers or n/a as embedding"),
        (["participant_id", "embedding_000"], [["1", "nan"]], "expected finite numbers or n/a as embedding, found nan"),
        (
            ["participant_id", "embedding_000"],
            [["1", "n/a"]],
            "expected rows with embeddings, found 1 rows",
        ),
        (["participant_id", "embedding_000"], [["n/a", "1"]], "line 2: expected a participant_id, found none"),
        (["participant_id", "windows", "embedding_000"], [["1", 0, 1]], "expected a number of windows, found 0"),
        (
            ["participant_id", "artifact_sha256", "embedding_000"],
            [["1", "a", 1], ["1", "b", 2]],
            "expected embeddings of one model, found artifact_sha256 a and b; fit one probe per model",
        ),
    ],
)
def test_tables_without_usable_embeddings_are_refused(
    columns: list[str], rows: list[list[object]], told: str, tmp_path: Path, refused
) -> None:
    with refused("f.tsv", told, error=InputError):
        read_embeddings(table(tmp_path / "f.tsv", columns, rows))


@pytest.mark.parametrize("content", [b"participant_id\tembedding_000\n\xff\t1\n", b"participant_id" + b"x" * 5_000_000])
def test_what_is_no_table_is_refused(content: bytes, tmp_path: Path, refused) -> None:
    (tmp_path / "f.tsv").write_bytes(content)
    with refused("f.tsv", error=InputError):
        read_embeddings(tmp_path / "f.tsv")
    with refused("cannot be read (No such file or directory)", error=InputError):
        read_embeddings(tmp_path / "absent.tsv")


@pytest.mark.parametrize(
    ("targets", "kind", "told"),
    [
        ({"8": "F"}, None, "expected common participants, found none: 0, 1, 2 and 1 more and 8"),
        ({"0": "n/a", "1": "", "9": "F"}, None, "expected participants with sex, found 2, all n/a"),
        ({"0": "F", "1": "F", "2": "F"}, None, "expected two or more classes of sex, found only F"),
        ({"0": "a", "1": "b", "2": "c"}, None, "expected several participants per class of sex, found 3 classes of 3"),
        ({"0": 1.5, "1": 1.5}, "regression", "expected different values of sex, found only 1.5"),
        ({"0": "F", "1": "M"}, "regression", "--kind regression: expected numbers in sex, found F"),
        ({"0": 1, "1": 2}, "other", "--kind other: expected one of classification, regression"),
    ],
)
def test_targets_that_cannot_be_predicted_are_refused(
    targets: dict[str, object], kind: str | None, told: str, tmp_path: Path, refused
) -> None:
    rows = [[str(who), 1.0] for who in range(4)]
    features = read_embeddings(table(tmp_path / "f.tsv", ["participant_id", "embedding_000"], rows))
    labels = table(tmp_path / "l.tsv", ["participant_id", "sex"], [[f"sub-{who}", t] for who, t in targets.items()])
    error = UsageError if "--kind" in told else InputError
    with refused(told, error=error):
        join(features, read_labels(labels, "sex"), "sex", kind, "f.tsv and l.tsv")


def test_labels_that_disagree_are_refused(tmp_path: Path, refused) -> None:
    labels = table(tmp_path / "l.tsv", ["participant_id", "sex"], [["1", "F"], ["sub-1", "M"]])
    with refused("line 3: expected one sex per participant, found F and M for sub-1", error=InputError):
        read_labels(labels, "sex")
    with refused("--target age: expected a column of", "(sex)", error=InputError):
        read_labels(labels, "age")


@pytest.mark.parametrize(
    ("values", "kind", "classes"),
    [
        (["1", "1.0", "2", "2"], "classification", ("1", "2")),
        (["10", "9", "10", "9"], "classification", ("9", "10")),
        (["1.5", "1", "2", "2"], "regression", ()),
        ([*map(str, range(12))], "regression", ()),
        (["x", "1", "x", "1"], "classification", ("1", "x")),
    ],
)
def test_the_values_decide_what_is_fitted(values: list[str], kind: str, classes: tuple[str, ...], tmp_path) -> None:
    rows = [[str(who), 1.0] for who in range(len(values))]
    features = read_embeddings(table(tmp_path / "f.tsv", ["participant_id", "embedding_000"], rows))
    found = join(features, {str(who): value for who, value in enumerate(values)}, "t", None, "")
    assert (found.kind, found.classes) == (kind, classes)


def test_outputs_that_would_destroy_inputs_are_refused(cohort, tmp_path: Path, refused) -> None:
    features, labels = cohort(["a", "b"], [0, 1])
    for output, picture, told in (
        ("features.safetensors", None, "features.json: is also the input"),
        ("p.pt", None, "expected a name that ends in .safetensors"),
        ("p.safetensors", "p.jpg", "expected a name that ends in .png"),
        ("absent/p.safetensors", None, "expected an existing folder"),
    ):
        (tmp_path / "features.json").write_text("{}")
        drawn = None if picture is None else tmp_path / picture
        with refused(told, error=UsageError):
            fit_probe(features, labels, "target", tmp_path / output, picture=drawn)
    with refused("--folds 1: expected a number from 2 to 100", error=UsageError):
        fit_probe(features, labels, "target", tmp_path / "p.safetensors", folds=1)
