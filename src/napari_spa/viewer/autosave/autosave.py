"""Keep the work as it is done, away from the user's data, and find it again."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from napari_spa.errors import DataError
from napari_spa.io.event_log import LOG_NAME, RecordLog, WorkFolder, left_behind, read_records
from napari_spa.refine.log.journal import ImageFacts, Journal, image_facts, read_journal
from napari_spa.viewer.layers.label_storage import LabelStore, StoreSurface, make_label_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_spa.core.plane import Plane
    from napari_spa.io.models.registry import ModelIdentity
    from napari_spa.io.profiles import PreferenceProfile
    from napari_spa.refine.log.journal import LoggedSession
    from napari_spa.viewer.annotation.image import AnnotatedImage

_logger = logging.getLogger(__name__)


class LogLocation(Protocol):
    """Where the work on one image is kept: a folder of its own, or a project's."""

    @property
    def log(self) -> Path:
        """The log of what was done."""

    @property
    def profile(self) -> Path:
        """The preference profile as it was learnt."""

    def open(self, failed: Callable[[str], None], mended: Callable[[str], None]) -> RecordLog:
        """Return a log to append to; see :class:`RecordLog`."""

    def close(self, log: RecordLog) -> None:
        """Write what is left of the log and let go of the place."""


@dataclass(frozen=True, slots=True)
class RecoveryOffer:
    """Work on an image that was left behind."""

    path: Path  # its folder
    objects: int  # number of accepted objects
    active_round: int  # round of the active object; 0 without one
    age: float  # seconds since it was written to
    crashed: bool  # whether the window was not closed in order


@dataclass(frozen=True, slots=True, eq=False)
class Recovered:
    """Work read again, ready to be shown."""

    folder: LogLocation  # held by this process now
    session: LoggedSession  # objects and the active one
    store: LabelStore  # their labels
    profile: PreferenceProfile | None  # what was learnt


class AutosaveManager:
    """Keep a log for each annotated image."""

    def __init__(
        self,
        root: Path | None,
        failed: Callable[[str], None],
        mended: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.root = root
        self._failed, self._mended = failed, mended
        self._held: dict[int, tuple[LogLocation, RecordLog]] = {}
        self._places: dict[int, LogLocation] = {}
        self._models: dict[int, ModelIdentity] = {}
        self._refused = False  # there is no room for a log; said once until there is

    def set_location(self, annotated: AnnotatedImage, location: LogLocation) -> None:
        """Keep an image's work at a place of its own, from its first record on."""
        self._places[id(annotated)] = location

    def placed(self, annotated: AnnotatedImage) -> bool:
        """Tell whether an image's work has a place of its own."""
        return id(annotated) in self._places

    def begin(self, annotated: AnnotatedImage, model: ModelIdentity | None = None) -> None:
        """Start an image's log, unless it has one; say in it which model goes on, if one does."""
        location = self._places.get(id(annotated))
        known = annotated.journal is not None and model in (None, self._models.get(id(annotated)))
        if known or (self.root is None and location is None):
            return
        if model is not None:
            self._models[id(annotated)] = model
        if annotated.journal is not None:
            annotated.journal.begin(annotated.facts, model)
            return
        if location is None:
            location = self._make_location()
        if location is None:
            self._models.pop(id(annotated), None)  # tried again with the next round
            return
        self._hold(annotated, location)
        if annotated.journal is not None:
            annotated.journal.begin(annotated.facts, model)
            # What was done while there was no log.
            for plane, labels in annotated.labels_in_use():
                annotated.journal.edit(plane, labels)

    def resume(self, annotated: AnnotatedImage, recovered: Recovered) -> None:
        """Go on with the log of recovered work."""
        self._hold(annotated, recovered.folder)

    def save_profile(self, annotated: AnnotatedImage, profile: PreferenceProfile) -> None:
        """Keep what was learnt; in the log's thread."""
        opened = self._held.get(id(annotated))
        if opened is None:
            return
        folder, log = opened

        def write() -> dict[str, object]:
            profile.save(folder.profile)
            return {"kind": "profile", "picks": profile.picks, "images": profile.images}

        log.append(write)

    def log_of(self, annotated: AnnotatedImage) -> Path | None:
        """Return the log of an image, where it is kept."""
        opened = self._held.get(id(annotated))
        return None if opened is None else opened[0].log

    def flush(self) -> None:
        """Wait until everything so far is on disk."""
        for _, log in self._held.values():
            log.flush()

    def end(self, annotated: AnnotatedImage) -> None:
        """Close an image's log in order."""
        opened = self._held.pop(id(annotated), None)
        self._models.pop(id(annotated), None)
        self._places.pop(id(annotated), None)
        if opened is None:
            return
        location, log = opened
        if annotated.journal is not None:
            annotated.journal.note("closed")
            annotated.journal = None
        location.close(log)

    def offers(
        self, facts: ImageFacts, axes: tuple[int, int], fingerprint: Callable[[Plane, object], str]
    ) -> list[RecoveryOffer]:
        """Find work on an image that was left behind, the latest first; for the worker.

        ``fingerprint`` digests a plane as a log says that it was looked at.
        """
        if self.root is None:
            return []
        found = []
        for path in left_behind(self.root):
            try:
                log = path / LOG_NAME
                records = read_records(log)
                if not _same_image(image_facts(records)[0], facts):
                    continue
                surface = StoreSurface(make_label_store(facts.shape, axes=axes))
                session = read_journal(records, surface)
                seen = list(session.fingerprints.items())[:1]
                if any(fingerprint(p, session.looks.get(p)) != f for p, f in seen):
                    continue
                active, count = session.active, len(session.annotation.objects)
                if active is None and not count:
                    continue
                age = time.time() - log.stat().st_mtime
                rounds = 0 if active is None else max(active.round, 1)
                found.append(RecoveryOffer(path, count, rounds, age, not session.closed))
            except (DataError, OSError) as error:
                _logger.info("%s is passed over: %s", path, error)
        return found

    def recover(
        self, offer: RecoveryOffer, shape: tuple[int, ...], axes: tuple[int, int]
    ) -> Recovered:
        """Read left-behind work; for the worker."""
        from napari_spa.io.profiles import PreferenceProfile

        folder = WorkFolder(offer.path)
        try:
            store = make_label_store(shape, axes=axes)
            session = read_journal(read_records(folder.log), StoreSurface(store))
            profile = None
            if folder.profile.exists():
                profile = PreferenceProfile.load(folder.profile)
        except BaseException:
            folder.release()
            raise
        return Recovered(folder, session, store, profile)

    def forget(self, path: Path) -> None:
        """Delete left-behind work, by its folder."""
        WorkFolder(path).delete()

    def _make_location(self) -> LogLocation | None:
        """Make a folder for an image's work; say so once where that cannot be."""
        if self.root is None:
            return None
        try:
            location = WorkFolder.create(self.root)
        except DataError as error:
            if not self._refused:
                self._refused = True
                self._failed(f"your work cannot be saved as you go: {error}")
            return None
        if self._refused:
            self._refused = False
            self._mended("your work is saved again.")
        return location

    def _hold(self, annotated: AnnotatedImage, location: LogLocation) -> None:
        log = location.open(self._failed, self._mended)
        self._held[id(annotated)] = location, log
        annotated.journal = Journal(log)


def _same_image(logged: ImageFacts, facts: ImageFacts) -> bool:
    """Tell whether two images may be one: same size and type, same file or same name."""
    if (logged.shape, logged.dtype) != (facts.shape, facts.dtype):
        return False
    return logged.path == facts.path if logged.path and facts.path else logged.name == facts.name
