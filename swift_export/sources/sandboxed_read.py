"""Reads a module for the first time in a separate process: on some damaged bytecode and on deeply nested text, LLVM
ends the process, and on other input it writes to the standard error.

The process starts before the caller's own imports, so that it costs little time on two processors.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence

from swift_export.formats.bytecode import MLIR, portable_version
from swift_export.sources import first_read
from swift_export.sources.interface import SourceError
from swift_export.sources.kinds import Kind
from swift_export.system.processes import ModuleProcess

__all__ = ["SandboxedRead"]


class SandboxedRead(ModuleProcess):
    """A running read; `finish` waits for its result. Leaving the context ends the process.

    ``name`` identifies the inputs in errors: one file, or all modules of one. The caller need not hold the inputs while
    the process does, for they may be gigabytes: `inputs` gives them back.
    """

    def __init__(self, name: str, inputs: Sequence[bytes], kind: Kind) -> None:
        self._name, self._kind = name, kind
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process is held
        try:
            for data in inputs:
                self._file.write(len(data).to_bytes(first_read.LENGTH))
                self._file.write(data)
            self._file.seek(0)
            streams = {"stdin": self._file, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            environment = {"PYTHONIOENCODING": "utf-8:backslashreplace", "JAX_PLATFORMS": "cpu"}
            super().__init__(first_read.__name__, kind.name, environment=environment, **streams)
        except BaseException:
            self._file.close()
            raise

    def end(self) -> None:
        """End the process, and remove the file of its inputs."""
        super().end()
        self._file.close()

    def inputs(self) -> list[bytes]:
        """The inputs again, once the process has ended."""
        found: list[bytes] = []
        self._file.seek(0)
        while length := self._file.read(first_read.LENGTH):
            found.append(self._file.read(int.from_bytes(length)))
        return found

    def finish(self) -> None:
        """Wait for the result; raises SourceError if the input cannot be read."""
        said, _ = self.process.communicate()
        if self.process.returncode:
            lines = said.decode(errors="replace").strip().splitlines()
            first = lines[0] if lines else ""
            unfit = self.process.returncode == first_read.UNFIT
            raise SourceError(f"{self._name}: {first if unfit else self._reason(first)}")

    def _reason(self, said: str) -> str:
        place = re.fullmatch(r'"-":(\d+):(\d+): (.*)', said)
        if place and self._kind is Kind.TEXT:
            where = f"line {place[1]}, column {place[2]}"
            return f"expected {Kind.TEXT.value}, found at {where}: {place[3]}; such text comes, in JAX, from .as_text()"
        words = re.sub(r'^"-":\d+:\d+: ', "", said) or "its reader crashed"
        versions = [portable_version(data[data.find(MLIR) :]) for data in self.inputs()]
        newer = [version for version in versions if version and _newer(version)]
        if newer:
            return (
                f"expected StableHLO that the installed jax reads, found the newer version {newer[0]} ({words}); "
                "install a newer jax, or write the file for an older version of StableHLO"
            )
        if said.startswith(first_read.NEWER):
            return f"expected a file that the installed jax reads, found {said}; install a newer jax, or export again"
        return f"expected a {self._kind.value}, found a damaged or truncated one ({words}); make or copy it again"


def _newer(version: str) -> bool:
    from swift_export.formats.mlir_bindings import stablehlo

    def numbers(text: str) -> list[int]:
        return [int(part) for part in re.findall(r"\d+", text)]

    return numbers(version) > numbers(stablehlo.get_current_version())
