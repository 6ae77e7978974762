"""Unit tests of the table of objects: what it shows, what it asks, what it keeps."""

# ruff: noqa: RUF001 (ranges of slices are written with an en dash)

from __future__ import annotations

from functools import partial

import pytest
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QApplication, QInputDialog, QVBoxLayout, QWidget

from napari_spa.io.projects.classes import ObjectClass
from napari_spa.widgets.objects.rows import (
    AREA,
    CLASS,
    NAME,
    NUMBER,
    QUALITY,
    ROUNDS,
    SLICES,
    STATUS,
    ObjectRow,
    summary,
)
from napari_spa.widgets.objects.table import EMPTY, ObjectTable


def at(text: str) -> tuple[tuple[int, ...], ...]:
    """Return the places that a text names, such as 3 and 9 to 12; dots part two stack axes."""
    found = []
    for span in filter(None, text.split(", ")):
        first, _, last = span.partition("–")
        *before, start = map(int, first.split("."))
        found += [(*before, place) for place in range(start, int(last or start) + 1)]
    return tuple(found)


ROWS = [
    ObjectRow(2, at("9"), 950, 3, 0.31, "accepted"),
    ObjectRow(10, at("10–12"), 12_400, 10, 0.05, "review"),
    ObjectRow(1, at("100"), 88, 1, 0.2, "propagated"),
    ObjectRow(7, at("9–30"), 951, 2, 0.9, "in progress"),
]


