"""Converts StableHLO to a checked ONNX file, for ``swift-export convert`` and `swift_export.convert`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from swift_export._version import __version__
from swift_export.converter.opsets import OPSETS, TARGETS, check_target
from swift_export.errors import CheckFailed, LoweringError, UsageError
from swift_export.formats.metadata import VERSION_KEY
from swift_export.sources import Options, Source, SourceError
from swift_export.sources.opening import open_source
from swift_export.system.files import check_output, followed, replaced_together
from swift_export.system.items import as_items
from swift_export.system.progress import Progress, ignore_line

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as oir

    from swift_export.parity.converted import ConvertedReport
    from swift_export.sources import Lowered

__all__ = ["Conversion", "convert"]

#: Readers of protobuf accept 100 nested messages; each nested graph adds three.
GRAPHS_LIMIT = 30


@dataclass(frozen=True)
class Conversion:
    """The result of a conversion.

    ``files`` are those of the model, of ``size`` bytes together: ``path``, and one with its weights if one file cannot
    hold them. ``inputs`` and ``outputs`` state name, type and shape; ``report`` is None if nothing was compared.
    """

    path: Path
    files: tuple[Path, ...]
    source: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: int
    size: int
    opset: int
    notes: tuple[str, ...]
    report: ConvertedReport | None


def convert(
    source: str | Path,
    output: str | Path,
    *,
    check: bool | None = None,
    opset: int | None = None,
    target: str = TARGETS[0],
    platform: str | None = None,
    signature: str | None = None,
    dim_names: Mapping[str, str | Sequence[str | None]] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Conversion:
    """Convert a StableHLO module, a jax.export file or a SavedModel with StableHLO to an ONNX file.

    Args:
        source: MLIR text, MLIR bytecode, a portable artifact, the bytes of ``Exported.serialize()`` or a SavedModel's
            folder; the kind is detected from the content.
        output: the file to write; an existing one is replaced. Weights that one file cannot hold, of more than 2 GB, go
            to a second one beside it, whose name ends in ``.data``.
        check: whether to run the file in ONNX Runtime and the source in its own framework on random inputs, and compare
            the results. By default only SavedModels are compared, because tf2onnx converts a part of them; for other
            sources, ONNX Runtime loads the file. False does neither.
        opset: the file's opset; by default 20, or a later one if an operator needs it. SavedModels: 18 or more.
        target: ``portable`` (only ai.onnx operators), or ``onnxruntime`` (its own operators where they are faster).
        platform: one of the platforms that a module was lowered for; by default cpu, or else the first.
        signature: one of a SavedModel's signatures; by default serving_default, or the only one.
        dim_names: names of unknown dimensions by input, None for an axis that keeps its own; equal names mean equal
            sizes. A single name is a sequence of one.
        seed: the seed of the random inputs.
        progress: called with a short text at each step.

    Raises SourceError for a source that cannot be read, LoweringError for anything that ONNX cannot express exactly,
    UsageError for options that do not fit, CheckFailed if ONNX Runtime rejects the file or the results differ,
    MachineError if the disk is full. After an error or an interruption, ``output`` is unchanged.
    """
    on_progress = progress or ignore_line
    path, output = Path(source), Path(output)
    named = None if dim_names is None else {name: as_items(labels) for name, labels in dim_names.items()}
    if opset is not None and opset not in OPSETS:
        raise UsageError(f"--opset {opset}: expected {OPSETS.start} to {OPSETS.stop - 1}")
    check_target(target)
    check_output(output, sources=path)
    on_progress(f"reading {path.name}")
    with _named(path):
        opened = open_source(path, Options(opset, target, platform, signature, named))
        on_progress("lowering to ONNX")
        lowered = opened.to_onnx()
        _complete(opened, lowered.model, target)
    from swift_export.formats.onnx_writing import data_of, write_model  # after the first read has begun

    report = None
    replaced_data = data_of(output)
    with replaced_together(output) as draft:
        with _named(path):
            data = write_model(lowered.model, draft)
        files = [draft] if data is None else [draft, data]
        size = sum(file.stat().st_size for file in files)
        places = [output, *(followed(output).with_name(file.name) for file in files[1:])]
        done = _summary(places, opened, lowered.model, size)
        if check is not False:
            # The runtime holds the weights as well.
            for weight in lowered.model.graph.initializers.values():
                weight.const_value = None
            compared = check or not opened.exact
            report = _checked(
                draft, output, opened, lowered, compared=bool(compared), seed=seed, on_progress=on_progress
            )
    for old in set(replaced_data) - set(places):
        old.unlink(missing_ok=True)
    return replace(done, report=report)


def _complete(opened: Source, model: oir.Model, target: str) -> None:
    """State the file's source, and nothing about this machine."""
    if (depth := _depth(model.graph)) > GRAPHS_LIMIT:
        raise LoweringError(
            f"loops and branches: expected at most {GRAPHS_LIMIT} nested ones, the limit of readers of ONNX files, "
            f"found {depth}"
        )
    model.producer_name, model.producer_version = "swift-export", __version__
    model.metadata_props.update(
        {
            VERSION_KEY: __version__,
            "swift_export.source": opened.kind,
            "swift_export.source_sha256": opened.digest,
            "swift_export.target": target,
        }
    )


