"""The book of a run: results as they come in, the manifest in step, how long it will take."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_spa.batch.manifest import sha256_of
from napari_spa.batch.survey import output_names
from napari_spa.core.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_spa.batch.job import Finished
    from napari_spa.batch.manifest import Manifest
    from napari_spa.batch.resume import RunFolder
    from napari_spa.batch.survey import Survey
    from napari_spa.batch.task import ImageResult
    from napari_spa.refine.engine.config import Progress

_WRITE_SECONDS = 3.0
"""The manifest is written so often at most, and takes a twentieth of the time at most."""


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What came of a batch.

    Attributes
    ----------
    done : tuple of str
        Images that were done now.
    unchanged : tuple of str
        Images that were done before.
    kept : tuple of str
        Images whose labels a person made or changed; they were left alone.
    failed : tuple of (str, str)
        Images that could not be done, and why, in a sentence.
    missing : tuple of (str, int, str)
        Objects of the folder that were asked for and could not be had: image, number, and
        why, in a sentence.
    review : tuple of str
        Doubtful images of the folder, the most uncertain first.
    notes : tuple of str
        What else a person should know, a sentence each.
    objects : int
        Objects with a mask in the images done now.
    seconds : float
        How long it took.
    """

    done: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    missing: tuple[tuple[str, int, str], ...] = ()
    review: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    objects: int = 0
    seconds: float = 0.0


class Book:
    """Results as they come in, the manifest in step with them, and how long it will take."""

    def __init__(
        self,
        folder: RunFolder,
        manifest: Manifest,
        found: Survey,
        total: int,
        on_result: Callable[[ImageResult], None] | None,
        progress: Progress,
    ) -> None:
        self._folder, self._manifest, self._found = folder, manifest, found
        self._total, self._on_result, self._progress = total, on_result, progress
        self._done: dict[str, int] = {}
        self._failed: dict[str, str] = {}
        self._kept = list(found.named("kept"))
        self._count = 0
        self._begun = self._written = time.monotonic()
        self._pause = _WRITE_SECONDS
        self.notes: tuple[str, ...] = ()

    def enter(self, finished: Finished | None) -> None:
        """Take in a result, or a moment without one."""
        if finished is not None:
            self._take(finished)
        if finished is not None and time.monotonic() - self._written > self._pause:
            begun = time.monotonic()
            self._folder.write(self._manifest)
            self._written = time.monotonic()
            self._pause = max(_WRITE_SECONDS, 20 * (self._written - begun))
        if finished is not None and self._on_result is not None:
            self._on_result(finished.result)
        self._progress(*self._share())

    def _take(self, finished: Finished) -> None:
        result = finished.result
        self._count += 1
        if finished.kept:
            self._kept.append(result.name)
            return
        if result.outcome == "failed":
            self._failed[result.name] = result.problem
            self._remove_stale(result.name)
        else:
            self._done[result.name] = sum(not one.problem for one in result.objects)
        self._manifest.add(result, finished.environment)

    def _remove_stale(self, name: str) -> None:
        """Take away outputs of an earlier input: they do not belong to what is there now."""
        out = self._folder.out
        for path in output_names(out, name):
            ours = self._found.earlier.ours.get(path, set())
            if (out / path).exists() and sha256_of(out / path) in ours:
                (out / path).unlink()

    def _share(self) -> tuple[float, str]:
        now = self._count
        to_do = len(self._found.to_do)
        before = self._total - to_do
        message = f"{before + now} of {self._total} images"
        seconds = time.monotonic() - self._begun
        if now and now < to_do:
            left = seconds / now * (to_do - now)
            message += f", {now / seconds:.2g} a second, {in_words(left)} left"
        return (before + now) / max(self._total, 1), message

    def report(self, seconds: float) -> BatchReport:
        """Say what came of it."""
        changed = self._found.named("changed")
        notes = list(self.notes)
        if changed:
            were = "was" if len(changed) == 1 else "were"
            images = counted(len(changed), "image")
            notes.append(f"{images} had changed since and {were} done anew.")
        return BatchReport(
            done=tuple(sorted(self._done)),
            unchanged=self._found.named("unchanged"),
            kept=tuple(sorted(self._kept)),
            failed=tuple(sorted(self._failed.items())),
            missing=self._manifest.missing(),
            review=self._manifest.review(),
            notes=tuple(notes),
            objects=sum(self._done.values()),
            seconds=seconds,
        )


def in_words(seconds: float) -> str:
    """Say a time so that one can plan by it.

    Returns
    -------
    str
        As ``"40 s"``, ``"12 min"`` or ``"3 h 20 min"``.
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