class Window(QWidget):
    """Stands for napari's dock: remembers the keys that reach it."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[str] = []
        QVBoxLayout(self)

    def keyPressEvent(self, event) -> None:
        self.keys.append(event.text())


@pytest.fixture
def window(qtbot):
    window = Window()
    qtbot.addWidget(window)
    return window


@pytest.fixture
def table(window, qtbot):
    table = ObjectTable(lambda number: (1, 0.5, 0, 1) if number == 2 else None)
    window.layout().addWidget(table)
    window.resize(460, 400)
    table.set_rows(ROWS)
    with qtbot.waitExposed(window):
        window.show()
    return table


def many(count: int) -> list[ObjectRow]:
    return [
        ObjectRow(n, at(f"{n % 60}–{n % 60 + 3}"), 7 * n, 1 + n % 6, (n % 97) / 97, "accepted")
        for n in range(1, count + 1)
    ]


@pytest.fixture
def asked(table):
    """What the table asked for, in order."""
    calls: list[tuple] = []
    for name in ("go_to", "reopen", "delete", "delete_all", "refine", "export"):
        signal = getattr(table, f"{name}_requested")
        signal.connect(lambda *number, name=name: calls.append((name, *number)))
    return calls


def shown_numbers(table) -> list[int]:
    model = table.view.model()
    return [model.number_at(row) for row in range(model.rowCount())]


def place(table, number: int) -> QPoint:
    row = shown_numbers(table).index(number)
    return table.view.visualRect(table.view.model().index(row, SLICES)).center()


def cell(table, number: int, column: int, role=Qt.ItemDataRole.DisplayRole):
    row = shown_numbers(table).index(number)
    return table.view.model().index(row, column).data(role)


def test_what_no_model_made_has_no_expected_dice():
    row = ObjectRow(1, at(""), 5, 0, None, "edited")
    assert row.texts[4] == "–"
    assert "Dice" not in row.words()
    assert row.sort_keys[4] > 1.0


def test_a_row_says_it_all(table):
    texts = [cell(table, 10, column) for column in range(6)]
    assert texts == ["10", "10–12", "12,400", "10", "0.05", "review"]
    tip = cell(table, 1, STATUS, Qt.ItemDataRole.ToolTipRole)
    assert tip.startswith("Object 1, slice 100: 88 px, 1 round, Dice about 0.20 expected, p")
    assert cell(table, 7, NUMBER, Qt.ItemDataRole.AccessibleTextRole).startswith("Object 7")
    assert cell(table, 7, AREA, Qt.ItemDataRole.AccessibleTextRole) == "Area 951"


@pytest.mark.parametrize(
    ("column", "ascending"),
    [
        (NUMBER, [1, 2, 7, 10]),
        (SLICES, [2, 7, 10, 1]),  # by the first slice, then the last
        (AREA, [1, 2, 7, 10]),
        (ROUNDS, [1, 7, 2, 10]),
        (QUALITY, [10, 1, 2, 7]),
        (STATUS, [7, 10, 1, 2]),  # by what is left to do
    ],
)
def test_columns_sort_by_number(table, column: int, ascending: list[int]):
    table.view.sortByColumn(column, Qt.SortOrder.AscendingOrder)
    assert shown_numbers(table) == ascending
    table.view.sort_by(column)
    assert shown_numbers(table) == ascending[::-1]
    table.set_rows(ROWS[::-1])
    assert shown_numbers(table) == ascending[::-1]


def test_a_heading_at_the_right_makes_room_for_the_arrow(table):
    def headings() -> list[str]:
        return [model.headerData(at, Qt.Orientation.Horizontal) for at in (NUMBER, AREA)]

    model = table.view.model()
    assert headings() == ["Id", "Area"]
    table.view.sort_by(AREA)
    assert headings()[1].strip() == "Area"
    assert len(headings()[1]) > len("Area")
    table.view.sort_by(NUMBER)
    assert headings() == ["Id", "Area"]


def test_slices_of_two_stack_axes_sort_by_both(table):
    texts = ["10.2", "2.9–11", "2.10", "2.9, 2.30", ""]
    table.set_rows(
        [ObjectRow(n, at(text), 5, 1, 0.0, "accepted") for n, text in enumerate(texts, 1)]
    )
    table.view.sortByColumn(SLICES, Qt.SortOrder.AscendingOrder)
    assert shown_numbers(table) == [5, 2, 4, 3, 1]


def test_equal_cells_stand_by_number(table):
    table.set_rows([ObjectRow(n, at(""), 5, 1, 0.0, "accepted") for n in (3, 1, 2)])
    table.view.sortByColumn(AREA, Qt.SortOrder.DescendingOrder)
    assert shown_numbers(table) == [1, 2, 3]


def test_a_click_goes_there(table, asked, qtbot):
    qtbot.mouseClick(table.view.viewport(), Qt.MouseButton.LeftButton, pos=place(table, 10))
    assert asked == [("go_to", 10)]
    assert table.view.selected() == 10
    qtbot.mouseClick(table.view.viewport(), Qt.MouseButton.LeftButton, pos=place(table, 10))
    assert asked == [("go_to", 10)] * 2
    empty = QPoint(20, table.view.viewport().height() - 3)
    qtbot.mouseClick(table.view.viewport(), Qt.MouseButton.LeftButton, pos=empty)
    assert len(asked) == 2


def test_a_double_click_reopens(table, asked, qtbot):
    viewport, where = table.view.viewport(), place(table, 7)
    qtbot.mouseClick(viewport, Qt.MouseButton.LeftButton, pos=where)
    qtbot.mouseDClick(viewport, Qt.MouseButton.LeftButton, pos=where)
    assert asked == [("go_to", 7), ("reopen", 7)]


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (Qt.Key.Key_Return, "go_to"),
        (Qt.Key.Key_Enter, "go_to"),
        (Qt.Key.Key_Delete, "delete"),
        (Qt.Key.Key_Backspace, "delete"),
    ],
)
def test_keys_ask(table, asked, qtbot, key, name: str):
    qtbot.keyClick(table.view, key)
    assert asked == []  # nothing is selected
    table.select(2)
    assert asked == []  # selecting asks for nothing
    qtbot.keyClick(table.view, Qt.Key.Key_Down)
    assert table.view.selected() == 7
    qtbot.keyClick(table.view, key, Qt.KeyboardModifier.ControlModifier)
    assert asked == []
    qtbot.keyClick(table.view, key)
    assert asked == [(name, 7)]


def test_other_keys_go_on_to_the_viewer(table, window, qtbot):
    table.select(2)
    for key in "gh1":
        qtbot.keyClick(table.view, key)
    assert window.keys == ["g", "h", "1"]
    assert table.view.selected() == 2  # and nothing was searched for


def test_buttons_ask(table, asked):
    assert not table.buttons["reopen"].isEnabled()
    assert not table.buttons["delete"].isEnabled()
    table.select(10)
    for name in ("reopen", "delete", "refine", "export"):
        table.buttons[name].click()
    assert asked == [("reopen", 10), ("delete", 10), ("refine",), ("export",)]


def test_the_menu_asks_and_sorts(table, asked):
    table.select(10)
    menu = table.menu()
    for action in menu.actions()[:3]:
        action.trigger()
    assert asked == [("go_to", 10), ("reopen", 10), ("delete", 10)]
    order = menu.actions()[-1].menu()
    assert order.title() == "Sort by"
    order.actions()[AREA].trigger()
    assert shown_numbers(table) == [1, 2, 7, 10]
    order.actions()[AREA].trigger()
    assert shown_numbers(table) == [10, 7, 2, 1]
    table.select(None)
    assert [action.text() for action in table.menu().actions()] == ["Sort by"]


def test_new_rows_keep_the_selection_and_the_place(table, asked):
    table.set_rows(many(400))
    table.select(200)
    table.view.verticalScrollBar().setValue(1234)
    table.set_rows([*many(400), ObjectRow(401, at("3"), 10, 1, 0.1, "review")])
    assert table.view.selected() == 200
    assert table.view.verticalScrollBar().value() == 1234
    assert len(shown_numbers(table)) == 401
    table.view.sort_by(AREA)
    table.view.sort_by(AREA)
    assert table.view.selected() == 200
    table.set_rows([row for row in many(400) if row.number > 150])
    assert table.view.selected() == 200
    assert asked == []


def test_who_was_deleted_leaves_their_place_but_no_selection(table, asked, qtbot):
    table.set_rows(many(9))
    table.select(4)
    table.set_rows([row for row in many(9) if row.number != 4])
    assert table.view.selected() is None
    assert not table.buttons["delete"].isEnabled()
    qtbot.keyClick(table.view, Qt.Key.Key_Delete)
    assert asked == []
    qtbot.keyClick(table.view, Qt.Key.Key_Down)
    assert table.view.selected() == 5  # which took the place of 4
    qtbot.keyClick(table.view, Qt.Key.Key_Down)
    assert table.view.selected() == 6
    table.set_rows([row for row in many(9) if row.number not in (4, 6)])
    qtbot.keyClick(table.view, Qt.Key.Key_Up)
    assert table.view.selected() == 5
    table.set_rows([])
    assert table.view.selected() is None


def test_several_are_selected_and_deleted_or_classed_at_once(table, asked, qtbot):
    table.set_rows(many(9))
    table.set_classes([ObjectClass("nucleus", "#56b4e9")], "")
    press = partial(qtbot.mouseClick, table.view.viewport(), Qt.MouseButton.LeftButton)
    press(Qt.KeyboardModifier.NoModifier, place(table, 3))
    table.select(3)  # as the dock does when an object was gone to
    press(Qt.KeyboardModifier.ShiftModifier, place(table, 6))
    press(Qt.KeyboardModifier.ControlModifier, place(table, 5))
    assert table.view.chosen() == [3, 4, 6]
    assert table.view.selected() is None
    assert asked == [("go_to", 3)]  # and to none of the others
    enabled = {name for name, button in table.buttons.items() if button.isEnabled()}
    assert {"delete"} == enabled & {"reopen", "delete", "edit", "merge"}
    table.set_rows(many(8))  # they stay as other rows come and go, and as the dock asks again
    table.select(3)
    assert table.view.chosen() == [3, 4, 6]
    assert {"Delete 3 objects\tDel", "Class"} <= {
        action.text() for action in table.menu().actions()
    }
    asked.clear()
    qtbot.keyClick(table.view, Qt.Key.Key_Delete)
    table.buttons["delete"].click()
    assert asked == [("delete_all", [3, 4, 6])] * 2
    table.select(5)  # which is another one: what a click in the image means
    assert table.view.chosen() == [5]
    qtbot.keyClick(table.view, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
    assert len(table.view.chosen()) == 8


def test_selecting_brings_into_view(table):
    table.set_rows(many(400))
    table.select(390)
    assert table.view.viewport().rect().contains(place(table, 390))
    table.select(4000)
    assert table.view.selected() is None


def test_without_objects_it_says_what_to_do(table, asked):
    table.select(2)
    table.set_rows([])
    assert table.pages.currentWidget() is table.empty
    assert table.empty.text() == EMPTY
    assert "appear here" in EMPTY
    assert table.summary.text() == "No objects yet"
    enabled = {name for name, button in table.buttons.items() if button.isEnabled()}
    assert enabled == {"refine", "segment", "take"}
    table.set_rows(ROWS)
    assert table.pages.currentWidget() is table.view
    assert asked == []


@pytest.mark.parametrize(
    ("slices", "words"),
    [
        ([], "0 objects"),
        ([""], "1 object"),
        (["4"], "1 object on 1 slice"),
        (["4", "3–5", "9"], "3 objects on 4 slices"),
        (["12–14, 17"], "1 object on 4 slices"),
        (["1.3–4", "2.3, 2.4"], "2 objects on 4 slices"),
    ],
)
def test_one_line_about_all(slices: list[str], words: str):
    rows = [ObjectRow(n, at(s), 5, 1, 0.1, "accepted") for n, s in enumerate(slices, 1)]
    assert summary(rows) == words


def test_what_is_not_accepted_yet_is_no_object_yet():
    assert summary([ObjectRow(1, at(""), 5, 1, 0.1, "in progress")]) == "1 in progress"


def test_the_line_tells_what_is_to_review(table):
    assert table.summary.text() == "3 objects on 5 slices, 1 in progress, 1 to review"


def test_the_least_wanted_columns_go_where_there_is_no_room(table, qtbot):
    def hidden() -> set[int]:
        return {column for column in range(6) if table.view.isColumnHidden(column)}

    assert hidden() == {ROUNDS}
    table.view.sort_by(ROUNDS)
    assert ROUNDS not in hidden()
    table.view.sort_by(0)
    widths = []
    for width in (300, 250, 170):
        table.view.setFixedWidth(width)
        qtbot.waitUntil(lambda width=width: table.view.width() == width)
        widths.append(hidden())
        shown = sum(table.view.columnWidth(column) for column in range(6))
        assert shown == table.view.viewport().width()
    assert widths[0] <= widths[1] <= widths[2] == {ROUNDS, QUALITY, AREA}
    table.set_rows([ObjectRow(1, at(""), 5, 1, 0.1, "accepted")])
    assert SLICES in hidden()


def test_an_object_on_many_slices_leaves_room_for_the_rest(table):
    table.set_rows([ObjectRow(1, at(", ".join(map(str, range(1, 99, 2)))), 5, 1, 0.1, "review")])
    assert table.view.columnWidth(STATUS) > table.view.fontMetrics().horizontalAdvance("review")
    tip = cell(table, 1, SLICES, Qt.ItemDataRole.ToolTipRole)
    assert "95, 97" in tip


def test_the_table_is_written_as_large_as_labels(table, qtbot):
    font = table.summary.font()
    font.setPointSize(font.pointSize() * 2)
    before = table.view.sizeHint().height()
    table.summary.setFont(font)
    assert table.view.font().pointSize() == font.pointSize()
    assert table.view.rowHeight(0) > table.view.fontMetrics().height()
    assert table.view.sizeHint().height() > 1.5 * before


def test_a_swatch_has_the_labels_colour(table):
    def middle(number: int):
        icon = cell(table, number, NUMBER, Qt.ItemDataRole.DecorationRole)
        size = icon.availableSizes()[0]
        return icon.pixmap(size).toImage().pixelColor(size.width() // 2, size.height() // 2)

    assert middle(2).getRgb() == (255, 128, 0, 255)
    assert middle(10).alpha() == 0
    changed = []
    table.view.model().dataChanged.connect(lambda *_: changed.append(1))
    table.refresh_colours()
    assert changed


def test_keys_stand_in_the_tooltips_of_all_buttons_alike(table):
    table.set_keys({"delete_object": "Alt-D"})
    assert not [button for button in table.buttons.values() if "[" in button.text()]
    assert "Key: Alt+D" in table.buttons["delete"].toolTip()
    assert table.buttons["reopen"].text() == "Reopen"
    assert all(button.toolTip() for button in table.buttons.values())
    assert all(button.accessibleName() for button in table.buttons.values())
    assert table.view.accessibleName() == "Objects"


def test_four_hundred_rows_ask_little(table):
    """Qt asks for what is on show alone: nothing is sorted or measured through it."""
    asked = []
    model = table.view.model()
    data = model.data
    model.data = lambda *of: asked.append(of) or data(*of)
    table.set_rows(many(400))
    table.set_rows([*many(400), ObjectRow(401, at("3"), 10, 1, 0.1, "review")])
    table.view.sort_by(AREA)
    assert asked == []
    table.view.viewport().repaint()
    assert 0 < len({index.row() for index, _ in asked}) < 40
    assert len(shown_numbers(table)) == 401


def test_what_waits_for_a_look_is_kept_or_dropped_at_once(table, qtbot):
    asked = []
    table.keep_requested.connect(lambda numbers: asked.append(("keep", numbers)))
    table.drop_requested.connect(lambda numbers: asked.append(("drop", numbers)))
    assert table.keep_all.text() == "Keep all (1)"
    table.keep_all.click()
    table.drop_all.click()
    assert asked == [("keep", [10]), ("drop", [10])]
    table.set_rows(ROWS[:1])
    assert table.review.isHidden()


def test_classes_and_names_have_columns_once_there_are_any(table):
    assert table.view.isColumnHidden(CLASS)
    assert table.view.isColumnHidden(NAME)
    table.set_classes([ObjectClass("nucleus", "#56b4e9")], "nucleus")
    row = ObjectRow(4, at(""), 5, 1, 0.0, "accepted", "nucleus", "the large one")
    table.set_rows([row, ObjectRow(5, at(""), 5, 1, 0.0, "accepted", "cell")])
    assert not table.view.isColumnHidden(CLASS)
    assert cell(table, 4, CLASS) == "nucleus"
    assert cell(table, 4, NAME) == "the large one"
    assert not cell(table, 4, CLASS, Qt.ItemDataRole.DecorationRole).isNull()
    table.view.sortByColumn(CLASS, Qt.SortOrder.AscendingOrder)
    assert shown_numbers(table) == [5, 4]
    assert table.classes.combo.currentText() == "nucleus"


def test_the_menu_names_an_object_and_gives_it_a_class(table):
    asked = []
    table.class_requested.connect(lambda *said: asked.append(said))
    table.set_classes([ObjectClass("nucleus", "#56b4e9")], "")
    table.select(10)
    menu = table.menu()
    (classes,) = [a.menu() for a in menu.actions() if a.menu() and a.text() == "Class"]
    assert [action.text() for action in classes.actions()] == ["No class", "nucleus"]
    classes.actions()[1].trigger()
    assert asked == [([10], "nucleus")]
    assert "Keep" in [action.text() for action in menu.actions()]


def test_a_class_is_renamed_from_the_menu_of_the_list(table, monkeypatch):
    asked, bar = [], table.classes
    bar.rename_requested.connect(lambda *said: asked.append(said))
    bar.set_classes([ObjectClass("cel", "#56b4e9")], "cel")
    monkeypatch.setattr(QInputDialog, "getText", lambda *a, text: (f"{text}l", True))
    (entry,) = [a for a in bar.menu().actions() if a.text() == "Rename cel…"]
    entry.trigger()
    assert asked == [("cel", "cell")]


def test_neither_the_wheel_nor_a_key_for_the_image_changes_the_class(table, qtbot):
    table.set_classes([ObjectClass("gland", "#56b4e9"), ObjectClass("nucleus", "#e69f00")], "")
    combo, chosen = table.classes.combo, []
    table.classes.chosen.connect(chosen.append)
    assert combo.focusPolicy() == Qt.FocusPolicy.TabFocus  # so that G goes on to the candidates
    down, nothing = QPoint(0, -120), Qt.MouseButton.NoButton
    at, modifiers = QPointF(5, 5), Qt.KeyboardModifier.NoModifier
    phase = Qt.ScrollPhase.NoScrollPhase
    wheel = QWheelEvent(at, at, QPoint(), down, nothing, modifiers, phase, False)
    QApplication.sendEvent(combo, wheel)
    assert not chosen
    table.set_classes(table.classes.entries, "gland")
    assert combo.toolTip().startswith("The class of new objects")
