"""Read features without swift-export: ``python read_features.py FILE...``.

Tables need nothing but Python, ``.npz`` files NumPy, and ``.safetensors`` files the package safetensors.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np


def read_table(path: Path) -> np.ndarray:
    """The embeddings of a table, one row per window: float32 (windows, channels)."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    channels = [name for name in rows[0] if name.startswith(("embedding_", "logits_"))]
    return np.array([[float(row[name]) for name in channels] for row in rows], np.float32)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file: ``embedding``, ``tokens`` or ``features`` per window, and ``mean`` and ``std``."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    from safetensors.numpy import load_file

    return load_file(path)


def main(paths: list[str]) -> None:
    """Print what is in each file, and what it comes from."""
    for path in map(Path, paths):
        arrays = {"table": read_table(path)} if path.suffix == ".tsv" else read_arrays(path)
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        sidecar = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        artifact = sidecar.get("artifact") or sidecar["Provenance"]["Artifact"]
        meaning = "the weights are synthetic, the features mean nothing" if artifact["synthetic"] else "trained weights"
        print(f"{path.name}: {shapes}; {artifact['variant']}, {meaning}")


if __name__ == "__main__":
    main(sys.argv[1:])
