"""The SavedModel in TensorFlow's C API, run by a small C program compiled against the installed wheel's libraries.

The program computes in a separate process without Python and JAX. This process reads the graph's names for the
signature's arrays from the SavedModel, and passes arrays as files.
"""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np

from swift_export.errors import MachineError
from swift_export.runtimes._companion import Companion
from swift_export.runtimes._serving_signature import read_signature
from swift_export.runtimes.base import (
    Arrays,
    Computation,
    Device,
    LoadError,
    Precision,
    RuntimeInfo,
    check_inputs,
    file_label,
)
from swift_export.runtimes.registry import package_folder
from swift_export.system.arrays import dtype_of, native_view
from swift_export.system.machine import processors

__all__ = ["SOURCE", "CSession", "compile_program", "load"]

SOURCE = Path(__file__).with_suffix(".c")


class CSession:
    """A SavedModel's serving signature, run by the C program."""

    def __init__(self, path: Path):
        self._where = file_label(path)
        self._signature = read_signature(path)
        self.inputs = self._signature.inputs
        self._program = _Program(path)
        self.pid = self._program.pid
        self.info = RuntimeInfo(
            name="TensorFlow C API",
            version=self._program.version,
            device=", ".join(self._program.devices),
            arithmetic="float32",
            # TensorFlow's default.
            settings={"threads": str(processors())},
            providers=self._program.devices,
        )

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Outputs by name."""
        self.place(inputs)()
        return {name: self._program.get(number) for number, name in enumerate(self._signature.outputs)}

    def place(self, inputs: Arrays) -> Computation:
        """Make the program read the inputs."""
        check_inputs(self.inputs, inputs, self._where)
        places = self._signature.places
        for name, array in inputs.items():
            self._program.put(places[name], array)
        wanted = " ".join(places[name] for name in self._signature.outputs)
        return lambda: self._program.ask(f"run {wanted}")


def load(path: Path, device: Device, precision: Precision = "float32") -> CSession:
    """Load the folder with ``saved_model.pb``; raises MachineError if the program cannot be compiled."""
    return CSession(path)


def compile_program(program: Path, *flags: str) -> None:
    """Compile the C program with further flags; raises MachineError with the compiler's message."""
    tensorflow = package_folder("tensorflow")
    names = ("libtensorflow_cc*", "libtensorflow_framework*")
    libraries = [next(tensorflow.glob(name)) for name in names]
    if sys.platform == "linux":
        # The linker would read all symbols of a gigabyte, which takes seconds.
        libraries = [_import_library(libraries[0].name, program.parent)]
    paths = ["-isystem", str(tensorflow / "include"), f"-Wl,-rpath,{tensorflow}"]
    _compile("-std=c11", "-O2", *flags, *paths, SOURCE, *libraries, "-o", program)


def _import_library(name: str, folder: Path) -> Path:
    """A library that only has the name and the functions of the one to load when the program starts."""
    functions = sorted(set(re.findall(r"\bTF_[A-Z]\w+(?=\()", SOURCE.read_text())))
    source, library = folder / "import_library.c", folder / name
    source.write_text("".join(f"void {function}(void) {{}}\n" for function in functions))
    _compile("-shared", "-nostdlib", f"-Wl,-soname,{name}", source, "-o", library)
    return library


def _compile(*arguments: str | Path) -> None:
    try:
        done = subprocess.run(["cc", *arguments], capture_output=True, text=True, errors="replace")
    except OSError as error:
        raise MachineError(f"TensorFlow C API: no C compiler ({error}); install one, such as gcc") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
        raise MachineError(
            f"TensorFlow C API: cc could not compile {SOURCE.name}: {lines[0] if lines else 'no reason'}"
        )


class _Program:
    """The running C program; it ends with this object."""

    def __init__(self, path: Path):
        self._companion = Companion()
        self._folder = self._companion.folder
        program = self._folder / "tensorflow_c"
        compile_program(program)
        pipe = subprocess.PIPE
        self._process = self._companion.start(program, path.resolve(), stdin=pipe, stdout=pipe)
        self.pid = self._process.pid
        try:
            self.version, *devices = self._answer()
        except MachineError as error:
            self._companion.close()
            raise LoadError(f"{file_label(path)}: {error}") from None
        self.devices = tuple(devices)

    def put(self, place: str, array: np.ndarray) -> None:
        """Make the program read an array as the input at this place."""
        file = self._folder / "input"
        native_view(np.asarray(array, order="C")).tofile(file)
        self.ask(f"put {place} {array.dtype} {file.name} {' '.join(map(str, array.shape))}")
        file.unlink()

    def get(self, number: int) -> np.ndarray:
        """The output with this number from the last run."""
        file = self._folder / "output"
        dtype, *dims = self.ask(f"get {number} {file.name}")
        array = np.fromfile(file, np.uint8).view(dtype_of(dtype)).reshape([int(n) for n in dims])
        file.unlink()
        return array

    def ask(self, line: str) -> list[str]:
        """The words of the answer to a line; raises MachineError for an error or a missing answer."""
        assert self._process.stdin
        with suppress(BrokenPipeError):  # the program has ended and will not answer
            self._process.stdin.write(f"{line}\n")
        return self._answer()

    def _answer(self) -> list[str]:
        assert self._process.stdout
        word, _, rest = self._process.stdout.readline().rstrip("\n").partition(" ")
        if word == "ok":
            return rest.split()
        if word == "error":
            raise MachineError(f"TensorFlow C API: {rest}")
        raise MachineError(f"TensorFlow C API: ended without an answer, with exit status {self._process.wait()}")
