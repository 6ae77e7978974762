"""Go through the images of a folder: the one on show, the ones read ahead, the status line."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_spa.core.presentation import capitalised, counted
from napari_spa.errors import InputError, SpaError, sentence_of
from napari_spa.io.files import FolderGoneError
from napari_spa.io.projects.paths import labels_path, log_path
from napari_spa.io.projects.project import Project, ProjectItem, in_brief
from napari_spa.viewer.background import later
from napari_spa.viewer.folder.items import FolderBookmark, FolderItems, hold_project
from napari_spa.viewer.folder.reader import FolderReader, OtherSizeError, ReadItem
from napari_spa.viewer.folder.saver import FolderSaver, PendingSave
from napari_spa.viewer.folder.stage import FolderImageView, OpenItem

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

    from napari.components import ViewerModel

    from napari_spa.batch.task import ImageResult
    from napari_spa.core.plane import Plane
    from napari_spa.refine.engine.config import Progress
    from napari_spa.viewer.annotation.controller import AnnotationController


_LOOK_SECONDS = 0.05


_SETTLED_MS = 250
Answers = Mapping[str, Callable[[], None]]  # by what the button says
_NO_QUESTION: tuple[str, Answers] = ("", {})
START_AGAIN = "Set aside, start again"
ACTIVE = "Accept or discard the active object first."


class FolderController(QObject):
    """The images of one folder, one of them in the viewer.

    Everything slow happens in threads of its own: reading, writing, listing.
    """

    project_changed = Signal()  # another folder is open, or its list of images changed
    changed = Signal(str)  # what is known of an image changed
    opened = Signal(str)  # an image is on show; an empty name when none is any more
    status_message = Signal(str)  # what happened or what to do, in one sentence
    failed = Signal(str)  # what went wrong, in one sentence
    # What to decide about an image, and by what a button says, what it does; none ends it.
    asked = Signal(str, object)
    _ended = Signal(object, object)  # what goes on in the main thread, and with which ``Future``

    def __init__(
        self,
        viewer: ViewerModel,
        open_refine_dock: Callable[[], AnnotationController],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.saver = FolderSaver(self)
        self.stage = FolderImageView(viewer, open_refine_dock, self.saver, self)
        self.items = self._no_items()
        self.order: Callable[[], Sequence[str]] = lambda: list(self.items)
        self.reserved: frozenset[str] = frozenset()
        self._reader = FolderReader()
        self.project: Project | None = None
        self._bookmark: FolderBookmark | None = None
        self._opening: Path | None = None
        self._wanted: str | None = None
        self._question: tuple[str, Answers] = _NO_QUESTION  # about the image on show
        self._onward = 0
        self._passed: list[str] = []  # why images were passed over on the way to the wanted one
        self._said: str | None = ""  # of the image on show; None: trouble is
        self._refused = ""  # why the last click on it came to nothing
        self._closed = False
        self._settled = later(self, self._on_settled, _SETTLED_MS)
        self._ended.connect(self._on_ended)
        self.saver.failed.connect(self.failed)
        self.stage.failed.connect(self.failed)
        self.stage.proposed.connect(self._on_proposed)
        self.stage.objects_changed.connect(self._settled.start)
        self.stage.refused.connect(self._on_refused)
        self.stage.gone.connect(self._on_gone)
        self.failed.connect(self._on_failed)

    # ------------------------------------------------------------------ what it is now

    @property
    def said(self) -> Any:
        """Return ``status_message`` by its former name, for scripts that drive a dock."""
        return self.status_message

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
        """Open a folder, or go on with one; the answer is ``project_changed`` or ``failed``.

        One that is open is looked through again: a microscope may be writing into it.
        """
        folder = Path(folder)
        project = self.project
        if project is not None and folder.resolve() in (
            project.source.resolve(),
            project.out.resolve(),
        ):
            self.refresh(asked=True)
            return
        if self.reserved:
            self.status_message.emit("A batch is running; wait for it, or cancel it.")
            return
        if folder.resolve() == self._opening:
            self.status_message.emit(f"{folder.name} is being opened already.")
            return
        self._opening = folder.resolve()
        self.status_message.emit(f"Looking through {folder.name}…")
        self._after(self.saver.run(partial(hold_project, folder, out)), self._on_held)

    def refresh(self, *, asked: bool = False) -> None:
        """Look again at what is in the folder, and what a batch did; a user who asked is told."""
        project = self.project
        if project is None:
            return

        def look() -> Sequence[ProjectItem]:
            project.refresh()
            return project.items

        self._after(self.saver.run(look), partial(self._on_looked, asked=asked))

    def close(self) -> tuple[str, ...]:
        """Leave everything in order; return the names of images whose work is lost."""
        if self._closed:
            return ()
        self._close_project()
        self._closed = True
        self._settled.stop()
        self._reader.close()
        return self.saver.close()

    def _close_project(self) -> None:
        self.leave()
        if self.project is None:
            return
        self.saver.flush()
        self.project.close()
        self.project = self._bookmark = None
        self._reader.forget()
        self.items = self._no_items()

    def _no_items(self) -> FolderItems:
        return FolderItems(self.changed.emit, self.saver.index)

    def _after(self, future: Future[Any], then: Callable[[Future[Any]], None]) -> None:
        """Go on in the main thread once something is done, unless all is closed by then."""

        def tell(done: Future[Any]) -> None:
            if not self._closed:
                self._ended.emit(then, done)

        future.add_done_callback(tell)

    def _on_ended(self, then: Callable[[Future[Any]], None], done: Future[Any]) -> None:
        then(done)

    def _on_looked(self, done: Future[Any], *, asked: bool) -> None:
        error = done.exception()
        if error is not None:
            self.failed.emit(sentence_of(error))
            return
        before = set(self.items)
        self._take_items(done.result())
        new = len(set(self.items) - before)
        if new or asked:
            new_ones = f"{new:,} of them new" if new else "none of them new"
            self.status_message.emit(f"{counted(len(self.items), 'image')}, {new_ones}.")

    def _on_held(self, done: Future[Any]) -> None:
        error, self._opening = done.exception(), None
        if error is not None:
            self.failed.emit(sentence_of(error))
            return
        self._close_project()
        self.project = project = done.result()
        self.saver.begin(project)
        self._bookmark = bookmark = FolderBookmark(project, self.saver.run)
        self._take_items(project.items)
        self.status_message.emit(f"{counted(len(self.items), 'image')}.")
        name = bookmark.first(self.items)
        if name is None:
            self._remember()
        else:
            self._go(name, onward=1)

    def _take_items(self, items: Sequence[ProjectItem]) -> None:
        self.items.take(items)
        self.project_changed.emit()

    # ------------------------------------------------------------------ going through it

    def go(self, name: str) -> None:
        """Show an image in place of the one on show."""
        if name == self.at or name not in self.items:
            if name == self.current:
                self.asked.emit(*self._question)
            return
        if name in self.reserved:
            self.status_message.emit(
                f"{name} waits in the batch; cancel it, or choose another image."
            )
            return
        if not self._waits(partial(self.go, name)):
            self._go(name, onward=0)

    def step(self, step: int) -> None:
        """Go to the next image as they are listed, or to the one before (-1)."""
        if self._waits(partial(self.step, step)):
            return
        name = self._neighbour(step)
        if name is None:
            self._answer("This is the last image." if step > 0 else "This is the first image.")
        else:
            self._go(name, onward=step)

    def _waits(self, act: Callable[[], None]) -> bool:
        """Let an act wait for what was done on the image before it, such as a click."""
        current = self.stage.current
        if current is None or not current.controller.waits(act):
            return False
        self.status_message.emit(f"{current.name}: what you did last is done first.")
        return True

    def _neighbours(self, step: int, of: str | None) -> list[str]:
        """Return the images that can be opened that way, as they are listed."""
        order = list(self.order())
        rest = order if step > 0 else order[::-1]
        if of in rest:
            rest = rest[rest.index(of) + 1 :]
        return [n for n in rest if n not in self.reserved and not self.items.is_unreadable(n)]

    def _neighbour(self, step: int, of: str | None = None) -> str | None:
        return next(iter(self._neighbours(step, of or self.at)), None)

    def _go(self, name: str, *, onward: int) -> None:
        out, item = self.out, self.items[name]
        if out is None:
            return
        self._wanted, self._onward = name, onward
        self._said, self._refused, self._passed = "", "", []
        self.asked.emit("", {})
        self.status_message.emit(f"Opening {name}…")
        image = self._reader.image(name, item.path)
        location = partial(self.saver.location, out, name, self.stage.left)
        gone = {other.name: other.path for other in self.items.values() if other.problem}
        back = partial(self.saver.return_pending, log_path(out, name))
        self._after(self._reader.item(image, location, back, gone), partial(self._on_read, name))

    def _on_read(self, name: str, done: Future[ReadItem]) -> None:
        error, bookmark = done.exception(), self._bookmark
        if bookmark is None or name != self._wanted or name not in self.items:
            if error is None:
                self.saver.return_pending(done.result().location.log)
            return
        if error is not None:
            self._pass_over(name, error)
            return
        self._wanted = None
        item = done.result()
        try:
            self.leave(onward=True)
            self.stage.show(item, bookmark.plane(item.image))
        except SpaError as trouble:
            self.saver.return_pending(item.location.log)
            self.failed.emit(sentence_of(trouble))
            return
        self.items.note_readable(name)
        self._remember()
        self._say_how_far()
        self.opened.emit(name)
        self._settled.start()
        self._say_passed()
        self._ask(item)

    def _say_passed(self) -> None:
        """Say why this is not the image that one might have expected."""
        passed, self._passed = self._passed, []
        if passed:
            more = f" And {counted(len(passed) - 1, 'other')}: the list says why."
            self._answer(f"Passed over: {passed[0]}{more * (len(passed) > 1)}")

    def _ask(self, item: ReadItem) -> None:
        """Ask what is to become of work that may not be of the image as it is now."""
        name = item.image.name
        if item.digests:
            sentence = f"{name} has changed since it was annotated."
            self.items.set_status(name, "review")
            self.items.warn(name, sentence)
            keep = partial(self._keep_objects, name, item.digests)
            answers = {"Keep its objects": keep, START_AGAIN: partial(self.start_again, name)}
            self._put(f"{sentence} Keep its objects, or set them aside?", answers)
            self._tell(f"{sentence} SPA Folder asks what to do.")
        elif item.earlier:
            self._put(
                f"{item.earlier} is gone, and {name} has its pixels: was it renamed?",
                {"Take its work along": partial(self._move_work, item.earlier, name)},
            )

    def _answer(self, sentence: str) -> None:
        """Answer a key where it is seen: this dock may be behind the other one."""
        self._tell(sentence)
        self.status_message.emit(sentence)

    def _tell(self, sentence: str) -> None:
        """Say something in the dock of the image on show."""
        if self.stage.current is not None:
            self.stage.current.controller.status_message.emit(sentence)

    def _put(self, sentence: str, answers: Answers) -> None:
        """Ask about the image on show; the question stays with it until it is answered."""
        self._question = (sentence, answers)
        self.asked.emit(sentence, answers)

    def _keep_objects(self, name: str, digests: Mapping[Plane, str]) -> None:
        """Take the objects of an image for those of the image as it is now."""
        current = self.stage.current
        if current is None or current.name != name or not current.annotated.logged:
            return
        current.annotated.journal.image(digests)
        self.items.warn(name, "")
        self._put(*_NO_QUESTION)
        self.status_message.emit(f"The objects of {name} are kept; look at each of them.")

    def ask_start_again(self, name: str) -> None:
        """Ask whether the work on an image shall be set aside."""
        if name in self.reserved:
            self.status_message.emit(f"{name} waits in the batch; cancel it first.")
            return
        self.asked.emit(
            f"Set the work on {name} aside? Its files stay in the output folder, with .bak at "
            "the end of their names.",
            {
                START_AGAIN: partial(self.start_again, name),
                "Keep it": lambda: self.asked.emit(*self._question),
            },
        )

    def start_again(self, name: str) -> None:
        """Set the work on an image aside, beside where it was, and open the image."""
        self._move_work(name, None)

    def _move_work(self, name: str, to: str | None) -> None:
        project = self.project
        if project is None:
            return
        self.asked.emit("", {})
        if self.current in (name, to):
            self.leave()
        moved = self.saver.run(partial(project.move_work, name, to))
        self._after(moved, partial(self._on_moved, to or name))

    def _on_moved(self, name: str, done: Future[None]) -> None:
        error, project = done.exception(), self.project
        if error is not None or project is None:
            self.failed.emit(sentence_of(error or InputError("the folder was closed.")))
            return
        self.items.note_readable(name)
        self.items.warn(name, "")
        self._take_items(project.items)
        if name in self.items:
            self._go(name, onward=0)

    def _pass_over(self, name: str, error: BaseException) -> None:
        """List why an image cannot be opened, and go on the way one was going."""
        words = str(error) if isinstance(error, SpaError) else f"{name}: {error}"
        words = in_brief(words, self.items[name].path)
        gone = isinstance(error, FolderGoneError)  # which says nothing of the image
        if not gone:
            self.items.note_unreadable(name, words)
        following = self._neighbour(self._onward, name) if self._onward and not gone else None
        if following is None:
            self._wanted = None
            self.opened.emit(self.current or "")
            self.failed.emit(words)
            self.asked.emit(*self._question)
            if isinstance(error, OtherSizeError):
                self.asked.emit(
                    f"{words} Set its objects aside?",
                    {START_AGAIN: partial(self.start_again, name)},
                )
            return
        passed = [*self._passed, words]
        self._go(following, onward=self._onward)
        self._passed = passed

    def note_unreadable(self, name: str, words: str) -> None:
        """List why an image cannot be opened, as someone else found out."""
        if name != self.current:
            self.items.note_unreadable(name, words)

    # ------------------------------------------------------------------ leaving one

    def leave(self, *, onward: bool = False) -> None:
        """Take the image on show and its layers away; see :meth:`FolderImageView.leave`."""
        if self.stage.current is None:
            return
        self._settled.stop()
        self._question = _NO_QUESTION
        self._count()
        self._remember()
        left = self.stage.leave(onward=onward)
        item = None if left is None else self.items.get(left.name)
        if left is None or item is None or self.out is None:
            return
        if (
            item.status == "done"
            and left.location.open_log is None
            and not os.path.exists(labels_path(self.out, left.name))
        ):  # there is nothing on it, and that is a result too
            store, info = left.annotated.mask.store, left.image.file.info
            self.saver.save(PendingSave(left.location, store, info, True))

    def _on_gone(self, name: str) -> None:
        self._put(*_NO_QUESTION)
        self._remember()
        self.opened.emit("")
        self.status_message.emit(f"{name} was closed; its work is saved.")

    def _remember(self) -> None:
        """Keep the current image and slice for another day."""
        if self._bookmark is not None:
            self._bookmark.keep(self.current, self.stage.plane())

    # ------------------------------------------------------------------ what becomes of them

    def reserve(self, names: Sequence[str]) -> None:
        """Leave images to a batch; none when it has ended."""
        self.reserved = frozenset(names)

    def take_result(self, result: ImageResult) -> None:
        """Show what a batch made of an image, and let it be opened again."""
        self.reserved -= {result.name}
        self.items.take_result(result)

    def keep_now(self) -> Future[None] | None:
        """Write the labels of the image on show, for someone who reads them from disk."""
        current = self.stage.current
        return None if current is None else self.saver.keep(current.location, current.image)

    def has_objects(self) -> bool:
        """Tell whether any image has objects, or had some."""
        out = self.out
        self._count()
        return out is not None and any(
            item.objects or os.path.exists(labels_path(out, name))
            for name, item in self.items.items()
        )

    def done(self) -> None:
        """Say that the image on show is done, and go to the next."""
        self._finish("done")

    def skip(self) -> None:
        """Leave the image on show for good, and go to the next."""
        self._finish("skipped")

    def _finish(self, status: str) -> None:
        current = self.stage.current
        if current is None:
            self.status_message.emit("Open an image first.")
        elif self._waits(partial(self._finish, status)):
            return
        elif current.annotated.active is not None and status == "done":
            self._answer(ACTIVE)
        else:
            following = self._neighbour(1)
            self._count()
            self.items.set_status(current.name, status)
            if following is None:
                self._answer(f"{current.name} is {status}; this was the last image.")
            else:
                self._go(following, onward=1)

    def _on_refused(self, sentence: str) -> None:
        self._said, self._refused = "", capitalised(sentence)
        self._say_how_far()

    def _on_proposed(self) -> None:
        self._refused = ""
        if self.current is not None:
            self.items.begin(self.current)
        self._settled.start()

    def _on_settled(self) -> None:
        """Count the objects, and have what comes next ready, once nothing happens."""
        self._count()
        current = self.stage.current
        if current is not None:
            if self._wanted is None:
                self._say_how_far()
            self._read_ahead(current)

    def _read_ahead(self, current: OpenItem) -> None:
        """Read the neighbours of the image on show, and encode them while no one waits."""
        near = [*self._neighbours(1, current.name)[:2], *self._neighbours(-1, current.name)[:1]]
        images = [self._reader.image(name, self.items[name].path) for name in near]
        session, shown = current.controller.session, current.image
        if session is None:  # the model is loaded with the first click
            return

        def job(progress: Progress) -> None:
            session.prefetch(shown.image_plane(shown.middle()))
            for future in images:
                while not future.done() and not self._closed:
                    progress(0.0, "")  # raises when someone wants the worker
                    time.sleep(_LOOK_SECONDS)
                progress(0.0, "")
                if future.done() and not future.cancelled() and not future.exception():
                    image = future.result()
                    session.prefetch(image.image_plane(image.middle()))

        current.controller.worker.submit_idle(job)

    def _say_how_far(self) -> None:
        """Say how far the image on show is, or what to do on it, unless trouble is on show."""
        current = self.stage.current
        if current is None or self._said is None:
            return
        count = len(current.annotated.annotation.objects)
        words = "click on an object."
        if count:
            words = f"{counted(count, 'object')} so far."
        elif current.annotated.active is not None:
            words = "the first object is active."
        before, self._said = self._said, self._refused or f"{current.name}: {words}"
        if self._said != before:
            self.status_message.emit(self._said)

    def _on_failed(self, _: str) -> None:
        self._said = None

    def _count(self) -> None:
        current = self.stage.current
        if current is not None:
            objects = current.annotated.annotation.objects.values()
            played = [held.uncertainty for held in objects if held.rounds]
            self.items.count(current.name, len(objects), played)
