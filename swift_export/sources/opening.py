"""Opens a path as a `Source`."""

from __future__ import annotations

from pathlib import Path

from swift_export.errors import UsageError
from swift_export.sources.interface import Options, Source
from swift_export.sources.kinds import Kind, digest_of, kind_of_bytes, kind_of_folder, read_input
from swift_export.sources.sandboxed_read import SandboxedRead

__all__ = ["open_source"]


def open_source(path: Path, options: Options) -> Source:
    """The source at ``path``; raises SourceError for unreadable input, UsageError for options of another kind."""
    data = read_input(path)
    digest = digest_of(path, data)
    if data is None:
        kind_of_folder(path)
        if options.platform is not None:
            raise UsageError("--platform: expected a module or a jax.export file, found a SavedModel; omit the option")
        from swift_export.sources.savedmodel_source import SavedModelSource

        return SavedModelSource(path, digest, options)
    kind = kind_of_bytes(data, str(path))
    if options.signature is not None:
        raise UsageError(f"--signature {options.signature}: expected a SavedModel, found {kind.value}; omit the option")
    with SandboxedRead(str(path), [data], kind) as reading:
        del data
        from swift_export.sources.module_source import ModuleSource

        reading.finish()
        (data,) = reading.inputs()
    if kind is Kind.EXPORTED:
        from swift_export.sources.exported_source import ExportedSource

        return ExportedSource(data, kind.value, digest, options)
    return ModuleSource(data.decode("utf-8-sig") if kind is Kind.TEXT else data, kind.value, digest, options)
