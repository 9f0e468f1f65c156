"""SavedModels with StableHLO in ``XlaCallModule``, as jax2tf writes them, and TensorFlow operators around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx_ir as oir

from swift_export.converter import mlir
from swift_export.converter.dims import Dim, Size
from swift_export.converter.passes import run_passes
from swift_export.converter.tf2onnx_handler import Record
from swift_export.converter.through_tf2onnx import TF2ONNX_OPSET, quiet_tensorflow, through_tf2onnx
from swift_export.errors import UsageError
from swift_export.formats.element_types import FLOATING
from swift_export.formats.metadata import SAVEDMODEL_FILE, SIGNATURE, TAG
from swift_export.sources.interface import DimNames, Lowered, Options, Reference, SourceError
from swift_export.sources.kinds import Kind
from swift_export.sources.sandboxed_read import SandboxedRead
from swift_export.sources.source_reference import SessionReference, float_types
from swift_export.system.tensorflow import import_tensorflow

__all__ = ["SavedModelSource"]


class SavedModelSource:
    """One signature of a SavedModel. tf2onnx converts TensorFlow's operators around the StableHLO; it is known to write
    wrong files silently, so the source is not ``exact``.
    """

    kind = Kind.SAVEDMODEL.value
    exact = False

    def __init__(self, folder: Path, digest: str, options: Options) -> None:
        self.digest = digest
        self.notes: list[str] = []
        if options.opset is not None and options.opset < TF2ONNX_OPSET:
            raise UsageError(f"--opset {options.opset}: expected {TF2ONNX_OPSET} or more for a SavedModel")
        self._folder, self._options = folder, options
        self._graph = _serving_graph(folder)
        self._signature = _choose([*self._graph.signature_def], options.signature)
        from swift_export.formats.savedmodel import xla_calls

        self._modules = sorted({call.attr["module"].s for call in xla_calls(self._graph.graph_def)})
        with SandboxedRead(str(folder), self._modules, Kind.PORTABLE) as reading:
            reading.finish()

    def to_onnx(self) -> Lowered:
        """The model from tf2onnx, with this project's lowering for the StableHLO and its passes for the whole graph."""
        record = Record(opset=self._options.opset)
        model = through_tf2onnx(self._folder, self._signature, record, self._graph.meta_info_def.tags)
        shapes = _name_dimensions(model.graph, self._options.dim_names or {})
        run_passes(model, target=self._options.target)
        for value in model.graph.outputs:
            if value.shape is not None:
                value.shape = oir.Shape([size if isinstance(size, int) else None for size in value.shape])
        return Lowered(model, shapes)

    def reference(self) -> Reference:
        """The signature, run in TensorFlow."""
        tf = import_tensorflow()
        from swift_export.runtimes.tensorflow import SavedModelSession

        with quiet_tensorflow():
            session = SavedModelSession(self._folder, signature=self._signature)
        title = f"TensorFlow {session.info.version}"
        return SessionReference(session, title, self._float_types(), (tf.errors.InvalidArgumentError,))

    def _float_types(self) -> frozenset[str]:
        """Floating-point types of TensorFlow's own operators and of the modules."""
        tf = import_tensorflow()
        from swift_export.formats.savedmodel import nodes

        kinds = {value.type for node in nodes(self._graph.graph_def) for value in node.attr.values() if value.type}
        names = {tf.dtypes.as_dtype(kind).name for kind in kinds} & set(FLOATING)
        return frozenset(names).union(*(float_types(mlir.read_module(module)) for module in self._modules))


def _serving_graph(folder: Path) -> Any:
    """The graph tagged for serving, or else the first."""
    import_tensorflow()
    from google.protobuf.message import DecodeError

    from swift_export.formats.savedmodel import read_graphs

    try:
        graphs = read_graphs(folder)
    except DecodeError:
        raise SourceError(f"expected a SavedModel, found a damaged {SAVEDMODEL_FILE}; make or copy it again") from None
    serving = [graph for graph in graphs if TAG in graph.meta_info_def.tags] or list(graphs)
    if not serving:
        raise SourceError("expected a SavedModel with a graph, found none in it; save it again")
    return serving[0]


def _choose(found: list[str], name: str | None) -> str:
    names = sorted(name for name in found if not name.startswith("__"))
    if not names:
        raise SourceError("expected a SavedModel with a signature, found none; save it with signatures=...")
    if name is None and SIGNATURE not in names and len(names) > 1:
        raise UsageError(f"--signature: expected one of {', '.join(names)}; the SavedModel has no {SIGNATURE}")
    chosen = name or (SIGNATURE if SIGNATURE in names else names[0])
    if chosen not in names:
        raise UsageError(f"--signature {chosen}: expected one of {', '.join(names)}")
    return chosen


def _name_dimensions(graph: oir.Graph, given: DimNames) -> dict[str, tuple[Size, ...]]:
    """Name unknown dimensions after their inputs, or as ``given``; tf2onnx's own names are meaningless."""
    shapes = {}
    if unknown := set(given) - {value.name for value in graph.inputs}:
        raise UsageError(f"dimension names: no input {', '.join(sorted(unknown))}")
    for value in graph.inputs:
        name = str(value.name)
        if value.shape is None:
            raise SourceError(f"input {name}: expected a known number of axes, found any; fix it in the signature")
        labels = given.get(name) or [None] * len(value.shape)
        if len(labels) != len(value.shape):
            raise UsageError(f"dimension names: {name} has {len(value.shape)} axes, found names for {len(labels)}")
        sizes = [
            size if isinstance(size, int) else label or f"{name}_dim{axis}"
            for axis, (size, label) in enumerate(zip(value.shape, labels, strict=True))
        ]
        value.shape = oir.Shape(sizes)
        shapes[name] = tuple(size if isinstance(size, int) else Dim.parse(size) for size in sizes)
    return shapes
