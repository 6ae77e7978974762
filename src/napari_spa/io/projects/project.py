"""A project folder: the images, their work, and the file that lists them."""

from __future__ import annotations

import json
import logging
import math
import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from napari_spa.errors import DataError, InputError, SpaError
from napari_spa.io.files import (
    JsonError,
    check_there,
    explained,
    put_aside,
    read_json,
    read_object,
    take_lock,
    write_text,
)
from napari_spa.io.images import list_images, natural_key
from napari_spa.io.projects.paths import (
    LOCK_NAME,
    LOG_SUFFIX,
    default_output,
    exports_path,
    is_project,
    labels_path,
    log_path,
    manifest_path,
    notes_path,
    project_path,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import EllipsisType

    from filelock import BaseFileLock

Status = Literal["to do", "in progress", "done", "skipped", "review"]
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True, slots=True)
class ProjectItem:
    """An image of a project."""

    name: str  # in its folder: relative, POSIX, with its extension
    path: Path  # the file, or the folder of a series
    status: Status = "to do"  # what a user decided; else what a batch made of it
    flagged: bool = False  # marked by a user
    note: str = ""  # by a user
    # Of its least certain object, in [0, 1]; None where no one knows.
    uncertainty: float | None = None
    objects: int | None = None  # how many it has; None where no one knows
    problem: str = ""  # why it cannot be worked on, in a sentence; empty when it can
    warning: str = ""  # what to look at before one trusts the work on it, in a sentence


@dataclass(slots=True)
class Known:
    """What is kept of an image in ``project.json``; what is None no one decided."""

    status: Status | None = None  # as in :class:`ProjectItem`
    flagged: bool = False
    note: str = ""
    uncertainty: float | None = None
    objects: int | None = None
    rest: dict[str, Any] = field(default_factory=dict)  # what the file says besides, kept as it is

    @classmethod
    def of(cls, record: object) -> Known:
        """Read a record of the file; what makes no sense counts as not said."""
        if not isinstance(record, dict):
            return cls()
        status, note = record.get("status"), record.get("note")
        names = {"status", "flagged", "note", "uncertainty", "objects"}
        return cls(
            status=status if status in STATUSES else None,
            flagged=record.get("flagged") is True,
            note=note if isinstance(note, str) else "",
            uncertainty=share_of(record.get("uncertainty")),
            objects=count_of(record.get("objects")),
            rest={str(name): value for name, value in record.items() if name not in names},
        )

    def record(self) -> dict[str, Any]:
        """Return what is written; empty when nothing is known."""
        said = {
            "status": self.status,
            "flagged": self.flagged or None,
            "note": self.note or None,
            "uncertainty": self.uncertainty,
            "objects": self.objects,
        }
        return self.rest | {name: value for name, value in said.items() if value is not None}


@dataclass(frozen=True, slots=True)
class BatchFinding:
    """What a batch says of an image."""

    status: Status | None = None  # where it has results: done, or to be reviewed
    problem: str = ""  # why it has none
    uncertainty: float | None = None  # the largest of its objects
    objects: int | None = None  # how many it found

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> BatchFinding:
        """Read an image's record of a manifest, leniently."""
        done = record.get("outcome") == "done"
        listed = record.get("objects")
        objects = [o for o in listed if isinstance(o, dict)] if isinstance(listed, list) else []
        shares = [share_of(record.get("uncertainty"))]
        shares += [share_of(o.get("uncertainty")) for o in objects if not o.get("problem")]
        numbers = {count_of(o.get("number")) for o in objects if not o.get("problem")}
        found: Status = "review" if record.get("doubtful") is True else "done"
        return cls(
            found if done else None,
            problem="" if done else str(record.get("problem") or "the batch failed on it."),
            uncertainty=max((share for share in shares if share is not None), default=None),
            objects=len(numbers) if done and isinstance(listed, list) else None,
        )


def in_brief(sentence: str, path: Path) -> str:
    """Name files by their names alone, for those who know which folder is meant."""
    for folder in (path.parent, path.parent.resolve()):
        sentence = sentence.replace(f"{folder}{os.sep}", "")
    return sentence


def share_of(value: object) -> float | None:
    """Return a finite number as float; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def count_of(value: object) -> int | None:
    """Return a whole number that is not negative; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return None
    return value


_logger = logging.getLogger(__name__)
KIND, VERSION = "napari-spa project", 1
_WAIT_SECONDS = 10


class ProjectMissingError(DataError):
    """There is no such file."""


class ProjectDamagedError(DataError):
    """There is a file that no one can read."""


def read_project(path: Path) -> dict[str, Any]:
    """Read a project's file."""
    try:
        # What another program put in is kept, so it must be something that can be written.
        record = read_json(path, unknown_as_null=True)
    except (FileNotFoundError, NotADirectoryError):
        what = "the results of a batch and no project yet; review it in SPA Folder first"
        where = what if is_project(path.parent) else "no project"
        raise ProjectMissingError(f"{path.parent} holds {where}.") from None
    except JsonError:
        record = None
    if not isinstance(record, dict) or record.get("kind") != KIND:
        raise ProjectDamagedError(
            f"{path} is damaged; rename it to start again, labels and logs stay as they are."
        )
    version = record.get("version")
    if version != VERSION:
        raise DataError(f"{path} was made by another version of napari-spa ({version}); update it.")
    return record


