"""Shards of a cohort, for array jobs: ``2/8`` is every eighth scan, beginning with the second one."""

from __future__ import annotations

import re
from collections.abc import Sequence

from swift_export.errors import UsageError
from swift_export.features.bids.scan_task import Task

__all__ = ["parse_shard", "shard_of"]


def parse_shard(text: str) -> tuple[int, int]:
    """Number and count of ``I/N``, from 1; raises UsageError for anything else."""
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    number, count = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= count:
        raise UsageError(f"--shard {text}: expected I/N, with I from 1 to N")
    return number, count


def shard_of(tasks: Sequence[Task], number: int, count: int) -> list[Task]:
    """The tasks of one shard. Scans of one participant go to different shards, so that their load is alike."""
    return list(tasks[number - 1 :: count])
