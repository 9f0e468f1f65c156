"""The messages of the protocol, as classes.

They live in a descriptor pool of their own, so that a client library in the same process, which brings messages of the
same names, does not conflict with them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor_pool import DescriptorPool

from swift_export.serving.protocol.proto_file import file_descriptor

__all__ = ["FILE", "METHODS", "SERVICE", "message_class"]

_PROTO = Path(__file__).with_name("grpc_service.proto")
FILE = file_descriptor(_PROTO.read_text(encoding="utf-8"), _PROTO.name)
_POOL = DescriptorPool()
_POOL.Add(FILE)

SERVICE = f"{FILE.package}.{FILE.service[0].name}"
#: The messages of each method: what it takes, and what it returns.
METHODS = {method.name: (method.input_type, method.output_type) for method in FILE.service[0].method}


def message_class(name: str) -> Any:
    """The class of a message."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{FILE.package}.{name}"))
