"""Blind mode is blind: nothing that can be seen tells which mask is recommended."""

import numpy as np
import pytest
from qtpy.QtWidgets import QAbstractButton, QLabel
from tiny_model import make_model

from napari_spa.core.presentation import ADDED_COLOUR, outline, outline_picture
from napari_spa.core.types import LocalMask
from napari_spa.io.event_log import read_records
from napari_spa.refine.engine import previews
from napari_spa.refine.engine.config import EngineConfig
from napari_spa.refine.session.session import RefinementSession
from napari_spa.widgets.objects.rows import AREA
from napari_spa.widgets.refine.dock import RefineDock

MODEL = make_model()
TELLING = ("px", "%", "recommended", "added", "removed", "blue", "yellow", "sure", "certain")


@pytest.fixture
def opened(make_napari_viewer, qtbot):
    viewer = make_napari_viewer()
    viewer.add_image(np.random.default_rng(0).integers(0, 255, (60, 70), np.uint8))
    dock = RefineDock(
        viewer, lambda name: RefinementSession(MODEL, config=EngineConfig(samples=12))
    )
    qtbot.addWidget(dock)
    yield viewer, dock
    dock.release()


def play(qtbot, dock, act):
    with qtbot.waitSignal(dock.controller.proposed, timeout=30_000) as signal:
        act()
    return signal.args


def words_of(widget):
    """All that a user can read or have read out about the round."""
    found = []
    for part in widget.findChildren(QLabel) + widget.findChildren(QAbstractButton):
        if not part.isHidden():
            found += [part.text(), part.toolTip(), part.accessibleName()]
    return " ".join(found).lower()


def test_nothing_that_is_seen_tells_what_is_recommended(opened, qtbot):
    _, dock = opened
    dock.store.save(blind=True)
    proposal, shown = play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    parts, controller = dock.parts, dock.controller
    assert len(proposal.candidates) >= 2
    # Pictures: the image, and the outline of one mask in one colour.
    assert len(shown.pictures) == len(proposal.candidates) + 1
    masks, sampler = (proposal, *proposal.candidates), shown.session.sampler
    boxes = [LocalMask.crop(mask.local_mask, mask.region).region for mask in masks]
    views = [view.inside(sampler.shape) for view in previews.crops(boxes, blind=True)]
    for picture, mask, view in zip(shown.pictures, masks, views, strict=True):
        window = previews._window(sampler, view, previews.IMAGE_SIDE)
        bare = outline_picture(window, np.zeros(window.shape[:2], bool))
        blue = (picture == ADDED_COLOUR).all(axis=-1)
        seen = previews._sample(mask.local_mask, mask.region, view, previews.IMAGE_SIDE)
        drawn = (picture != bare).any(axis=-1) & ~(picture == 255).all(axis=-1)  # but the frame
        np.testing.assert_array_equal(drawn, blue)
        assert not (blue & ~outline(seen, previews.LINE)).any()
    # In the dock: letters, in the logged order.
    told = words_of(parts.grid) + words_of(parts.side_by_side) + parts.figures.text().lower()
    assert not [word for word in TELLING if word in told]
    assert parts.legend.isHidden()
    assert not [word for word in TELLING if word in parts.status.text().lower()]
    qtbot.waitUntil(lambda: bool(parts.objects._model.rows))
    (row,) = parts.objects._model.rows
    assert (row.area, row.quality, row.texts[AREA]) == (0, None, "–")  # noqa: RUF001
    assert "px" not in row.words()
    # In the image: no mask, no difference, and layers that look alike.
    assert not controller.current.mask.layer.data.any()
    layers = [layer for layer in controller.current.candidates.layers if layer is not None]
    assert not any(len(layer.data) for layer in layers)
    assert len({layer.thumbnail.tobytes() for layer in layers}) <= 1
    controller.autosave.flush()
    (record,) = [
        r
        for r in read_records(controller.autosave.log_of(controller.current))
        if r["kind"] == "blind"
    ]
    assert tuple(record["order"]) == shown.order
    assert sorted(record["order"]) == list(range(-1, len(proposal.candidates)))


def test_one_accepts_only_what_one_chose(opened, qtbot):
    _, dock = opened
    dock.store.save(blind=True)
    _, shown = play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    controller, accept = dock.controller, dock.parts.action_buttons["accept"]
    assert not accept.isEnabled()
    controller.accept()  # by its key
    assert controller.choosing
    assert not controller.current.annotation.objects
    play(
        qtbot,
        dock,
        lambda: dock.parts.grid.cards[
            next(n for n, k in enumerate(shown.order) if k >= 0)
        ].button.click(),
    )
    shown = controller.shown()
    assert not accept.isEnabled()
    dock.parts.grid.cards[shown.order.index(-1)].button.click()
    assert accept.isEnabled()
    np.testing.assert_array_equal(controller.current.mask.layer.data == 1, shown.proposal.mask)
    accept.click()
    np.testing.assert_array_equal(controller.current.mask.layer.data == 1, shown.proposal.mask)
    assert list(controller.current.annotation.objects) == [1]


def test_it_holds_from_the_next_object_on(opened, qtbot):
    _, dock = opened
    _, shown = play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    dock.store.save(blind=True)
    assert not shown.blind
    assert dock.parts.action_buttons["accept"].isEnabled()
    _, shown = play(qtbot, dock, lambda: dock.controller.pick(0))
    assert not shown.blind
    dock.controller.accept()
    _, shown = play(qtbot, dock, lambda: dock.prompt_controller.click((10, 50)))
    assert shown.blind
    dock.store.save(blind=False)
    assert not dock.parts.action_buttons["accept"].isEnabled()
    assert not dock.profiles.comparison.possible


def test_the_order_differs_from_image_to_image(opened, qtbot):
    """First rounds of first objects have one seed; their order must not be one."""
    viewer, dock = opened
    dock.store.save(blind=True)
    orders = set()
    for seed in range(4):
        image = np.random.default_rng(seed).integers(0, 255, (60, 70), np.uint8)
        viewer.layers.selection.active = viewer.add_image(image)
        _, shown = play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
        orders.add(shown.order)
        dock.controller.discard()
    assert len(orders) > 1
