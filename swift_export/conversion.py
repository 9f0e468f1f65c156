"""StableHLO in, a checked ONNX file out: what ``swift-export convert`` and `swift_export.convert` do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from swift_export._version import __version__
from swift_export.converter.opsets import OPSETS, TARGETS, check_target
from swift_export.errors import CheckFailed, LoweringError, UsageError
from swift_export.formats.metadata import VERSION_KEY
from swift_export.sources import Options, Source, SourceError
from swift_export.sources.opening import open_source
from swift_export.system.files import check_output, replaced
from swift_export.system.items import as_items
from swift_export.system.progress import Progress, ignore_line

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as oir

    from swift_export.parity.converted import ConvertedReport
    from swift_export.sources import Lowered

__all__ = ["PROTOBUF_LIMIT", "Conversion", "convert"]

#: A protobuf message, which an ONNX file is, holds less than 2 GiB.
PROTOBUF_LIMIT = 2**31 - 1
#: Readers of protobuf follow 100 messages inside each other: a graph inside a graph is three more.
GRAPHS_LIMIT = 30


@dataclass(frozen=True)
class Conversion:
    """What a conversion wrote. ``inputs`` and ``outputs`` say name, type and shape; ``report`` is None when nothing was
    compared.
    """

    path: Path
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
    """Write a StableHLO module, a jax.export file or a SavedModel that holds StableHLO as an ONNX file.

    Args:
        source: MLIR text, MLIR bytecode, a portable artifact, what ``Exported.serialize()`` gave, or the folder of a
            SavedModel; told apart by content.
        output: the file to write; replaced where it exists.
        check: run the file in ONNX Runtime and the source in its own framework on random inputs, and compare. By
            default SavedModels are compared, for a part of their way is tf2onnx's, and of other sources it is seen to
            that ONNX Runtime loads the file; False does neither.
        opset: of the file; by default 20, or a later one where an operator needs it. SavedModels: 18 or more.
        target: ``portable``, ai.onnx operators alone, or ``onnxruntime``, with that runtime's own where it gains.
        platform: which one of the platforms that a module was lowered for; by default cpu, or else the first.
        signature: which one of a SavedModel's; by default serving_default, or the only one.
        dim_names: names of unknown dimensions by input, None where an axis keeps its own; the same name means the same
            size. One name stands for a sequence of one.
        seed: of the random inputs.
        progress: is called with a few words on each step.

    Raises SourceError for a source that cannot be read, LoweringError for what ONNX cannot express exactly, UsageError
    for options that do not fit, CheckFailed where ONNX Runtime rejects the file or the results differ, MachineError
    when the disk is full. In every case, and when interrupted, ``output`` is left as it was.
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
        data = _serialized(opened, lowered.model, target)
    report = None
    with replaced(output) as draft:
        draft.write_bytes(data)
        if check is not False:
            compared = check or not opened.exact
            report = _checked(
                draft, output, opened, lowered, compared=bool(compared), seed=seed, on_progress=on_progress
            )
    return _summary(output, opened, lowered.model, len(data), report)


def _serialized(opened: Source, model: oir.Model, target: str) -> bytes:
    """The file's content; it says what it was made from, and nothing of this machine."""
    import onnx_ir

    if (depth := _depth(model.graph)) > GRAPHS_LIMIT:
        raise LoweringError(
            f"loops and branches: expected at most {GRAPHS_LIMIT} inside each other, as many as readers of ONNX files "
            f"follow, found {depth}"
        )
    constants = (value.const_value for value in model.graph.initializers.values())
    # Before they are copied: the file is no smaller than they are.
    _refuse_beyond_limit(sum(constant.nbytes for constant in constants if constant is not None))
    model.producer_name, model.producer_version = "swift-export", __version__
    model.metadata_props.update(
        {
            VERSION_KEY: __version__,
            "swift_export.source": opened.kind,
            "swift_export.source_sha256": opened.digest,
            "swift_export.target": target,
        }
    )
    data = bytes(onnx_ir.to_proto(model).SerializeToString(deterministic=True))
    _refuse_beyond_limit(len(data))
    return data


def _depth(graph: oir.Graph) -> int:
    """How many graphs lie inside each other, this one not counted."""
    deepest, stack = 0, [(graph, 0)]
    while stack:
        outer, depth = stack.pop()
        deepest = max(deepest, depth)
        for node in outer:
            for attribute in node.attributes.values():
                if attribute.type.name == "GRAPH":
                    stack.append((attribute.as_graph(), depth + 1))
    return deepest


def _refuse_beyond_limit(size: int) -> None:
    if size > PROTOBUF_LIMIT:
        raise LoweringError(
            f"{size / 1e9:.2f} GB: expected at most {PROTOBUF_LIMIT / 1e9:.2f}, all that an ONNX file holds; make the "
            "largest constants arguments of the function"
        )


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
        raise UsageError(f"--check: {value.name} holds text, which is not drawn at random; give --no-check")
    return value.dtype.numpy()


def _summary(output: Path, opened: Source, model: oir.Model, size: int, report: ConvertedReport | None) -> Conversion:
    def spec(value: oir.Value) -> str:
        assert value.dtype is not None
        shape = ", ".join(map(str, value.shape)) if value.shape is not None else "any shape"
        return f"{value.name} {'text' if value.dtype.name == 'STRING' else value.dtype.numpy().name} ({shape})"

    return Conversion(
        path=output,
        source=opened.kind,
        inputs=tuple(map(spec, model.graph.inputs)),
        outputs=tuple(map(spec, model.graph.outputs)),
        nodes=sum(1 for _ in model.graph.all_nodes()),
        size=size,
        opset=model.opset_imports[""],
        notes=tuple(opened.notes),
        report=report,
    )


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Begin what is said of a source with its name."""
    try:
        yield
    except (LoweringError, SourceError) as error:
        if str(error).startswith(str(path)):
            raise
        raise type(error)(f"{path}: {error}") from None
    except RecursionError:
        raise LoweringError(
            f"{path}: expected functions, loops and branches that Python can follow, found them nested deeper"
        ) from None
