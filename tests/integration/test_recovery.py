"""Work survives: a window that is killed, one that is closed, a folder that cannot be written."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from annotating_child import STACK, make_session
from napari.layers import Labels

from napari_spa.io.event_log import work_root
from napari_spa.widgets.profiles.dialogs import ConfirmDialog
from napari_spa.widgets.refine.dock import RefineDock

CHILD = Path(__file__).parents[1] / "helpers" / "annotating_child.py"


@pytest.fixture
def open_dock(make_napari_viewer, qtbot):
    docks = []

    def open_it(data=STACK, name="stack"):
        viewer = make_napari_viewer()
        viewer.add_image(data, name=name)
        dock = RefineDock(viewer, make_session)
        qtbot.addWidget(dock)
        docks.append(dock)
        return viewer, dock

    yield open_it
    for dock in docks:
        dock.release()


def offers(qtbot, dock):
    with qtbot.waitSignal(dock.controller.recovery.offered, timeout=30_000) as signal_:
        pass
    return signal_.args[0]


def play(qtbot, dock, act):
    with qtbot.waitSignal(dock.controller.proposed, timeout=30_000) as shown:
        act()
    return shown.args[0]


def test_a_killed_window_leaves_the_object_in_the_round_it_was_in(open_dock, qtbot, tmp_path):
    labels = tmp_path / "labels.npy"
    command = [sys.executable, str(CHILD), str(labels)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout.readline().strip() == "READY"
        finally:
            os.kill(child.pid, signal.SIGKILL)
    viewer, dock = open_dock()
    (offer,) = offers(qtbot, dock)
    assert (offer.objects, offer.active_round, offer.crashed) == (1, 2, True)
    assert dock.parts.recovery.isVisibleTo(dock)
    assert "1 object and an object in round 2" in dock.parts.recovery.words.text()
    shown = play(qtbot, dock, dock.parts.recovery.restore.click)
    assert shown.round == 2
    np.testing.assert_array_equal(dock.controller.current.mask.layer.data, np.load(labels))
    assert viewer.dims.current_step[0] == 1
    assert dock.objects.undoing.can_undo
    assert dock.objects.undoing.can_redo
    assert dock.controller.session.profile.picks == 1
    again = play(qtbot, dock, dock.controller.redo)
    assert again.round == 3
    play(qtbot, dock, dock.controller.undo)
    dock.controller.accept()
    objects = dock.controller.current.annotation.objects.values()
    assert [active.parts[0].plane.position for active in objects] == [(2,), (1,)]


def test_a_closed_window_s_work_is_offered_too_and_can_be_deleted(open_dock, qtbot):
    _, first = open_dock()
    play(qtbot, first, lambda: first.prompt_controller.click((0, 30, 35)))
    first.controller.accept()
    first.release()
    _, second = open_dock()
    (offer,) = offers(qtbot, second)
    assert (offer.objects, offer.active_round, offer.crashed) == (1, 0, False)
    for answer in ("cancel", "action"):
        assert second.parts.recovery.isVisibleTo(second)
        assert list(work_root().glob("*/"))
        second.parts.recovery.forget.click()
        dialog = second.parts.recovery.findChild(ConfirmDialog)
        assert dialog.words.text() == "Delete this saved work for good: 1 object?"
        with qtbot.waitSignal(dialog.destroyed):
            getattr(dialog, answer).click()
    assert not second.parts.recovery.isVisibleTo(second)
    assert not list(work_root().glob("*/"))


def test_a_click_before_the_offer_does_not_cost_it(open_dock, qtbot):
    _, first = open_dock()
    play(qtbot, first, lambda: first.prompt_controller.click((0, 30, 35)))
    first.controller.accept()
    first.release()
    viewer, second = open_dock(np.zeros((8, 9), np.uint8), "another")
    gate, idle = threading.Event(), second.controller.worker.submit_idle
    offers(qtbot, second)
    idle(lambda handle: gate.wait(30))  # as a model that is loaded ahead
    viewer.add_image(STACK, name="stack")
    qtbot.waitUntil(lambda: second.controller.current.image.name == "stack", timeout=30_000)
    play(qtbot, second, lambda: second.prompt_controller.click((0, 30, 35)))
    gate.set()
    qtbot.waitUntil(lambda: second.parts.recovery.isVisibleTo(second), timeout=30_000)


def test_an_offer_belongs_to_its_image_whichever_is_chosen_meanwhile(
    open_dock, make_napari_viewer, qtbot
):
    _, first = open_dock()
    play(qtbot, first, lambda: first.prompt_controller.click((0, 30, 35)))
    first.controller.accept()
    first.release()
    viewer = make_napari_viewer()
    mine = viewer.add_image(STACK, name="stack")
    other = viewer.add_image(STACK[::-1].copy(), name="other")
    dock = RefineDock(viewer, make_session)
    qtbot.addWidget(dock)
    try:
        assert offers(qtbot, dock) == []  # of the other image, which is selected
        for _ in range(2):
            viewer.layers.selection.active = mine
            qtbot.waitUntil(lambda: dock.parts.recovery.isVisibleTo(dock), timeout=30_000)
            viewer.layers.selection.active = other
            qtbot.waitUntil(lambda: not dock.parts.recovery.isVisibleTo(dock), timeout=30_000)
        viewer.layers.selection.active = mine
        qtbot.waitUntil(lambda: dock.parts.recovery.isVisibleTo(dock), timeout=30_000)
        dock.parts.recovery.restore.click()
        qtbot.waitUntil(lambda: not dock.controller.busy, timeout=30_000)
        assert dock.controller.current.image is mine
        assert list(dock.controller.current.annotation.objects) == [1]
        viewer.layers.selection.active = other
        qtbot.wait(100)
        assert not dock.parts.recovery.isVisibleTo(dock)
        assert not dock.controller.current.annotation.objects
    finally:
        dock.release()


def test_the_offer_stays_and_what_was_done_since_is_added(open_dock, qtbot):
    viewer, first = open_dock()
    play(qtbot, first, lambda: first.prompt_controller.click((0, 30, 35)))
    first.controller.accept()
    viewer.dims.set_current_step(0, 1)
    play(qtbot, first, lambda: first.prompt_controller.click((1, 20, 20)))
    first.release()
    viewer, second = open_dock()
    (offer,) = offers(qtbot, second)
    assert (offer.objects, offer.active_round) == (1, 1)
    viewer.dims.set_current_step(0, 2)
    new = play(qtbot, second, lambda: second.prompt_controller.click((2, 30, 35)))
    bar = second.parts.recovery
    assert bar.isVisibleTo(second)
    bar.restore.click()
    assert "Accept or discard the active object first" in second.parts.status.text()
    assert bar.isVisibleTo(second)
    second.controller.accept()
    second.controller.current.describe(1, name="new")
    play(qtbot, second, bar.restore.click)
    assert not bar.isVisibleTo(second)
    annotated = second.controller.current
    assert list(annotated.annotation.objects) == [1, 3]
    assert annotated.active.number == 2
    assert annotated.annotation.objects[3].name == "new"
    labels = annotated.mask.layer.data.copy()
    np.testing.assert_array_equal(labels[2], np.where(new.mask, 3, 0))
    assert len(list(work_root().glob("*/"))) == 1  # all of it is in one log
    second.release()
    _, third = open_dock()
    (offer,) = offers(qtbot, third)
    assert (offer.objects, offer.active_round) == (2, 1)
    play(qtbot, third, third.parts.recovery.restore.click)
    np.testing.assert_array_equal(third.controller.current.mask.layer.data, labels)
    assert third.controller.current.annotation.objects[3].name == "new"


def test_several_earlier_works_are_counted_and_offered_in_turn(open_dock, qtbot):
    for place in ((0, 30, 35), (1, 30, 35)):
        viewer, dock = open_dock()
        viewer.dims.set_current_step(0, place[0])
        play(qtbot, dock, lambda dock=dock, place=place: dock.prompt_controller.click(place))
        dock.controller.accept()
        dock.release()
    _, dock = open_dock()
    assert len(offers(qtbot, dock)) == 2
    bar = dock.parts.recovery
    assert "2 earlier works on this image" in bar.words.text()
    for count in (1, 2):
        assert bar.isVisibleTo(dock)
        bar.restore.click()
        qtbot.waitUntil(lambda: not dock.controller.busy, timeout=30_000)
        assert len(dock.controller.current.annotation.objects) == count
    assert not bar.isVisibleTo(dock)
    dock.release()
    _, dock = open_dock()
    (offer,) = offers(qtbot, dock)
    assert offer.objects == 2
    dock.parts.recovery.later.click()
    assert not dock.parts.recovery.isVisibleTo(dock)


def test_work_on_another_image_is_not_offered(open_dock, qtbot):
    _, first = open_dock()
    play(qtbot, first, lambda: first.prompt_controller.click((0, 30, 35)))
    first.controller.accept()
    first.release()
    _, second = open_dock(data=STACK[::-1].copy())  # same name, size and type
    assert offers(qtbot, second) == []


def test_two_windows_do_not_take_each_others_work(open_dock, qtbot):
    _, first = open_dock()
    play(qtbot, first, lambda: first.prompt_controller.click((0, 30, 35)))
    first.controller.accept()
    _, second = open_dock()
    assert offers(qtbot, second) == []


def test_a_folder_that_cannot_be_written_is_said_once_and_work_goes_on(
    open_dock, qtbot, user_folders
):
    blocked = work_root()
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.write_text("a file where the folder should be")
    _, dock = open_dock()
    said = []
    dock.controller.failed.connect(said.append)
    play(qtbot, dock, lambda: dock.prompt_controller.click((0, 30, 35)))
    dock.controller.accept()
    play(qtbot, dock, lambda: dock.prompt_controller.click((0, 20, 20)))
    assert len(said) == 1
    assert "cannot be saved as you go" in said[0]
    assert len(dock.controller.current.annotation.objects) == 1


@pytest.mark.parametrize("painted", [False, True])
def test_a_dock_that_is_opened_again_goes_on_with_its_layer(open_dock, qtbot, painted):
    viewer, dock = open_dock()
    play(qtbot, dock, lambda: dock.prompt_controller.click((2, 20, 24)))
    dock.controller.accept()
    dock.prompt_controller.click((2, 5, 6))  # under way
    dock.release()
    layer = viewer.layers["stack: objects"]
    before = layer.data.copy()
    assert before.any()
    if painted:
        layer.data[0, 3:5, 3:5] = 9
        layer.refresh()
    again = RefineDock(viewer, make_session)
    qtbot.addWidget(again)
    try:
        qtbot.waitUntil(lambda: again.objects.undoing.can_undo, timeout=30_000)
        qtbot.waitUntil(lambda: not again.controller.busy, timeout=30_000)
        assert [each for each in viewer.layers if isinstance(each, Labels)] == [layer]
        assert again.controller.current.mask.owns(layer)
        again.controller.images.painting.flush()
        assert list(again.controller.current.annotation.objects) == ([1, 9] if painted else [1])
        np.testing.assert_array_equal(layer.data[2], before[2])
        assert not again.parts.recovery.isVisibleTo(again)
        if not painted:
            again.controller.undo()
            qtbot.waitUntil(lambda: again.controller.choosing, timeout=30_000)
    finally:
        again.release()
