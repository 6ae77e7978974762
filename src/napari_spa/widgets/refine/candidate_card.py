"""One candidate: its picture on a button, and a switch for its shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QFrame, QVBoxLayout, QWidget

from napari_spa.widgets.common.buttons import FittingButton, show_key, with_key
from napari_spa.widgets.common.picture_button import PictureButton

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LONGEST_WORDS = "+88,888 px, −88,888 px · 88 %"  # noqa: RUF001 (what core.pictures writes)


class CandidateCard(QFrame):
    """One candidate: a button with its picture, and a switch for its shapes.

    Parameters
    ----------
    pick_key, toggle_key : str
        Keys to show.

    Attributes
    ----------
    chosen : Signal()
        The picture was pressed.
    toggled : Signal(bool)
        The switch was turned.
    previewed : Signal(bool)
        The pointer or the keyboard's focus came onto the picture, or both left it.
    """

    chosen = Signal()
    toggled = Signal(bool)
    previewed = Signal(bool)

    def __init__(self, pick_key: str, toggle_key: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._shown: tuple[NDArray[np.uint8], str] | None = None
        self._letter = ""
        self._previewing = False
        self.button = PictureButton()
        self.button.clicked.connect(self.chosen)
        self.button.installEventFilter(self)
        self.toggle = FittingButton()
        self.toggle.setCheckable(True)
        self.toggle.toggled.connect(self._on_toggled)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.button)
        layout.addWidget(self.toggle)
        self.set_keys(pick_key, toggle_key)

    def set_keys(self, pick_key: str, toggle_key: str) -> None:
        """Show other keys."""
        self._key, self._toggle_key = pick_key, toggle_key
        key = show_key(toggle_key)
        self.toggle.set_texts(
            with_key("Show in image", toggle_key), with_key("Show", toggle_key), key or "Show"
        )
        tip = "Draw this difference into the image."
        self.toggle.setToolTip(f"{tip}\nKey: {key}" if key else tip)
        self._refresh()

    def set_candidate(self, picture: NDArray[np.uint8], words: str, letter: str = "") -> None:
        """Show a candidate.

        Parameters
        ----------
        picture : ndarray of shape (h, w, 3)
            uint8.
        words : str
            What the candidate would change.
        letter : str
            Shown instead of the words, and nothing else is told: for blind reading.
        """
        self._shown, self._letter = (picture, words), letter
        self._refresh()

    def clear(self) -> None:
        """Show that there is nothing to pick here."""
        self._shown, self._letter = None, ""
        self._refresh()

    def _refresh(self) -> None:
        key = show_key(self._key)
        mark = f"[{key}]" if key else ""
        if self._shown is None:
            picture, words, tip, name = None, "", "Nothing to pick yet.", "No candidate"
        elif self._letter:
            picture, words = self._shown[0], self._letter
            tip, name = f"Pick {self._letter}.", f"Candidate {self._letter}"
        else:
            picture, words = self._shown
            tip = (
                "Pick this one: blue would be added, magenta removed.\n"
                f"{words} of the model's samples."
            )
            name = f"Candidate {key}: {words}"
        sample = "" if self._letter else f"{mark}  {_LONGEST_WORDS}"
        self.button.set_picture(picture)
        self.button.set_words(f"{mark}  {_keep_units(words)}".strip(), _keep_units(sample))
        self.button.setToolTip(f"{tip}\nKey: {key}" if key and self._shown else tip)
        self.button.setAccessibleName(name)
        self.toggle.setAccessibleName(f"Show in image: {name}")
        # Shapes are differences from the recommendation; they would tell which one that is.
        self.toggle.setVisible(not self._letter)
        self.setEnabled(self._shown is not None)

    def _on_toggled(self, on: bool) -> None:
        if not self._letter:
            self.toggled.emit(on)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Preview while the pointer or the focus rests on the picture."""
        kind = None if event is None else event.type()
        button = self.button
        if kind in (QEvent.Type.Enter, QEvent.Type.FocusIn) and button.isEnabled():
            self._set_previewing(True)
        elif kind == QEvent.Type.Leave:
            self._set_previewing(button.hasFocus())
        elif kind == QEvent.Type.FocusOut:
            self._set_previewing(button.isEnabled() and button.underMouse())
        return super().eventFilter(watched, event)

    def _set_previewing(self, on: bool) -> None:
        if on != self._previewing:
            self._previewing = on
            self.previewed.emit(on)


def _keep_units(words: str) -> str:
    """Keep numbers and their units on one line."""
    for loose in (" px", " %", "· "):
        words = words.replace(loose, loose.replace(" ", "\N{NO-BREAK SPACE}"))
    return words
