"""The dock *SPA Refine*: composes its parts and connects them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from napari.utils import progress as activity
from napari.utils.notifications import show_warning
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_spa.core.pictures import (
    ADDED_COLOUR,
    REMOVED_COLOUR,
    describe_difference,
    difference_picture,
)
from napari_spa.viewer.keys import (
    ACCEPT_KEY,
    DISCARD_KEY,
    PICK_KEYS,
    REDO_KEY,
    TOGGLE_KEYS,
    UNDO_KEY,
    KeyBindings,
)
from napari_spa.viewer.refiner import HINT_START, Refiner, make_session
from napari_spa.widgets.candidate_grid import CandidateGrid, LegendRow

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari.viewer
    from qtpy.QtGui import QCloseEvent, QShowEvent

    from napari_spa.core.types import Proposal
    from napari_spa.viewer.refiner import SessionFactory

_BROWSE = "Open a model file…"
_PROGRESS_STEPS = 100


class RefineDock(QWidget):
    """Click an object, pick a difference, accept.

    Parameters
    ----------
    viewer : ViewerModel
        napari gives it.
    session_factory : callable
        Makes a session from a model's name; called in the background.
    """

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        session_factory: SessionFactory = make_session,
    ) -> None:
        super().__init__()
        self._docked = False
        self.refiner = Refiner(viewer, session_factory, self)
        self._viewer = viewer
        self.status = QLabel(HINT_START)
        self.status.setWordWrap(True)
        self.status.setMinimumHeight(40)
        self.status.setAlignment(Qt.AlignmentFlag.AlignVCenter)
        self.figures = QLabel("")
        self.figures.setWordWrap(True)
        self.model = QComboBox()
        self.model.setToolTip("The model that proposes masks.")
        self.grid = CandidateGrid(PICK_KEYS, TOGGLE_KEYS)
        self.progress = QProgressBar()
        self.progress.setRange(0, _PROGRESS_STEPS)
        self.progress.setTextVisible(True)
        self.cancel = QPushButton("Cancel")
        self.cancel.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Fixed)
        self.cancel.setMinimumWidth(72)
        self.accept = self._button("Accept", ACCEPT_KEY, "Keep the recommended mask.")
        self.undo = self._button("Undo", UNDO_KEY, "Go back one round, with everything in it.")
        self.redo = self._button("Redo", REDO_KEY, "Take the undone round again.")
        self.discard = self._button("Discard", DISCARD_KEY, "Drop the object at hand.")
        self._list_models()
        self._compose()
        self._connect()
        self._activity: activity | None = None
        self._keys = KeyBindings(viewer, self._acts())
        self._closed = False
        self._refresh()

    # ------------------------------------------------------------------ composing

    @staticmethod
    def _button(text: str, key: str, tip: str) -> QPushButton:
        button = QPushButton(f"{text}  [{key}]")
        button.setToolTip(f"{tip}\nKey: {key}")
        return button

    def _compose(self) -> None:
        content = QWidget()
        layout = QVBoxLayout(content)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.setSpacing(6)
        top = QHBoxLayout()
        top.addWidget(QLabel("Model"))
        top.addWidget(self.model, 1)
        layout.addLayout(top)
        layout.addWidget(self.status)
        busy = QHBoxLayout()
        busy.addWidget(self.progress, 1)
        busy.addWidget(self.cancel)
        layout.addLayout(busy)
        layout.addWidget(self.grid)
        legend = LegendRow([(ADDED_COLOUR, "would be added"), (REMOVED_COLOUR, "would be removed")])
        layout.addWidget(legend)
        layout.addWidget(self.figures)
        buttons = QGridLayout()
        for index, button in enumerate((self.accept, self.discard, self.undo, self.redo)):
            buttons.addWidget(button, *divmod(index, 2))
        layout.addLayout(buttons)
        layout.addStretch()
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(content)
        scroll.setMinimumWidth(content.minimumSizeHint().width() + 18)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll)

    def _connect(self) -> None:
        refiner = self.refiner
        refiner.proposed.connect(self._on_proposed)
        refiner.cleared.connect(self._on_cleared)
        refiner.said.connect(self.status.setText)
        refiner.failed.connect(self._on_failed)
        refiner.worker.progressed.connect(self._on_progressed)
        refiner.worker.busy_changed.connect(self._refresh)
        self.grid.candidate_chosen.connect(refiner.pick)
        self.grid.candidate_toggled.connect(refiner.set_candidate_visible)
        self.grid.candidate_previewed.connect(self._on_previewed)
        self.accept.clicked.connect(refiner.accept)
        self.undo.clicked.connect(refiner.undo)
        self.redo.clicked.connect(refiner.redo)
        self.discard.clicked.connect(refiner.discard)
        self.cancel.clicked.connect(refiner.cancel)
        self.model.activated.connect(self._on_model_chosen)

    def _acts(self) -> dict[str, Callable[[], object]]:
        acts: dict[str, Callable[[], object]] = {
            ACCEPT_KEY: self.refiner.accept,
            UNDO_KEY: self.refiner.undo,
            REDO_KEY: self.refiner.redo,
            DISCARD_KEY: self.refiner.discard,
        }
        for index, (pick, toggle) in enumerate(zip(PICK_KEYS, TOGGLE_KEYS, strict=True)):
            acts[pick] = partial(self.refiner.pick, index)
            acts[toggle] = self.grid.cards[index].toggle.toggle
        return acts

    def _list_models(self) -> None:
        from napari_spa.io.checkpoints import list_models

        self.model.addItems([entry.name for entry in list_models() if entry.path is not None])
        self.model.addItem(_BROWSE)

    # ------------------------------------------------------------------ answering

    def _on_proposed(self, proposal: Proposal, window: object) -> None:
        self.grid.set_candidates(
            [
                (difference_picture(window, candidate), describe_difference(candidate))  # type: ignore[arg-type]
                for candidate in proposal.candidates
            ]
        )
        self.figures.setText(
            f"Round {proposal.round} · {proposal.area:,} px · {_in_words(proposal.uncertainty)}"
        )
        self._refresh()

    def _on_cleared(self) -> None:
        self.grid.clear()
        self.figures.setText("")
        self._refresh()

    def _on_failed(self, sentence: str) -> None:
        self.status.setText(sentence[:1].upper() + sentence[1:])
        show_warning(sentence)
        self._refresh()

    def _on_progressed(self, share: float, message: str) -> None:
        self.progress.setValue(round(share * _PROGRESS_STEPS))
        self.progress.setFormat(message)
        if self._activity is None:
            self._activity = activity(total=_PROGRESS_STEPS, desc="SPA")
        # The last thing done here: napari lets the window live inside, and the job may end.
        self._activity.update(max(0, round(share * _PROGRESS_STEPS) - self._activity.n))

    def _on_previewed(self, index: int, on: bool) -> None:
        kept = self.grid.cards[index].toggle.isChecked()
        self.refiner.set_candidate_visible(index, on or kept)

    def _on_model_chosen(self, index: int) -> None:
        name = self.model.itemText(index)
        if name == _BROWSE:
            name, _ = QFileDialog.getOpenFileName(
                self, "Open a model", "", "Models (*.safetensors *.pth *.pt);;All files (*)"
            )
            self.model.setCurrentIndex(0)
            if not name:
                return
            self.model.insertItem(self.model.count() - 1, name)
            self.model.setCurrentIndex(self.model.count() - 2)
        self.refiner.set_model(name)

    def _refresh(self, _: object = None) -> None:
        """Enable what can be done now."""
        busy, choosing = self.refiner.worker.busy, self.refiner.choosing
        self.progress.setEnabled(busy)
        self.cancel.setEnabled(busy)
        if not busy:
            self._end_activity()
            self.progress.setValue(0)
            self.progress.setFormat("ready")
        self.grid.setEnabled(choosing and not busy)
        self.accept.setEnabled(choosing and not busy)
        self.undo.setEnabled(self.refiner.can_undo and not busy)
        self.redo.setEnabled(self.refiner.can_redo and not busy)
        self.discard.setEnabled(choosing)
        self.model.setEnabled(not busy)

    def _end_activity(self) -> None:
        if self._activity is not None:
            self._activity.close()
            self._activity = None

    # ------------------------------------------------------------------ living

    def showEvent(self, event: QShowEvent | None) -> None:
        """Take the height there is: napari caps docks at their size hint."""
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        super().showEvent(event)

    def event(self, event: QEvent | None) -> bool:
        """Let go when napari takes the widget out of its dock, which closes nothing."""
        if event is not None and event.type() == QEvent.Type.ParentChange:
            docked = self.parent() is not None
            if self._docked and not docked:
                self.release()
            self._docked = docked
        return super().event(event)

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """Release keys, callbacks and the thread."""
        self.release()
        super().closeEvent(event)

    def release(self) -> None:
        """Let go of the viewer; may be called twice."""
        if not self._closed:
            self._closed = True
            self._end_activity()
            self._keys.release()
            self.refiner.close()


def _in_words(uncertainty: float) -> str:
    if uncertainty < 0.1:
        return "the model is sure"
    if uncertainty < 0.25:
        return "the model is fairly sure"
    return "the model is unsure: look closely"
