"""Export small files through a transaction; also run as a process of its own, to be killed at a given moment.

    python exporting.py OUTPUT SEED TEXT FORMAT,FORMAT [--at N ACTION]

The artifacts are stand-ins of a few bytes under the layout's names: what is tested is the folder, not the formats.
One of them has golden outputs.
With ``--at``, ACTION (``kill``, ``interrupt``, ``terminate`` or ``fail``) happens right before the N-th rename.
"""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

from swift_export.artifacts import FORMATS, Artifact, Manifest, digest_format, transaction
from swift_export.artifacts.digests import digest_file
from swift_export.artifacts.manifest import Golden, GoldenInput
from swift_export.formats.signature import Signature
from swift_export.models import Model
from swift_export.models.swift.config import SwiFTConfig
from swift_export.models.swift.swift_model import swift_model
from swift_export.models.swift.weights import synthetic_weights

FILES = {
    "stablehlo": ("stablehlo/model.jax", "stablehlo/model.mlir.bc", "stablehlo/model.b1.mlir.bc"),
    "savedmodel": ("savedmodel/1/saved_model.pb", "savedmodel/1/variables/variables.index"),
    "onnx": ("onnx/model.onnx", "golden/onnx/features.npy"),
}
RECIPE = GoldenInput("phantom", 0, 2, "0123456789abcdef" * 4)
CONFIG = SwiFTConfig(
    img_size=(8, 8, 8, 2),
    in_chans=1,
    embed_dim=4,
    window_size=(2, 2, 2, 2),
    first_window_size=(2, 2, 2, 2),
    patch_size=(2, 2, 2, 1),
    depths=(1, 1),
    num_heads=(1, 2),
    c_multiplier=2,
    last_layer_full_MSA=False,
)


@cache
def model(seed: int = 0) -> Model:
    return swift_model(synthetic_weights(CONFIG, seed))


def write(folder: Path, name: str, text: str) -> None:
    for path in FILES[name]:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(f"{path} {text}")


def artifact(folder: Path, name: str) -> Artifact:
    files = digest_format(folder, FORMATS[name])
    kept = [path for path in FILES[name] if path not in files and (folder / path).exists()]
    golden = Golden(RECIPE, {path: digest_file(folder / path) for path in kept}, "Equinox 1", 1e-5, 1e-5, "rounding")
    return Artifact(files, {"opset": 20}, Signature((), ()), {}, {"python": "3"}, None, golden if kept else None)


def export(
    output: Path,
    *formats: str,
    seed: int = 0,
    text: str = "new",
    force: bool = False,
    reports: dict[str, str] | None = None,
    before_commit: Callable[[Path], object] = lambda folder: None,
) -> Manifest:
    with transaction(output, model(seed), formats, force=force) as stage:
        for name in formats:
            write(stage.folder, name, text)
        before_commit(stage.folder)
        return stage.commit(
            {name: artifact(stage.folder, name) for name in formats}, (lambda _: reports) if reports else None
        )


def at_rename(number: int, action: str) -> None:
    """Have ``action`` happen before the ``number``-th rename of this process, counted from one."""
    seen = 0

    def hook(event: str, _: object) -> None:
        nonlocal seen
        seen += event == "os.rename"
        if event != "os.rename" or seen != number:
            return
        if action == "fail":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        number_of = {"kill": signal.SIGKILL, "interrupt": signal.SIGINT, "terminate": signal.SIGTERM}
        os.kill(os.getpid(), number_of[action])

    sys.addaudithook(hook)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=Path)
    parser.add_argument("seed", type=int)
    parser.add_argument("text")
    parser.add_argument("formats")
    parser.add_argument("--at", nargs=2)
    parser.add_argument("--force", action="store_true")
    given = parser.parse_args()
    if given.at:
        at_rename(int(given.at[0]), given.at[1])
    export(given.output, *given.formats.split(","), seed=given.seed, text=given.text, force=given.force)
