"""All keys at a glance, behind a "?" button."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from qtpy.QtCore import QSize
from qtpy.QtWidgets import (
    QDialog,
    QFrame,
    QGridLayout,
    QLabel,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_spa.widgets.common.buttons import FittingButton, FramedLabel, show_key
from napari_spa.widgets.common.layouts import EvenGrid, column_of, wrapped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GROUPS: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "Prompts": ("prompt_sign", "box", "brush", "lasso"),
        "Choosing": (
            *(f"pick_{number}" for number in range(1, 6)),
            *(f"toggle_{number}" for number in range(1, 6)),
            *("smaller", "larger", "accept", "undo", "redo", "discard"),
        ),
        "Objects": (
            *("next_object", "previous_object", "reopen", "delete_object"),
            *("edit_by_hand", "merge_objects", "split_object", "next_class", "export"),
        ),
        "Slices": ("carry_previous", "carry_next", "propagate"),
        "View": ("side_by_side", "flip", "hover", "fill", "hide_overlays", "help"),
        "Folder": ("previous_image", "next_image", "done_next", "skip_image", "flag_image"),
    }
)
_REST = "More"
_FRAME = 40
"""Pixels that the frame and the title of a window take, and a little more."""


class KeyHelp(QDialog):
    """A window that lists the keys in groups."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keys of SPA Refine")
        self._scroll = QScrollArea()
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(QFrame.Shape.NoFrame)
        intro = wrapped("They work whichever layer is active, and end with the dock.")
        layout = QVBoxLayout(self)
        layout.addWidget(intro)
        layout.addWidget(self._scroll, 1)

    def set_actions(self, actions: Mapping[str, tuple[str, str]]) -> None:
        """List other actions: title and key of each; those in no group come last."""
        grouped = {action for members in GROUPS.values() for action in members}
        wanted = {**GROUPS, _REST: [action for action in actions if action not in grouped]}
        columns: list[list[QWidget]] = [[], []]
        lengths = [0, 0]
        for heading, members in wanted.items():
            listed = [
                actions[action] for action in members if action in actions and actions[action][1]
            ]
            if listed:
                shortest = lengths.index(min(lengths))
                lengths[shortest] += len(listed) + 1
                columns[shortest].append(_group(heading, listed))
        content = QWidget()
        grid = EvenGrid((2, 1), content, spacing=20)
        for groups in filter(None, columns):
            below = QWidget()
            grid.addWidget(column_of(*groups, below, spacing=16, grows=below))
        self._scroll.setWidget(content)

    def show_beside(self) -> None:
        """Open, or come to the front, large enough for what it lists."""
        content = self._scroll.widget()
        if content is not None and not self.isVisible():
            self.ensurePolished()
            wanted, screen = content.sizeHint(), self.screen()
            size = QSize(wanted.width() + 60, min(wanted.height() + 120, 700))
            if screen is not None:
                size = size.boundedTo(screen.availableGeometry().size() - QSize(_FRAME, _FRAME))
            self.resize(size)
        self.show()
        self.raise_()
        self.activateWindow()


class KeyHelpButton(FittingButton):
    """A "?" that opens the list of keys."""

    def __init__(self) -> None:
        super().__init__(
            "?",
        )
        self._help: KeyHelp | None = None
        self._listed: Mapping[str, tuple[str, str]] = {}
        self.setToolTip("Show all keys.")
        self.setAccessibleName("Show all keys")
        self.setSizePolicy(self.sizePolicy().Policy.Fixed, self.sizePolicy().Policy.Fixed)
        self.clicked.connect(self.open_help)

    @property
    def help(self) -> KeyHelp:
        """The list; made when it is needed first, as it takes a hundred labels."""
        if self._help is None:
            self._help = KeyHelp(self)
            self._help.set_actions(self._listed)
        return self._help

    def open_help(self) -> None:
        """Open the list."""
        self.help.show_beside()

    def set_actions(self, actions: Mapping[str, tuple[str, str]]) -> None:
        """List other actions; see `KeyHelp.set_actions`."""
        self._listed = dict(actions)
        if self._help is not None:
            self._help.set_actions(actions)


def _group(heading: str, listed: Sequence[tuple[str, str]]) -> QWidget:
    """Return a heading over rows of key and title."""
    group = QWidget()
    layout = QGridLayout(group)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setColumnStretch(1, 1)
    title = QLabel(f"<b>{heading}</b>")
    layout.addWidget(title, 0, 0, 1, 2)
    for row, (words, key) in enumerate(listed, 1):
        cap = FramedLabel(show_key(key), space=6)
        layout.addWidget(cap, row, 0)
        layout.addWidget(QLabel(words), row, 1)
    return group
