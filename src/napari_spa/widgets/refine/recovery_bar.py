"""A bar that offers work that was left behind."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

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

    # A ``RecoveryOffer``: bring it back, offer it another day, or delete it.
    restore_requested = Signal(object)
    later_requested = Signal(object)
    forget_requested = Signal(object)

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
        for button, wanted in (
            (self.restore, self.restore_requested),
            (self.later, self.later_requested),
            (self.forget, self.forget_requested),
        ):
            button.clicked.connect(partial(self._on_clicked, wanted))
        self.set_offers([])

    def set_offers(self, offers: Sequence[RecoveryOffer]) -> None:
        """Show the first of some offers, until it is answered; none hides the bar."""
        self._offers = list(offers)
        self.setVisible(bool(self._offers))
        if self._offers:
            self.words.setText(in_words(self._offers[0], len(self._offers)))

    def _on_clicked(self, wanted: Any, _: bool = False) -> None:
        wanted.emit(self._offers[0])


def in_words(offer: RecoveryOffer, works: int = 1) -> str:
    """Say in a sentence what an offer holds, and how many there are."""
    count = counted(offer.objects, "object")
    active = f" and one in round {offer.active_round}" if offer.active_round else ""
    ended = "napari ended unexpectedly" if offer.crashed else "you worked on this image"
    said = f"{_ago(offer.age)} {ended}: {count}{active} can be restored."
    return said if works == 1 else f"{works} earlier works on this image. This one: {said}"


def _ago(seconds: float) -> str:
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // length)
        if count:
            return f"{counted(count, unit)} ago,"
    return "A moment ago,"
