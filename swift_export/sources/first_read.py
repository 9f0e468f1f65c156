"""The process that reads a module for the first time: ``python -m swift_export.sources.first_read KIND``.

Its standard input holds the inputs, each after its length. A caller waits for it, so it imports little.
"""

from __future__ import annotations

import re
import sys

__all__ = ["LENGTH", "NEWER", "REFUSED", "UNFIT", "parser_words"]

#: Exit statuses: the reader refuses the input, or the module cannot be translated.
REFUSED, UNFIT = 3, 4
#: Bytes of the length of an input.
LENGTH = 8
#: The beginning of the reason to refuse a file of a newer version of jax.export.
NEWER = "the newer calling convention"


def parser_words(message: str) -> str:
    """The parser's own message, in one line."""
    words = " ".join(message.split())
    return re.sub(r"^StableHLO module: cannot be parsed: (Unable to parse module assembly: )?(error: )?", "", words)


def _read(data: bytes, kind: str) -> None:
    """Read all data that the conversion reads; raises ValueError or the reader's own error."""
    if kind == "EXPORTED":
        from jax import export

        exported = export.deserialize(bytearray(data))
        newest = export.maximum_supported_calling_convention_version
        if exported.calling_convention_version > newest:
            raise ValueError(f"{NEWER} {exported.calling_convention_version}, beyond {newest}")
        data = exported.mlir_module_serialized
    from swift_export.formats.stablehlo_module import read_module

    read_module(data.decode("utf-8-sig") if kind == "TEXT" else data)


def main(kind: str) -> int:
    """Read the standard input; print the reason if it is refused."""
    if kind != "EXPORTED":
        # Its import fails then, which takes a third of the time: MLIR's bindings need it for arrays alone.
        sys.modules.setdefault("numpy", None)  # type: ignore[arg-type]
    from swift_export.formats.module_limits import ModuleError

    try:
        while length := sys.stdin.buffer.read(LENGTH):
            _read(sys.stdin.buffer.read(int.from_bytes(length)), kind)
    except ModuleError as error:
        print(error)
        return UNFIT
    except Exception as error:  # without checksums, damage shows as any error of the reader
        print(parser_words(str(error)) or type(error).__name__)
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
