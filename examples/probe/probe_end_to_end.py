"""From embeddings of a cohort to one file that takes a clip and returns a prediction.

    python examples/probe/probe_end_to_end.py OUTPUT_FOLDER

The cohort is synthetic: the embeddings of group B differ from those of group A in a known direction. So is the
backbone, a small one with random weights. With your own data, the tables come from an exported backbone and your
scans (see README.md); the calls stay the same.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

import swift_export
from swift_export.features.probe.probe_fit import fit_probe
from swift_export.models.swift.check_inputs import phantom
from swift_export.models.swift.config import SwiFTConfig
from swift_export.models.swift.weights import Weights, synthetic_weights

PARTICIPANTS, WINDOWS = 40, 3
BACKBONE = SwiFTConfig(
    img_size=(4, 4, 4, 2),
    in_chans=1,
    embed_dim=2,
    window_size=(4, 4, 4, 4),
    first_window_size=(2, 2, 2, 2),
    patch_size=(2, 2, 2, 1),
    depths=(1, 1),
    num_heads=(1, 1),
    c_multiplier=2,
    last_layer_full_MSA=False,
)


def write_cohort(folder: Path, weights: Weights, difference: float) -> tuple[Path, Path]:
    """Write embeddings.tsv with its sidecar, and participants.tsv."""
    rng = np.random.default_rng(0)
    channels = weights.config.out_dim
    names = [f"embedding_{n:03d}" for n in range(channels)]
    rows, people = ["\t".join(["participant_id", "window", *names])], ["participant_id\tgroup"]
    direction = rng.standard_normal(channels)
    for number in range(PARTICIPANTS):
        who, group = f"sub-{number + 1:02d}", number % 2
        people.append(f"{who}\t{'AB'[group]}")
        centre = rng.standard_normal(channels) + difference * group * direction
        for window in range(WINDOWS):
            values = centre + 0.3 * rng.standard_normal(channels)
            rows.append("\t".join([who, str(window), *(f"{value:.6f}" for value in values)]))
    features, labels = folder / "embeddings.tsv", folder / "participants.tsv"
    features.write_text("\n".join(rows) + "\n")
    labels.write_text("\n".join(people) + "\n")
    # The weights that made the embeddings: an export refuses the probe behind any others.
    (folder / "embeddings.json").write_text(json.dumps({"weights_sha256": weights.digest}))
    return features, labels


def main(folder: Path, difference: float = 4.0) -> dict[str, np.ndarray]:
    """Fit a probe, export it behind the backbone, and run the file on two clips."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = synthetic_weights(BACKBONE)
    features, labels = write_cohort(folder, weights, difference)

    made = fit_probe(features, labels, "group", folder / "group.safetensors", folds=4, picture=folder / "group.png")
    for name, score in made.fitted.scores.items():
        print(f"{name}: {score.mean:.3f} ± {score.deviation:.3f}")

    exported = swift_export.export_onnx(weights, output=folder / "artifact", head=made.path)
    file = exported.folder / "onnx/model.onnx"
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    clips = phantom(BACKBONE, 2)
    (logits,) = session.run(["logits"], {"bold": clips})
    probability = 1 / (1 + np.exp(-logits))
    print(f"probability of group {made.samples.classes[1]}: {', '.join(f'{p:.3f}' for p in probability[:, 0])}")
    return {"clips": clips, "logits": logits, "auroc": np.array(made.fitted.scores["auroc"].mean)}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
