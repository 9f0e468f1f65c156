"""Models in Python files, ``FILE.py:NAME``. The file is run, so it must be trusted like any program.

NAME is a function, a module, a pair for `as_model` or a `Model`, or a function without arguments that makes one of
these.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

from swift_export.errors import SwiftExportError, UsageError
from swift_export.formats.signature import Signature
from swift_export.models.from_python import as_model, is_model_like
from swift_export.models.model import Model, Procedure
from swift_export.models.provenance import Provenance
from swift_export.models.reasons import reason
from swift_export.system.text import listed, shown

__all__ = ["load_again", "load_model", "load_object", "rebuild", "split_target"]


def split_target(target: str) -> tuple[Path, str]:
    """``FILE.py:NAME`` as its two parts; raises UsageError for another form."""
    file, colon, name = target.rpartition(":")
    if not colon or not file or not name.isidentifier():
        raise UsageError(f"model {shown(target, quoted=True)}: expected FILE.py:NAME, such as net.py:make_model")
    return Path(file), name


def load_object(file: Path, name: str) -> Any:
    """The object ``name`` of a file; a function without arguments is called to make it.

    Raises UsageError for a missing file, a failed import, a missing name, and an error in such a function.
    """
    with _neighbours(file):
        found = vars(_module(file))
        if name not in found:
            public = sorted(n for n, v in found.items() if not n.startswith("_") and is_model_like(v))
            raise UsageError(f"{file}: expected a model {name}, found {listed(public) or 'no possible model'}")
        thing = found[name]
        if inspect.isfunction(thing) and not inspect.signature(thing).parameters:
            try:
                thing = thing()
            except SwiftExportError:
                raise
            except Exception as error:  # whatever the user's function raises
                raise UsageError(f"{file}: {name}() raised {reason(error)}") from error
    if not is_model_like(thing):
        raise UsageError(
            f"{file}: {name}: expected a function, a module or (module, state), or a function without arguments that "
            f"makes one, found {type(thing).__name__}"
        )
    return thing


def load_model(file: Path, name: str, inputs: Mapping[str, str], **options: Any) -> Model:
    """The model ``name`` of a file, for ``inputs`` such as ``{"x": "float32[batch,3]"}`` and options of `as_model`.

    Raises UsageError and WeightsError as `load_object` and `as_model` do.
    """
    thing = load_object(file, name)
    if isinstance(thing, Model):
        if inputs:
            raise UsageError(f"{file}: {name} is a Model, which states its inputs; omit --input")
        return thing
    arguments = {"file": str(file.resolve()), "sha256": _sha256(file), "name": name, "inputs": dict(inputs)}
    procedure = Procedure(__name__, arguments | {"options": options})
    model = as_model(thing, inputs or None, rebuild=procedure, **{"name": _title(thing, name), **options})
    call = {"call": dict(options["call"])} if options.get("call") else {}
    return replace(model, provenance=Provenance("python", f"{file.name}:{name}"), settings=call)


def load_again(file: Path, name: str, signature: Signature, settings: Mapping[str, Any]) -> Model:
    """The model ``name`` of a file with the inputs and names of outputs in an artifact's ``signature``.

    ``settings`` are the artifact's: the keyword arguments of each call are among them.
    """
    inputs = {spec.name: f"{spec.dtype}[{','.join(map(str, spec.dims))}]" for spec in signature.inputs}
    outputs = tuple(spec.name for spec in signature.outputs)
    thing = load_object(file, name)
    if isinstance(thing, Model):
        return thing
    call = {"call": settings["call"]} if isinstance(settings.get("call"), Mapping) else {}
    model = load_model(file, name, inputs, **call)
    return model if set(model.outputs) == set(outputs) else load_model(file, name, inputs, outputs=outputs, **call)


def rebuild(arguments: Mapping[str, Any], weights: Mapping[str, Any]) -> Model:
    """Load a file's model again, in another process, with these ``weights``.

    Raises UsageError if the file or the names of its weights have changed since.
    """
    file = Path(arguments["file"])
    model = load_model(file, arguments["name"], arguments["inputs"], **arguments["options"])
    assert model.rebuild is not None
    if model.rebuild.arguments["sha256"] != arguments["sha256"]:
        raise UsageError(f"{file}: the file changed while its model was exported; export it again")
    if set(model.weights) != set(weights):
        raise UsageError(f"{file}: expected {arguments['name']} to have the same weights each time, found others")
    return replace(model, weights=weights)


def _title(thing: Any, name: str) -> str | None:
    """The name of a model: a module's class or a function's own name; the name in the file if there is neither."""
    part = thing[0] if isinstance(thing, tuple) else thing
    if not inspect.isfunction(part):
        return type(part).__name__ if isinstance(thing, tuple) else None
    return name if isinstance(thing, tuple) or not part.__name__.isidentifier() else part.__name__


def _module(file: Path) -> Any:
    if not file.is_file():
        raise UsageError(f"{file}: no such file; expected FILE.py:NAME")
    if file.suffix != ".py":
        raise UsageError(f"{file}: expected a Python file, FILE.py")
    name = f"swift_export_model_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file, loader=_FromSource(name, str(file)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look up their module in sys.modules.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except SwiftExportError:
        raise
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        del sys.modules[spec.name]
        raise UsageError(f"{file}: cannot be imported: {reason(error)}") from error
    return module


class _FromSource(SourceFileLoader):
    """Compiles the file each time: the cache of Python takes a file of the same size and second for the same."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


@contextmanager
def _neighbours(file: Path) -> Iterator[None]:
    """Make modules beside the file importable, as when Python runs it."""
    folder = str(file.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
