"""The options: requests, and silence of setters."""

import pytest
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QApplication, QFormLayout

from napari_spa.widgets.refine.options import ImageOptions

SIGNALS = (
    "layer_requested", "channels_requested", "contrast_requested",
    "field_requested", "frame_requested", "overlap_requested", "blind_requested",
)  # fmt: skip


@pytest.fixture
def options(qtbot):
    options = ImageOptions()
    qtbot.addWidget(options)
    options.resize(340, 400)
    options.show()
    QApplication.setActiveWindow(options)
    options.layer.show_entries(["fundus", "cells"], 0)
    options.set_channels(["RGB", "red"], 0)
    return options


@pytest.fixture
def heard(options):
    signals = []
    for name in SIGNALS:
        getattr(options, name).connect(lambda value, name=name: signals.append((name, value)))
    return signals


def choose_next(qtbot, combo):
    combo.setFocus(Qt.FocusReason.TabFocusReason)
    qtbot.keyClick(combo, Qt.Key.Key_Down)


def test_setters_emit_nothing(options, heard):
    options.layer.show_entries(["a", "b", "c"], 2)
    options.set_channels(["x", "y", "z"], 1)
    options.set_field("512 x 512 px", automatic=False, frame=True)
    options.set_choices(contrast="layer", overlap="replace", blind=True)
    assert heard == []


def test_the_user_asks(options, heard, qtbot):
    options.set_field("512 px", automatic=False)
    for combo in (options.layer, options.channels, options.contrast, options.overlap):
        choose_next(qtbot, combo)
    for button in options.field.values():
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    for box in (options.frame, options.blind):
        box.setFocus(Qt.FocusReason.TabFocusReason)
        qtbot.keyClick(box, Qt.Key.Key_Space)
    assert heard == [
        ("layer_requested", 1), ("channels_requested", 1),
        ("contrast_requested", "layer"), ("overlap_requested", "replace"),
        ("field_requested", "wider"), ("field_requested", "closer"),
        ("field_requested", "automatic"), ("frame_requested", True), ("blind_requested", True),
    ]  # fmt: skip


def test_choices_that_are_none_are_not_shown(options):
    options.set_channels([], -1)
    assert not options.channels.isVisible()
    options.layer.show_entries(["only"], 0)
    assert not options.layer.isEnabled()


def test_the_wheel_changes_nothing_in_passing(options, heard):
    at = QPointF(5, 5)
    event = QWheelEvent(
        at, options.layer.mapToGlobal(at), QPoint(), QPoint(0, -120), Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(options.layer, event)
    assert options.layer.currentIndex() == 0
    assert heard == []


def test_names_stand_above_where_it_is_narrow(options):
    policies = QFormLayout.RowWrapPolicy
    options.resize(500, 500)
    QApplication.processEvents()
    assert options._form.rowWrapPolicy() == policies.DontWrapRows
    options.resize(150, 500)
    QApplication.processEvents()
    assert options._form.rowWrapPolicy() == policies.WrapAllRows
