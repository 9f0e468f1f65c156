"""A folder of BIDS derivatives as a whole: what it is, what it comes from, its participants, what its columns mean.

https://bids-specification.readthedocs.io/en/stable/derivatives/introduction.html
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

from swift_export._version import __version__
from swift_export.errors import InputError, UsageError
from swift_export.features.bids.derivative_files import DESC, ENDINGS, WINDOW_COLUMNS, channel_columns
from swift_export.features.bids.preprocessed import DESCRIPTION, read_description
from swift_export.features.bids.scan_table import Vector
from swift_export.features.bids.scan_task import Task
from swift_export.features.bids.tsv import Tsv, read_tsv, tsv_text
from swift_export.scans.sidecar import read_sidecar
from swift_export.system.disk import own_errors
from swift_export.system.files import write_text
from swift_export.system.locks import HIDDEN, locked
from swift_export.system.text import shown

__all__ = ["write_dataset"]

_TOOL = "swift-export"
_BIDS_VERSION = "1.10.0"
#: BIDS has no name for tables of embeddings yet; its validator skips what these patterns match.
_IGNORED = (f"*_{DESC}_*", f"{DESC}_*", "group*", "status*", "logs/", f"{HIDDEN}*")
_README = """# SwiFT features

Features of functional MRI, computed by swift-export {version} with an exported SwiFT model.

- `sub-*/[ses-*/]func/*_{desc}_{word}.tsv`: one row for each window of a run. The `.json` beside it states what the
  values come from: source files, digests of scan, mask and model, placement, software.
- `{ending}.json`: what the columns mean.
- `group_*_{desc}_{word}.tsv`: one row for each scan, the mean over its windows.
- `group.html`: counts, refusals, outliers, motion.

