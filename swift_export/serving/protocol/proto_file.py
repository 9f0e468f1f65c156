"""Reads a ``.proto`` file into its descriptor: the part of proto3 that the protocol uses.

That is messages, nested too, enums, ``oneof``, ``map`` and services. The server therefore needs neither protoc nor
generated code, which would be bound to one version of protobuf.
"""

from __future__ import annotations

import re
from collections import deque

from google.protobuf import descriptor_pb2 as pb

__all__ = ["file_descriptor"]

_TOKEN = re.compile(r'//[^\n]*|\s+|("[^"]*"|[\w.]+|[{}()<>=;,])')
_FIELD = pb.FieldDescriptorProto
_SCALARS = {
    "bool": _FIELD.TYPE_BOOL,
    "bytes": _FIELD.TYPE_BYTES,
    "double": _FIELD.TYPE_DOUBLE,
    "float": _FIELD.TYPE_FLOAT,
    "int32": _FIELD.TYPE_INT32,
    "int64": _FIELD.TYPE_INT64,
    "string": _FIELD.TYPE_STRING,
    "uint32": _FIELD.TYPE_UINT32,
    "uint64": _FIELD.TYPE_UINT64,
}


def file_descriptor(text: str, name: str) -> pb.FileDescriptorProto:
    """The descriptor of a file; raises ValueError for anything but the part of proto3 that is read."""
    return _Reader(text, name).file()


class _Reader:
    def __init__(self, text: str, name: str):
        self._tokens = deque(_tokens(text))
        self._file = pb.FileDescriptorProto(name=name)

    def file(self) -> pb.FileDescriptorProto:
        file = self._file
        while self._tokens:
            match self._next():
                case "syntax":
                    self._expect("=")
                    file.syntax = self._next().strip('"')
                    self._expect(";")
                case "package":
                    file.package = self._next()
                    self._expect(";")
                case "message":
                    self._message(file.message_type.add())
                case "enum":
                    self._enum(file.enum_type.add())
                case "service":
                    self._service(file.service.add())
                case other:
                    raise ValueError(f"{file.name}: expected a message, an enum or a service, found {other}")
        return file

    def _message(self, message: pb.DescriptorProto) -> None:
        message.name = self._next()
        self._expect("{")
        while (word := self._next()) != "}":
            if word == "message":
                self._message(message.nested_type.add())
            elif word == "oneof":
                message.oneof_decl.add(name=self._next())
                self._expect("{")
                while (kind := self._next()) != "}":
                    self._field(message, kind).oneof_index = len(message.oneof_decl) - 1
            elif word == "map":
                self._map(message)
            elif word == "repeated":
                self._field(message, self._next(), repeated=True)
            else:
                self._field(message, word)

    def _field(self, message: pb.DescriptorProto, kind: str, repeated: bool = False) -> pb.FieldDescriptorProto:
        field = message.field.add(name=self._next(), label=_FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL)
        self._typed(field, kind)
        field.number = self._number()
        return field

    def _map(self, message: pb.DescriptorProto) -> None:
        """A map: on the wire, repeated entries of a key and a value."""
        self._expect("<")
        key = self._next()
        self._expect(",")
        value = self._next()
        self._expect(">")
        name = self._next()
        entry = message.nested_type.add(name="".join(map(str.capitalize, name.split("_"))) + "Entry")
        entry.options.map_entry = True
        for number, (part, kind) in enumerate((("key", key), ("value", value)), 1):
            self._typed(entry.field.add(name=part, number=number, label=_FIELD.LABEL_OPTIONAL), kind)
        message.field.add(
            name=name,
            label=_FIELD.LABEL_REPEATED,
            type=_FIELD.TYPE_MESSAGE,
            type_name=entry.name,
            number=self._number(),
        )

    def _enum(self, enum: pb.EnumDescriptorProto) -> None:
        enum.name = self._next()
        self._expect("{")
        while (name := self._next()) != "}":
            enum.value.add(name=name, number=self._number())

    def _service(self, service: pb.ServiceDescriptorProto) -> None:
        service.name = self._next()
        self._expect("{")
        while self._next() == "rpc":
            name, _, request, _, _, _, answer, *_ = (self._next() for _ in range(10))
            service.method.add(name=name, input_type=request, output_type=answer)

    def _typed(self, field: pb.FieldDescriptorProto, kind: str) -> None:
        if kind in _SCALARS:
            field.type = _SCALARS[kind]
        else:  # a message or an enum, which the descriptor pool finds from the inside outwards
            field.type_name = kind

    def _number(self) -> int:
        self._expect("=")
        number = int(self._next())
        self._expect(";")
        return number

    def _next(self) -> str:
        if not self._tokens:
            raise ValueError(f"{self._file.name}: expected more, found its end")
        return self._tokens.popleft()

    def _expect(self, token: str) -> None:
        if (found := self._next()) != token:
            raise ValueError(f"{self._file.name}: expected {token}, found {found}")


def _tokens(text: str) -> list[str]:
    found, place = [], 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise ValueError(f"expected proto3, found {text[place : place + 20]!r}")
        place = match.end()
        if match[1]:
            found.append(match[1])
    return found
