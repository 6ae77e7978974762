"""A bar that offers work that was left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QFrame

from napari_spa.core.presentation import counted
from napari_spa.widgets.common.layouts import column_of, even_row, tip_button, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_spa.viewer.autosave.autosave import RecoveryOffer


class RecoveryBar(QFrame):
    """Say what was left behind and ask what shall become of it; hidden when there is none."""

    # A ``RecoveryOffer``: bring it back, offer it another day, or delete it.
    restore_requested = Signal(object)
    later_requested = Signal(object)
    forget_requested = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self._offers: list[RecoveryOffer] = []
        self.words = wrapped()
        tip = "Bring the objects, their history and what was learnt back."
        self.restore = tip_button("Restore", tip=tip)
        self.later = tip_button("Not now", tip="Leave it; it is offered again next time.")
        self.forget = tip_button("Delete it", tip="Delete this saved work for good.")
        self.restore.on_click(lambda: self.restore_requested.emit(self._offers[0]))
        self.later.on_click(lambda: self.later_requested.emit(self._offers[0]))
        self.forget.on_click(lambda: self.forget_requested.emit(self._offers[0]))
        answers = even_row((3, 1), self.restore, self.later, self.forget)
        column_of(self.words, answers, margin=6, holder=self)
        self.set_offers([])

    def set_offers(self, offers: Sequence[RecoveryOffer]) -> None:
        """Show the first of some offers, until it is answered; none hides the bar."""
        self._offers = list(offers)
        self.setVisible(bool(self._offers))
        if self._offers:
            self.words.setText(in_words(self._offers[0], len(self._offers)))


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
