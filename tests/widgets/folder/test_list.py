"""Which images are listed, in which order and words; the list: clicks, keys, what it draws."""

from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt

from napari_spa.io.projects.project import ProjectItem
from napari_spa.widgets.folder.list import (
    Choice,
    FolderList,
    FolderModel,
    all_words,
    second_line,
    state_of,
    summary,
    third_line,
)


def item(name, status="to do", **more):
    return ProjectItem(name, Path(name), status, **more)


ITEMS = [
    item("a1.tif", "done", objects=3, uncertainty=0.1),
    item("a2.tif", "review", uncertainty=0.6, objects=1),
    item("a10.tif", flagged=True, note="blurred at the Rim"),
    item("b.png", problem="b.png cannot be read as an image: it is empty."),
    item("c.png", "in progress", uncertainty=0.3, objects=2),
]
BY_NAME = {one.name: one for one in ITEMS}


@pytest.fixture
def shown(qtbot):
    asked = []

    def thumbnail(item):
        asked.append(item.name)
        return np.full((60, 96, 3), 130, np.uint8) if item.name == "a1.tif" else None

    model = FolderModel()
    view = FolderList(model, thumbnail)
    qtbot.addWidget(view)
    view.resize(320, 400)
    view.asked = asked
    view.images = model
    return view


def test_a_click_and_enter_choose(shown, qtbot):
    shown.images.show(BY_NAME)
    shown.show()
    chosen = []
    shown.chosen.connect(chosen.append)
    place = shown.visualRect(shown.images.index(1)).center()
    qtbot.mouseClick(shown.viewport(), Qt.MouseButton.LeftButton, pos=place)
    qtbot.keyClick(shown, Qt.Key.Key_Down)
    assert chosen == ["a2.tif"]
    qtbot.keyClick(shown, Qt.Key.Key_Return)
    assert chosen == ["a2.tif", "a10.tif"]


def test_other_keys_go_on(shown, qtbot):
    from qtpy.QtCore import QEvent
    from qtpy.QtGui import QKeyEvent

    for key in (Qt.Key.Key_PageDown, Qt.Key.Key_G):
        event = QKeyEvent(QEvent.Type.KeyPress, key, Qt.KeyboardModifier.NoModifier)
        shown.keyPressEvent(event)
        assert not event.isAccepted()


def test_choosing_tells_nobody(shown):
    shown.images.show(BY_NAME)
    chosen = []
    shown.chosen.connect(chosen.append)
    shown.choose("c.png")
    assert shown.chosen_name() == "c.png"
    shown.choose("no such image")
    assert shown.chosen_name() is None
    assert chosen == []


def test_only_thumbnails_in_sight_are_asked_for(shown, qtbot):
    items = {f"{n}.tif": item(f"{n}.tif") for n in range(1000)}
    shown.images.show(items, Choice())
    shown.show()
    qtbot.waitUntil(lambda: bool(shown.asked), timeout=5000)
    shown.grab()
    assert len(set(shown.asked)) < 40
    shown.choose("900.tif")
    shown.grab()
    assert "900.tif" in shown.asked


def test_states_differ_in_shape_and_not_in_colour_alone(shown, qtbot):
    """In grey, no two signs are the same picture."""
    from qtpy.QtCore import QRectF
    from qtpy.QtGui import QImage, QPainter

    from napari_spa.widgets.folder.list import STATUS_WORDS, draw_status

    pictures = {}
    for status in STATUS_WORDS:
        image = QImage(24, 24, QImage.Format.Format_Grayscale8)
        image.fill(90)
        painter = QPainter(image)
        draw_status(painter, status, QRectF(0, 0, 24, 24))
        painter.end()
        drawn = np.array([[image.pixelColor(x, y).value() for x in range(24)] for y in range(24)])
        # Ground, sign or the mark on it: shapes alone.
        pictures[status] = (np.abs(drawn - 90.0) > 12).astype(int) + (drawn > 220)
    names = list(pictures)
    for place, one in enumerate(names):
        assert pictures[one].any()
        for other in names[place + 1 :]:
            differ = (pictures[one] != pictures[other]).sum()
            assert differ > 10, (one, other, differ)


def test_the_open_image_is_marked(shown, qtbot):
    shown.images.show(BY_NAME)
    shown.show()
    before = shown.grab().toImage()
    shown.set_open("a2.tif")
    after = shown.grab().toImage()
    rect = shown.visualRect(shown.images.index(1))
    inside = rect.topLeft() + QPoint(4, rect.height() // 2)
    assert before.pixelColor(inside) != after.pixelColor(inside)


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        (Choice(), ["a1.tif", "a2.tif", "a10.tif", "b.png", "c.png"]),
        (Choice(order="doubt"), ["a2.tif", "c.png", "a1.tif", "a10.tif", "b.png"]),
        (Choice("to do"), ["a10.tif"]),
        (Choice("review"), ["a2.tif"]),
        (Choice("flagged"), ["a10.tif"]),
        (Choice("problem"), ["b.png"]),
        (Choice(text=" PNG "), ["b.png", "c.png"]),
        (Choice(text="rim"), ["a10.tif"]),
        (Choice("done", "png"), []),
    ],
)
def test_what_is_listed(choice, names):
    assert choice.arrange(ITEMS) == names


def test_words():
    assert second_line(ITEMS[0]) == "Done · 3 objects · Dice 0.90"
    assert second_line(ITEMS[3]) == "Problem"
    assert state_of(ITEMS[3]) == "problem"
    assert "blurred at the Rim" in all_words(ITEMS[2])
    assert "Flagged" in all_words(ITEMS[2])
    whole = ProjectItem("d.png", Path("/my images/d.png"), problem="/my images/d.png is empty.")
    assert third_line(whole) == "d.png is empty."
    assert third_line(ITEMS[3]) == "It is empty."
    assert "/my images" not in all_words(whole)
    assert (
        summary(ITEMS)
        == "5 images: 1 done, 1 in progress, 1 to review, 1 with a problem, 1 pending"
    )
    assert summary(ITEMS[:1]) == "1 image: 1 done"
    assert summary([]) == "0 images"


def test_an_image_that_no_longer_fits_stays_where_it_is(qapp):
    model, items = FolderModel(), dict(BY_NAME)
    model.show(items, Choice("to do"))
    seen = []
    model.dataChanged.connect(lambda first, last: seen.append(first.row()))
    items["a10.tif"] = item("a10.tif", "done")
    model.changed("a10.tif")
    assert seen == [0]
    assert list(model.names) == ["a10.tif"]
    model.show(items)
    assert list(model.names) == []


def test_ten_thousand_images_are_listed_quickly(qapp, benchmark_seconds):
    items = {f"{n}.tif": item(f"{n}.tif", uncertainty=(n * 37 % 101) / 101) for n in range(10_000)}
    model = FolderModel()
    assert benchmark_seconds(lambda: model.show(items, Choice(order="doubt", text="7"))) < 1.0
    assert model.rowCount() > 3000


@pytest.fixture
def benchmark_seconds():
    """Processor seconds, which other processes do not take away from."""
    import time

    def measure(act):
        begun = time.process_time()
        act()
        return time.process_time() - begun

    return measure
