"""From a path to a `Source`."""

from __future__ import annotations

import re
from pathlib import Path

from swift_export.errors import LoweringError, UsageError
from swift_export.lowering.sources.base import Options, Source, SourceError
from swift_export.lowering.sources.kinds import Kind, digest_of, kind_of_bytes, kind_of_folder, read_input
from swift_export.lowering.sources.trial import Trial, parser_words

__all__ = ["open_source"]


def open_source(path: Path, options: Options) -> Source:
    """The source at ``path``. Raises SourceError for what cannot be read, UsageError for options that do not fit it."""
    data = read_input(path)
    digest = digest_of(path, data)
    if data is None:
        kind_of_folder(path)
        if options.platform is not None:
            raise UsageError("--platform: belongs to modules and jax.export files, which SavedModels hold ready")
        from swift_export.lowering.sources.savedmodel import SavedModelSource

        return SavedModelSource(path, digest, options)
    kind = kind_of_bytes(data, str(path))
    if options.signature is not None:
        raise UsageError(f"--signature {options.signature}: belongs to a SavedModel, found {kind.value}")
    if kind is Kind.TEXT:
        return _from_text(data.decode("utf-8-sig"), digest, options)
    with Trial(str(path), [data], kind) as trial:
        from swift_export.lowering.sources.module import ModuleSource

        trial.finish()
    if kind is Kind.EXPORTED:
        from swift_export.lowering.sources.exported import ExportedSource

        return ExportedSource(data, kind.value, digest, options)
    return ModuleSource(data, kind.value, digest, options)


def _from_text(text: str, digest: str, options: Options) -> Source:
    from swift_export.lowering.sources.module import ModuleSource

    try:
        return ModuleSource(text, Kind.TEXT.value, digest, options)
    except LoweringError as error:
        place = re.fullmatch(r'"-":(\d+):(\d+): (.*)', parser_words(str(error)))
        if not place:
            raise
        raise SourceError(
            f"expected StableHLO text, found at line {place[1]}, column {place[2]}: {place[3]}; such text comes, "
            "in JAX, from lowered.as_text()"
        ) from None
