"""The images of a folder, with status and small picture; the folders opened lately."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_spa.core.plane import Plane
from napari_spa.errors import DataError, InputError, SpaError
from napari_spa.io.files import remember, remembered
from napari_spa.io.projects.paths import default_output, is_project, project_path
from napari_spa.io.projects.project import Project, ProjectItem
from napari_spa.viewer.background import FileThread

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from napari_spa.batch.task import ImageResult
    from napari_spa.io.images import ImageFile
    from napari_spa.viewer.folder.reader import ReadImage

_MOST = 8


@dataclass(frozen=True, slots=True)
class RecentFolder:
    """A folder that was worked on."""

    source: str  # the images, and the project's output folder
    out: str
    name: str = ""  # the image that was open; empty for none
    index: tuple[int, ...] = ()  # the slice that was on show


def recent_path() -> Path:
    """Return the file that remembers folders, in the user's state folder."""
    from platformdirs import user_state_path

    return user_state_path("napari-spa") / "folders.json"


def recent_folders() -> list[RecentFolder]:
    """Return the folders worked on lately that are there still, the latest first."""
    found: list[RecentFolder] = remembered(
        recent_path(), lambda content: list(map(_read, content["folders"])), []
    )
    return [entry for entry in found if os.path.isdir(entry.out)]


def _read(entry: dict[str, object]) -> RecentFolder:
    index = entry.get("index", ())
    if not isinstance(index, list | tuple):
        raise TypeError("index")
    return RecentFolder(
        str(entry["source"]),
        str(entry["out"]),
        str(entry.get("name", "")),
        tuple(int(n) for n in index),
    )


def remember_folder(folder: RecentFolder) -> None:
    """Put a folder first; what cannot be remembered is no reason to fail."""
    others = [entry for entry in recent_folders() if entry.out != folder.out]
    remember(recent_path(), folders=[asdict(entry) for entry in [folder, *others][:_MOST]])


def place_in(out: Path) -> RecentFolder | None:
    """Return where one was in a project."""
    return next((entry for entry in recent_folders() if entry.out == str(out)), None)


class FolderBookmark:
    """Keep the current image and slice of a project, and go on there the next time."""

    def __init__(self, project: Project, run: Callable[[Callable[[], None]], Any]) -> None:
        self._project, self._run = project, run
        self._was: RecentFolder | None = place_in(project.out)

    def first(self, items: Mapping[str, ProjectItem]) -> str | None:
        """Return where to begin: where one was, else what was begun, else what is to do."""
        if self._was is not None and self._was.name in items:
            return self._was.name
        for status in ("in progress", "to do", "review"):
            for name, item in items.items():
                if item.status == status and not item.problem:
                    return name
        return next(iter(items), None)

    def plane(self, image: ReadImage) -> Plane:
        """Return the slice to show: of the first image where one was, else the middle."""
        was, self._was = self._was, None
        middle = image.middle()
        if was is None or was.name != image.name or len(was.index) != len(image.shape):
            return middle
        inside = (min(max(i, 0), n - 1) for i, n in zip(was.index, image.shape, strict=True))
        return Plane(middle.axes, tuple(inside))

    def keep(self, name: str | None, plane: Plane | None) -> None:
        """Remember the image and slice on show; None for none."""
        folder = RecentFolder(
            str(self._project.source),
            str(self._project.out),
            name or "",
            () if plane is None else plane.index,
        )
        self._run(partial(remember_folder, folder))


_ELSEWHERE = "choose a place with Recent > Open with another output folder…"


