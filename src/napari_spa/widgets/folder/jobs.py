"""What is done to a whole folder, one thing at a time: the batch and the exports."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Qt, Signal  # type: ignore[attr-defined]

from napari_spa.core.presentation import capitalised, counted
from napari_spa.errors import sentence_of
from napari_spa.io.export import ExportRequest
from napari_spa.io.projects.paths import exports_path
from napari_spa.refine.preference.summary import evidence
from napari_spa.viewer.background import JobHandle, Worker
from napari_spa.viewer.folder.jobs import BatchRequest, do_batch, do_export, effort_words
from napari_spa.widgets.common.export import ExportDialog
from napari_spa.widgets.folder.dialogs import BatchDialog, BatchOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget

    from napari_spa.refine.engine.config import Progress
    from napari_spa.viewer.folder.controller import FolderController
    from napari_spa.widgets.refine.dock import RefineDock


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
        self.worker.finished.connect(self._on_finished)
        self.worker.failed.connect(self._on_failed)
        self.worker.stopped.connect(self._on_stopped)
        self.worker.progressed.connect(self._on_progressed)
        self.dialog: BatchDialog | ExportDialog | None = None
        self._then: Callable[[Any], None] | None = None
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
            waits = "the image in progress" if self._what == "Batch" else "the file in progress"
            self.running.emit(
                f"Stopping: waiting for {waits}. What is finished stays.", self._share
            )

    def close(self) -> None:
        """End what is under way and wait for it."""
        if self.dialog is not None:
            self.dialog.close()
        self.worker.close()

    # ------------------------------------------------------------------ the batch

    def rest(self) -> tuple[str, ...]:
        """Return the images that are to do, but for the one on show."""
        controller = self._controller
        return tuple(
            name
            for name, item in controller.items.items()
            if item.status == "to do"
            and not controller.items.is_unreadable(name)
            and name != controller.at
        )

    def ask_batch(self, refine_dock: RefineDock | None, parent: QWidget) -> None:
        """Ask how the rest shall be done."""
        names = self.rest()
        if not names:
            self.status_message.emit("No other image is pending.")
            return
        self._refine_dock = refine_dock
        dialog = BatchDialog(names, self._profile_words(), parent)
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

    def _order(self, options: BatchOptions) -> BatchRequest | None:
        project = self._controller.project
        if project is None:
            return None
        settings = None if self._refine_dock is None else self._refine_dock.settings
        return BatchRequest(
            source=project.source,
            out=project.out,
            names=self.rest(),
            way=options.way,
            path=options.path,
            model="spa-tiny" if settings is None else settings.model,
            device="auto" if settings is None else settings.device,
            profile=self._profile(),
            doubtful=options.doubtful,
            workers=options.workers,
        )

    def _on_options_changed(self, dialog: BatchDialog, options: BatchOptions) -> None:
        order = self._order(options)
        if order is not None:
            self._then = partial(self._planned, dialog)
            self.worker.submit(lambda progress: effort_words(order, progress))

    def _planned(self, dialog: BatchDialog, words: str) -> None:
        if dialog is self.dialog:
            dialog.show_effort(words, possible=True)

    def _start_batch(self, options: BatchOptions) -> None:
        order, controller = self._order(options), self._controller
        if order is None or self.busy:
            return
        controller.reserve(order.names)
        self._run("Batch", lambda handle: do_batch(order, handle.report, handle), self._batch_done)

    def _on_result(self, result: Any) -> None:
        self._controller.take_result(result)

    def _batch_done(self, report: Any) -> None:
        review, failed = len(report.review), len(report.failed)
        parts = [f"{len(report.done)} done"]
        parts += [f"{review} to review"] if review else []
        parts += [f"{failed} failed"] if failed else []
        words = [f"The batch ended: {', '.join(parts)}."]
        if report.missing:
            name, number, why = report.missing[0]
            more = len(report.missing) - 1
            also = f" and {counted(more, 'other')}" if more else ""
            words.append(f"Not found: object {number} of {name}{also}: {why}")
        self.status_message.emit(" ".join(words))
        if review:
            self.review_wanted.emit()

    # ------------------------------------------------------------------ exports

    def ask_export(self, parent: QWidget) -> None:
        """Ask what shall be exported, and where to."""
        project = self._controller.project
        if project is None:
            return
        request = self._exported or ExportRequest(exports_path(project.out), ("labels", "tables"))
        dialog = ExportDialog(request, [i.name for i in project.items], parent, single=False)
        dialog.start_requested.connect(self._start_export)
        self._open(dialog)

    def _start_export(self, request: ExportRequest, _: str = "") -> None:
        project = self._controller.project
        if project is None or self.busy:
            return
        self._exported = replace(request, replace=False)
        kept = self._controller.keep_now()

        def job(progress: Progress) -> str:
            if kept is not None:
                kept.result()
            return do_export(project, request, progress)

        self._run("Export", job, self.status_message.emit)

    def _run(self, what: str, job: Callable[[JobHandle], Any], then: Callable[[Any], None]) -> None:
        self._what, self._then = what, then
        self._stopping, self._share = False, 0.0
        self.running.emit(f"{what}…", 0.0)
        self.worker.submit(job, on_value=self._on_result)

    def _on_progressed(self, share: float, message: str) -> None:
        if self.busy and not self._stopping:
            self._share = share
            self.running.emit(f"{self._what}: {message}" if message else f"{self._what}…", share)

    def _on_finished(self, result: Any) -> None:
        then, self._then = self._then, None
        self._ended()
        if then is not None:
            then(result)

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
        if not self.busy:
            return
        batch, self._what = self._what == "Batch", ""
        self.running.emit("", 0.0)
        if batch:
            self._controller.reserve(())
            self._controller.refresh()
