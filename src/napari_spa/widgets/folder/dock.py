"""The dock *SPA Folder*: its parts and where they stand, and what connects them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QMenu,
    QProgressBar,
    QSizePolicy,
    QStackedWidget,
    QWidget,
)

from napari_spa.core.presentation import capitalised
from napari_spa.viewer.background import later
from napari_spa.viewer.folder.controller import FolderController
from napari_spa.viewer.folder.items import Thumbnails, recent_folders
from napari_spa.viewer.keys import KeyBindings
from napari_spa.viewer.settings import Settings, SettingsStore
from napari_spa.widgets import OpeningDock
from napari_spa.widgets.common.buttons import (
    FittingButton,
    NoWheelComboBox,
    add_entry,
    open_menu,
    tip_with_key,
    with_key,
)
from napari_spa.widgets.common.docks import DockLayout, DockLifecycle
from napari_spa.widgets.common.layouts import (
    column_of,
    even_row,
    hinted_line,
    row_of,
    scrolling,
    tip_button,
    wrapped,
)
from napari_spa.widgets.folder.jobs import FolderJobs
from napari_spa.widgets.folder.list import (
    FILTERS,
    ORDERS,
    Choice,
    FolderList,
    FolderModel,
    state_of,
    summary,
)
from napari_spa.widgets.refine.dock import RefineDock

if TYPE_CHECKING:
    import napari.viewer

    from napari_spa.widgets.folder.list import Thumbnail

PROGRESS_STEPS = 1000
EMPTY = (
    "Open a folder of images, or drop one here.\n\n"
    "Your work is kept in a folder beside it; the images are never changed."
)
_ACTIONS = {
    "previous_image": ("Previous", "◂", "Show the image before, as they are listed."),
    "next_image": ("Next", "▸", "Show the next image, as they are listed."),
    "done_next": ("Done, next", "Done", "This image is finished: show the next."),
    "skip_image": ("Skip", "Skip", "Leave this image out: show the next."),
    "flag_image": ("Flag", "Flag", "Mark this image, or take the mark away."),
}


class FolderPanel(QWidget):
    """All the parts, one under the other: a column that scrolls, and what is done to all images."""

    def __init__(self, thumbnail: Thumbnail) -> None:
        super().__init__()
        tip = "Choose a folder of images, or the output folder of a project."
        self.open = tip_button("Open folder…", "Open…", tip=tip)
        self.recent = tip_button("Recent ▾", "▾", tip="Folders you worked on lately.", narrow=True)
        self.folder = wrapped()
        self.folder.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.kind = NoWheelComboBox("Which images are listed")
        self.kind.addItems(list(FILTERS.values()))
        self.order = NoWheelComboBox("Order of the images")
        self.order.addItems(list(ORDERS.values()))
        self.text = hinted_line("Filter by name or note")
        self.text.setClearButtonEnabled(True)
        self.model = FolderModel()
        self.list = FolderList(self.model, thumbnail)
        self.empty = wrapped(EMPTY)
        self.empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.pages = QStackedWidget()
        self.pages.addWidget(self.empty)
        self.pages.addWidget(self.list)
        self.summary = wrapped()
        self.summary.installEventFilter(self)
        self.action_buttons = {action: FittingButton() for action in _ACTIONS}
        self.action_buttons["flag_image"].setCheckable(True)
        self.note = hinted_line("Note about this image")
        self.status, self.unsaved, self.running = wrapped(), wrapped(), wrapped()
        self.question, self.answers = wrapped(), QWidget()
        self._answers = QHBoxLayout(self.answers)  # side by side: in sight on a laptop
        self._answers.setContentsMargins(0, 0, 0, 0)
        tip = "Write what could not be written, for example after freeing space."
        self.retry = tip_button("Save again", tip=tip)
        tip = "Objects are refined in the dock SPA Refine, which is hidden."
        self.tools = tip_button("SPA Refine is hidden: show it", "Show SPA Refine", tip=tip)
        tip = "Segment the pending images in the background."
        self.apply = tip_button("Apply my profile to the rest…", "Apply to the rest…", tip=tip)
        tip = "Write labels, masks, tables or logs for other programs."
        self.export = tip_button("Export…", tip=tip)
        self.progress = QProgressBar()
        self.progress.setRange(0, PROGRESS_STEPS)
        self.cancel = tip_button("Cancel", tip="Stop; what is finished stays.", narrow=True)
        self._compose()
        self.set_keys({})
        self.ask("", {})
        self.set_unsaved(())
        self.set_running("")

    def choice(self) -> Choice:
        """Return which images shall be listed."""
        kind = list(FILTERS)[self.kind.currentIndex()]
        return Choice(kind, self.text.text(), list(ORDERS)[self.order.currentIndex()])

    def set_choice(self, choice: Choice) -> None:
        """Show which images are listed."""
        self.kind.setCurrentIndex(list(FILTERS).index(choice.kind))
        self.order.setCurrentIndex(list(ORDERS).index(choice.order))
        self.text.setText(choice.text)

    def set_keys(self, keys: Mapping[str, str]) -> None:
        """Show the keys of all acts on their buttons."""
        for action, (long, short, tip) in _ACTIONS.items():
            button, key = self.action_buttons[action], keys.get(action, "")
            button.set_texts(with_key(long, key), with_key(short, key), long, short)
            button.setToolTip(tip_with_key(tip, key))
            button.setAccessibleName(f"{long}: {tip}")

    def ask(self, sentence: str, answers: Mapping[str, Callable[[], object]]) -> None:
        """Show a question with a button for each answer; no answer hides it."""
        self.question.setText(sentence)
        while (item := self._answers.takeAt(0)) is not None:
            if (button := item.widget()) is not None:
                button.deleteLater()
        for words, act in answers.items():
            button = FittingButton(words)
            button.on_click(act)
            self._answers.addWidget(button)
        for part in (self.question, self.answers):
            part.setVisible(bool(answers))

    def set_unsaved(self, names: tuple[str, ...]) -> None:
        """Say which images' work is in memory only; none hides the line."""
        shown = bool(names)
        if shown:
            count = "1 image is" if len(names) == 1 else f"{len(names)} images are"
            self.unsaved.setText(f"{count} not saved yet: {', '.join(names[:3])}.")
        self.unsaved.setVisible(shown)
        self.retry.setVisible(shown)

    def set_running(self, words: str, share: float = 0.0) -> None:
        """Show the progress of a batch or an export in place of their buttons; no words hide it."""
        self._offers.setVisible(not words)
        self._work.setVisible(bool(words))
        self.running.setText(words)
        self.progress.setValue(round(share * PROGRESS_STEPS))

    def _compose(self) -> None:
        buttons = self.action_buttons
        self.filters = column_of(row_of(self.kind, self.order), self.text)
        ways = even_row((2, 1), buttons["previous_image"], buttons["next_image"])
        ends = (buttons[name] for name in ("done_next", "skip_image", "flag_image"))
        self.acting = column_of(ways, even_row((3, 1), *ends), self.note)
        content = column_of(
            row_of(self.open, self.recent, grows=self.open),
            self.folder,
            self.filters,
            self.pages,
            self.summary,
            self.acting,
            self.question,
            self.answers,
            self.status,
            self.tools,
            self.unsaved,
            self.retry,
            spacing=6,
            margin=6,
            grows=self.pages,
        )
        self._offers = even_row((2, 1), self.apply, self.export)
        bar = row_of(self.progress, self.cancel, grows=self.progress)
        self._work = column_of(self.running, bar)
        self._scroll, self._content = scrolling(content), content
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        # Under what scrolls: in sight whatever the height.
        foot = column_of(self._offers, self._work, margin=6)
        column_of(self._scroll, foot, spacing=0, grows=self._scroll, holder=self)

    def _fit_width(self) -> None:
        """Never be so narrow that a part is cut off."""
        self._scroll.setMinimumWidth(self._content.minimumSizeHint().width() + 18)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Write the list and the fields in the font that napari gives to labels."""
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.Polish):
            self.list.set_font(self.summary.font())
            for field in (self.text, self.note):
                field.setFont(self.summary.font())
            # Only now is it known how wide napari's style makes the parts.
            QTimer.singleShot(0, self._fit_width)
        return super().eventFilter(watched, event)


_LOOKED_THROUGH = 500  # so many images are looked at unasked, to find those that cannot be read


class FolderDock(QWidget):
    """Work through a folder of images; objects are refined in the dock *SPA Refine*."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._closed = False
        # napari gives plugins a proxy that makes a new one of each layer it returns; layers
        # are held by reference here, so they have to be themselves.
        viewer = getattr(viewer, "__wrapped__", viewer)
        self._viewer = viewer
        self._refine_dock: RefineDock | None = None
        self._keys: KeyBindings | None = None
        self._shown_out = ""  # the project whose images are listed
        self._noted: str | None = None  # the image that the note on show is about
        self.store = SettingsStore()
        self.controller = FolderController(
            viewer, lambda: self._open_refine_dock().controller, self
        )
        self.thumbnails = Thumbnails(self)
        self.parts = FolderPanel(lambda item: self.thumbnails.get(item.name, item.path))
        self.jobs = FolderJobs(self.controller, self)
        self.controller.order = lambda: self.parts.model.names
        column_of(self.parts, holder=self)
        self.setAcceptDrops(True)
        self._life = DockLifecycle(self)
        self._life.ended.connect(self.release)
        self._places = DockLayout(self)
        self._list_due = later(self, self._list)
        self._words_due = later(self, self._show_words)
        self._connect()
        self._apply(self.store.load())
        self._list()

    # ------------------------------------------------------------------ composing

    def _connect(self) -> None:
        controller, parts, jobs = self.controller, self.parts, self.jobs
        controller.project_changed.connect(self._on_project)
        controller.changed.connect(self._on_changed)
        controller.opened.connect(self._on_opened)
        controller.status_message.connect(parts.status.setText)
        controller.failed.connect(self._on_failed)
        controller.asked.connect(parts.ask)
        controller.saver.unsaved_changed.connect(parts.set_unsaved)
        self.thumbnails.ready.connect(parts.model.changed)
        self.thumbnails.failed.connect(controller.note_unreadable)
        jobs.status_message.connect(self._on_job_said)
        jobs.failed.connect(self._on_failed)
        jobs.running.connect(self._on_running)
        jobs.running.connect(self._words_due.start)
        jobs.review_wanted.connect(self._show_review)
        parts.open.on_click(self._on_open)
        parts.recent.on_click(lambda: open_menu(self.recent_menu(), parts.recent))
        parts.kind.activated.connect(self._list)
        parts.order.activated.connect(self._list)
        parts.text.textChanged.connect(self._list_due.start)
        parts.list.chosen.connect(controller.go)
        parts.list.start_again_requested.connect(controller.ask_start_again)
        parts.note.editingFinished.connect(self._on_note)
        parts.retry.clicked.connect(controller.saver.try_again)
        parts.tools.on_click(self._show_refine_dock)
        parts.apply.on_click(lambda: jobs.ask_batch(self._refine_dock, self))
        parts.export.on_click(lambda: jobs.ask_export(self))
        parts.cancel.clicked.connect(jobs.cancel)
        for action, button in parts.action_buttons.items():
            button.on_click(self._actions()[action])
        self.store.changed.connect(self._apply)

    def _actions(self) -> dict[str, Callable[[], Any]]:
        """Return what each act that has a key does."""
        return {
            "previous_image": partial(self.controller.step, -1),
            "next_image": partial(self.controller.step, 1),
            "done_next": self.controller.done,
            "skip_image": self._skip,
            "flag_image": self._flag,
        }

    def _apply(self, settings: Settings) -> None:
        """Use the keys of the settings."""
        if self._keys is not None:
            self._keys.release()
        actions = self._actions()
        self._keys = KeyBindings(
            self._viewer, {settings.keys[action]: act for action, act in actions.items()}
        )
        self.parts.set_keys(settings.keys)

    def _find_refine_dock(self) -> RefineDock | None:
        window = getattr(self._viewer, "window", None)
        docks = () if window is None else window.dock_widgets.values()
        there = (w for w in docks if isinstance(w, (OpeningDock, RefineDock)) and not w.closed)
        return next((w.dock if isinstance(w, OpeningDock) else w for w in there), None)

    def _open_refine_dock(self) -> RefineDock:
        """Return the dock *SPA Refine* of this window; open it where it is not there."""
        refine_dock = self._refine_dock
        if refine_dock is not None and not refine_dock.closed:
            return refine_dock
        found = self._find_refine_dock()
        if found is None:
            dock, opening = self._viewer.window.add_plugin_dock_widget("napari-spa", "SPA Refine")
            self._places.put_beside(dock)
            assert isinstance(opening, OpeningDock)
            found = opening.dock
        found.places.stay()
        self._refine_dock = found
        found.released.connect(self.controller.leave)
        found.places.toggled.connect(self._words_due.start)
        found.controller.masked.connect(self._on_masked)
        return found

    # ------------------------------------------------------------------ asking

    def open_folder(self, folder: Path | str, out: Path | str | None = None) -> None:
        """Open a folder of images, or a project's output folder."""
        self.controller.open(Path(folder), None if out is None else Path(out))

    def _on_open(self, *, elsewhere: bool = False) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Open a folder of images")
        out = None
        if folder and elsewhere:
            out = QFileDialog.getExistingDirectory(self, "Choose the output folder")
        if folder and out != "":
            self.open_folder(folder, out)

    def recent_menu(self) -> QMenu:
        """Make the menu of folders that were worked on lately."""
        menu = QMenu(self)
        for entry in recent_folders():
            source = Path(entry.source)
            menu.addAction(
                f"{source.name}    {source.parent}", partial(self.open_folder, entry.out)
            )
        if menu.isEmpty():
            add_entry(menu, "No folder yet", lambda: None, enabled=False)
        menu.addSeparator()
        menu.addAction("Open with another output folder…", partial(self._on_open, elsewhere=True))
        if self.controller.project is not None:
            menu.addAction("Look again for images", self.controller.refresh)
        return menu

    def _show_refine_dock(self) -> None:
        if self._refine_dock is not None and not self._refine_dock.closed:
            self._refine_dock.places.bring_forward()

    def _on_masked(self, _: object) -> None:
        """Show what can be chosen where the list is in front of it: one tab for both docks."""
        refine_dock = self._refine_dock
        if refine_dock is not None and refine_dock.places.is_behind(self):
            self._show_refine_dock()

    def _target(self) -> str | None:
        """Return the image that a note or flag is about."""
        return self.parts.list.chosen_name() or self.controller.current

    def _skip(self) -> None:
        item = self.controller.items.get(self._target() or "")
        if item is not None and item.problem:
            self.controller.items.set_status(item.name, "skipped")  # it cannot be on show
        else:
            self.controller.skip()

    def _flag(self) -> None:
        name = self._target()
        if name is not None:
            self.controller.items.toggle_flag(name)
        self._words_due.start()

    def _on_note(self) -> None:
        self._keep_note()
        self.parts.note.clearFocus()

    # ------------------------------------------------------------------ answering

    def _on_project(self) -> None:
        images = [(item.name, item.path) for item in self.controller.items.values()]
        out = str(self.controller.out)
        if out != self._shown_out:
            self._shown_out = out
            self.thumbnails.begin(images[:_LOOKED_THROUGH])
        self._list()

    def _list(self, *_: object) -> None:
        """List the images that are chosen."""
        parts, items = self.parts, self.controller.items
        parts.model.show(items, parts.choice())
        known = self.controller.project is not None
        parts.pages.setCurrentWidget(parts.list if parts.model.names else parts.empty)
        none = "No image is like that." if items else "There is no image in this folder."
        parts.empty.setText(none if known else EMPTY)
        parts.list.choose(self.controller.at)
        self._show_words()

    def _show_words(self, *_: object) -> None:
        """Say what is known of the folder and of the image on show."""
        parts, controller = self.parts, self.controller
        project = controller.project
        about = (parts.filters, parts.acting, parts.summary, parts.apply, parts.export)
        for part in (*about, parts.folder):
            part.setVisible(project is not None)
        if project is not None:
            source, out = Path(project.source), Path(project.out)
            parts.folder.setText(source.name)
            parts.folder.setToolTip(f"Images: {source}\nYour work: {out}")
            parts.summary.setText(summary(controller.items.values()))
        for part in (parts.apply, parts.export):
            part.setEnabled(not self.jobs.busy)
        shown = controller.current is not None
        parts.tools.setVisible(shown and self._refine_is_hidden())
        for action, button in parts.action_buttons.items():
            button.setEnabled(bool(controller.items) if action.endswith("_image") else shown)
        self._show_note()

    def _refine_is_hidden(self) -> bool:
        dock = self._refine_dock
        return dock is not None and not dock.closed and dock.places.hidden

    def _show_note(self) -> None:
        name, note = self._target(), self.parts.note
        item = self.controller.items.get(name or "")
        self.parts.action_buttons["flag_image"].setChecked(item is not None and item.flagged)
        note.setEnabled(item is not None)
        if name != self._noted or not note.isModified():
            self._keep_note()
            self._noted = name
            note.setText("" if item is None else item.note)
            note.setModified(False)

    def _keep_note(self) -> None:
        """Keep a note that was typed, also when another image comes."""
        note = self.parts.note
        if self._noted is not None and note.isModified():
            note.setModified(False)
            self.controller.items.set_note(self._noted, note.text().strip())

    def _on_changed(self, name: str) -> None:
        parts, item = self.parts, self.controller.items.get(name)
        if parts.model.place_of(name) is not None:
            parts.model.changed(name)
        elif item is not None and parts.model.choice.takes(item):
            self._list_due.start()
        self._words_due.start()

    def _on_opened(self, name: str) -> None:
        self.parts.list.set_open(name or None)
        if name:
            self.parts.list.choose(name)
        self._words_due.start()

    def _on_running(self, words: str, share: float) -> None:
        """Show how far a batch or an export is; the title is seen where the list is not."""
        self.parts.set_running(words, share)
        self._places.note(f"{share:.0%}" if words else "")

    def _on_job_said(self, sentence: str) -> None:
        self.parts.status.setText(sentence)
        if sentence and self._places.behind:
            show_info(sentence)

    def _on_failed(self, sentence: str) -> None:
        words = capitalised(sentence)
        self.parts.status.setText(words)
        show_warning(words)
        self.parts.list.choose(self.controller.at)

    def _show_review(self) -> None:
        """List what a batch was unsure of, the most doubtful first."""
        parts = self.parts
        if any(state_of(item) == "review" for item in self.controller.items.values()):
            parts.set_choice(type(parts.choice())("review", "", "doubt"))
            self._list()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Take a folder that is dragged here."""
        if _folder_of(event) is not None:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Open the folder."""
        folder = _folder_of(event)
        if folder is not None:
            event.acceptProposedAction()
            self.open_folder(folder)

    @property
    def walker(self) -> FolderController:
        """Return ``controller`` by its former name, for scripts that drive a dock."""
        return self.controller

    def release(self) -> None:
        """Let go of the viewer; may be called twice."""
        if self._closed:
            return
        self._closed = True
        self._keep_note()
        self._list_due.stop()
        self._words_due.stop()
        self._places.close()
        if self._keys is not None:
            self._keys.release()
        self.store.changed.disconnect(self._apply)
        self.store.close()
        if self._refine_dock is not None and not self._refine_dock.closed:
            self._refine_dock.released.disconnect(self.controller.leave)
            self._refine_dock.places.toggled.disconnect(self._words_due.start)
            self._refine_dock.controller.masked.disconnect(self._on_masked)
        self.jobs.close()
        self.thumbnails.close()
        lost = self.controller.close()
        if lost:
            show_warning(f"The work on {', '.join(lost)} could not be saved.")


def _folder_of(event: QDropEvent) -> Path | None:
    """Return the one folder that is dragged, or None."""
    data = event.mimeData()
    paths = [Path(url.toLocalFile()) for url in data.urls()] if data is not None else []
    return paths[0] if len(paths) == 1 and paths[0].is_dir() else None
