"""Keys that are bound and given back, and those of other layouts than the US one."""

from functools import partial

import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QLineEdit, QVBoxLayout, QWidget

from napari_spa.viewer.keys import UNDO_KEYS, KeyBindings, LayoutFilter, meant_key

NONE, SHIFT, ALT = (
    Qt.KeyboardModifier.NoModifier,
    Qt.KeyboardModifier.ShiftModifier,
    Qt.KeyboardModifier.AltModifier,
)


def press(sign, scan, modifiers=NONE, virtual=0):
    return QKeyEvent(QEvent.Type.KeyPress, ord(sign), modifiers, scan, virtual, 0, sign)


@pytest.mark.parametrize(
    ("sign", "scan", "modifiers", "meant"),
    [
        ("П", 42, NONE, "G"),  # Russian
        ("Ш", 31, SHIFT, "I"),
        ("Γ", 42, NONE, "G"),  # Greek
        ("&", 10, NONE, "1"),  # French
        ("É", 11, ALT, "2"),
        ("À", 19, NONE, "0"),
    ],
)
def test_keys_are_found_by_their_place(sign, scan, modifiers, meant):
    assert meant_key(press(sign, scan, modifiers), "linux") == (ord(meant), modifiers)
    assert meant_key(press(sign, scan - 8, modifiers), "win32") == (ord(meant), modifiers)


@pytest.mark.parametrize(("sign", "scan"), [(".", 59), ("1", 10), ("9", 18)])
def test_shift_that_the_layout_needs_is_none(sign, scan):
    assert meant_key(press(sign, scan, SHIFT), "linux") == (ord(sign), NONE)


@pytest.mark.parametrize(
    ("sign", "scan", "modifiers"),
    [
        ("G", 42, NONE),
        ("Z", 29, NONE),  # German: where a US keyboard has Y
        ("Q", 38, NONE),  # French: where a US keyboard has A
        ("(", 18, SHIFT),  # US: 9 with Shift
        ("-", 20, NONE),
        ("Ö", 47, NONE),
        (".", 60, NONE),
        ("П", 0, NONE),  # from a program, without a place
    ],
)
def test_other_keys_stay(sign, scan, modifiers):
    assert meant_key(press(sign, scan, modifiers), "linux") is None


def test_macos_has_codes_of_its_own():
    assert meant_key(press("П", 1, virtual=5), "darwin") == (ord("G"), NONE)
    assert meant_key(press("&", 1, virtual=18), "darwin") == (ord("1"), NONE)
    assert meant_key(press("И", 1, virtual=11), "darwin") == (ord("B"), NONE)


class Canvas(QWidget):
    def __init__(self):
        super().__init__()
        self.keys = []

    def keyPressEvent(self, event):
        self.keys.append(chr(event.key()))


def test_where_text_is_written_nothing_is_changed(qtbot, qapp):
    window, canvas, text = QWidget(), Canvas(), QLineEdit()
    qtbot.addWidget(window)
    layout = QVBoxLayout(window)
    layout.addWidget(canvas)
    layout.addWidget(text)
    keys = LayoutFilter(canvas)
    for part in (canvas, text):
        qapp.sendEvent(part, press("П", 42))
    keys.release()
    qapp.sendEvent(canvas, press("П", 42))
    assert canvas.keys == ["G", "П"]
    assert text.text() == "П"


def test_a_key_written_in_two_ways_does_the_last_and_is_given_back():
    viewer, done = ViewerModel(), []
    before = dict(viewer.keymap)
    keys = {
        UNDO_KEYS[False]: partial(done.append, "undo"),
        "Control-Z": lambda: done.append("mine"),
    }
    bindings = KeyBindings(viewer, keys)
    ((_, bound),) = [item for item in viewer.keymap.items() if item not in before.items()]
    bound(viewer)
    assert done == ["mine"]
    bindings.release()
    assert dict(viewer.keymap) == before