def _depth(graph: oir.Graph) -> int:
    """The depth of nested graphs, without this one."""
    deepest, stack = 0, [(graph, 0)]
    while stack:
        outer, depth = stack.pop()
        deepest = max(deepest, depth)
        for node in outer:
            for attribute in node.attributes.values():
                if attribute.type.name == "GRAPH":
                    stack.append((attribute.as_graph(), depth + 1))
    return deepest


def _checked(
    draft: Path,
    output: Path,
    opened: Source,
    lowered: Lowered,
    *,
    compared: bool,
    seed: int,
    on_progress: Progress,
) -> ConvertedReport | None:
    from swift_export.parity.converted import check_converted, open_converted

    try:
        if not compared:
            on_progress("loading the file in ONNX Runtime")
            open_converted(draft)
            return None
        dtypes = {str(value.name): _dtype(value) for value in lowered.model.graph.inputs}
        report = check_converted(draft, lowered.shapes, dtypes, opened.reference(), seed=seed, on_progress=on_progress)
        report.raise_for_failures()
        return report
    except CheckFailed as error:
        raise CheckFailed(f"{output}: {error}; no file was written") from None


def _dtype(value: oir.Value) -> np.dtype:
    assert value.dtype is not None
    if value.dtype.name == "STRING":
        raise UsageError(f"--check: expected numbers as inputs, found text in {value.name}; use --no-check")
    return value.dtype.numpy()


def _summary(files: Sequence[Path], opened: Source, model: oir.Model, size: int) -> Conversion:
    def spec(value: oir.Value) -> str:
        assert value.dtype is not None
        shape = ", ".join(map(str, value.shape)) if value.shape is not None else "any shape"
        return f"{value.name} {'text' if value.dtype.name == 'STRING' else value.dtype.numpy().name} ({shape})"

    return Conversion(
        path=files[0],
        files=tuple(files),
        source=opened.kind,
        inputs=tuple(map(spec, model.graph.inputs)),
        outputs=tuple(map(spec, model.graph.outputs)),
        nodes=sum(1 for _ in model.graph.all_nodes()),
        size=size,
        opset=model.opset_imports[""],
        notes=(*opened.notes, *model.meta.get("notes", ())),
        report=None,
    )


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Prefix errors about a source with its path."""
    try:
        yield
    except (LoweringError, SourceError) as error:
        if str(error).startswith(str(path)):
            raise
        raise type(error)(f"{path}: {error}") from None
    except RecursionError:
        raise LoweringError(
            f"{path}: expected functions, loops and branches within Python's recursion limit, found deeper nesting"
        ) from None
