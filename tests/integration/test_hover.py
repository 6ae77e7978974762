"""The outline under a resting pointer: of what a click would start, and only then."""

from threading import Event
from time import sleep
from types import SimpleNamespace

import numpy as np
import pytest
from skimage import data

from napari_spa.errors import Cancelled
from napari_spa.io.models.load import load_model
from napari_spa.model.spa import Spa
from napari_spa.refine.engine.config import EngineConfig
from napari_spa.refine.engine.embedder import Embedder
from napari_spa.refine.session.session import RefinementSession
from napari_spa.refine.session.state import Phase
from napari_spa.widgets.refine.dock import RefineDock

FIRST, NEXT = (122.0, 97.0), (128.0, 171.0)  # two coins side by side


@pytest.fixture
def dock(make_napari_viewer, qtbot):
    model, viewer = load_model(), make_napari_viewer()
    viewer.add_image(data.coins(), name="coins")
    dock = RefineDock(
        viewer, lambda name: RefinementSession(model, config=EngineConfig(samples=12))
    )
    qtbot.addWidget(dock)
    yield dock
    dock.release()


def click(qtbot, dock, position):
    with qtbot.waitSignal(dock.controller.proposed, timeout=60_000):
        dock.prompt_controller.click(position)
    qtbot.waitUntil(lambda: not dock.controller.busy, timeout=30_000)


def rest(dock, position, *, is_dragging=False):
    event = SimpleNamespace(position=position, is_dragging=is_dragging)
    for callback in list(dock.controller.viewer.mouse_move_callbacks):
        callback(dock.controller.viewer, event)


def outlines(dock):
    layer = dock.controller.current.prompts._shapes
    return [] if layer is None or not layer.visible else list(layer.data)


def test_a_resting_pointer_shows_what_a_click_would_start(dock, qtbot):
    click(qtbot, dock, FIRST)
    rest(dock, NEXT)
    qtbot.waitUntil(lambda: bool(outlines(dock)), timeout=10_000)
    line = max(outlines(dock), key=len)
    low, high = line.min(axis=0), line.max(axis=0)
    assert (low < NEXT).all()
    assert (high > NEXT).all()
    assert (high - low).max() < 100
    assert dock.controller.choosing  # nothing was done
    assert not dock.controller.busy
    rest(dock, (NEXT[0] + 1, NEXT[1]))  # it moved on: gone at once
    assert not outlines(dock)
    click(qtbot, dock, NEXT)
    assert not outlines(dock)


def test_a_pointer_that_leaves_the_image_takes_the_outline_along(dock, qtbot):
    click(qtbot, dock, FIRST)
    dock.controller.viewer.mouse_over_canvas = True
    rest(dock, NEXT)
    qtbot.waitUntil(lambda: bool(outlines(dock)), timeout=10_000)
    dock.controller.viewer.mouse_over_canvas = False
    assert not outlines(dock)


@pytest.fixture
def encoded(monkeypatch):
    """Return the views that are encoded, as they are."""
    views, fresh = [], Embedder._fresh

    def watched(self, sampler, some):
        views.extend(some)
        return fresh(self, sampler, some)

    monkeypatch.setattr(Embedder, "_fresh", watched)
    return views


def test_it_is_drawn_before_anything_is_encoded_for_the_click(dock, qtbot, encoded):
    click(qtbot, dock, FIRST)
    encoded.clear()
    known = []
    dock.controller.current.prompts.show_outline = lambda *_: known.append(len(encoded))
    rest(dock, NEXT)
    qtbot.waitUntil(lambda: bool(encoded), timeout=10_000)
    assert known[-1] == 0


def test_before_the_first_click_on_an_image_it_is_drawn_once_that_was_computed(
    dock, qtbot, decoded
):
    controller = dock.controller
    click(qtbot, dock, FIRST)
    other = controller.viewer.add_image(np.fliplr(data.coins()), name="mirrored")
    controller.viewer.layers.selection.active = other
    place = (FIRST[0], data.coins().shape[1] - 1 - FIRST[1])
    rest(dock, place)
    qtbot.wait(400)
    assert controller.session.phase is Phase.CHOOSING  # an object would be lost
    controller.accept()
    controller.images.annotate(other)
    rest(dock, place)
    qtbot.waitUntil(lambda: bool(outlines(dock)), timeout=30_000)
    decoded.clear()
    click(qtbot, dock, place)
    assert not decoded
    assert 1000 < controller.active.area < 3000
    assert not outlines(dock)


