"""The parts of the dock *SPA Refine* and where they stand; connected in :mod:`.dock`.

What is needed for every object is in sight on a small screen: the tools, the candidates
and, under all tabs at the same place, the status line, the current object and the acts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, QSize, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import (
    QDialog,
    QFrame,
    QGridLayout,
    QLabel,
    QProgressBar,
    QScrollArea,
    QSizePolicy,
    QStackedWidget,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_spa.core.presentation import counted
from napari_spa.core.quality import quality_in_words
from napari_spa.viewer.annotation.round import HINT_CHOOSE
from napari_spa.viewer.background import later
from napari_spa.viewer.settings import ACTION_TITLES
from napari_spa.widgets.common.buttons import (
    FittingButton,
    FocusRingTabBar,
    FramedLabel,
    show_key,
    sure,
    tip_with_key,
    with_key,
)
from napari_spa.widgets.common.layouts import (
    EvenGrid,
    column_of,
    even_row,
    row_of,
    scrolling,
    tip_button,
    wrapped,
)
from napari_spa.widgets.objects.table import ObjectTable
from napari_spa.widgets.profiles.bar import ProfileBar
from napari_spa.widgets.profiles.dialogs import ConfirmDialog
from napari_spa.widgets.refine.candidates import CandidateGrid, SizeSlider, legend
from napari_spa.widgets.refine.compare import SideBySide
from napari_spa.widgets.refine.options import ImageOptions, ModelBar
from napari_spa.widgets.refine.prompt_bar import PromptBar
from napari_spa.widgets.refine.stack_bar import StackBar

if TYPE_CHECKING:
    from napari_spa.core.types import Proposal
    from napari_spa.viewer.annotation.round import RenderedRound
    from napari_spa.viewer.autosave import RecoveryOffer

GROUPS = {
    "Prompts": ("prompt_sign", "box", "brush", "lasso"),
    "Choosing": (
        *(f"pick_{number}" for number in range(1, 5)),
        *(f"toggle_{number}" for number in range(1, 5)),
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
_FIXED = (  # what no setting changes
    ("Pick, too", "1 to 4"),
    ("Undo, too", "Ctrl+Z"),
    ("Redo, too", "Ctrl+Shift+Z"),
    ("Take a part away", "Shift+click"),
    ("Start the next object", "Ctrl+click"),
    ("Add a far part", "Alt+click"),
)
_FRAME = 40
"""Pixels that the frame and the title of a window take, and a little more."""


class KeyHelp(QDialog):
    """A window that lists the keys in groups."""

    def __init__(self, keys: Mapping[str, str], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keys of SPA Refine")
        columns: list[list[QWidget]] = [[], []]
        lengths = [0, 0]
        groups = {
            heading: [(ACTION_TITLES[act], keys[act]) for act in members if keys.get(act)]
            for heading, members in GROUPS.items()
        }
        for heading, listed in {**groups, "Always": _FIXED}.items():
            if listed:
                shortest = lengths.index(min(lengths))
                lengths[shortest] += len(listed) + 1
                columns[shortest].append(_group(heading, listed))
        self._content = QWidget()
        grid = EvenGrid((2, 1), self._content, spacing=20)
        for column in filter(None, columns):
            below = QWidget()
            grid.addWidget(column_of(*column, below, spacing=16, grows=below))
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setWidget(self._content)
        layout = QVBoxLayout(self)
        layout.addWidget(wrapped("They work whichever layer is active, and end with the dock."))
        layout.addWidget(scroll, 1)

    def show_beside(self) -> None:
        """Open, or come to the front, large enough for what it lists."""
        if not self.isVisible():
            self.ensurePolished()
            wanted, screen = self._content.sizeHint(), sure(self.screen()).availableGeometry()
            size = QSize(wanted.width() + 60, min(wanted.height() + 120, 700))
            self.resize(size.boundedTo(screen.size() - QSize(_FRAME, _FRAME)))
        self.show()
        self.raise_()
        self.activateWindow()


class KeyHelpButton(FittingButton):
    """A "?" that opens the list of keys."""

    def __init__(self) -> None:
        super().__init__("?")
        self._help: KeyHelp | None = None
        self._keys: Mapping[str, str] = {}
        self.setToolTip("Show all keys.")
        self.setAccessibleName("Show all keys")
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.clicked.connect(self.open_help)

    @property
    def help(self) -> KeyHelp:
        """The list; made when it is needed first, as it takes a hundred labels."""
        if self._help is None:
            self._help = KeyHelp(self._keys, self)
        return self._help

    def open_help(self) -> None:
        """Open the list."""
        self.help.show_beside()

    def set_keys(self, keys: Mapping[str, str]) -> None:
        """List other keys from now on."""
        self._keys = keys
        if self._help is not None:
            self._help.close()
            self._help.deleteLater()
            self._help = None


def _group(heading: str, listed: Sequence[tuple[str, str]]) -> QWidget:
    """Return a heading over rows of key and title."""
    group = QWidget()
    layout = QGridLayout(group)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setColumnStretch(1, 1)
    layout.addWidget(QLabel(f"<b>{heading}</b>"), 0, 0, 1, 2)
    for row, (words, key) in enumerate(listed, 1):
        layout.addWidget(FramedLabel(show_key(key), space=6), row, 0)
        layout.addWidget(QLabel(words), row, 1)
    return group


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
        self.forget.on_click(lambda: self._ask_forget(self._offers[0]))
        answers = even_row((3, 1), self.restore, self.later, self.forget)
        column_of(self.words, answers, margin=6, holder=self)
        self.set_offers([])

    def set_offers(self, offers: Sequence[RecoveryOffer]) -> None:
        """Show the first of some offers, until it is answered; none hides the bar."""
        self._offers = list(offers)
        self.setVisible(bool(self._offers))
        if self._offers:
            self.words.setText(in_words(self._offers[0], len(self._offers)))

    def _ask_forget(self, offer: RecoveryOffer) -> None:
        words = f"Delete this saved work for good: {_held(offer)}?"
        dialog = ConfirmDialog("Delete saved work", words, "Delete", self)
        dialog.accepted.connect(lambda: self.forget_requested.emit(offer))
        dialog.open()


def in_words(offer: RecoveryOffer, works: int = 1) -> str:
    """Say in a sentence what an offer holds, and how many there are."""
    ended = "napari ended unexpectedly" if offer.crashed else "you worked on this image"
    said = f"{_ago(offer.age)} {ended}: {_held(offer)} can be restored."
    return said if works == 1 else f"{works} earlier works on this image. This one: {said}"


def _held(offer: RecoveryOffer) -> str:
    count = counted(offer.objects, "object") if offer.objects or not offer.active_round else ""
    active = f"an object in round {offer.active_round}" if offer.active_round else ""
    return " and ".join(filter(None, (count, active)))


def _ago(seconds: float) -> str:
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // length)
        if count:
            return f"{counted(count, unit)} ago,"
    return "A moment ago,"


PROGRESS_STEPS = 100
_TIPS = {
    "accept": "Keep the recommended mask.",
    "discard": "Cancel the current object; Undo brings it back.",
    "undo": "Go back one round, with everything in it; then undo what was done to objects.",
    "redo": "Do again what was undone.",
}


REFINE, OBJECTS, STACK, OPTIONS = range(4)
_LONGEST_FIGURES = "Round 10 · 8,888,888 px · Dice about 0.85 expected: likely right"
_SCROLL_BAR = 18  # its width at least, in pixels
_PAGE_MARGINS, _PAGE_GAP = (2, 4, 2, 2), 4  # left, top, right, bottom; between parts; in pixels


class StatusLine(QLabel):
    """One sentence in a place that stays as high as it is; the whole of it is in the tooltip."""

    def __init__(self) -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)

    def minimumSizeHint(self) -> QSize:
        """Be as narrow as need be; the height is set, whatever is said."""
        return QSize(60, 0)

    def hasHeightForWidth(self) -> bool:
        """Be as high at any width."""
        return False

    def setText(self, text: str | None) -> None:
        """Say something else."""
        super().setText(text)
        self.setToolTip(text or "")


class RefinePanel(QWidget):
    """All the parts: tabs, and under them what is needed whichever tab is open."""

    def __init__(self, colour_of: Callable[[int], Sequence[float] | None]) -> None:
        super().__init__()
        self.model = ModelBar()
        self.help = KeyHelpButton()
        self.profile = ProfileBar(self)
        self.recovery = RecoveryBar()
        self.options = ImageOptions()
        self.prompts = PromptBar()
        self.status = StatusLine()
        self.progress = QProgressBar()
        self.progress.setRange(0, PROGRESS_STEPS)
        tip = "Stop what is running; what was there before stays."
        self.cancel = tip_button("Cancel", tip=tip, narrow=True)
        self.grid = CandidateGrid()
        self.legend = legend()
        self.size_slider = SizeSlider()
        self.figures = wrapped()
        self.action_buttons = {name: FittingButton() for name in _TIPS}
        self.compare = FittingButton()
        self.stack = StackBar()
        self.objects = ObjectTable(colour_of)
        self.side_by_side = SideBySide(self)
        self.tabs = QTabWidget()
        bar = FocusRingTabBar()
        self.tabs.setTabBar(bar)
        self.tabs.setDocumentMode(True)
        bar.setDrawBase(False)  # a line beside the tabs
        self.now = QStackedWidget()  # the current object's figures, or what is running
        self._fit_due = later(self, self._fit)
        self._compose()

    def set_keys(self, keys: Mapping[str, str]) -> None:
        """Show the keys of all acts on their buttons and in the help."""
        for part in (self.grid, self.size_slider, self.prompts, self.stack, self.objects):
            part.set_keys(keys)
        self.side_by_side.set_keys(keys)
        self.help.set_keys(keys)
        for name, button in self.action_buttons.items():
            title = ACTION_TITLES[name]
            button.set_texts(with_key(title, keys[name]), title)
            button.setToolTip(tip_with_key(_TIPS[name], keys[name]))
        self.compare.set_texts(with_key("Side by side", keys["side_by_side"]), "Side by side")
        tip = "Compare the candidates in a large window."
        self.compare.setToolTip(tip_with_key(tip, keys["side_by_side"]))

    def show_round(self, proposal: Proposal, shown: RenderedRound) -> None:
        """Show the candidates of a round."""
        self.legend.setHidden(shown.blind)
        self.size_slider.setHidden(shown.blind)  # it would tell which mask is recommended
        self.size_slider.set_size(0.0 if shown.blind else proposal.size)
        if shown.blind:
            everything = [(picture, "") for picture in (*shown.pictures[1:], shown.pictures[0])]
            order = [len(everything) - 1 if k < 0 else k for k in shown.order]
            self.grid.set_candidates(everything, order, blind=True)
            self.side_by_side.set_pictures(None, everything, order, blind=True)
            return
        pictures = list(zip(shown.pictures[1:], shown.words, strict=True))
        recommended = (shown.pictures[0], "Recommended")
        if proposal.certain:
            self.grid.set_certain()
        else:
            shares = [candidate.weight for candidate in proposal.candidates]
            self.grid.set_candidates(pictures, shares=shares)
        self.side_by_side.set_pictures(recommended, pictures)

    def show_figures(self, shown: RenderedRound, *, protected: int = 0) -> None:
        """Say what is recommended; protected pixels are others'."""
        proposal = shown.proposal
        if shown.blind:
            self.figures.setText(f"Round {proposal.round}")
            return
        sure = quality_in_words(proposal.quality, proposal.calibrated)
        area = f"{proposal.area - protected:,} px"
        if protected:
            area += f" ({protected:,} px belong to earlier objects)"
        self.figures.setText(f"Round {proposal.round} · {area} · {sure}")

    def clear_round(self) -> None:
        """Show no round."""
        self.legend.setHidden(False)  # a blind round has neither
        self.size_slider.setHidden(False)
        self.grid.clear()
        self.size_slider.set_size(0.0)
        self.side_by_side.set_pictures(None, [])
        self.figures.setText("")

    def set_busy(self, busy: bool) -> None:
        """Show progress and Cancel while something runs, in the place of the figures."""
        self.now.setCurrentIndex(int(busy))

    def set_stack(self, there: bool) -> None:
        """Offer what is for stacks, or hide it."""
        self.tabs.setTabVisible(STACK, there)
        self._fit_due.start()  # the profile's name has more room, or less

    def _compose(self) -> None:
        below = column_of(row_of(self.legend, self.compare, grows=self.compare))
        # First, as Tab reaches widgets in the order in which they were put in.
        self.tabs.setCornerWidget(column_of(row_of(self.profile.name, self.help)))
        self._beside = (self.prompts, self.size_slider, below)  # of the pictures
        self._room = QWidget()  # for the pictures and what is beside them
        refine = _page([self.prompts, self.grid, self.size_slider, below], self._room)
        self._room.installEventFilter(self)
        self.tabs.addTab(refine, "Refine")
        for title, parts in (
            ("Objects", [self.objects]),
            ("Stack", [self.stack]),
            ("Options", [self._model_and_profile(), self.options, self.prompts.form]),
        ):
            self.tabs.addTab(_page(parts), title)
        self.profile.renamed.connect(self._fit_due.start)
        self.set_stack(False)
        self.now.addWidget(self.figures)
        self.now.addWidget(column_of(row_of(self.progress, self.cancel, grows=self.progress)))
        self.now.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        # A part that expands keeps napari from adding a stretch under it.
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        column_of(
            self.tabs,
            self.recovery,  # comes late: here neither the tools nor the acts move
            self.profile.comparison,  # it is about what is in the image now
            self.status,
            self.now,
            even_row((2, 1), *self.action_buttons.values()),
            margin=4,
            grows=self.tabs,
            holder=self,
        )

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Keep two lines for the figures, whatever the font."""
        super().resizeEvent(event)
        self._fit_due.start()

    def changeEvent(self, event: QEvent) -> None:
        """Follow another font."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._fit_due.start()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Follow the room that there is for the pictures."""
        if event.type() == QEvent.Type.Resize:
            self._fit()
        return super().eventFilter(watched, event)

    def _fit(self) -> None:
        """Make the pictures as large as leaves all of them in sight."""
        for page in map(self.tabs.widget, range(self.tabs.count())):
            if isinstance(page, QScrollArea) and (content := page.widget()) is not None:
                page.setMinimumWidth(content.minimumSizeHint().width() + _SCROLL_BAR)
        self._fit_name()
        height = self._height(self.figures, _LONGEST_FIGURES, 2)
        height = max(height, self.cancel.sizeHint().height()) + 2 * self.now.frameWidth()
        self.now.setFixedHeight(height)
        self.status.setFixedHeight(self._height(self.status, HINT_CHOOSE, 3))
        left, top, right, bottom = _PAGE_MARGINS
        width = self._room.width() - left - right
        room = self._room.height() - top - bottom - _PAGE_GAP
        for part in self._beside:
            height = part.heightForWidth(width)
            room -= _PAGE_GAP + (height if height > 0 else part.sizeHint().height())
        self.grid.fit(width, room)

    def _fit_name(self) -> None:
        """Give the profile's name the room that the tabs leave."""
        name, taken = self.profile.name, sure(self.tabs.tabBar()).sizeHint().width()
        room = self.tabs.width() - taken - self.help.sizeHint().width() - 2 * _PAGE_GAP
        name.setFixedWidth(max(0, min(name.sizeHint().width(), room)))
        name.setHidden(room < name.minimumSizeHint().width())

    def _height(self, label: QLabel, text: str, lines: int) -> int:
        """Return how high a label as wide as all of this is for a text, and for so many lines."""
        line = label.fontMetrics().lineSpacing() + 1
        said = label.text()
        # The label itself knows what its style keeps free.
        QLabel.setText(label, text)
        needed = QLabel.heightForWidth(label, max(1, self.width() - line))
        QLabel.setText(label, said)
        return max(lines * line + line // 2, needed)

    def _model_and_profile(self) -> QWidget:
        part = QWidget()
        grid = QGridLayout(part)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setColumnStretch(1, 1)
        title = QLabel("Model")  # beside the list, not in the middle of all that is under it
        title.setFixedHeight(self.model.combo.sizeHint().height())
        grid.addWidget(title, 0, 0, Qt.AlignmentFlag.AlignTop)
        grid.addWidget(self.model, 0, 1, 1, 2)
        self.profile.add_to(grid, 1)
        return part


def _page(parts: Sequence[QWidget], viewport: QWidget | None = None) -> QScrollArea:
    """Put parts under each other; they scroll where there is not enough room."""
    content = QWidget()
    layout = QVBoxLayout(content)
    layout.setContentsMargins(*_PAGE_MARGINS)
    layout.setSpacing(_PAGE_GAP)
    for part in parts:
        layout.addWidget(part)
    if not isinstance(parts[0], ObjectTable):  # which takes all the room there is
        layout.addStretch(1)
    scroll = scrolling(content, viewport)
    scroll.setMinimumWidth(content.minimumSizeHint().width() + _SCROLL_BAR)
    return scroll
