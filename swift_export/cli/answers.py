"""``--json``: prints the result of a command as one object, the only output on stdout; see docs/json.md."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from swift_export.cli.failures import describe
from swift_export.cli.signatures import with_options

if TYPE_CHECKING:
    from swift_export.artifacts.manifest import File

__all__ = ["SCHEMA_VERSION", "Answer", "file_facts", "json_option"]

#: The version of every object; new keys do not change it, changed keys do.
SCHEMA_VERSION = 1

_OPTION = inspect.Parameter(
    "json",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")],
)


@dataclass
class Answer:
    """The result of a command: ``facts`` are printed by ``--json``, also if the command fails later."""

    wanted: bool
    passed: bool = True
    facts: dict[str, Any] = field(default_factory=dict)

    def add(self, **facts: Any) -> None:
        """Add facts; dataclasses become plain data."""
        self.facts |= facts


def json_option(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give the command ``name`` the option ``--json``; it receives an `Answer` as its argument ``answer``.

    Output of the command or of libraries in its process goes to stderr.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def run(*, json: bool, **given: Any) -> None:
            with _answered(name, Answer(json)) as answer:
                command(**given, answer=answer)

        return with_options(run, command, "answer", [_OPTION])

    return decorate


@contextmanager
def _answered(name: str, answer: Answer) -> Iterator[Answer]:
    if not answer.wanted:
        yield answer
        return
    out = sys.stdout
    try:
        with redirect_stdout(sys.stderr):
            yield answer
    except typer.Exit as end:
        answer.passed = not end.exit_code
        _print(name, answer, None, out)
        raise
    except Exception as error:
        message, status = describe(error)
        answer.passed = False
        _print(name, answer, {"kind": type(error).__name__, "message": message, "exit_status": status}, out)
        raise
    _print(name, answer, None, out)


def _print(name: str, answer: Answer, error: dict[str, Any] | None, out: TextIO) -> None:
    from swift_export.system.plain_data import encode

    stated = {"schema_version": SCHEMA_VERSION, "command": name, "passed": answer.passed, "error": error}
    print(json.dumps(encode(stated | answer.facts), indent=2, allow_nan=False), file=out)


def file_facts(*paths: Path) -> list[dict[str, Any]]:
    """Path, size and SHA-256 of every file at ``paths``: artifact folders, parts of them, single files, SavedModels.

    For artifact folders, these are the files and values recorded in the manifest. Raises ArtifactError.
    """
    from swift_export.artifacts import read_manifest
    from swift_export.artifacts.digests import digest_file
    from swift_export.artifacts.inspect import artifact_folder
    from swift_export.artifacts.layout import is_below

    found: dict[str, File] = {}
    for path in paths:
        if (folder := artifact_folder(path)) is None:
            files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
            found |= {str(file): digest_file(file.resolve()) for file in files}
            continue
        place = path.absolute().relative_to(folder.absolute()).as_posix()
        for artifact in read_manifest(folder).artifacts.values():
            for file, recorded in artifact.files.items():
                if is_below(file, place):
                    # Reported under the given path, although the search uses an absolute one.
                    found[str(path / PurePosixPath(file).relative_to(place))] = recorded
    return [{"path": path, "sha256": file.sha256, "size": file.size} for path, file in found.items()]
