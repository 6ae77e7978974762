"""The parts of the dock *SPA Folder* and where they stand; connected in folder_dock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtWidgets import (
    QHBoxLayout,
    QProgressBar,
    QScrollArea,
    QSizePolicy,
    QStackedWidget,
    QWidget,
)

from napari_spa.widgets.common.buttons import FittingButton, NoWheelComboBox, tip_with_key, with_key
from napari_spa.widgets.common.layouts import (
    column_of,
    even_row,
    hinted_line,
    row_of,
    tip_button,
    wrapped,
)
from napari_spa.widgets.folder.list import FILTERS, ORDERS, Choice, FolderList, FolderModel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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

    # ------------------------------------------------------------------ setters

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
            button.set_texts(with_key(long, key), long, short)
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

    # ------------------------------------------------------------------ composing

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
        # Under what scrolls: in sight whatever the height.
        self._wrap(content, column_of(self._offers, self._work, margin=6))

    def _wrap(self, content: QWidget, foot: QWidget) -> None:
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(content)
        self._scroll, self._content = scroll, content
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        column_of(scroll, foot, spacing=0, grows=scroll, holder=self)

    def _fit_width(self) -> None:
        """Never be so narrow that a part is cut off."""
        self._scroll.setMinimumWidth(self._content.minimumSizeHint().width() + 18)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Write the list and the fields in the font that napari gives to labels."""
        if event is not None and event.type() in (QEvent.Type.FontChange, QEvent.Type.Polish):
            self.list.set_font(self.summary.font())
            for field in (self.text, self.note):
                field.setFont(self.summary.font())
            # Only now is it known how wide napari's style makes the parts.
            QTimer.singleShot(0, self._fit_width)
        return super().eventFilter(watched, event)