@contextmanager
def writing_alone(out: Path) -> Iterator[None]:
    """Keep other processes from writing into a project for a moment."""
    busy = f"{out} is being written by another window."
    lock = take_lock(out / LOCK_NAME, out, busy, wait=_WAIT_SECONDS)
    try:
        yield
    finally:
        lock.release()


_BATCH_KIND = "napari-spa batch"


class Project:
    """A folder of images, and where the work on them goes; any thread may call it."""

    def __init__(self, source: Path, out: Path, *, recursive: bool = False) -> None:
        self.source, self.out, self.recursive = source, out, recursive
        self._known: dict[str, Known] = {}
        self._changed: set[str] = set()
        self._rest: dict[str, Any] = {}
        self._items: dict[str, ProjectItem] = {}
        self._findings: dict[str, BatchFinding] = {}
        self._guard = threading.RLock()
        self._held: BaseFileLock | None = None

    @classmethod
    def create(cls, source: Path, out: Path | None = None, *, recursive: bool = False) -> Project:
        """Make a project of a folder of images."""
        source = Path(source).absolute()
        out = default_output(source) if out is None else Path(out).absolute()
        project = cls(source, out, recursive=recursive)
        project._list()
        with explained("write", out):
            out.mkdir(parents=True, exist_ok=True)
        with writing_alone(out):
            if project._on_disk():
                raise DataError(f"{out} holds a project already; open it.")
            project._write({})
        return project

    @classmethod
    def open(cls, out: Path) -> Project:
        """Open a project."""
        out = Path(out).absolute()
        record = read_project(project_path(out))
        project = cls(_source(out, record), out, recursive=record.get("recursive") is True)
        project._take(record)
        project.refresh()
        return project

    @property
    def items(self) -> tuple[ProjectItem, ...]:
        """The images, in natural order."""
        with self._guard:
            return tuple(self._items.values())

    @property
    def unsaved(self) -> tuple[str, ...]:
        """Names of the images of which something is in memory only."""
        with self._guard:
            return tuple(sorted(self._changed, key=natural_key))

    def item(self, name: str) -> ProjectItem:
        """Return an image by its name."""
        with self._guard:
            try:
                return self._items[name]
            except KeyError:
                raise InputError(f"the project has no image {name}.") from None

    def update(
        self,
        name: str,
        *,
        status: Status | None = None,
        flagged: bool | None = None,
        note: str | None = None,
        uncertainty: float | EllipsisType | None = ...,
        objects: int | EllipsisType | None = ...,
    ) -> ProjectItem:
        """Change what is known of an image, and save it."""
        if status is not None and status not in STATUSES:
            raise InputError(f"a status is one of {', '.join(STATUSES)}, not {status}.")
        with self._guard:
            item = self.item(name)
            known = self._known.setdefault(name, Known())
            known.status = known.status if status is None else status
            known.flagged = known.flagged if flagged is None else bool(flagged)
            known.note = known.note if note is None else str(note)
            if uncertainty is not ...:
                known.uncertainty = share_of(uncertainty)
            if objects is not ...:
                known.objects = count_of(objects)
            self._items[name] = self._made(name, item.path)
            self._changed.add(name)
            self.save()
            return self._items[name]

    def move_work(self, name: str, to: str | None = None) -> None:
        """Give the work on an image to the one that has its pixels now; no file is lost.

        Without one it is set aside, under names that end in ``.bak``, so that the image is to do.
        """
        with self._guard:
            check_there(self.out)
            for place in (labels_path, notes_path, log_path):
                path, there = place(self.out, name), None if to is None else place(self.out, to)
                if not path.exists():
                    continue
                if there is None:
                    put_aside(path, "is of work that starts again")
                    continue
                if there.exists():
                    put_aside(there, "gave way to other work")
                with explained("write", there):
                    os.replace(path, there)
            known = self._known.get(name, Known())
            # Without a status: what a batch makes of it then says how it stands.
            self._known[name] = Known(None, known.flagged, known.note) if to is None else Known()
            if to is not None:
                self._known[to] = known
            self._changed |= {name} if to is None else {name, to}
            self.save()
            if to is not None:
                del self._known[name]
            self._list()

    def save(self) -> None:
        """Write what is in memory only."""
        with self._guard:
            if self._changed or not project_path(self.out).exists():
                with writing_alone(self.out):
                    self._write(self._on_disk())

    def refresh(self) -> None:
        """Look again at the images, the project's file and a batch's manifest.

        Images that a batch finished are done, or to be reviewed when doubtful, unless a
        user decided otherwise.  An image that is gone stays in the list while there is
        work on it.
        """
        with self._guard:
            check_there(self.out)
            try:
                self._take(read_project(project_path(self.out)))
            except ProjectMissingError:  # as of a batch
                pass
            except DataError as error:  # it is in memory, and goes to disk with the next change
                _logger.warning("%s", error)
            self._list()

    def hold(self) -> None:
        """Keep other windows out until :meth:`close`, or until this process ends."""
        if self._held is None:
            busy = f"{self.out} is open in another window; close it there."
            self._held = take_lock(self.out / f"{LOCK_NAME}-window", self.out, busy)

    def close(self) -> None:
        """Let other windows have it."""
        if self._held is not None:
            self._held.release()
            self._held = None

    # ------------------------------------------------------------------ inside

    def _made(self, name: str, path: Path) -> ProjectItem:
        """Join what a user decided with what a batch found; the user wins."""
        known = self._known.get(name) or Known()
        found = self._findings.get(name) or BatchFinding()
        status = known.status or found.status
        uncertainty, objects = known.uncertainty, known.objects
        if objects is None:  # no user counted them
            uncertainty = found.uncertainty if uncertainty is None else uncertainty
            objects = found.objects
        problem = f"In the last batch: {found.problem}" if found.problem and not status else ""
        return ProjectItem(
            name, path, status or "to do", known.flagged, known.note, uncertainty, objects, problem
        )

    def _list(self) -> None:
        """Make the items again from what is on disk and in memory."""
        self._findings = {
            name: found
            for name, found in _findings(manifest_path(self.out)).items()
            if not found.status
            or any(map(os.path.exists, self._files_of(name)))  # what is on disk is the state
        }
        there = {e.name: e.path for e in list_images(self.source, recursive=self.recursive)}
        ours = self.out.resolve()
        items = {
            name: self._made(name, path)
            for name, path in there.items()
            if ours == self.source.resolve() or ours not in path.resolve().parents
        }
        for name in {*self._known, *self._findings, *self._logged()} - set(there):
            files = self._files_of(name)
            if files and (name in self._known or any(map(os.path.exists, files))):
                gone = f"{name} is not in {self.source} any more."
                items[name] = replace(self._made(name, self.source / name), problem=gone)
        self._items = {name: items[name] for name in sorted(items, key=natural_key)}

    def _logged(self) -> Iterator[str]:
        """Yield the names of images that were worked on, whatever the project's file says."""
        exports = exports_path(self.out)
        for folder, inner, files in os.walk(self.out):  # which passes over what is taken away
            inner[:] = [name for name in inner if self.recursive and Path(folder, name) != exports]
            for log in (Path(folder, name) for name in files if name.endswith(LOG_SUFFIX)):
                yield log.relative_to(self.out).as_posix().removesuffix(LOG_SUFFIX)

    def _files_of(self, name: str) -> tuple[Path, ...]:
        """Return where an image's labels and log are; nowhere where no image can be named so."""
        try:
            return labels_path(self.out, name), log_path(self.out, name)
        except SpaError:
            return ()

    def _take(self, record: dict[str, Any]) -> None:
        """Take over what is on disk, but for what is in memory only."""
        images = record.get("images")
        for name, said in (images if isinstance(images, dict) else {}).items():
            if name not in self._changed:
                self._known[name] = Known.of(said)
        names = {"kind", "version", "source", "recursive", "images"}
        self._rest = {name: value for name, value in record.items() if name not in names}

    def _on_disk(self) -> dict[str, Any]:
        """Return what the project's file holds; a damaged one is set aside."""
        try:
            return read_project(project_path(self.out))
        except ProjectMissingError:
            return {}
        except ProjectDamagedError:
            put_aside(project_path(self.out))
            return {}

    def _write(self, there: dict[str, Any]) -> None:
        """Write the project over what is on disk; the caller keeps others out."""
        self._take(there)
        images = {name: known.record() for name, known in self._known.items()}
        record = self._rest | {
            "kind": KIND,
            "version": VERSION,
            "source": {
                "path": str(self.source),
                "relative": Path(os.path.relpath(self.source, self.out)).as_posix(),
            },
            "recursive": self.recursive,
            "images": {name: images[name] for name in sorted(images) if images[name]},
        }
        # Pure ASCII: names that are no Unicode text come back as they were.
        content = json.dumps(record, indent=1, allow_nan=False)
        write_text(project_path(self.out), content + "\n", within=self.out)
        self._changed.clear()


def _source(out: Path, record: dict[str, Any]) -> Path:
    """Return the folder of images: where it lies from here, else where it was."""
    said = record.get("source")
    places = said if isinstance(said, dict) else {}
    relative, whole = places.get("relative"), places.get("path")
    for place in (relative, whole):
        if isinstance(place, str) and place:
            found = Path(os.path.normpath(out / place))
            if os.path.isdir(found):  # unlike Path.is_dir, False for what is no path at all
                return found
    named = whole if isinstance(whole, str) else relative
    raise DataError(f"the images of {out} are not in {named} any more; bring them back.")


def _findings(path: Path) -> dict[str, BatchFinding]:
    """Read what a batch found; a manifest that cannot be read says nothing."""
    manifest = read_object(path)
    if _BATCH_KIND not in (manifest.get("kind"), manifest.get("schema")):
        return {}
    images = manifest.get("images")
    return {
        str(name): BatchFinding.of(record)
        for name, record in (images if isinstance(images, dict) else {}).items()
        if isinstance(record, dict)
    }
