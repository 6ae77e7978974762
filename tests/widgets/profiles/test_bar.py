"""The rows of the profile, and its dialogs."""

from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QGridLayout, QMenu, QWidget

from napari_spa.io.models.registry import ModelIdentity
from napari_spa.io.profiles import StoreEntry
from napari_spa.viewer.profiles.actions import Disagreement
from napari_spa.widgets.common.buttons import open_menu
from napari_spa.widgets.profiles.bar import NONE, ProfileBar
from napari_spa.widgets.profiles.dialogs import ConfirmDialog, MergeDialog, NameDialog

MODEL = ModelIdentity("tiny", "ab" * 32, "both", "mixture", 2)
ANA = StoreEntry(Path("ana.json"), "Ana", "optic cup", 31, 12, MODEL)
BEN = StoreEntry(Path("ben.json"), "Ben <b>", "", 1, 1, MODEL)
TORN = StoreEntry(Path("torn.json"), "torn", problem="it is no profile.")
LONG = StoreEntry(Path("long.json"), "a name of very many words " * 6, "", 3, 1, MODEL)


@pytest.fixture
def bar(qtbot):
    window = QWidget()
    qtbot.addWidget(window)
    bar, grid = ProfileBar(window), QGridLayout(window)
    bar.add_to(grid, 0)
    window.resize(280, 120)
    window.show()
    bar.window = window  # Python would let it go
    return bar


def test_profiles_are_offered_and_what_does_not_fit_is_not(bar, qtbot):
    heard = []
    bar.chosen.connect(heard.append)
    bar.set_entries([ANA, BEN, TORN], ANA.path, [ANA, BEN])
    assert [bar.combo.itemText(k) for k in range(4)] == [NONE, "Ana, optic cup", "Ben <b>", "torn"]
    assert bar.combo.currentIndex() == 1
    enabled = [bar.combo.model().item(k).isEnabled() for k in range(4)]
    assert enabled == [True, True, True, False]
    assert heard == []
    for place in (2, 0):
        bar.combo.activated.emit(place)
    assert heard == [BEN.path, None]


def test_profiles_of_one_name_are_told_apart_and_greyed_ones_say_why(bar):
    twin = StoreEntry(Path("copy.json"), "Ben <b>", "", 1, 1, MODEL)
    bar.set_entries([BEN, twin, TORN], BEN.path, [BEN, twin])
    texts = [bar.combo.itemText(k) for k in range(1, 4)]
    assert texts == ["Ben <b> (ben.json)", "Ben <b> (copy.json)", "torn"]
    menu = bar.names(QMenu())
    assert menu.toolTipsVisible()
    assert menu.actions()[3].toolTip() == "it is no profile."


def test_a_long_name_and_long_words_do_not_widen_the_dock(bar):
    width = bar.combo.parentWidget().minimumSizeHint().width()
    bar.set_entries([LONG], LONG.path, [LONG])
    bar.set_words("Tends to draw 6 % larger, 31 picks, 12 images " * 3, "all of it")
    assert bar.combo.parentWidget().minimumSizeHint().width() == width
    assert bar.combo.toolTip() == LONG.name
    assert bar.words.toolTip() == "all of it"


def test_a_new_profile_can_be_made_from_the_list(bar, qtbot):
    bar.set_entries((), None, ())
    assert bar.combo.isEnabled()  # on first opening too
    with qtbot.waitSignal(bar.action_requested) as signal:
        bar.combo.activated.emit(bar.combo.count() - 1)
    assert signal.args == ["new"]
    assert bar.combo.currentText() == NONE  # until there is one


def test_teaching_is_switched_beside_the_name(bar, qtbot):
    heard = []
    bar.teach_requested.connect(heard.append)
    assert bar.teach.isChecked()
    bar.teach.click()
    bar.teach.click()
    assert heard == [False, True]


def test_whose_preference_it_is_and_whether_it_is_taught_is_on_the_button(bar):
    bar.set_entries([ANA, BEN, TORN], None, [ANA, BEN])
    assert bar.name.text() == "No profile ▾"
    bar.set_entries([ANA, BEN, TORN], ANA.path, [ANA, BEN])
    bar.set_words("31 picks, 12 images", "all of it")
    assert bar.name.text() == "Ana, optic cup ▾"
    assert "all of it\nAccepted objects teach it." in bar.name.toolTip()
    bar.set_teaching(False)
    bar.set_warning("This image is of another kind.")
    assert bar.name.text() == "⚠ Not taught: Ana, optic cup ▾"
    assert bar.name.toolTip().endswith("This image is of another kind.")


