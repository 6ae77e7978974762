"""The parts of the dock *SPA Refine* and where they stand; connected in refine_dock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_spa.core.pictures import ADDED_COLOUR, REMOVED_COLOUR
from napari_spa.viewer.actions import ACT_TITLES
from napari_spa.widgets.common.buttons import FittingButton, show_key, with_key
from napari_spa.widgets.common.layouts import EvenGrid
from napari_spa.widgets.objects.table import ObjectTable
from napari_spa.widgets.profiles.bar import ProfileBar
from napari_spa.widgets.refine.candidates import CandidateGrid, LegendRow
from napari_spa.widgets.refine.compare import SideBySide
from napari_spa.widgets.refine.image_options import ImageOptions
from napari_spa.widgets.refine.key_help import KeyHelpButton
from napari_spa.widgets.refine.prompt_bar import PromptBar
from napari_spa.widgets.refine.recovery_bar import RecoveryBar
from napari_spa.widgets.refine.stack_bar import StackBar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari_spa.core.types import Proposal
    from napari_spa.viewer.annotation.round import Shown

PROGRESS_STEPS = 100
_TIPS = {
    "accept": "Keep the recommended mask.",
    "discard": "Drop the active object.",
    "undo": "Go back one round, with everything in it; then, take back what was done to objects.",
    "redo": "Do again what was undone.",
}


class DockParts(QWidget):
    """All the parts, one under the other, in a column that scrolls."""

    def __init__(self, colour_of: Callable[[int], Sequence[float] | None]) -> None:
        super().__init__()
        self.model = QComboBox()
        self.model.setToolTip("The model that proposes masks.")
        self.model.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.help = KeyHelpButton()
        self.profile = ProfileBar(self)
        self.recovery = RecoveryBar()
        self.options = ImageOptions()
        self.prompts = PromptBar()
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.status.setAlignment(Qt.AlignmentFlag.AlignVCenter)
        self.progress = QProgressBar()
        self.progress.setRange(0, PROGRESS_STEPS)
        self.cancel = FittingButton("Cancel")
        self.cancel.setToolTip("Stop what is running; what was there before stays.")
        self.cancel.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Fixed)
        self.grid = CandidateGrid([""] * 4, [""] * 4)
        self.legend = LegendRow(
            [(ADDED_COLOUR, "would be added"), (REMOVED_COLOUR, "would be removed")]
        )
        self.figures = QLabel()
        self.figures.setWordWrap(True)
        self.acts = {name: FittingButton() for name in _TIPS}
        self.compare = FittingButton()
        self.stack = StackBar()
        self.objects = ObjectTable(colour_of)
        self.side_by_side = SideBySide(self)
        self._compose()

    def set_keys(self, keys: Mapping[str, str]) -> None:
        """Show the keys of all acts on their buttons and in the help."""
        picks = [keys[f"pick_{n}"] for n in range(1, 5)]
        self.grid.set_keys(picks, [keys[f"toggle_{n}"] for n in range(1, 5)])
        for name, button in self.acts.items():
            title = ACT_TITLES[name]
            button.set_texts(with_key(title, keys[name]), title)
            button.setToolTip(f"{_TIPS[name]}\nKey: {show_key(keys[name])}")
        self.compare.set_texts(with_key("Side by side", keys["side_by_side"]), "Side by side")
        self.compare.setToolTip(
            f"Compare the candidates in a large window.\nKey: {show_key(keys['side_by_side'])}"
        )
        self.prompts.set_keys(
            {"remove": keys["prompt_sign"], "box": keys["box"], "brush": keys["brush"]}
        )
        self.stack.set_keys(
            {-1: keys["carry_previous"], 1: keys["carry_next"], "both": keys["propagate"]}
        )
        self.objects.set_keys({"reopen": keys["reopen"], "delete": keys["delete_object"]})
        self.help.set_acts({act: (title, keys[act]) for act, title in ACT_TITLES.items()})
        others = {act: keys[act] for act in ("undo", "redo", "discard")}
        self.side_by_side.set_keys(picks, keys["accept"], others)

    def show_round(self, proposal: Proposal, shown: Shown, *, protected: int = 0) -> None:
        """Show the candidates and figures of a round; protected pixels are others'."""
        self.legend.setHidden(shown.blind)
        if shown.blind:
            everything = [(picture, "") for picture in (*shown.pictures[1:], shown.pictures[0])]
            order = [len(everything) - 1 if k < 0 else k for k in shown.order]
            self.grid.set_candidates(everything, order, blind=True)
            self.side_by_side.set_pictures(None, everything, order, blind=True)
            self.figures.setText(f"Round {proposal.round}")
            return
        pictures = list(zip(shown.pictures[1:], shown.words, strict=True))
        recommended = (shown.pictures[0], "Recommended")
        if proposal.certain:
            self.grid.set_certain()
        else:
            self.grid.set_candidates(pictures)
        self.side_by_side.set_pictures(recommended, pictures)
        sure = _in_words(proposal.uncertainty)
        area = f"{proposal.area - protected:,} px"
        if protected:
            area += f" ({protected:,} px belong to earlier objects)"
        self.figures.setText(f"Round {proposal.round} · {area} · {sure}")

    def clear_round(self) -> None:
        """Show no round."""
        self.grid.clear()
        self.side_by_side.set_pictures(None, [])
        self.figures.setText("")

    def _compose(self) -> None:
        content = QWidget()
        layout = QVBoxLayout(content)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.setSpacing(6)
        top = QGridLayout()
        top.setColumnStretch(1, 1)
        top.addWidget(QLabel("Model"), 0, 0)
        top.addWidget(self.model, 0, 1)
        top.addWidget(self.help, 0, 2)
        self.profile.add_to(top, 1)
        layout.addLayout(top)
        layout.addWidget(self.options)
        layout.addWidget(self.recovery)
        layout.addWidget(self.prompts)
        layout.addWidget(self.status)
        busy = QHBoxLayout()
        busy.addWidget(self.progress, 1)
        busy.addWidget(self.cancel)
        layout.addLayout(busy)
        layout.addWidget(self.grid)
        layout.addWidget(self.legend)
        layout.addWidget(self.figures)
        cells = QWidget()
        buttons = EvenGrid((2, 1), cells)
        for button in self.acts.values():
            buttons.addWidget(button)
        layout.addWidget(cells)
        layout.addWidget(self.compare)
        layout.addWidget(self.stack)
        layout.addWidget(self.objects, 1)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(content)
        scroll.setMinimumWidth(content.minimumSizeHint().width() + 18)
        # A part that expands keeps napari from adding a stretch under it.
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll)


def _in_words(uncertainty: float) -> str:
    if uncertainty < 0.1:
        return "the model is sure"
    if uncertainty < 0.25:
        return "the model is fairly sure"
    return "the model is unsure: look closely"
