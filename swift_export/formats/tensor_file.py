"""Reads safetensors files: names, types and shapes at once, values on demand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from swift_export.errors import WeightsError
from swift_export.system.text import shown

__all__ = ["TensorFile", "TensorOnDisk", "open_tensors"]

#: The header of a backbone has about 16 kB; safetensors itself allows 100 MB.
MAX_HEADER = 8 * 2**20

_DTYPES = {"F16": "float16", "F32": "float32", "F64": "float64", "BF16": "bfloat16"}


@dataclass(frozen=True)
class TensorOnDisk:
    """A tensor in a safetensors file, not yet read."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Any

    def read(self) -> np.ndarray:
        """The values; bfloat16 becomes float32, which represents it exactly."""
        values: np.ndarray = self.file.get_tensor(self.name)
        return values.astype(np.float32) if self.dtype == "bfloat16" else values


@dataclass(frozen=True)
class TensorFile:
    """The content of a file: tensors by name, and the text in its header by name."""

    tensors: dict[str, TensorOnDisk]
    metadata: dict[str, str]


def open_tensors(file: Path) -> TensorFile:
    """Open a safetensors file; raises WeightsError if it is damaged, unreadable, or has an oversized header."""
    from safetensors import SafetensorError, safe_open

    name = shown(file, 4096)
    try:
        with file.open("rb") as stream:
            header = int.from_bytes(stream.read(8), "little")
        if header > MAX_HEADER:
            raise WeightsError(f"{name}: expected a safetensors header of at most {MAX_HEADER} bytes, found {header}")
        opened: Any = safe_open(file, framework="numpy")
        tensors = {}
        for key in opened.keys():  # noqa: SIM118 - not a mapping
            part = opened.get_slice(key)
            dtype = part.get_dtype()
            tensors[key] = TensorOnDisk(key, _DTYPES.get(dtype, dtype), tuple(part.get_shape()), opened)
    except SafetensorError as error:
        raise WeightsError(f"{name}: damaged, or not a safetensors file ({shown(error)}); get the file again") from None
    except OSError as error:
        raise WeightsError(f"{name}: cannot be read ({shown(error)})") from None
    return TensorFile(tensors, dict(opened.metadata() or {}))
