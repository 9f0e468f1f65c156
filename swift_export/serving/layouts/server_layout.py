"""What distinguishes the folder for one server from those for others, and the protocol that three of them speak."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swift_export.serving.layouts.servable import Servable

__all__ = ["OIP_CLIENTS", "OIP_TYPES", "SMOKE", "TEMPLATES", "ServerLayout", "flat_input", "oip_request", "rendered"]

#: The folder of the smoke test's arrays.
SMOKE = "smoke"
TEMPLATES = "templates"

#: Element types of the Open Inference Protocol, by NumPy's names. ONNX Runtime in Triton takes no bfloat16.
OIP_TYPES = {
    "bool": "BOOL",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}
#: The clients of the protocol, as pip's arguments.
OIP_CLIENTS = {"http": "numpy 'tritonclient[http]'", "grpc": "numpy 'tritonclient[grpc]'"}


def flat_input(number: int) -> str:
    """The file of an input's bytes; its name never comes from the artifact."""
    return f"input{number}"


@dataclass(frozen=True)
class ServerLayout:
    """The layout for one server.

    Attributes:
        name: the name on the command line.
        title: the server's name.
        format_name: the format of an artifact that it serves.
        types: the element types that it takes, NumPy's names.
        urls: its address on this machine by protocol, the usual one first.
        clients: pip's arguments for the client, by protocol.
        write: writes the server's own files into a folder.
        facts: what the templates need beyond the `Servable`.
        inputs: the folder of the smoke test's inputs.
        shape: the shape of a tensor in requests, from its own shape and whether requests are combined.

    """

    name: str
    title: str
    format_name: str
    types: Collection[str]
    urls: Mapping[str, str]
    clients: Mapping[str, str]
    write: Callable[[Servable, Path], None]
    facts: Callable[[Servable], Mapping[str, Any]]
    inputs: Callable[[Servable], str] = lambda servable: SMOKE
    shape: Callable[[Sequence[int], bool], tuple[int, ...]] = lambda shape, combined: tuple(shape)


def oip_request(servable: Servable, layout: ServerLayout) -> dict[str, Any]:
    """The head of a request in the protocol's binary form; the inputs' bytes follow it, and outputs come as JSON."""
    combined = servable.batching is not None
    inputs = [
        {
            "name": name,
            "shape": list(layout.shape(array.shape, combined)),
            "datatype": OIP_TYPES[array.dtype.name],
            "parameters": {"binary_data_size": array.nbytes},
        }
        for name, array in servable.case.inputs.items()
    ]
    return {"inputs": inputs, "outputs": [{"name": name} for name in servable.case.outputs]}


def rendered(template: str, **facts: Any) -> str:
    """The text of a template, which is plain text or Markdown."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(__package__, TEMPLATES),
        autoescape=False,  # no HTML; names are checked, and other text is made printable before
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**facts).strip() + "\n"