@pytest.fixture
def decoded(monkeypatch) -> list[int]:
    """How often the decoder ran."""
    decoded = []
    decode = Spa.decode

    def counted(spa, *args, **options):
        decoded.append(1)
        return decode(spa, *args, **options)

    monkeypatch.setattr(Spa, "decode", counted)
    return decoded


@pytest.mark.parametrize("accepted", [True, False])
def test_a_click_where_the_pointer_rested_computes_nothing(encoded, decoded, accepted):
    def begun():
        session = RefinementSession(load_model(), config=EngineConfig(samples=12))
        session.set_image(data.coins())
        session.start([FIRST])
        session.pick(0)
        if accepted:
            session.accept()
        return session

    def go_on(session):
        if not accepted:
            session.accept()
        return session.start([NEXT])

    here, there = begun(), begun()
    plain = go_on(here)
    there.look_ahead(NEXT)
    encoded.clear(), decoded.clear()
    ahead = go_on(there)
    assert not encoded
    assert not decoded
    np.testing.assert_array_equal(ahead.probability, plain.probability)
    np.testing.assert_array_equal(there.pick(0).probability, here.pick(0).probability)


def test_the_next_object_is_there_at_once_where_the_pointer_rested(dock, qtbot, decoded):
    click(qtbot, dock, FIRST)
    rest(dock, NEXT)
    session = dock.controller.session
    qtbot.waitUntil(lambda: session._ahead is not None, timeout=30_000)
    qtbot.waitUntil(lambda: not dock.controller.worker._ahead, timeout=10_000)
    (line,) = [each.copy() for each in outlines(dock)]
    decoded.clear()
    click(qtbot, dock, NEXT)  # accepts the first one
    rows, columns = np.nonzero(dock.controller.shown().proposal.mask)
    np.testing.assert_allclose(line.min(axis=0), (rows.min() - 0.5, columns.min() - 0.5))
    np.testing.assert_allclose(line.max(axis=0), (rows.max() + 0.5, columns.max() + 0.5))
    assert len(dock.controller.current.annotation.objects) == 1
    assert not decoded


def test_the_next_object_of_an_image_that_is_set_again_encodes_nothing_twice(encoded):
    session = RefinementSession(load_model(), config=EngineConfig(samples=12))
    image = data.coins().copy()
    session.set_image(image)
    first = session.start([FIRST]).probability
    seen = len(encoded)
    session.set_image(image)
    np.testing.assert_array_equal(session.start([FIRST]).probability, first)
    assert len(encoded) == seen
    image[100:140, 80:120] = 0  # written to in place
    session.set_image(image)
    assert not np.array_equal(session.start([FIRST]).probability, first)
    assert len(encoded) > seen


def test_what_was_computed_ahead_is_not_shown_elsewhere():
    """One session looks ahead at one place and starts at others; its masks are as without."""

    def masks(*, ahead):
        session = RefinementSession(load_model(), config=EngineConfig(samples=12))
        session.set_image(data.coins())
        session.start([FIRST])
        session.accept()
        found = []
        for place in (FIRST, NEXT):
            if ahead:
                session.look_ahead(NEXT)
            found.append(session.start([place]).probability)
        if ahead:
            session.look_ahead(NEXT)
        session.profile = None  # what was expected is not any more
        return [*found, session.start([NEXT]).probability]

    for one, other in zip(masks(ahead=True), masks(ahead=False), strict=True):
        np.testing.assert_array_equal(one, other)


def test_looking_ahead_ends_where_it_is_stopped(encoded):
    session = RefinementSession(load_model())
    session.set_image(data.coins())

    def stop(*_):
        raise Cancelled

    with pytest.raises(Cancelled):
        session.look_ahead(NEXT, progress=stop)
    assert not encoded


