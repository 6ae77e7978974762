"""What is done to a whole folder, one thing at a time: the batch and the exports."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QButtonGroup,
    QDialog,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QLineEdit,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)

from napari_spa.core.presentation import capitalised, counted
from napari_spa.errors import sentence_of
from napari_spa.io.export import NO_OBJECT, ExportRequest
from napari_spa.io.projects.paths import exports_path
from napari_spa.io.projects.project import in_brief
from napari_spa.refine.preference import evidence
from napari_spa.viewer.background import JobHandle, Worker, later
from napari_spa.viewer.folder.jobs import (
    BatchOptions,
    BatchRequest,
    Way,
    do_batch,
    do_export,
    effort_words,
)
from napari_spa.viewer.settings import Settings
from napari_spa.widgets.common.buttons import (
    FittingButton,
    FocusRingCheckBox,
    FocusRingSpinBox,
    explain,
    sure,
)
from napari_spa.widgets.common.export import ExportDialog
from napari_spa.widgets.common.layouts import column_of, row_of, tip_button, wrapped

if TYPE_CHECKING:
    from napari_spa.refine.engine.config import Progress
    from napari_spa.viewer.folder.controller import FolderController
    from napari_spa.widgets.refine.dock import RefineDock


_WAYS: dict[Way, tuple[str, str]] = {
    "auto": ("Find objects automatically", "A grid of points; what is found twice is kept once."),
    "prompts": ("Click where a table says", "CSV columns: image, object, row, col, label."),
    "masks": ("Refine rough masks", "A folder of label images with the names of the images."),
}
_REVIEW_BELOW = 0.75
_TYPED_MS = 300
"""After the last letter of a path it is looked at."""


class BatchDialog(QDialog):
    """Choose where objects come from; nothing starts before *Start*."""

    options_changed = Signal(object)  # a ``BatchOptions`` whose effort shall be told
    start_requested = Signal(object)  # a ``BatchOptions`` that shall be done

    def __init__(
        self,
        names: Sequence[str],
        review: Sequence[str],
        profile: str,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Apply my profile to the rest")
        self.again = FocusRingCheckBox(f"Do the {counted(len(review), 'image')} to review again")
        self.again.setToolTip(
            "With your preference as it is now.\n"
            "Images in which you changed something stay as they are."
        )
        self.again.setVisible(bool(review))
        self.again.setChecked(not names)
        self.ways: dict[Way, QRadioButton] = {}
        self.path = QLineEdit()
        self.path.setPlaceholderText("Choose a file")
        self.browse = tip_button("Browse…", narrow=True)
        self.review_below = QDoubleSpinBox()
        self.review_below.setRange(0.0, 1.0)
        self.review_below.setSingleStep(0.05)
        self.review_below.setValue(_REVIEW_BELOW)
        self.review_below.setToolTip(
            "Objects whose expected Dice is lower are put on the review list.\n"
            "1: everything. 0: nothing but failures."
        )
        self.workers = FocusRingSpinBox()
        self.workers.setRange(1, max(1, os.cpu_count() or 1))
        self.workers.setToolTip("Each process loads the model once.")
        self.effort = wrapped()
        self.start = FittingButton("Start")
        self.close_button = FittingButton("Close")
        self._any = bool(names)
        count = "1 other image is" if len(names) == 1 else f"{len(names)} other images are"
        self._compose(f"{count} pending. {profile}")
        self._connect()

    def options(self) -> BatchOptions:
        """Return what is chosen."""
        way = next(way for way, button in self.ways.items() if button.isChecked())
        text = self.path.text().strip()
        path = Path(text) if text and way != "auto" else None
        doubt = round(1 - self.review_below.value(), 2)
        return BatchOptions(way, path, doubt, self.workers.value(), self.again.isChecked())

    def show_effort(self, words: str, *, possible: bool) -> None:
        """Say what it would take, or why it cannot be done."""
        self.effort.setText(words)
        self.start.setEnabled(possible)
        needed = self.heightForWidth(self.width())  # a longer sentence wants more lines
        self.resize(self.width(), max(self.height(), needed))

    def _compose(self, words: str) -> None:
        layout = QVBoxLayout(self)
        layout.addWidget(wrapped(words))
        group = QButtonGroup(self)
        for way, (text, tip) in _WAYS.items():
            button = QRadioButton(text)
            explain(button, tip)
            group.addButton(button)
            self.ways[way] = button
            layout.addWidget(button)
        self.ways["auto"].setChecked(True)
        self.where = column_of(row_of(self.path, self.browse, grows=self.path))
        layout.addWidget(self.where)
        layout.addWidget(self.again)
        form = QFormLayout()
        form.addRow("Review objects below a Dice of", self.review_below)
        form.addRow("Processes at once", self.workers)
        layout.addLayout(form)
        layout.addWidget(self.effort)
        layout.addStretch(1)
        layout.addLayout(row_of(self.start, self.close_button))
        self.setMinimumWidth(440)

    def _connect(self) -> None:
        for button in self.ways.values():
            button.toggled.connect(self._on_way)
        self.browse.clicked.connect(self._on_browse)
        self.again.toggled.connect(self.ask)
        self.path.textChanged.connect(later(self, self.ask, _TYPED_MS).start)
        self.start.clicked.connect(self._on_start)
        self.close_button.clicked.connect(self.reject)
        self.where.hide()

    def _on_way(self, chosen: bool) -> None:
        if chosen:
            way = self.options().way
            self.path.clear()
            self.path.setPlaceholderText(
                "A folder of masks" if way == "masks" else "A table of clicks (CSV)"
            )
            self.where.setVisible(way != "auto")
            self.ask()

    def _on_browse(self) -> None:
        if self.options().way == "masks":
            path = QFileDialog.getExistingDirectory(self, "Rough masks")
        else:
            kinds = "Tables (*.csv);;All files (*)"
            path, _ = QFileDialog.getOpenFileName(self, "Clicks", "", kinds)
        if path:
            self.path.setText(path)  # which asks

    def ask(self, _: object = None) -> None:
        """Ask what it would take as it is chosen now."""
        options = self.options()
        if options.way != "auto" and options.path is None:
            self.show_effort("Choose where the objects come from.", possible=False)
            return
        if not self._any and not options.again:
            self.show_effort("Nothing is chosen.", possible=False)
            return
        self.show_effort("Estimating time and space…", possible=True)  # no one has to wait for it
        self.options_changed.emit(options)

    def _on_start(self) -> None:
        options = self.options()
        self.accept()
        self.start_requested.emit(options)


class FolderJobs(QObject):
    """Ask what shall be done, do it in the background, and say what came of it."""

    status_message = Signal(str)  # what happened; what went wrong; in one sentence
    failed = Signal(str)  # what happened; what went wrong; in one sentence
    running = Signal(str, float)  # what is under way and the share done; no words when nothing is
    review_wanted = Signal()  # A batch ended that has results to look at

    def __init__(self, controller: FolderController, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self.worker = Worker(self)
        self.worker.failed.connect(self._on_failed)
        self.worker.stopped.connect(self._on_stopped)
        self.worker.progressed.connect(self._on_progressed)
        self.dialog: BatchDialog | ExportDialog | None = None
        self._what = ""
        self._stopping, self._share = False, 0.0
        self._refine_dock: RefineDock | None = None
        self._exported: ExportRequest | None = None  # what was wanted last

    @property
    def busy(self) -> bool:
        """Whether a batch or an export is under way."""
        return bool(self._what)

    def cancel(self) -> None:
        """Ask what is under way to end; what is finished stays."""
        if self.busy:
            self._stopping = True
            self.worker.stop()
            waits = "image" if self._what == "Batch" else "file"
            words = f"Stopping: waiting for the {waits} in progress. What is finished stays."
            self.running.emit(words, self._share)

    def close(self) -> None:
        """End what is under way and wait for it."""
        if self.dialog is not None:
            self.dialog.close()
        self.worker.close()

    def rest(self, status: str = "to do") -> tuple[str, ...]:
        """Return the images of a status, but for the one on show."""
        items, at = self._controller.items, self._controller.at
        return tuple(
            name
            for name, item in items.items()
            if item.status == status and name != at and not items.is_unreadable(name)
        )

    def ask_batch(self, refine_dock: RefineDock | None, parent: QWidget) -> None:
        """Ask how the rest shall be done."""
        names, review = self.rest(), self.rest("review")
        if not names and not review:
            self.status_message.emit("No other image is pending.")
            return
        self._refine_dock = refine_dock
        dialog = BatchDialog(names, review, self._profile_words(), parent)
        dialog.options_changed.connect(partial(self._on_options_changed, dialog))
        dialog.start_requested.connect(self._start_batch)
        self._open(dialog)
        dialog.ask()

    def _open(self, dialog: BatchDialog | ExportDialog) -> None:
        self.dialog = dialog
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.finished.connect(self._on_dialog_closed)
        dialog.open()

    def _on_dialog_closed(self, _: int) -> None:
        self.dialog = None
        if not self.busy:
            self.worker.drop()  # a plan no one waits for

    def _profile_words(self) -> str:
        profile = self._profile()
        if profile is None or not profile.evidence:
            return "No preference is learnt yet: the model's own is used."
        return f"Your preference so far: {evidence(profile)}."

    def _profile(self) -> Any:
        return None if self._refine_dock is None else self._refine_dock.controller.profiles.profile

    def _order(self, options: BatchOptions) -> BatchRequest:
        project = sure(self._controller.project)  # there is no dialog without one
        settings = Settings() if self._refine_dock is None else self._refine_dock.settings
        return BatchRequest(
            source=project.source,
            out=project.out,
            options=options,
            names=self.rest(),
            again=self.rest("review") if options.again else (),
            model=settings.model,
            device=settings.device,
            profile=self._profile(),
        )

    def _on_options_changed(self, dialog: BatchDialog, options: BatchOptions) -> None:
        estimate = partial(effort_words, self._order(options))
        self.worker.submit(estimate, partial(self._on_estimated, dialog))

    def _on_estimated(self, dialog: BatchDialog, words: str) -> None:
        if dialog is self.dialog:
            dialog.show_effort(words, possible=True)

    def _start_batch(self, options: BatchOptions) -> None:
        if self.busy:
            return
        order = self._order(options)
        self._controller.reserve((*order.names, *order.again))
        self._run("Batch", partial(do_batch, order), self._batch_done)

    def _batch_done(self, report: Any) -> None:
        review, failed = len(report.review), len(report.failed)
        parts = [f"{len(report.done)} done"]
        parts += [f"{len(report.unchanged)} unchanged"] if report.unchanged else []
        parts += [f"{failed} failed"] if failed else []
        words = [f"The batch ended: {', '.join(parts)}."]
        if review:
            words.append(f"To review: {counted(review, 'image')}.")
        if failed:
            name, why = report.failed[0]
            others = f" (and {failed - 1} more)" if failed > 1 else ""
            why = in_brief(why, sure(self._controller.project).source / name)
            words.append(f"Failed: {why if name in why else f'{name}: {why}'}{others}")
        if report.kept:
            words.append(f"Kept, as you changed them: {counted(len(report.kept), 'image')}.")
        if report.missing:
            name, number, why = report.missing[0]
            more = len(report.missing) - 1
            also = f" and {counted(more, 'other')}" if more else ""
            words.append(f"Not found: object {number} of {name}{also}: {why}")
        words += report.notes
        self.status_message.emit(" ".join(words))
        if review:
            self.review_wanted.emit()

    def ask_export(self, parent: QWidget) -> None:
        """Ask what shall be exported, and where to."""
        project = sure(self._controller.project)
        if not self._controller.has_objects():
            self.status_message.emit(capitalised(NO_OBJECT.format(project.source)))
            return
        request = self._exported or ExportRequest(exports_path(project.out), ("labels", "tables"))
        dialog = ExportDialog(request, [i.name for i in project.items], parent, single=False)
        dialog.start_requested.connect(self._start_export)
        self._open(dialog)

    def _start_export(self, request: ExportRequest, _: str = "") -> None:
        if self.busy:
            return
        project = sure(self._controller.project)
        self._exported = replace(request, replace=False)
        kept = self._controller.keep_now()

        def job(progress: Progress) -> str:
            if kept is not None:
                kept.result()
            return do_export(project, request, progress)

        self._run("Export", job, self.status_message.emit)

    def _run(self, what: str, job: Callable[[JobHandle], Any], then: Callable[[Any], None]) -> None:
        def on_finished(result: Any) -> None:
            self._ended()
            then(result)

        self._what, self._stopping, self._share = what, False, 0.0
        self.status_message.emit("")  # what the last one came to
        self.running.emit(f"{what}…", 0.0)
        self.worker.submit(job, on_finished, on_value=self._controller.take_result)

    def _on_progressed(self, share: float, message: str) -> None:
        if self.busy and not self._stopping:
            self._share = share
            self.running.emit(f"{self._what}: {message}" if message else f"{self._what}…", share)

    def _on_failed(self, error: BaseException) -> None:
        words = sentence_of(error)
        if isinstance(self.dialog, BatchDialog) and not self.busy:
            self.dialog.show_effort(capitalised(words), possible=False)
            return
        self._ended()
        self.failed.emit(words)

    def _on_stopped(self) -> None:
        if self.busy:
            what = self._what
            self._ended()
            self.status_message.emit(f"{what} stopped; what was finished stays.")

    def _ended(self) -> None:
        batch, self._what = self._what == "Batch", ""
        self.running.emit("", 0.0)
        if batch:
            self._controller.reserve(())
            self._controller.refresh()
