"""Reads a module for the first time in a separate process: on some damaged bytecode and on deeply nested text, LLVM
ends the process, and on other input it writes to the standard error.

The process is ``python -m swift_export.sources.sandboxed_read KIND``. Its standard input holds the inputs, each after
its length. It starts before the caller's own imports, so that it costs little time on two processors.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from swift_export.formats.bytecode import MLIR, portable_version
from swift_export.sources.interface import SourceError
from swift_export.sources.kinds import Kind
from swift_export.system.processes import ModuleProcess

__all__ = ["SandboxedRead", "parser_words"]

_REFUSED, _UNFIT = 3, 4
_LENGTH = 8
_NEWER = "the newer calling convention"


class SandboxedRead(ModuleProcess):
    """A running read; `finish` waits for its result. Leaving the context ends the process.

    ``name`` identifies the inputs in errors: one file, or all modules of one.
    """

    def __init__(self, name: str, inputs: Sequence[bytes], kind: Kind) -> None:
        self._name, self._inputs, self._kind = name, inputs, kind
        with tempfile.TemporaryFile() as file:
            for data in inputs:
                file.write(len(data).to_bytes(_LENGTH))
                file.write(data)
            file.seek(0)
            streams = {"stdin": file, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            environment = {"PYTHONIOENCODING": "utf-8:backslashreplace", "JAX_PLATFORMS": "cpu"}
            super().__init__(__name__, kind.name, environment=environment, **streams)

    def finish(self) -> None:
        """Wait for the result; raises SourceError if the input cannot be read."""
        said, _ = self.process.communicate()
        if self.process.returncode:
            lines = said.decode(errors="replace").strip().splitlines()
            first = lines[0] if lines else ""
            raise SourceError(f"{self._name}: {first if self.process.returncode == _UNFIT else self._reason(first)}")

    def _reason(self, said: str) -> str:
        place = re.fullmatch(r'"-":(\d+):(\d+): (.*)', said)
        if place and self._kind is Kind.TEXT:
            where = f"line {place[1]}, column {place[2]}"
            return f"expected {Kind.TEXT.value}, found at {where}: {place[3]}; such text comes, in JAX, from .as_text()"
        words = re.sub(r'^"-":\d+:\d+: ', "", said) or "its reader crashed"
        versions = [portable_version(data[data.find(MLIR) :]) for data in self._inputs]
        newer = [version for version in versions if version and _newer(version)]
        if newer:
            return (
                f"expected StableHLO that the installed jax reads, found the newer version {newer[0]} ({words}); "
                "install a newer jax, or write the file for an older version of StableHLO"
            )
        if said.startswith(_NEWER):
            return f"expected a file that the installed jax reads, found {said}; install a newer jax, or export again"
        return f"expected a {self._kind.value}, found a damaged or truncated one ({words}); make or copy it again"


def parser_words(message: str) -> str:
    """The parser's own message, in one line."""
    words = " ".join(message.split())
    return re.sub(r"^StableHLO module: cannot be parsed: (Unable to parse module assembly: )?(error: )?", "", words)


def _newer(version: str) -> bool:
    from jax.extend.mlir.dialects import stablehlo

    def numbers(text: str) -> list[int]:
        return [int(part) for part in re.findall(r"\d+", text)]

    return numbers(version) > numbers(stablehlo.get_current_version())


def _read(data: bytes, kind: Kind) -> None:
    """Read all data that the conversion reads; raises ValueError or the reader's own error."""
    if kind is Kind.EXPORTED:
        from jax import export

        exported = export.deserialize(bytearray(data))
        newest = export.maximum_supported_calling_convention_version
        if exported.calling_convention_version > newest:
            raise ValueError(f"{_NEWER} {exported.calling_convention_version}, beyond {newest}")
        data = exported.mlir_module_serialized
    from swift_export.formats.stablehlo_module import read_module

    read_module(data.decode("utf-8-sig") if kind is Kind.TEXT else data)


def main(kind: Kind) -> int:
    """Read the standard input; print the reason if it is refused."""
    from swift_export.formats.module_limits import ModuleError

    try:
        while length := sys.stdin.buffer.read(_LENGTH):
            _read(sys.stdin.buffer.read(int.from_bytes(length)), kind)
    except ModuleError as error:
        print(error)
        return _UNFIT
    except Exception as error:  # without checksums, damage shows as any error of the reader
        print(parser_words(str(error)) or type(error).__name__)
        return _REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(Kind[sys.argv[1]]))
