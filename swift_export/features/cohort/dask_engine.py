"""Workers of a Dask cluster, which an administrator runs, or which a batch system starts.

Workers are given paths, and must see them like this machine does. Each process loads the artifact once and computes one
scan at a time.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from threading import Lock
from typing import Any

from swift_export.errors import MachineError, UsageError
from swift_export.features.bids.scan_task import Task
from swift_export.features.cohort.plan import Outcome, Plan, plan_from, task_from, task_to
from swift_export.features.cohort.scan_job import ScanJobs
from swift_export.system.plain_data import encode
from swift_export.system.text import error_line

__all__ = ["CLUSTERS", "compute_scan", "run_on_dask"]

#: The batch systems that can start workers: the class of dask-jobqueue, and the program that takes a job.
CLUSTERS = {
    "slurm": ("SLURMCluster", "sbatch"),
    "pbs": ("PBSCluster", "qsub"),
    "sge": ("SGECluster", "qsub"),
    "lsf": ("LSFCluster", "bsub"),
}

#: Memory of a worker: the artifact, one window of features, and a piece of the run.
_MEMORY = "3GB"
#: The loaded artifact of this process, by its plan.
_jobs: dict[str, ScanJobs] = {}
#: Held while a scan is computed: a worker may run several tasks in threads.
_computing = Lock()


def compute_scan(plan: Mapping[str, Any], task: Mapping[str, Any]) -> dict[str, Any]:
    """The outcome of a task, as plain data; called in a worker's process."""
    with _computing:
        key = repr(sorted(plan.items()))
        if key not in _jobs:
            _jobs.clear()
            _jobs[key] = ScanJobs(plan_from(plan))
        outcome: dict[str, Any] = encode(_jobs[key].do(task_from(task)))
        return outcome


def run_on_dask(
    plan: Plan,
    tasks: Sequence[Task],
    *,
    scheduler: str | None = None,
    cluster: str | None = None,
    workers: int = 1,
    options: Mapping[str, str] | None = None,
) -> Iterator[Outcome]:
    """The outcome of every task, as soon as it is known.

    Args:
        plan: what is computed.
        tasks: the scans.
        scheduler: the address of a running scheduler, such as ``tcp://host:8786``.
        cluster: a name in `CLUSTERS`, instead of a scheduler.
        workers: jobs that the batch system is asked for.
        options: further arguments for the batch system's cluster, such as ``queue`` and ``walltime``.

    Raises:
        UsageError: no scheduler answers, or the batch system is not there.
        MachineError: the scheduler was lost; what is finished stays.

    """
    from distributed import as_completed

    # Its own reports of lost connections are tracebacks; what they mean for the cohort is said here.
    for name in [name for name in logging.root.manager.loggerDict if name.split(".")[0] == "distributed"]:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    with ExitStack() as stack:
        address = scheduler if cluster is None else stack.enter_context(_started(plan, cluster, workers, options or {}))
        client = stack.enter_context(_connected(address))
        of = {task.name: task for task in tasks}
        data = encode(plan)
        try:
            futures = [
                client.submit(compute_scan, data, task_to(task), key=f"scan-{task.name}", retries=0, pure=False)
                for task in tasks
            ]
            names = {future.key: task.name for future, task in zip(futures, tasks, strict=True)}
            for future in as_completed(futures, loop=client.loop):
                task = of[names[future.key]]
                if future.status == "finished":
                    yield Outcome(**future.result())
                elif future.status == "error":
                    reason = error_line(future.exception())
                    yield Outcome(task.participant, task.name, "failed", reason=f"its worker failed: {reason}")
                else:
                    raise _lost(address)
                future.release()
        except (OSError, TimeoutError) as error:
            raise _lost(address) from error
        if client.status not in ("running", "closing"):
            raise _lost(address)


def _lost(address: Any) -> MachineError:
    return MachineError(
        f"--scheduler {address}: it was lost; start it again and repeat the command: finished scans are kept"
    )


@contextmanager
def _connected(address: Any) -> Iterator[Any]:
    from distributed import Client

    try:
        client = Client(address, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise UsageError(
            f"--scheduler {address}: expected a Dask scheduler, found none ({error_line(error)})"
        ) from None
    with client:
        yield client


@contextmanager
def _started(plan: Plan, cluster: str, workers: int, options: Mapping[str, str]) -> Iterator[Any]:
    import dask_jobqueue

    name, program = CLUSTERS[cluster]
    if shutil.which(program) is None:
        raise UsageError(f"--cluster {cluster}: expected its program {program}, found none; run it where jobs are sent")
    kind = getattr(dask_jobqueue, name)
    given: dict[str, Any] = {"cores": plan.threads, "processes": 1, "memory": _MEMORY, **options}
    if plan.work is not None:
        given = {"local_directory": plan.work, **given}
    try:
        made = kind(**given)
    except (TypeError, ValueError, OSError) as error:
        raise UsageError(f"--cluster {cluster}: {error_line(error)}; correct --cluster-option") from None
    with made:
        made.scale(jobs=workers)
        yield made
