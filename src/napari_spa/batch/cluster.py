"""The images of a batch as tasks of dask, on one machine or on many."""

from __future__ import annotations

import logging
import queue
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from napari_spa.batch.job import Assignment, Finished
from napari_spa.batch.local import need_dask
from napari_spa.batch.task import ImageResult
from napari_spa.batch.worker import process
from napari_spa.errors import DataError, SpaError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_spa.batch.job import Job

_WINDOW = 256
"""So many images are with the scheduler at a time; a graph of all would be large."""
_TICK_SECONDS = 0.5
_CONNECT_SECONDS = 20


@contextmanager
def connected(to: Any) -> Iterator[Any]:  # noqa: ANN401  dask has no types
    """Connect to a scheduler; whoever runs it is trusted.

    dask sends Python objects, so a scheduler can have anything run in this process, and this
    process anything in its workers.  With an address of ``tls://`` both show certificates,
    which dask takes from its own configuration (``distributed.comm.tls``).
    """
    need_dask()
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
        while tasks.left:
            tasks.fill()
            yield tasks.take()
    finally:
        tasks.cancel()


def exposed(address: str) -> bool:
    """Tell whether others can read and change what goes to a scheduler and comes back."""
    scheme, _, place = address.rpartition("://")
    here = place.startswith(("127.", "localhost", "[::1]"))
    return scheme not in ("tls", "wss", "inproc", "ucxs") and not here


def _checked(answer: object, assignment: Assignment) -> Finished:
    """Refuse an answer that is none, or of another image: its name decides what is recorded."""
    if not isinstance(answer, Finished) or answer.result.name != assignment.task.name:
        raise DataError(
            f"a worker answered for {assignment.task.name} with something else; install the same "
            "napari-spa on the scheduler and on all workers."
        )
    return answer


class _Tasks:
    """Images that wait, run, and are finished."""

    def __init__(self, client: Any, job: Job, waiting: deque[Assignment]) -> None:  # noqa: ANN401
        self._client, self._job = client, job
        self._waiting, self._suspect = waiting, deque[Assignment]()
        self._running: dict[str, tuple[Any, Assignment, bool]] = {}
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._count = 0

    @property
    def left(self) -> bool:
        """Whether any image is not finished."""
        return bool(self._waiting or self._running or self._suspect)

    def fill(self) -> None:
        """Send images off; those on which workers died go last, and alone."""
        while self._waiting and len(self._running) < _WINDOW:
            self._send(self._waiting.popleft(), alone=False)
        if not self._running and self._suspect:
            self._send(self._suspect.popleft(), alone=True)

    def take(self) -> Finished | None:
        """Return the next finished image; None when there is none for a while."""
        try:
            key = self._ended.get(timeout=_TICK_SECONDS)
        except queue.Empty:
            self._check()
            return None
        future, assignment, alone = self._running.pop(key)
        if future.status == "finished":
            return _checked(future.result(), assignment)
        self._check()
        if future.status == "cancelled":
            raise self._lost()
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
        if self._client.status != "running":
            raise self._lost()
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
            raise self._lost()

    def _lost(self) -> DataError:
        return DataError(
            "the dask scheduler was lost; what is finished is kept, and the same command goes on "
            "from there."
        )
