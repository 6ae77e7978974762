"""Walk through the images of a folder: open one, leave it, say what became of it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]

from napari_spa.core.plane import Plane
from napari_spa.errors import SpaError
from napari_spa.io.project_items import in_brief
from napari_spa.io.project_paths import labels_path
from napari_spa.viewer.folder_ahead import ReadAhead
from napari_spa.viewer.folder_project import hold_project
from napari_spa.viewer.folder_reader import FolderReader, ReadImage, ReadItem
from napari_spa.viewer.folder_recent import RecentFolder, place_in, remember_folder
from napari_spa.viewer.folder_saver import FolderSaver, Leaving
from napari_spa.viewer.folder_stage import FolderStage, OpenItem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from napari.components import ViewerModel

    from napari_spa.io.projects import Project, ProjectItem
    from napari_spa.refine.batch.task import ImageResult
    from napari_spa.viewer.folder_stage import Desk

_SETTLED_MS = 250
AT_HAND = "Accept or discard the object at hand first."
_BEGUN_AGAIN = ("to do", "skipped", "done")


class FolderWalker(QObject):
    """The images of one folder, one of them in the viewer.

    Everything slow happens in threads of its own: reading, writing, listing.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    open_desk : callable
        Returns where objects are refined; opens it where it is closed.
    parent : QObject or None
        Qt's parent.

    Attributes
    ----------
    project_changed : Signal()
        Another folder is open, or its list of images changed.
    changed : Signal(str)
        What is known of an image changed.
    opened : Signal(str)
        An image is on show; an empty name when none is any more.
    said, failed : Signal(str)
        What happened or what to do; what went wrong; in one sentence.
    items : dict of str to ProjectItem
        The images by name, in natural order.
    order : callable
        Returns the names as they are listed, for next and previous.
    reserved : frozenset of str
        Images that a batch is about to work on.
    project : Project or None
        The project that is open.
    """

    project_changed = Signal()
    changed = Signal(str)
    opened = Signal(str)
    said = Signal(str)
    failed = Signal(str)
    _held_now = Signal(object, object)
    _was_read = Signal(str, object)

    def __init__(
        self, viewer: ViewerModel, open_desk: Callable[[], Desk], parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self.saver = FolderSaver(self)
        self.stage = FolderStage(viewer, open_desk, self.saver, self)
        self.items: dict[str, ProjectItem] = {}
        self.order: Callable[[], Sequence[str]] = lambda: list(self.items)
        self.reserved: frozenset[str] = frozenset()
        self._reader = FolderReader()
        self._ahead = ReadAhead(self._reader, self)
        self.project: Project | None = None
        self._unreadable: dict[str, str] = {}
        self._wanted: str | None = None
        self._onward = 0
        self._where: str | None = ""  # what was said of the image; None: trouble stays on show
        self._start: RecentFolder | None = None
        self._closed = False
        self._settled = QTimer(self)
        self._settled.setSingleShot(True)
        self._settled.setInterval(_SETTLED_MS)
        self._settled.timeout.connect(self._on_settled)
        self._held_now.connect(self._on_held)
        self._was_read.connect(self._on_read)
        self.saver.failed.connect(self.failed)
        self.stage.failed.connect(self.failed)
        self.stage.proposed.connect(self._on_proposed)
        self.stage.objects_changed.connect(self._settled.start)
        self.stage.gone.connect(self._on_gone)
        self.failed.connect(self._on_failed)

    # ------------------------------------------------------------------ what it is now

    @property
    def out(self) -> Path | None:
        """The project's output folder."""
        return None if self.project is None else self.project.out

    @property
    def current(self) -> str | None:
        """Name of the image on show."""
        return None if self.stage.current is None else self.stage.current.name

    @property
    def at(self) -> str | None:
        """Name of the image on show, or of the one that is being opened."""
        return self._wanted or self.current

    # ------------------------------------------------------------------ the folder

    def open(self, folder: Path, out: Path | None = None) -> None:
        """Open a folder, or go on with one; the answer is ``project_changed`` or ``failed``."""
        folder = Path(folder)
        project = self.project
        if project is not None and folder.resolve() in (
            project.source.resolve(),
            project.out.resolve(),
        ):
            self.said.emit(f"{folder.name} is open already.")
            return
        if self.reserved:
            self.said.emit("A batch is running; wait for it, or cancel it.")
            return
        self.said.emit(f"Looking through {folder.name}…")
        future = self.saver.run(partial(hold_project, folder, out))
        future.add_done_callback(lambda done: self._emit(self._held_now, folder, done))

    def refresh(self) -> None:
        """Look again at what is in the folder, and what a batch did."""
        project = self.project
        if project is None:
            return

        def look() -> Sequence[ProjectItem]:
            project.refresh()
            return project.items

        future = self.saver.run(look)
        future.add_done_callback(lambda done: self._emit(self._held_now, None, done))

    def close(self) -> tuple[str, ...]:
        """Leave everything in order; return the names of images whose work is lost."""
        if self._closed:
            return ()
        self._close_project()
        self._closed = True
        self._settled.stop()
        self._ahead.stop()
        self._reader.close()
        return self.saver.close()

    def _close_project(self) -> None:
        self.leave()
        if self.project is None:
            return
        self.saver.flush()
        self.project.close()
        self.project = None
        self._reader.forget()
        self.items, self._unreadable = {}, {}

    def _emit(self, signal: Any, *values: object) -> None:
        if not self._closed:
            signal.emit(*values)

    def _on_held(self, folder: Path | None, done: Future[Any]) -> None:
        error = done.exception()
        if error is not None:
            self._report(error)
            return
        if folder is None:
            self._take_items(done.result())
            return
        self._close_project()
        self.project = project = done.result()
        self.saver.begin(project)
        self._take_items(project.items)
        self._start = place_in(project.out)
        count = len(self.items)
        self.said.emit("1 image." if count == 1 else f"{count} images.")
        name = self._first()
        if name is None:
            self._remember(None)
        else:
            self._go(name, onward=1)

    def _take_items(self, items: Sequence[ProjectItem]) -> None:
        self.items = {
            item.name: replace(item, problem=self._unreadable.get(item.name, item.problem))
            for item in items
        }
        self.project_changed.emit()

    def _first(self) -> str | None:
        """Return where to begin: where one was, else what was begun, else what is to do."""
        start = self._start
        if start is not None and start.name in self.items:
            return start.name
        for status in ("in progress", "to do", "review"):
            for name, item in self.items.items():
                if item.status == status and not item.problem:
                    return name
        return next(iter(self.items), None)

    def _report(self, error: BaseException) -> None:
        known = isinstance(error, SpaError)
        words = str(error) if known else f"something went wrong ({type(error).__name__}: {error})."
        self.failed.emit(words)

    # ------------------------------------------------------------------ going through it

    def go(self, name: str) -> None:
        """Show an image in place of the one on show."""
        if name == self.at or name not in self.items:
            return
        if name in self.reserved:
            self.said.emit(f"{name} waits in the batch; cancel it, or choose another image.")
            return
        self._go(name, onward=0)

    def step(self, step: int) -> None:
        """Go to the next image as they are listed, or to the one before (-1)."""
        name = self._neighbour(step)
        if name is None:
            self.said.emit("This is the last image." if step > 0 else "This is the first image.")
        else:
            self._go(name, onward=step)

    def _neighbours(self, step: int, of: str | None) -> list[str]:
        """Return the images that can be opened that way, as they are listed."""
        order = list(self.order())
        rest = order if step > 0 else order[::-1]
        if of in rest:
            rest = rest[rest.index(of) + 1 :]
        return [n for n in rest if n not in self.reserved and n not in self._unreadable]

    def _neighbour(self, step: int, of: str | None = None) -> str | None:
        return next(iter(self._neighbours(step, of or self.at)), None)

    def _go(self, name: str, *, onward: int) -> None:
        out, item = self.out, self.items[name]
        if out is None:
            return
        self._wanted, self._onward, self._where = name, onward, ""
        self.said.emit(f"Opening {name}…")
        image = self._reader.image(name, item.path)
        place = partial(self.saver.place, out, name, self.stage.left)
        future = self._reader.item(image, place, partial(self.saver.give_back, name))
        future.add_done_callback(lambda done: self._emit(self._was_read, name, done))

    def _on_read(self, name: str, done: Future[ReadItem]) -> None:
        error = done.exception()
        if name != self._wanted or name not in self.items:
            if error is None:
                self.saver.give_back(name)
            return
        if error is not None:
            self._pass_over(name, error)
            return
        self._wanted = None
        item = done.result()
        try:
            self.leave(onward=True)
            self.stage.show(item, self._plane(item.image))
        except SpaError as trouble:
            self.saver.give_back(name)
            self._report(trouble)
            return
        self._note_problem(name, "")
        self._remember(self.stage.current)
        self._say_where(name)
        self.opened.emit(name)
        self._settled.start()

    def _say_where(self, name: str) -> None:
        """Say how far the image on show is, or what to do on it, when that changed."""
        if self._where is None or self._wanted is not None:
            return
        work = None if self.stage.current is None else self.stage.current.work
        count = 0 if work is None else len(work.annotation.objects)
        words = "click on an object."
        if count:
            words = f"{count} object{'s' if count > 1 else ''} so far."
        elif work is not None and work.at_hand is not None:
            words = "the first object is at hand."
        sentence = f"{name}: {words}"
        if sentence != self._where:
            self._where = sentence
            self.said.emit(sentence)

    def _on_failed(self, _: str) -> None:
        self._where = None

    def _plane(self, image: ReadImage) -> Plane:
        """Return the slice to begin with: where one was, else the middle."""
        start, self._start = self._start, None
        middle = image.middle()
        if start is None or start.name != image.name or len(start.index) != len(image.shape):
            return middle
        inside = (min(max(i, 0), n - 1) for i, n in zip(start.index, image.shape, strict=True))
        return Plane(middle.axes, tuple(inside))

    def _pass_over(self, name: str, error: BaseException) -> None:
        """List why an image cannot be opened, and go on the way one was going."""
        words = str(error) if isinstance(error, SpaError) else f"{name}: {error}"
        words = in_brief(words, self.items[name].path)
        self._note_problem(name, words)
        following = self._neighbour(self._onward, name) if self._onward else None
        if following is None:
            self._wanted = None
            self.opened.emit(self.current or "")
            self.failed.emit(words)
            return
        self._go(following, onward=self._onward)
        self.said.emit(f"Passed over: {words}")

    def is_unreadable(self, name: str) -> bool:
        """Tell whether an image cannot be opened, as far as anybody tried."""
        return name in self._unreadable

    def note_unreadable(self, name: str, words: str) -> None:
        """List why an image cannot be opened, as somebody else found out."""
        if name != self.current:
            self._note_problem(name, words)

    def _note_problem(self, name: str, words: str) -> None:
        item = self.items.get(name)
        if words:
            self._unreadable[name] = words
        else:
            self._unreadable.pop(name, None)
        if item is not None and item.problem != words:
            self.items[name] = replace(item, problem=words)
            self.changed.emit(name)

    # ------------------------------------------------------------------ leaving one

    def leave(self, *, onward: bool = False) -> None:
        """Take the image on show and its layers away; see :meth:`FolderStage.leave`."""
        if self.stage.current is None:
            return
        self._settled.stop()
        self._count()
        self._remember(self.stage.current)
        left = self.stage.leave(onward=onward)
        item = None if left is None else self.items.get(left.name)
        if left is None or item is None or self.out is None:
            return
        if (
            item.status == "done"
            and left.place.open_log is None
            and not labels_path(self.out, left.name).exists()
        ):  # there is nothing on it, and that is a result too
            store, info = left.work.mask.store, left.image.file.info
            self.saver.save(Leaving(left.place, store, info, True))

    def _on_gone(self, name: str) -> None:
        self._remember(None)
        self.opened.emit("")
        self.said.emit(f"{name} was closed; its work is saved.")

    def _remember(self, item: OpenItem | None) -> None:
        """Keep where one is, for another day."""
        project, plane = self.project, self.stage.plane()
        if project is None:
            return
        index = () if plane is None or item is None else plane.index
        name = "" if item is None else item.name
        folder = RecentFolder(str(project.source), str(project.out), name, index)
        self.saver.run(partial(remember_folder, folder))

    # ------------------------------------------------------------------ what is known

    def reserve(self, names: Sequence[str]) -> None:
        """Leave images to a batch; none when it has ended."""
        self.reserved = frozenset(names)

    def take_result(self, result: ImageResult) -> None:
        """Show what a batch made of an image; the manifest keeps it."""
        self.reserved -= {result.name}
        item = self.items.get(result.name)
        if item is None:
            return
        if result.outcome == "failed":
            item = replace(item, problem=result.problem)
        else:
            good = [held for held in result.objects if not held.problem]
            unsure = max((held.uncertainty for held in good), default=None)
            item = replace(
                item,
                status="review" if result.doubtful else "done",
                objects=len({held.number for held in good}),
                uncertainty=unsure,
                problem="",
            )
        self.items[result.name] = item
        self.changed.emit(result.name)

    def keep_now(self) -> Future[None] | None:
        """Write the labels of the image on show, for somebody who reads them from disk."""
        current = self.stage.current
        return None if current is None else self.saver.keep(current.place, current.image)

    def set_status(self, name: str, status: str) -> None:
        """Say what became of an image."""
        self._update(name, status=status)

    def set_note(self, name: str, note: str) -> None:
        """Write something down about an image."""
        self._update(name, note=note)

    def toggle_flag(self, name: str) -> None:
        """Flag an image, or take the flag away."""
        item = self.items.get(name)
        if item is not None:
            self._update(name, flagged=not item.flagged)

    def done(self) -> None:
        """Say that the image on show is done, and go to the next."""
        self._finish("done")

    def skip(self) -> None:
        """Leave the image on show for good, and go to the next."""
        self._finish("skipped")

    def _finish(self, status: str) -> None:
        current = self.stage.current
        if current is None:
            self.said.emit("Open an image first.")
        elif current.work.at_hand is not None and status == "done":
            self.said.emit(AT_HAND)
        else:
            following = self._neighbour(1)
            self._count()
            self.set_status(current.name, status)
            if following is None:
                self.said.emit(f"{current.name} is {status}; this was the last image.")
            else:
                self._go(following, onward=1)

    def _update(self, name: str, **changes: Any) -> None:
        item = self.items.get(name)
        if item is None or all(getattr(item, key) == value for key, value in changes.items()):
            return
        self.items[name] = replace(item, **changes)
        self.saver.index(name, **changes)
        self.changed.emit(name)

    def _on_proposed(self) -> None:
        item = self.items.get(self.current or "")
        if item is not None and item.status in _BEGUN_AGAIN:
            self.set_status(item.name, "in progress")
        self._settled.start()

    def _on_settled(self) -> None:
        """Count the objects, and have what comes next ready, once nothing happens."""
        self._count()
        current = self.stage.current
        if current is not None:
            self._say_where(current.name)
            near = [*self._neighbours(1, current.name)[:2], *self._neighbours(-1, current.name)[:1]]
            self._ahead.begin(current, [(name, self.items[name].path) for name in near])

    def _count(self) -> None:
        current = self.stage.current
        if current is None or current.name not in self.items:
            return
        objects = current.work.annotation.objects
        unsure = max((held.uncertainty for held in objects.values()), default=None)
        known = self.items[current.name]
        if len(objects) != (known.objects or 0) or (objects and unsure != known.uncertainty):
            self._update(current.name, objects=len(objects), uncertainty=unsure)
