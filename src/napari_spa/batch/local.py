"""Where the images of a batch are done: in this process, or in several of this machine."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from napari_spa.batch.worker import process
from napari_spa.errors import DataError
from napari_spa.io.models.registry import find_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_spa.batch.job import Assignment, Finished, Job

_GIB = 1 << 30
_LEAST_MEMORY = _GIB
"""What a process with PyTorch and a small model needs at least, with an image in it."""
_COPIES = 4
"""A model's weights count so often: as read, as used, and what is computed with them."""
_STARTS = 3
"""So often the start of the processes is tried."""
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    # A module that lies in the current folder, among images of a stranger say, is not ours.
    "PYTHONSAFEPATH": "1",
}
"""Of a worker process, from its start.

It stands in place of dask's own, which makes glibc give every large array's memory back at
once and ask for it again: half as much time on top of what an image takes.
"""


def run_here(job: Job, assignments: Sequence[Assignment]) -> Iterator[Finished | None]:
    """Do images one after another in this process."""
    yield None
    for assignment in assignments:
        yield process(job, assignment)


def share_of_memory(job: Job, workers: int) -> tuple[int, int]:
    """Return how many processes fit into the free memory, and the bytes that each may use."""
    from distributed.system import MEMORY_LIMIT
    from psutil import virtual_memory  # type: ignore[import-untyped]

    free = min(virtual_memory().available, MEMORY_LIMIT)
    path = find_model(job.recipe.model).path
    weights = path.stat().st_size if path is not None and path.exists() else 0
    needed = _LEAST_MEMORY + _COPIES * weights
    fitting = max(1, min(workers, int(free // needed)))
    return fitting, int(free // fitting)


@contextmanager
def local_cluster(workers: int, memory: int) -> Iterator[Any]:
    """Start worker processes on this machine, for as long as the block lasts.

    Each computes in one thread and is replaced when it dies or grows beyond its memory; it
    ends with this process, however this ends.  They talk over TLS with a certificate that
    only they have: whoever else works on this machine can neither command them nor listen.
    """
    need_dask()
    import dask

    settings = {
        # One image at a time in a process: should it die, no other image is to blame.
        "distributed.scheduler.worker-saturation": 1.0,
        "distributed.scheduler.allowed-failures": 1,
        # Pausing waits for memory that dask holds, and it holds none: all of it is ours.
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.worker.memory.terminate": 0.95,
        # Their web servers ask no one for a certificate: they serve nothing.
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
        "distributed.nanny.http.routes": [],
        # Its record of call stacks grows with the run, and no one looks at it here.
        "distributed.worker.profile.enabled": False,
        "distributed.nanny.pre-spawn-environ": _ENVIRONMENT,
    }
    with dask.config.set(settings):
        cluster = _start_cluster(workers, memory)
        try:
            yield cluster
        finally:
            cluster.close(timeout=10)


def _start_cluster(workers: int, memory: int) -> Any:  # noqa: ANN401  dask has no types
    """Start a cluster; a process that dies before it has joined ends the whole start of dask's."""
    from distributed import LocalCluster
    from distributed.security import Security

    ours = Security.temporary()  # type: ignore[no-untyped-call]
    for left in reversed(range(_STARTS)):
        try:
            return LocalCluster(  # type: ignore[no-untyped-call]
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                host="tls://127.0.0.1",
                protocol="tls://",
                security=ours,
                dashboard_address="127.0.0.1:0",  # any free port; None takes 8787
                scheduler_kwargs={"dashboard": False},
                memory_limit=memory,
                silence_logs="CRITICAL",
            )
        except (OSError, RuntimeError) as error:
            if not left:
                reason = str(error).rstrip(".")
                raise DataError(f"no worker process could be started: {reason}.") from error
    raise AssertionError("the last start returned or raised")


def need_dask() -> None:
    """Refuse to go on where dask is not installed."""
    try:
        import cryptography  # noqa: F401  only to see whether they are there
        import distributed  # noqa: F401
    except ImportError as error:
        raise DataError(
            "more than one worker needs dask; install it with: pip install 'napari-spa[batch]', "
            "or use one worker."
        ) from error