def hold_project(folder: Path, out: Path | None = None) -> Project:
    """Open a folder's project, or make one, and keep other windows out; for the background."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder.")
    known = project_path(folder).exists()
    if is_project(folder) and not known:
        raise InputError(f"{folder.name} holds a batch's results; open the folder of its images.")
    target = folder if known else Path(out or default_output(folder))
    if project_path(target).exists():
        project = Project.open(target)
    else:
        try:
            project = Project.create(folder, target)
        except DataError as error:
            if out is None and isinstance(error.__cause__, OSError):  # as beside read-only images
                words = f"{str(error).rstrip('.')}; {_ELSEWHERE}."
                raise DataError(words) from error.__cause__
            raise
    project.hold()
    return project


_BEGUN_AGAIN = ("to do", "skipped", "done")


class FolderItems(Mapping[str, ProjectItem]):
    """The images of one folder by name, in natural order."""

    def __init__(self, changed: Callable[[str], None], index: Callable[..., None]) -> None:
        self._changed, self._index = changed, index
        self._items: dict[str, ProjectItem] = {}
        self._unreadable: dict[str, str] = {}
        self._warnings: dict[str, str] = {}

    def __getitem__(self, name: str) -> ProjectItem:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def take(self, items: Sequence[ProjectItem]) -> None:
        """Take over what the project knows; what no one could open stays unreadable."""
        self._items = {
            item.name: replace(
                item,
                problem=self._unreadable.get(item.name, item.problem),
                warning=self._warnings.get(item.name, ""),
            )
            for item in items
        }

    # ------------------------------------------------------------------ whether it can be read

    def is_unreadable(self, name: str) -> bool:
        """Tell whether an image cannot be opened, as far as anybody tried."""
        return name in self._unreadable

    def note_unreadable(self, name: str, words: str) -> None:
        """List why an image cannot be opened."""
        self._unreadable[name] = words
        self._show(name, problem=words)

    def note_readable(self, name: str) -> None:
        """Forget what was wrong with an image: it is open."""
        self._unreadable.pop(name, None)
        self._show(name, problem="")

    def warn(self, name: str, words: str) -> None:
        """List what to look at before one trusts the work on an image; nothing takes it back."""
        self._warnings[name] = words
        self._show(name, warning=words)

    # ------------------------------------------------------------------ what became of it

    def set_status(self, name: str, status: str) -> None:
        """Say what became of an image."""
        self._update(name, status=status)

    def set_note(self, name: str, note: str) -> None:
        """Write something down about an image."""
        self._update(name, note=note)

    def toggle_flag(self, name: str) -> None:
        """Flag an image, or take the flag away."""
        item = self._items.get(name)
        if item is not None:
            self._update(name, flagged=not item.flagged)

    def begin(self, name: str) -> None:
        """Say that someone works on an image, be it for the first time or again."""
        item = self._items.get(name)
        if item is not None and item.status in _BEGUN_AGAIN:
            self._update(name, status="in progress")

    def count(self, name: str, count: int, uncertainties: Collection[float]) -> None:
        """Say how many objects an image has now, and the uncertainty of those with a round."""
        item = self._items.get(name)
        if item is None:
            return
        unsure = max(uncertainties, default=None)
        if count != (item.objects or 0) or (count and unsure != item.uncertainty):
            self._update(name, objects=count, uncertainty=unsure)

    def _update(self, name: str, **changes: Any) -> None:
        """Show what became of an image, and let the index say it too."""
        if self._show(name, **changes):
            self._index(name, **changes)

    def _show(self, name: str, **changes: Any) -> bool:
        """Show what is known of an image; tell whether it is news."""
        item = self._items.get(name)
        if item is None or all(getattr(item, key) == value for key, value in changes.items()):
            return False
        self._items[name] = replace(item, **changes)
        self._changed(name)
        return True

    def take_result(self, result: ImageResult) -> None:
        """Show what a batch made of an image; its manifest keeps it."""
        item = self._items.get(result.name)
        if item is None:
            return
        if result.outcome == "failed":
            item = replace(item, problem=result.problem)
        else:
            if item.objects is not None:  # counted, of what was there before
                self._index(result.name, objects=None, uncertainty=None)
            good = [held for held in result.objects if not held.problem]
            unsure = max((held.uncertainty for held in good), default=None)
            item = replace(
                item,
                status="review" if result.doubtful else "done",
                objects=len({held.number for held in good}),
                uncertainty=unsure,
                problem="",
            )
        self._items[result.name] = item
        self._changed(result.name)


SIDE = 96
_KEPT = 1500
_AT_ONCE = 60
"""More than a list shows; what was scrolled past is not read."""
_FINER = 4


class Thumbnails(QObject):
    """Make thumbnails of what is looked at first, then of the others; the latest are kept."""

    ready = Signal(str)  # the thumbnail of an image can be had now
    failed = Signal(str, str)  # an image cannot be read, and why in one sentence

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._maker = FileThread("napari-spa-folder-thumbnails", self)
        self._lock = threading.Lock()
        self._wanted: deque[tuple[str, Path]] = deque(maxlen=_AT_ONCE)
        self._others: deque[tuple[str, Path]] = deque()
        self._kept: OrderedDict[str, NDArray[np.uint8] | None] = OrderedDict()
        self._folder = 0

    def begin(self, images: Iterable[tuple[str, Path]]) -> None:
        """Take another folder: forget all thumbnails, and look through some images of it."""
        with self._lock:
            self._folder += 1
            self._wanted.clear()
            self._others = deque(images)
            count = len(self._others)
        self._kept.clear()
        for _ in range(count):
            self._maker.ask(self._make_next, self._on_made)

    def get(self, name: str, path: Path) -> NDArray[np.uint8] | None:
        """Return a thumbnail, (h, w, 3) uint8; None for now asks for it."""
        if name in self._kept:
            self._kept.move_to_end(name)
            return self._kept[name]
        with self._lock:
            asked = any(name == wanted for wanted, _ in self._wanted)
            if not asked:
                self._wanted.append((name, path))
        if not asked:
            self._maker.ask(self._make_next, self._on_made)
        return None

    def close(self) -> None:
        """End the thread."""
        with self._lock:
            self._wanted.clear()
            self._others.clear()
        self._maker.close()

    def _make_next(self) -> tuple[int, str, NDArray[np.uint8] | str] | None:
        """Make the one that was asked for last, or say why it cannot be; None without one."""
        with self._lock:
            folder = self._folder
            if self._wanted:
                name, path = self._wanted.pop()
            elif self._others:
                name, path = self._others.popleft()
            else:
                return None
        try:
            from napari_spa.io.images import open_image

            return folder, name, make_thumbnail(open_image(path))
        except SpaError as error:
            return folder, name, str(error)
        except Exception as error:  # noqa: BLE001  a decoder's; said where it is listed
            return folder, name, f"{path} cannot be read as an image: {error}."

    def _on_made(self, made: tuple[int, str, NDArray[np.uint8] | str] | None) -> None:
        if made is None or made[0] != self._folder:
            return
        _, name, found = made
        self._kept[name] = None if isinstance(found, str) else found
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        if isinstance(found, str):
            self.failed.emit(name, found)
        else:
            self.ready.emit(name)


def make_thumbnail(file: ImageFile, side: int = SIDE) -> NDArray[np.uint8]:
    """Make a small picture, (h, w, 3) uint8, of an image or of the middle of a stack."""
    from skimage.transform import resize

    plane = _middle(file, side)
    colours = np.atleast_3d(plane.astype(np.float32))
    colours = colours[..., : 1 if colours.shape[2] == 2 else 3]
    finite = colours[np.isfinite(colours)]
    if plane.ndim == 3 and plane.dtype == np.uint8:
        low, high = 0.0, 255.0
    elif finite.size:
        low, high = (float(v) for v in np.percentile(finite, (0.5, 99.5)))
    else:
        low, high = 0.0, 1.0
    scaled = (np.nan_to_num(colours, nan=low, posinf=high, neginf=low) - low) / max(
        high - low, 1e-12
    )
    ratio = side / max(scaled.shape[:2])
    shape = tuple(max(1, round(n * ratio)) for n in scaled.shape[:2])
    small = resize(np.clip(scaled, 0, 1), shape, order=1, anti_aliasing=ratio < 1)
    picture = np.round(255 * np.clip(small, 0, 1)).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(picture, (*shape, 3)))


def _middle(file: ImageFile, side: int) -> NDArray[np.generic]:
    """Read the middle plane, not much finer than it is needed."""
    count = len(file.info.axes)
    fine = [d for d in file.levels if max(d.shape[count - 2 : count]) >= side] or file.levels[:1]
    data = fine[-1]
    height, width = data.shape[count - 2 : count]
    step = max(1, max(height, width) // (_FINER * side))
    stack = tuple(n // 2 for n in data.shape[: count - 2])
    return np.asarray(data[(*stack, slice(None, None, step), slice(None, None, step))])
