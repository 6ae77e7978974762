"""Which images are listed, in which order, and what is said of them."""

from pathlib import Path

import pytest

from napari_spa.io.projects.project import ProjectItem
from napari_spa.widgets.folder.list import (
    Choice,
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
