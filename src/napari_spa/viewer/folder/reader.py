"""Read images of a folder in the background, their labels and their logs."""

from __future__ import annotations

import json
import logging
import os
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.core.plane import Plane
from napari_spa.errors import DataError, InputError, SpaError
from napari_spa.io.event_log import (
    Entry,
    Record,
    RecordLog,
    line_of,
    read_log,
    read_records,
    records_in,
)
from napari_spa.io.files import check_there
from napari_spa.io.projects.paths import labels_path, log_path
from napari_spa.refine.engine.image_plane import ImagePlane, PlaneReader
from napari_spa.refine.log.journal import ImageFacts, Journal, image_facts, read_journal
from napari_spa.refine.log.replay import changed_planes
from napari_spa.viewer.autosave import Recovered
from napari_spa.viewer.layers.label_storage import LabelStore, StoreSurface, make_label_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from napari_spa.io.images import ImageFile, ImageInfo
    from napari_spa.viewer.annotation.image import AnnotatedImage

_logger = logging.getLogger(__name__)
_IDLE_KINDS = ("session", "closed")


class FolderLog(RecordLog):
    """Append records, once something is done to the image.

    Looking at an image writes nothing: records that only say who looks wait for one that
    says what was done, so that finished work stays byte for byte as it was.
    """

    def __init__(
        self,
        path: Path,
        failed: Callable[[str], None] | None = None,
        mended: Callable[[str], None] | None = None,
        *,
        before: Iterable[Record] = (),
        within: Path | None = None,
        written: bytes = b"",
    ) -> None:
        super().__init__(path, failed, mended, within=within, written=written)
        self.touched = False
        self._waiting: list[Mapping[str, Any]] = list(before)

    def append(self, record: Entry) -> Future[None]:
        """Write one record after all before it; see :meth:`RecordLog.append`."""
        if not self.touched:
            known = {} if callable(record) else record
            if known.get("kind") in _IDLE_KINDS:
                if known["kind"] == "session":
                    self._waiting.append(known)
                done: Future[None] = Future()
                done.set_result(None)
                return done
            self.touched = True
            for earlier in self._waiting:
                super().append(earlier)
        return super().append(record)

    def records(self) -> list[Record]:
        """Return all records, those in memory too; waits for what is being written."""
        found: list[Record] = []

        def read() -> None:
            if self._written:
                found.extend(records_in(bytes(self._written), self.path))
            for record in self._unsaved:
                try:
                    found.append(json.loads(line_of(record)))
                except (OSError, DataError) as error:  # one that writes a profile on the way
                    _logger.info("a record is not there yet: %s", error)

        self._writer.submit(read).result()
        return found


PROFILE_NAME = "profile.json"


