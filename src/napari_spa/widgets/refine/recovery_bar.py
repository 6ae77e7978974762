"""A bar that offers work that was left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QFrame, QLabel, QVBoxLayout, QWidget

from napari_spa.core.presentation import counted
from napari_spa.widgets.common.buttons import FittingButton
from napari_spa.widgets.common.layouts import EvenGrid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_spa.viewer.autosave.autosave import RecoveryOffer


class RecoveryBar(QFrame):
    """Say what was left behind and ask what shall become of it; hidden when there is none."""

    restore_requested = Signal(object)  # an ``Offer``: bring it back, or delete it
    forget_requested = Signal(object)  # an ``Offer``: bring it back, or delete it

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self._offers: list[RecoveryOffer] = []
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.restore = FittingButton("Restore")
        self.restore.setToolTip("Bring the objects, their history and what was learnt back.")
        self.later = FittingButton("Not now")
        self.later.setToolTip("Leave it; it is offered again next time.")
        self.forget = FittingButton("Delete it")
        self.forget.setToolTip("Delete this saved work for good.")
        cells = QWidget()
        grid = EvenGrid((3, 1), cells)
        for button in (self.restore, self.later, self.forget):
            grid.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.addWidget(self.words)
        layout.addWidget(cells)
        self.restore.clicked.connect(self._on_restore)
        self.later.clicked.connect(self._next)
        self.forget.clicked.connect(self._on_forget)
        self.set_offers([])

    def set_offers(self, offers: Sequence[RecoveryOffer]) -> None:
        """Show the first of some offers; none hides the bar."""
        self._offers = list(offers)
        self.setVisible(bool(self._offers))
        if self._offers:
            self.words.setText(in_words(self._offers[0]))

    def _on_restore(self) -> None:
        offer = self._offers[0]
        self.set_offers([])
        self.restore_requested.emit(offer)

    def _on_forget(self) -> None:
        self.forget_requested.emit(self._offers[0])
        self._next()

    def _next(self) -> None:
        self.set_offers(self._offers[1:])


def in_words(offer: RecoveryOffer) -> str:
    """Say in a sentence what an offer holds."""
    count = counted(offer.objects, "object")
    active = f" and one in round {offer.active_round}" if offer.active_round else ""
    ended = "napari ended unexpectedly" if offer.crashed else "you worked on this image"
    return f"{_ago(offer.age)} {ended}: {count}{active} can be restored."


def _ago(seconds: float) -> str:
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // length)
        if count:
            return f"{counted(count, unit)} ago,"
    return "A moment ago,"
