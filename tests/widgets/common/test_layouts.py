"""Columns that fit, text that fits, a heading that folds."""

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication, QWidget

from napari_spa.widgets.common.buttons import (
    FittingButton,
    show_key,
    to_pixmap,
    with_key,
)
from napari_spa.widgets.common.layouts import EvenGrid


@pytest.fixture
def host(qtbot):
    host = QWidget()
    qtbot.addWidget(host)
    return host


def lay_out(host, width):
    host.resize(width, 300)
    host.show()
    QApplication.processEvents()


def test_as_many_equal_columns_as_fit(host):
    grid = EvenGrid((3, 2, 1), host, spacing=4)
    cells = [QWidget() for _ in range(5)]
    for cell in cells:
        cell.setMinimumSize(100, 20)
        grid.addWidget(cell)
    for width, columns in ((400, 3), (300, 2), (150, 1)):
        lay_out(host, width)
        assert len({cell.x() for cell in cells[:columns]}) == columns
        assert len({cell.width() for cell in cells}) == 1
        rows = -(-5 // columns)
        assert len({cell.y() for cell in cells}) == rows
        assert grid.heightForWidth(width) >= rows * 20 + (rows - 1) * 4
    lay_out(host, 400)
    left, right = cells[3].x(), 400 - cells[4].geometry().right() - 1
    assert abs(left - right) <= 2  # the last row is in the middle


def test_hidden_cells_take_no_room(host):
    grid = EvenGrid((1,), host)
    cells = [QWidget() for _ in range(2)]
    for cell in cells:
        cell.setMinimumSize(50, 20)
        grid.addWidget(cell)
    before = grid.heightForWidth(100)
    cells[0].hide()
    assert grid.heightForWidth(100) < before
    cells[1].hide()
    assert grid.heightForWidth(100) == 0
    assert grid.takeAt(0) is not None
    assert (grid.count(), grid.itemAt(5), grid.takeAt(5)) == (1, None, None)


def test_the_longest_text_that_fits_is_shown(host):
    button = FittingButton("a rather long text", "short & sweet", "s", parent=host)
    metrics = button.fontMetrics()
    seen = set()
    for width in range(10, 300):
        button.resize(width, 20)
        text = button.shown_text()
        assert text in ("…", "") or metrics.horizontalAdvance(text) <= width
        seen.add(text)
    assert {"a rather long text", "short & sweet", "s"} <= seen


@pytest.mark.parametrize(
    ("key", "shown"), [("Alt-1", "Alt+1"), ("Shift+N", "Shift+N"), ("-", "-"), ("Alt--", "Alt+-")]
)
def test_keys_are_shown_one_way(key, shown):
    assert show_key(key) == shown
    assert with_key("Do", key) == f"Do  [{shown}]"
    assert with_key("Do", "") == "Do"


def test_pictures_keep_their_pixels(qapp):
    picture = np.random.default_rng(0).integers(0, 255, (5, 7, 3), np.uint8)
    for view in (picture, picture[::-1, 1:4], np.asfortranarray(picture)):
        image = to_pixmap(view).toImage()
        seen = [
            [image.pixelColor(x, y).getRgb()[:3] for x in range(view.shape[1])]
            for y in range(view.shape[0])
        ]
        np.testing.assert_array_equal(seen, view)
