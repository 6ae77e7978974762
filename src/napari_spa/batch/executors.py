"""Where images of a batch are done: here, in several processes of this machine, on a cluster."""

from __future__ import annotations

import logging
import queue
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from napari_spa.batch.task import ImageResult
from napari_spa.batch.worker import Assignment, Finished, Job, process
from napari_spa.errors import DataError, SpaError
from napari_spa.io.models.registry import find_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


_GIB = 1 << 30
_LEAST_MEMORY = _GIB
"""What a process with PyTorch and a small model needs at least, with an image in it."""
_COPIES = 4  # a model's weights count so often: as read, as used, and what is computed with them
_STARTS = 3  # so often the start of the processes is tried
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
    for _ in range(_STARTS):
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
            failure = error
    raise DataError(f"no worker process could be started: {str(failure).rstrip('.')}.") from failure


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


_WINDOW = 256  # so many images are with the scheduler at a time; a graph of all would be large
_TICK_SECONDS = 0.5
_CONNECT_SECONDS = 20


@contextmanager
def connected(to: Any) -> Iterator[Any]:  # noqa: ANN401  dask has no types
    """Connect to a scheduler; whoever runs it is trusted.

    dask sends Python objects, so a scheduler can have anything run in this process, and this
    process anything in its workers.  With an address of ``tls://`` both show certificates,
    which dask takes from its own configuration (``distributed.comm.tls``).
    """
    from distributed import Client

    with _quiet():
        try:
            client: Any = Client(  # type: ignore[no-untyped-call]
                to, timeout=_CONNECT_SECONDS, set_as_default=False
            )
        except (OSError, TimeoutError, ValueError) as error:
            raise DataError(f"no dask scheduler answers at {to}.") from error
        except TypeError as error:  # dask's word for TLS without a certificate
            raise DataError(
                f"{to} asks for a certificate; name it in dask's distributed.comm.tls."
            ) from error
        try:
            yield client
        finally:
            client.close(timeout=5 if client.status == "running" else 1)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep dask from logging what goes wrong: we say it, in one sentence."""
    names = [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def run_on(client: Any, job: Job, assignments: Sequence[Assignment]) -> Iterator[Finished | None]:  # noqa: ANN401  dask has no types
    """Do images as tasks of a dask cluster.

    A worker that dies costs only its images, which are tried again; an image on which
    workers die again and again is tried once more when all others are done, and then has failed.
    """
    tasks = _Tasks(client, job, deque(assignments))
    try:
        while tasks.fill():
            yield tasks.take()
    finally:
        tasks.cancel()


def exposed(address: str) -> bool:
    """Tell whether others can read and change what goes to a scheduler and comes back."""
    scheme, _, place = address.rpartition("://")
    here = place.startswith(("127.", "localhost", "[::1]"))
    return scheme not in ("tls", "wss", "inproc", "ucxs") and not here


class _Tasks:
    """Images that wait, run, and are finished."""

    def __init__(self, client: Any, job: Job, waiting: deque[Assignment]) -> None:  # noqa: ANN401
        self._client, self._job = client, job
        self._waiting, self._suspect = waiting, deque[Assignment]()
        self._running: dict[str, tuple[Any, Assignment, bool]] = {}
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._count = 0

    def fill(self) -> bool:
        """Send images off, those on which workers died last and alone; False when all are done."""
        while self._waiting and len(self._running) < _WINDOW:
            self._send(self._waiting.popleft(), alone=False)
        if not self._running and self._suspect:
            self._send(self._suspect.popleft(), alone=True)
        return bool(self._running)

    def take(self) -> Finished | None:
        """Return the next finished image; None when there is none for a while."""
        try:
            key = self._ended.get(timeout=_TICK_SECONDS)
        except queue.Empty:
            self._check()
            return None
        future, assignment, alone = self._running.pop(key)
        if future.status == "finished":
            finished = future.result()
            name = assignment.task.name  # which decides what is recorded
            if isinstance(finished, Finished) and finished.result.name == name:
                return finished
            raise DataError(
                f"a worker answered for {name} with something else; install the same napari-spa on "
                "the scheduler and on all workers."
            )
        self._check()
        if future.status == "cancelled":
            raise _lost()
        if future.status == "error":
            return self._failed(future.exception(), assignment, alone=alone)
        # Its result went with the worker that held it: once more, to the same end.
        (self._suspect if alone else self._waiting).appendleft(assignment)
        return None

    def cancel(self) -> None:
        """Take back what was sent off and not finished."""
        futures = [future for future, _, _ in self._running.values()]
        self._running.clear()
        if futures and self._client.status == "running":
            self._client.cancel(futures, force=True)

    def _send(self, assignment: Assignment, *, alone: bool) -> None:
        self._count += 1
        key = f"napari-spa-{self._job.run.rpartition('-')[2]}-{self._count}"
        self._check()
        future = self._client.submit(process, self._job, assignment, key=key, pure=False)
        self._running[key] = (future, assignment, alone)
        future.add_done_callback(lambda done: self._ended.put(done.key))

    def _failed(
        self, error: BaseException, assignment: Assignment, *, alone: bool
    ) -> Finished | None:
        from distributed.scheduler import KilledWorker

        if isinstance(error, SpaError):
            raise error
        if not isinstance(error, KilledWorker):
            raise DataError(
                f"the workers cannot run this batch ({type(error).__name__}: {error}); install "
                "the same napari-spa on the scheduler and on all workers."
            ) from error
        if not alone:
            self._suspect.append(assignment)
            return None
        task = assignment.task
        problem = "each process that worked on it died; it may need more memory than there is."
        return Finished(ImageResult(task.name, "failed", problem=problem))

    def _check(self) -> None:
        if self._client.status != "running":
            raise _lost()


def _lost() -> DataError:
    return DataError(
        "the dask scheduler was lost; what is finished is kept, and the same command goes on "
        "from there."
    )