Missing values are `n/a`. Values of different models, placements or spaces cannot be compared with each other; the JSON
files state all three.
"""


def write_dataset(output: Path, tasks: Sequence[Task], *, channels: int, kind: Vector = "embedding") -> list[str]:
    """Write the files that describe the folder ``output``, before or after its scans; existing facts are kept.

    ``tasks`` are all scans of the cohort, whoever computes them: several processes may call this at once. Returns
    warnings: a malformed table of participants is not copied, and does not stop a cohort.

    Raises:
        UsageError: the folder is another program's data set, or its results come from other data; or it cannot be
            written.
        MachineError: the disk is full.

    """
    with own_errors(output), locked(output):
        write_text(output / DESCRIPTION, _json(_description(output, tasks)))
        write_text(output / f"{ENDINGS[kind]}.json", _json(_columns(kind, channels)))
        word = ENDINGS[kind].rpartition("_")[2]
        write_text(
            output / "README.md", _README.format(version=__version__, desc=DESC, word=word, ending=ENDINGS[kind])
        )
        write_text(output / ".bidsignore", "".join(f"{pattern}\n" for pattern in _IGNORED))
        try:
            _write_participants(output, tasks)
        except InputError as error:
            return [f"participants were not copied: {error}"]
    return []


def _description(output: Path, tasks: Sequence[Task]) -> dict[str, Any]:
    links = {task.link: task.dataset for task in tasks if task.dataset is not None}
    found = read_description(output)
    if found:
        makers = found.get("GeneratedBy")
        if not isinstance(makers, list) or not any(isinstance(m, dict) and m.get("Name") == _TOOL for m in makers):
            raise UsageError(
                f"{output}: expected an empty folder or results of {_TOOL}, found the data set "
                f"{shown(found.get('Name'), 60)}; choose another output folder"
            )
    elif (output / DESCRIPTION).exists():
        raise UsageError(f"{output / DESCRIPTION}: expected a readable JSON file, found none; remove it")
    known = found.get("DatasetLinks")
    named = {name: _relative(folder, output) for name, folder in links.items()}
    stated = {name: link for name, link in known.items() if isinstance(link, str)} if isinstance(known, dict) else {}
    for name, link in named.items():
        if stated.get(name, link) != link:
            raise UsageError(
                f"{output}: expected results of {link}, found those of {shown(stated[name])}, which has the same name "
                f"{name}; choose another output folder"
            )
    sources = {json.dumps(s, sort_keys=True): s for s in found.get("SourceDatasets", []) if isinstance(s, dict)}
    for name, folder in links.items():
        source = _source(folder, named[name])
        sources[json.dumps(source, sort_keys=True)] = source
    return {
        "Name": "SwiFT features",
        "BIDSVersion": _BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": _TOOL, "Version": __version__, **_code_url()}],
        "SourceDatasets": [sources[key] for key in sorted(sources)],
        "DatasetLinks": dict(sorted((stated | named).items())),
    }


def _relative(folder: Path, output: Path) -> str:
    """The way from the output: both may move together, and no file says where they are."""
    return os.path.relpath(folder.resolve(), output.resolve())


def _source(folder: Path, link: str) -> dict[str, str]:
    """A source data set: where it is, and the version and DOI that it states."""
    found = read_description(folder)
    makers = found.get("GeneratedBy")
    maker = makers[0] if isinstance(makers, list) and makers and isinstance(makers[0], dict) else {}
    stated = {"DOI": found.get("DatasetDOI"), "Version": maker.get("Version")}
    return {"URL": link, **{key: value for key, value in stated.items() if isinstance(value, str) and value}}


def _code_url() -> dict[str, str]:
    """The address of the code, if the installed package states one."""
    try:
        stated = metadata(_TOOL).get_all("Project-URL") or []
    except PackageNotFoundError:
        return {}
    urls = {name.strip().lower(): url.strip() for name, _, url in (line.partition(",") for line in stated)}
    found = next((urls[name] for name in ("repository", "source", "homepage") if name in urls), None)
    return {} if found is None else {"CodeURL": found}


def _columns(kind: Vector, channels: int) -> dict[str, Mapping[str, str]]:
    of = "token channel, averaged over the window's tokens" if kind == "embedding" else "output of the head"
    vector = {name: {"Description": f"{of[:1].upper()}{of[1:]}"} for name in channel_columns(kind, channels)}
    return {**WINDOW_COLUMNS, **vector}


def _write_participants(output: Path, tasks: Sequence[Task]) -> None:
    """Copy the rows of the scans' participants; rows of earlier calls stay."""
    wanted = sorted({task.participant for task in tasks})
    tables = [table for folder in _folders(tasks) if (table := _participants(folder))]
    if not tables:
        return
    if kept := _participants(output):
        tables.insert(0, kept)
        wanted = sorted({*wanted, *(str(row["participant_id"]) for row in kept.rows(["participant_id"]))})
    columns = list(dict.fromkeys(column for table in tables for column in table.columns))
    columns.sort(key=lambda column: column != "participant_id")
    rows: dict[str, dict[str, str | None]] = {}
    for table in tables:
        for row in table.rows(columns):
            known = rows.setdefault(str(row["participant_id"]), row)
            known.update({key: value for key, value in row.items() if known[key] is None})
    empty: dict[str, str | None] = dict.fromkeys(columns)
    lines = [list(rows.get(name, empty | {"participant_id": name}).values()) for name in wanted]
    write_text(output / "participants.tsv", tsv_text(columns, lines))
    described = next((found for folder in _folders(tasks) if (found := _described(folder))), None)
    if described is not None:
        write_text(output / "participants.json", _json({"Description": "Participants of the scans"} | described))


def _folders(tasks: Sequence[Task]) -> list[Path]:
    """Where participants may be described: in the data set, and in the raw one whose derivatives it is among."""
    sets = dict.fromkeys(task.dataset.resolve() for task in tasks if task.dataset is not None)
    raw = [folder.parent.parent for folder in sets if folder.parent.name == "derivatives"]
    return list(dict.fromkeys([*sets, *raw]))


def _participants(folder: Path) -> Tsv | None:
    path = folder / "participants.tsv"
    if not path.is_file():
        return None
    table = read_tsv(path)
    if "participant_id" not in table.columns:
        raise InputError(f"{path}: expected the column participant_id, found none; add it")
    return table


def _described(folder: Path) -> dict[str, Any] | None:
    try:
        return read_sidecar(folder / "participants.json")
    except ValueError:
        return None


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, allow_nan=False) + "\n"