def test_the_button_lists_the_profiles(bar, qtbot):
    chosen, taught = [], []
    bar.chosen.connect(chosen.append)
    bar.teach_requested.connect(taught.append)
    bar.set_entries([ANA, BEN, TORN], ANA.path, [ANA, BEN])
    manage = bar.menu(["new"], [BEN], "", bar.window)
    menu = bar.names(manage)
    actions = {action.text(): action for action in menu.actions() if action.text()}
    teach = "Teach it what is accepted"
    profiles = [NONE, "Ana, optic cup", "Ben <b>", "torn", "New profile…"]
    assert list(actions) == [*profiles, teach, "Manage"]
    assert [text for text, a in actions.items() if a.isChecked()] == ["Ana, optic cup", teach]
    assert not actions["torn"].isEnabled()
    actions["Ben <b>"].trigger()
    actions[teach].trigger()
    assert (chosen, taught) == ([BEN.path], [False])
    open_menu(menu, bar.name)
    menu.close()
    qtbot.waitUntil(lambda: not bar.window.findChildren(QMenu))  # nothing of it is left


def test_the_menu_offers_what_is_possible(bar, qtbot):
    acts, compared = [], []
    bar.action_requested.connect(acts.append)
    bar.compare_requested.connect(lambda *values: compared.append(values))
    menu = bar.menu(["new", "rename", "folder"], [BEN], "", bar.combo)
    titles = {action.text(): action for action in menu.actions() if action.text()}
    assert "Save as a profile…" not in titles
    enabled = {title for title, action in titles.items() if action.isEnabled()}
    assert enabled == {"New…", "Rename…", "Compare on this image", "Show the folder"}
    titles["Rename…"].trigger()
    assert acts == ["rename"]
    ben, model = titles["Compare on this image"].menu().actions()
    ben.trigger()
    model.trigger()
    assert compared == [(BEN.path, "Ben <b>"), (None, "the model alone")]
    menu = bar.menu(["keep"], [BEN], "Click on an object first", bar.combo)
    titles = {action.text(): action for action in menu.actions()}
    assert titles["Save as a profile…"].isEnabled()
    (reason,) = titles["Compare on this image"].menu().actions()
    assert not reason.isEnabled()


def test_a_comparison_names_both_in_their_colours(bar):
    square = np.array([[0, 0], [0, 1], [1, 1], [1, 0]], dtype=float)
    found = Disagreement(("Ana", "Ben <b>"), ([square], [square + 1]), (3210, 2950), 0.913)
    bar.set_comparison(found)
    text = bar.comparison_words.text()
    assert bar.comparison.isVisible()
    assert "Ana: 3,210\u00a0px, Ben &lt;b&gt;: 2,950\u00a0px, Dice\u00a00.91" in text
    assert "only&nbsp;Ben &lt;b&gt;" in text
    bar.set_comparison(None)
    assert not bar.comparison.isVisible()


def problem(name, task):
    return "" if name.strip() else "A profile needs a name."


@pytest.fixture
def owner(qtbot):
    owner = QWidget()
    qtbot.addWidget(owner)
    return owner


def test_a_name_is_judged_in_place(owner, qtbot):
    dialog = NameDialog("New profile", "Words.", "Make it", problem, parent=owner)
    named = []
    dialog.accepted.connect(lambda: named.append(dialog.named()))
    assert not dialog.action.isEnabled()
    assert dialog.trouble.text() == ""  # no one typed anything yet
    qtbot.keyClicks(dialog.name, " Ana")
    assert dialog.action.isEnabled()
    qtbot.keyClick(dialog.name, Qt.Key.Key_Backspace)
    for _ in range(3):
        qtbot.keyClick(dialog.name, Qt.Key.Key_Backspace)
    assert dialog.trouble.text() == "A profile needs a name."
    assert not dialog.action.isEnabled()
    qtbot.keyClicks(dialog.name, "Ana ")
    qtbot.keyClicks(dialog.task, "optic cup")
    dialog.action.click()
    assert named == [("Ana", "optic cup")]


def test_merging_suggests_a_name_and_says_who(owner, qtbot):
    dialog = MergeDialog(ANA, [BEN, LONG], problem, owner)
    wanted = []
    dialog.accepted.connect(lambda: wanted.append((dialog.paths(), *dialog.named())))
    assert not dialog.action.isEnabled()
    dialog.boxes[0].click()
    assert dialog.name.text() == "Ana and Ben <b>"
    dialog.boxes[0].click()
    assert dialog.trouble.text() == "Choose at least one."
    dialog.boxes[0].click()
    dialog.action.click()
    assert wanted == [([BEN.path], "Ana and Ben <b>", "optic cup")]


def test_nothing_is_lost_without_a_yes(owner):
    heard = []
    dialog = ConfirmDialog("Reset Ana", "31 picks are forgotten.", "Reset", owner)
    dialog.accepted.connect(lambda: heard.append("no"))
    dialog.cancel.click()
    assert heard == []
    dialog = ConfirmDialog("Reset Ana", "31 picks are forgotten.", "Reset", owner)
    dialog.accepted.connect(lambda: heard.append("yes"))
    dialog.action.click()
    assert heard == ["yes"]
