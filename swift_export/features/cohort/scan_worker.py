"""Computes scans in a process of its own: ``python -m swift_export.features.cohort.scan_worker``.

The first line on stdin is the plan, every further one a task, as JSON. Each task is answered by a line on stdout, its
outcome. The artifact is loaded once, for the first scan that needs it.
"""

from __future__ import annotations

import json
import os
import sys

from swift_export.features.cohort.plan import plan_from, task_from
from swift_export.features.cohort.scan_job import ScanJobs
from swift_export.system.plain_data import encode

__all__ = ["main"]


def main() -> None:
    """Answer tasks until stdin ends."""
    # What libraries print must not be mistaken for an answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    jobs = ScanJobs(plan_from(json.loads(sys.stdin.readline())))
    for line in sys.stdin:
        outcome = jobs.do(task_from(json.loads(line)))
        answers.write(json.dumps(encode(outcome)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