def test_looking_ahead_ends_when_the_pointer_moves_or_something_is_asked(dock, qtbot, monkeypatch):
    click(qtbot, dock, FIRST)
    begun, stopped = Event(), Event()

    def look_ahead(_, point, *, number, progress):
        begun.set()
        for _ in range(2000):
            try:
                progress(0.0, "")
            except Cancelled:
                stopped.set()
                raise
            sleep(0.005)

    monkeypatch.setattr(RefinementSession, "look_ahead", look_ahead)
    for end in (
        lambda: rest(dock, (NEXT[0], NEXT[1] + 1), is_dragging=True),
        lambda: click(qtbot, dock, FIRST),
        dock.controller.discard,
        dock.release,
    ):
        rest(dock, NEXT)
        qtbot.waitUntil(begun.is_set, timeout=10_000)
        assert not stopped.is_set()
        end()
        qtbot.waitUntil(stopped.is_set, timeout=5_000)
        begun.clear()
        stopped.clear()


def test_there_is_none_where_a_click_would_start_nothing(dock, qtbot):
    click(qtbot, dock, FIRST)

    def shown(position=NEXT, **how):
        rest(dock, position, **how)
        qtbot.wait(300)
        return bool(outlines(dock))

    def comes():
        rest(dock, NEXT)
        qtbot.waitUntil(lambda: bool(outlines(dock)), timeout=10_000)

    comes()
    assert not shown(FIRST)  # a correction
    assert not shown(is_dragging=True)
    dock._actions()["brush"]()
    assert not shown()
    dock._actions()["brush"]()
    dock.store.save(blind=True)  # it would tell what is recommended
    assert not shown()
    dock.store.save(blind=False)
    dock._actions()["hover"]()
    assert not shown()
    assert not dock.store.load().hover
    dock._actions()["hover"]()
    comes()
    dock.controller.accept()
    assert not outlines(dock)
    assert not shown(FIRST)  # a click selects it
    comes()


def test_it_brings_no_layer_back_as_it_goes(dock, qtbot):
    viewer = dock.controller.viewer
    click(qtbot, dock, FIRST)
    dock.controller.accept()
    rest(dock, NEXT)
    qtbot.waitUntil(lambda: bool(outlines(dock)), timeout=20_000)
    viewer.layers.remove("coins")
    qtbot.waitUntil(lambda: len(viewer.layers) == 1)  # the objects stay
    rest(dock, FIRST)
    assert len(viewer.layers) == 1


def test_it_is_not_drawn_on_an_image_that_was_removed_meanwhile(dock, qtbot, monkeypatch):
    controller, viewer, begun, going = dock.controller, dock.controller.viewer, Event(), Event()
    click(qtbot, dock, FIRST)
    controller.accept()
    other = viewer.add_image(data.coins(), name="other")
    controller.images.annotate(other)
    outline_at = RefinementSession.outline_at

    def slow(session, point):
        begun.set()
        going.wait(20)
        return outline_at(session, point)

    monkeypatch.setattr(RefinementSession, "outline_at", slow)
    rest(dock, NEXT)
    qtbot.waitUntil(begun.is_set, timeout=10_000)
    viewer.layers.remove(other)
    qtbot.wait(100)
    going.set()
    qtbot.waitUntil(lambda: not controller.worker._ahead, timeout=20_000)
    qtbot.wait(100)
    left = [layer.name for layer in viewer.layers if layer.name.startswith("other")]
    assert left == ["other: objects"]


def test_it_is_as_rough_as_one_look_and_leaves_the_session_alone():
    session = RefinementSession(load_model(), config=EngineConfig(samples=12))
    session.set_image(data.coins())
    assert session.outline_at(NEXT) == ()
    before = session.start([FIRST])
    lines = session.outline_at(NEXT)
    assert all(line.shape[1] == 2 and np.isfinite(line).all() for line in lines)
    assert session.proposal is before
    assert session.timeline.state.number == 1