class FolderLogLocation:
    """A place for `AutosaveManager`, held by the whole project."""

    def __init__(
        self,
        out: Path,
        name: str,
        left: Callable[[FolderLogLocation], None],
        known: FolderLog | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.name, self.out = name, out
        self.log = log_path(out, name)
        self.profile = out / PROFILE_NAME
        self.open_log = known
        self.written = b""  # what the log held when it was read
        self.before: tuple[Record, ...] = ()
        self.behind = False  # whether the labels on disk lack what the log says
        self.annotated: AnnotatedImage | None = None
        self.info: ImageInfo | None = None
        self._left, self._tell = left, tell

    def open(
        self, failed: Callable[[str], None], mended: Callable[[str], None] | None = None
    ) -> RecordLog:
        """Return the log to append to."""
        if self.open_log is None:
            tell = self._tell or failed
            self.open_log = FolderLog(
                self.log, tell, mended, before=self.before, within=self.out, written=self.written
            )
        return self.open_log

    def close(self, log: RecordLog) -> None:
        """Say that the work ended; the saver closes the log in the background."""
        self._left(self)


_KEPT = 4


@dataclass(frozen=True, slots=True, eq=False)
class ReadImage:
    """An image of the folder, ready to be shown."""

    name: str  # in the folder
    # Its pixels, read as they are asked for where the format allows, and what it says.
    file: ImageFile
    # Contrast limits as napari would choose them; None for colours.
    limits: tuple[float, float] | None

    @property
    def rgb(self) -> bool:
        """Whether the last axis of the data is colour."""
        return len(self.file.levels[0].shape) > len(self.file.info.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the data, colours left out."""
        extent = self.file.levels[0].shape[: len(self.file.info.axes)]
        return tuple(int(n) for n in extent)

    @property
    def axes(self) -> tuple[int, int]:
        """The data axes that are rows and columns."""
        return len(self.shape) - 2, len(self.shape) - 1

    @property
    def facts(self) -> ImageFacts:
        """What tells it from another image."""
        dtype = str(self.file.levels[0].dtype)
        return ImageFacts(self.name, self.shape, dtype, str(self.file.path))

    def middle(self) -> Plane:
        """Return the plane in the middle of the stack."""
        return Plane(self.axes, tuple(n // 2 for n in self.shape))

    def image_plane(self, plane: Plane) -> ImagePlane:
        """Describe a plane as the dock would look at it in its layer."""
        levels = tuple((PlaneReader(data, plane),) for data in self.file.levels[:1])
        if self.rgb:
            return ImagePlane(levels, (0, 1, 2))
        return ImagePlane(levels, None, shown=self.limits)

    def layer(self) -> dict[str, Any]:
        """Return arguments for ``viewer.add_image``: data, place and contrast."""
        levels, info = self.file.levels, self.file.info
        arguments: dict[str, Any] = {
            "data": list(levels) if len(levels) > 1 else levels[0],
            "multiscale": len(levels) > 1,
            "rgb": self.rgb,
            "name": self.name,
            "axis_labels": tuple(info.axes.lower()),
        }
        if self.limits is not None:
            arguments["contrast_limits"] = self.limits
        if info.pixel_size is not None:
            distances = dict(zip("YX", info.pixel_size, strict=True))
            if info.plane_distance is not None:
                distances["Z"] = info.plane_distance
            arguments["scale"] = tuple(distances.get(axis, 1.0) for axis in info.axes)
            arguments["units"] = tuple("um" if axis in "ZYX" else "pixel" for axis in info.axes)
        return arguments


@dataclass(frozen=True, slots=True, eq=False)
class ReadItem:
    """An image and the work on it."""

    image: ReadImage  # the image
    location: FolderLogLocation  # where the work is kept
    recovered: Recovered | None  # what was done already
    # Of an image that has other pixels than when it was annotated: digests of its planes now.
    digests: Mapping[Plane, str] = field(default_factory=dict)
    earlier: str = ""  # the image that had these pixels, is gone, and was worked on


class OtherSizeError(DataError):
    """The work on an image was done when it had another size."""


def read_image_file(name: str, path: Path) -> ReadImage:
    """Open an image and choose its contrast; for a background thread."""
    from napari_spa.io.images import open_image

    file = open_image(path)
    colours = len(file.levels[0].shape) > len(file.info.axes)
    return ReadImage(name, file, None if colours else _limits(file.levels[-1]))


_Stamp = tuple[int, ...]


def _stamp(path: Path) -> _Stamp:
    """Tell a file from another one in its place; empty where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size


def _limits(data: Any) -> tuple[float, float] | None:
    """Return the range that napari would show; None where it has to look for itself."""
    from napari.layers.utils.layer_utils import calc_data_range

    low, high = calc_data_range(data)
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        return None
    return float(low), float(high)


class FolderReader:
    """Read what is wanted next, and keep the latest few images open.

    Methods belong to the main thread, unless they say otherwise.
    """

    def __init__(self) -> None:
        # Two threads: what someone waits for must not queue behind what no one waits for.
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="napari-spa-folder-read")
        # With what tells that the file is the same, as it was when it was read.
        self._images: OrderedDict[str, tuple[_Stamp, Future[ReadImage]]] = OrderedDict()

    def image(self, name: str, path: Path) -> Future[ReadImage]:
        """Read an image, or return the one that is read already."""
        stamp, (before, known) = _stamp(path), self._images.get(name, ((), None))
        if known is None or stamp != before or (known.done() and known.exception() is not None):
            known = self._pool.submit(read_image_file, name, path)
            self._images[name] = stamp, known
        self._images.move_to_end(name)
        while len(self._images) > _KEPT:
            self._images.popitem(last=False)
        return known

    def item(
        self,
        image: Future[ReadImage],
        make_place: Callable[[], FolderLogLocation],
        return_pending: Callable[[], None],
        gone: Mapping[str, Path],
    ) -> Future[ReadItem]:
        """Read the work on an image, after the image; else look who of those gone had it."""

        def read() -> ReadItem:
            found = image.result()
            location = make_place()
            try:
                recovered = recover(found, location)
                if recovered is None:
                    return ReadItem(found, location, None, earlier=_earlier(found, location, gone))
                return ReadItem(
                    found, location, recovered, changed_planes(recovered.session, found.file.levels)
                )
            except BaseException:
                return_pending()
                raise

        return self._pool.submit(read)

    def forget(self) -> None:
        """Close all images: another folder comes."""
        self._images.clear()

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._images.clear()


def recover(image: ReadImage, location: FolderLogLocation) -> Recovered | None:
    """Read the work on an image: from its log, else from its labels; for the background."""
    records = _records(location)
    labels = labels_path(location.out, location.name)
    if not records and not os.path.exists(labels):
        check_there(location.out)  # else no one knows what was done to the image
        return None
    if not records:
        records = _from_labels(image, labels)
        location.before = tuple(records)
    try:
        facts = image_facts(records)[0]
        if facts.shape != image.shape:
            raise OtherSizeError(
                f"{location.name} has another size than when it was annotated: "
                f"{_size(image.shape)}, not {_size(facts.shape)}."
            )
        store = make_label_store(image.shape, axes=image.axes)
        session = read_journal(records, StoreSurface(store))
    except OtherSizeError:
        raise
    except DataError as error:
        raise DataError(f"{location.log.name} cannot be opened: {error}") from error
    location.behind = not location.before and _is_behind(labels, location.log, store)
    return Recovered(location, session, store, None)


def _is_behind(labels: Path, log: Path, store: LabelStore) -> bool:
    """Tell whether labels lack what their log says, as after a crash or on a disk that was full."""
    from napari_spa.io.images import read_label_stack

    try:
        if os.stat(labels).st_mtime_ns >= os.stat(log).st_mtime_ns:
            return False
        known = read_label_stack(labels, store.shape)
    except (OSError, SpaError):
        return True
    places = np.ndindex(*store.shape[:-2])
    return any(not np.array_equal(known[place], store.read(place)) for place in places)


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _earlier(image: ReadImage, location: FolderLogLocation, gone: Mapping[str, Path]) -> str:
    """Return which image that is gone had these pixels and was worked on; empty for none."""
    for name, path in gone.items():
        log = log_path(location.out, name)
        if os.path.exists(path) or not os.path.exists(log):
            continue
        try:
            records = read_records(log)
            if image_facts(records)[0].shape != image.shape:
                continue
            store = make_label_store(image.shape, axes=image.axes)
            session = read_journal(records, StoreSurface(store))
        except DataError as error:
            _logger.info("%s", error)
            continue
        if session.fingerprints and not changed_planes(session, image.file.levels):
            return name
    return ""


def _records(location: FolderLogLocation) -> list[Record]:
    log: FolderLog | None = location.open_log
    if log is not None:
        return log.records()
    if not os.path.exists(location.log):
        return []
    location.written = read_log(location.log)
    return records_in(location.written, location.log)


def _from_labels(image: ReadImage, path: Path) -> list[Record]:
    """Write labels that came without a log down as if they had been painted."""
    from napari_spa.io.images import read_label_stack

    try:
        labels = read_label_stack(path, image.shape)
    except InputError as error:
        raise DataError(str(error)) from error
    store: LabelStore = make_label_store(image.shape, axes=image.axes)
    store.write(tuple(slice(None) for _ in image.shape), labels)
    notes: list[Entry] = []
    records: list[Record] = []
    journal = Journal(notes)
    journal.begin(image.facts, None)
    for plane in (None, *store.planes()):
        if plane is not None:
            journal.edit(plane, store.read(plane.slices))
        # Packed one by one: as they are, the planes of a stack are as large as the stack.
        records += [dict(note() if callable(note) else note) for note in notes]
        notes.clear()
    return records
