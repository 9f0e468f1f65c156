"""The clips of ``--input`` for artifacts that exist, as `check`, `diff` and `bench` take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from swift_export.cli.inputs import InputFiles
from swift_export.errors import UsageError

if TYPE_CHECKING:
    from swift_export.cli.console import Console
    from swift_export.models import CheckInput
    from swift_export.parity.targets import Artifacts, Subject

__all__ = ["given_clips"]


def given_clips(
    files: InputFiles, subjects: Sequence[Subject | Artifacts], console: Console, most: int
) -> list[CheckInput]:
    """The clips of ``--input`` for artifacts of one SwiFT, as inputs of at most ``most`` clips; none without files.

    Raises UsageError for artifacts of another model and for those that take different clips, InputError for files that
    do not meet the input contract.
    """
    from swift_export.models.swift.recorded import contract_of_record

    if not files.files:
        return []
    records = [record for subject in subjects for record in subject.records.values()]
    models = [target.model for subject in subjects for target in subject.targets]
    config = records[0].swift
    if config is None or any(record.swift != config for record in records):
        raise UsageError("--input: expected artifacts of SwiFT, found another model; omit it to check random arrays")
    frames = {model.inputs[0].dims[-1] for model in models}
    if len(frames) > 1:
        raise UsageError("--input: expected artifacts with clips of one shape, found several; check them separately")
    contracts = [
        contract_of_record(record, subject.source.weights if subject.source else None)
        for subject in subjects
        for record in subject.records.values()
    ]
    if files.options.placement is None and not all(contract.same_as(contracts[0]) for contract in contracts):
        raise UsageError("--input: expected one input contract, found several; check separately, or use --placement")
    (size,) = frames
    return files.load(config, size if isinstance(size, int) else None, contracts[0], console, most)
