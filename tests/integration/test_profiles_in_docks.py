"""Profiles in the real docks: chosen, taught once, compared on the image, remembered."""

from dataclasses import replace
from functools import partial

import imageio.v3 as iio
import numpy as np
import pytest
from polygon_filling import fill_polygons
from qtpy.QtWidgets import QApplication, QDialog
from tiny_model import make_model

from napari_spa.io.profiles import PreferenceProfile, ProfileStore
from napari_spa.refine.engine.config import EngineConfig, FramingConfig
from napari_spa.refine.preference import FIRST_COLOUR, SECOND_COLOUR, disagree
from napari_spa.refine.session.session import RefinementSession
from napari_spa.viewer.profiles.active import recent_profiles
from napari_spa.widgets.folder.dock import FolderDock
from napari_spa.widgets.refine.dock import RefineDock

MODEL = make_model()
# Without other objects on offer: a pick of one teaches nothing.
CONFIG = EngineConfig(samples=12, framing=FramingConfig(hypotheses=0))


def make_session(name=""):
    return RefinementSession(MODEL, config=CONFIG)


def image(seed=0, shape=(60, 70)):
    return np.random.default_rng(seed).integers(0, 255, shape, np.uint8)


def taught(name, seed, picks=3):
    """Make a profile of a user who always picks the same candidate."""
    session = make_session()
    for number in range(picks):
        session.set_image(image(100 * seed + number))
        session.start([(30, 35)])
        for _ in range(3):
            session.pick(0 if seed else len(session.proposal.candidates) - 1)
        session.accept()
    profile = session.profile
    return PreferenceProfile(
        profile.model, profile.mixture, profile.picks, profile.images, "", name
    )


@pytest.fixture
def people():
    """Two profiles on the shelf that draw differently."""
    profile_store = ProfileStore()
    return profile_store.add(taught("Ana", 0)), profile_store.add(taught("Ben", 1))


@pytest.fixture
def open_dock(make_napari_viewer):
    docks = []

    def open_it(viewer=None):
        viewer = viewer or make_napari_viewer()
        dock = RefineDock(viewer, make_session)
        viewer.window.add_dock_widget(dock, name="SPA Refine")
        docks.append(dock)
        return viewer, dock

    yield open_it
    for dock in docks:
        dock.release()


def until(qtbot, condition):
    qtbot.waitUntil(condition, timeout=30_000)


def play(qtbot, dock, act):
    with qtbot.waitSignal(dock.controller.proposed, timeout=30_000) as signal:
        act()
    until(qtbot, lambda: not dock.controller.busy)
    return signal.args[0]


def settle(qtbot, dock):
    """Wait until all profiles are read and written."""
    done = []
    dock.controller.profiles.files.ask(lambda: None, done.append)
    until(qtbot, lambda: bool(done))


def choose(qtbot, dock, place):
    dock.parts.profile.combo.activated.emit(place)
    settle(qtbot, dock)


def expected(profile, point=(30, 35)):
    session = make_session()
    session.profile = profile
    session.set_image(image())
    return session.start([point])


def test_another_profile_proposes_an_untouched_object_anew(open_dock, people, qtbot):
    viewer, dock = open_dock()
    viewer.add_image(image())
    settle(qtbot, dock)
    bar, (ana, ben) = dock.parts.profile, people
    assert [bar.combo.itemText(k) for k in range(3)] == ["No profile", "Ana", "Ben"]
    first = play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    again = play(qtbot, dock, lambda: choose(qtbot, dock, 1))
    assert again.round == 1
    profile = PreferenceProfile.load(ana)
    # The last bits may differ with where the tensors lie in memory.
    np.testing.assert_allclose(again.probability, expected(profile).probability, atol=1e-6)
    assert not np.allclose(again.probability, first.probability, atol=1e-3)
    assert bar.words.text() == "9 picks, 3 images"
    assert dock.store.load().profile == str(ana)
    assert recent_profiles().get("spa-tiny", "") == str(ana)

    picked = play(qtbot, dock, lambda: dock.controller.pick(0))
    choose(qtbot, dock, 2)
    assert "next object" in dock.parts.status.text()
    assert not dock.controller.busy
    assert dock.controller.shown().proposal.round == picked.round == 2
    dock.controller.accept()
    settle(qtbot, dock)
    assert PreferenceProfile.load(ben).picks == 10  # the one in use when it was accepted
    assert PreferenceProfile.load(ana).picks == 9


def test_an_accepted_object_teaches_once_however_often_it_is_reopened(open_dock, people, qtbot):
    viewer, dock = open_dock()
    viewer.add_image(image())
    ana = people[0]
    dock.store.save(profile=str(ana))
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    play(qtbot, dock, lambda: dock.controller.pick(0))
    dock.controller.accept()
    settle(qtbot, dock)
    once = PreferenceProfile.load(ana)
    assert (once.picks, once.images) == (10, 4)
    assert dock.parts.profile.words.text() == "10 picks, 4 images"
    play(qtbot, dock, lambda: dock.objects.reopen(1))
    choose(qtbot, dock, 2)
    assert "next object" in dock.parts.status.text()  # accepted before: it stays as it is
    choose(qtbot, dock, 1)
    dock.controller.accept()
    settle(qtbot, dock)
    again = PreferenceProfile.load(ana)
    assert (again.picks, again.images, again.objects) == (once.picks, once.images, once.objects)
    np.testing.assert_array_equal(again.mixture.means, once.mixture.means)


def test_the_menu_makes_renames_copies_merges_resets_and_deletes(open_dock, qtbot):
    viewer, dock = open_dock()
    viewer.add_image(image())
    refine_dock, profile_store = dock.profiles, ProfileStore()

    def ask(act, *values):
        refine_dock.ask(act)
        dialog = refine_dock.dialog
        assert isinstance(dialog, QDialog)
        for field, value in zip(("name", "task"), values, strict=False):
            getattr(dialog, field).setText(value)
            getattr(dialog, field).textEdited.emit(value)
        assert dialog.action.isEnabled()
        return dialog

    def names():
        settle(qtbot, dock)
        settle(qtbot, dock)
        return [entry.name for entry in profile_store.list()]

    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    play(qtbot, dock, lambda: dock.controller.pick(0))
    dock.controller.accept()
    assert dock.parts.profile.words.text() == "Unsaved: 1 pick, 1 image"
    ask("keep", "Ana").action.click()
    assert names() == ["Ana"]
    assert dock.parts.profile.combo.currentText() == "Ana"
    assert dock.parts.profile.words.text() == "1 pick, 1 image"
    ask("rename", "Anna", "optic cup").action.click()
    assert names() == ["Anna"]
    assert dock.parts.profile.combo.currentText() == "Anna, optic cup"
    ask("copy").action.click()
    assert names() == ["Anna", "Anna (copy)"]
    assert dock.controller.profiles.entry.name == "Anna"
    refine_dock.ask("merge")
    refine_dock.dialog.boxes[0].click()
    refine_dock.dialog.action.click()
    assert names() == ["Anna", "Anna (copy)", "Anna and Anna (copy)"]
    assert dock.controller.profiles.profile.picks == 2
    reset = ask("reset")
    assert "2 picks on 1 image" in reset.words.text()
    reset.cancel.click()
    settle(qtbot, dock)
    assert dock.controller.profiles.profile.picks == 2
    ask("reset").action.click()
    settle(qtbot, dock)
    assert dock.controller.profiles.profile.picks == 0
    assert dock.controller.session.profile.picks == 0
    ask("delete").action.click()
    assert names() == ["Anna", "Anna (copy)"]
    assert dock.parts.profile.combo.currentText() == "No profile"
    assert dock.store.load().profile == ""


def test_where_two_would_disagree_is_drawn_and_goes(open_dock, people, qtbot):
    viewer, dock = open_dock()
    layer = viewer.add_image(
        np.stack([image(9), image()]), scale=(3, 0.5, 2), translate=(1, 4, 9), rotate=30
    )
    viewer.dims.set_current_step(0, 1)
    dock.store.save(profile=str(people[0]))
    assert not dock.profiles.comparison.possible
    world = tuple(layer.data_to_world((1, 30, 35)))
    play(qtbot, dock, lambda: dock.prompt_controller.click(world))
    before = dock.controller.session.timeline
    found = disagree(
        RefinementSession(MODEL, config=CONFIG),
        image(),
        dock.controller.session.prompts,
        *(PreferenceProfile.load(path) for path in people),
    )
    assert found.only_first.any() or found.only_second.any()

    def compare():
        compare_menu = next(a.menu() for a in dock.profiles.menu().actions() if a.menu())
        next(a for a in compare_menu.actions() if a.text() == "Ben").trigger()
        until(qtbot, lambda: not dock.controller.busy)

    def drawn(colour):
        faces = view.face_color
        there = np.isclose(faces[:, :3], np.array(colour) / 255, atol=1e-3).all(axis=1)
        there &= faces[:, 3] > 0
        shapes = [data for data, its in zip(view.data, there, strict=True) if its]
        assert all((data[:, 0] == 1).all() for data in shapes)  # on the slice on show
        return fill_polygons([data[:, 1:] for data in shapes], (60, 70))

    compare()
    view = next(x for x in viewer.layers if x.name.endswith(": view"))
    assert dock.controller.session.timeline is before  # nothing happened to the object
    np.testing.assert_array_equal(drawn(FIRST_COLOUR), found.only_first)
    np.testing.assert_array_equal(drawn(SECOND_COLOUR), found.only_second)
    layer.rotate, layer.scale = 20, (1, 0.5, 0.5)  # the layer goes where the image goes
    np.testing.assert_allclose(view.scale, layer.scale)
    np.testing.assert_array_equal(drawn(FIRST_COLOUR), found.only_first)
    bar = dock.parts.profile
    assert f"Dice\u00a0{found.dice:.2f}" in bar.comparison_words.text()
    assert bar.comparison.isVisibleTo(dock)
    view.name = "renamed"
    bar.hide_comparison.click()
    assert not view.visible
    assert not len(view.data)
    assert not bar.comparison.isVisibleTo(dock)
    compare()  # it goes on under its new name
    assert view.visible
    assert drawn(FIRST_COLOUR).sum() == found.only_first.sum()
    mask = dock.controller.current.mask.layer
    candidates = dock.controller.current.candidates
    assert not mask.visible  # its colour would mix with these
    assert any(candidates.visible)
    assert not any(layer.visible for layer in candidates.layers if layer is not None)
    play(qtbot, dock, lambda: dock.controller.pick(0))
    assert not drawn(FIRST_COLOUR).any()  # it was about the round before
    assert not drawn(SECOND_COLOUR).any()
    assert mask.visible
    assert any(layer.visible for layer in candidates.layers if layer is not None)
    compare()
    viewer.layers.remove(layer)
    qtbot.waitUntil(lambda: view not in viewer.layers)  # once napari is done with its removal
    assert not bar.comparison.isVisibleTo(dock)


def test_the_last_profile_is_there_again_for_each_model(open_dock, people, qtbot):
    viewer, dock = open_dock()
    settle(qtbot, dock)
    choose(qtbot, dock, 1)
    dock.release()
    viewer, dock = open_dock(viewer)
    settle(qtbot, dock)
    combo = dock.parts.profile.combo
    assert combo.currentText() == "Ana"
    dock.store.save(model="other")
    settle(qtbot, dock)
    assert combo.currentText() == "No profile"
    dock.store.save(model="spa-tiny")
    settle(qtbot, dock)
    assert combo.currentText() == "Ana"
    assert dock.store.load().profile == str(people[0])


def test_teach_switched_off_stays_off_in_the_next_window(open_dock, qtbot):
    viewer, dock = open_dock()
    dock.parts.profile.teach.click()
    assert not dock.controller.profiles.teaching
    dock.release()
    _, dock = open_dock(viewer)
    assert not dock.controller.profiles.teaching
    assert not dock.parts.profile.teach.isChecked()
    dock.parts.profile.teach.click()
    assert dock.controller.profiles.teaching


def test_a_missing_profile_is_said_and_work_goes_on(open_dock, people, qtbot):
    viewer, dock = open_dock()
    dock.release()
    dock.store.save(profile=str(people[0]))
    people[0].unlink()
    viewer, dock = open_dock(viewer)
    viewer.add_image(image())
    until(qtbot, lambda: "ana.json" in dock.parts.status.text().lower())
    assert dock.controller.profiles.chosen is None
    assert play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35))).round == 1
    failed = []
    dock.controller.failed.connect(failed.append)
    dock.store.save(overlap="replace")
    settle(qtbot, dock)
    assert not failed  # no other setting brings it back
    choose(qtbot, dock, 0)
    assert dock.store.load().profile == ""  # nor the next window


def test_a_folder_teaches_the_chosen_profile_once_for_each_object(
    open_dock, people, qtbot, tmp_path
):
    source = tmp_path / "images"
    source.mkdir()
    for number in range(3):
        iio.imwrite(source / f"{number}.png", image(number))
    viewer, refine_dock = open_dock()
    folder = FolderDock(viewer)
    viewer.window.add_dock_widget(folder, name="SPA Folder")
    controller, ana = folder.controller, people[0]
    try:
        choose(qtbot, refine_dock, 0)
        refine_dock.store.save(profile=str(ana))
        folder.open_folder(source)
        for number in range(3):
            until(qtbot, lambda name=f"{number}.png": controller.current == name)
            world = tuple(controller.stage.current.layer.data_to_world((30, 35)))
            play(qtbot, refine_dock, lambda world=world: refine_dock.prompt_controller.click(world))
            play(qtbot, refine_dock, lambda: refine_dock.controller.pick(0))
            refine_dock.controller.accept()
            settle(qtbot, refine_dock)
            profile = PreferenceProfile.load(ana)
            assert (profile.picks, profile.images) == (10 + number, 4 + number)
            controller.done()
        assert refine_dock.controller.profiles.profile.picks == 12
        assert not (tmp_path / "images-spa" / "profile.json").exists()
    finally:
        folder.release()


def test_who_is_chosen_while_teach_is_off_is_told(open_dock, people, qtbot):
    _, dock = open_dock()
    settle(qtbot, dock)
    choose(qtbot, dock, 1)
    assert "learns nothing" not in dock.parts.status.text()
    dock.store.save(teach=False)
    choose(qtbot, dock, 2)
    assert "Ben learns nothing for now: Teach was switched off" in dock.parts.status.text()


def test_what_another_window_taught_is_known_when_one_comes_back_to_this_one(
    open_dock, people, qtbot
):
    _, dock = open_dock()
    settle(qtbot, dock)
    choose(qtbot, dock, 1)
    dock.window().show()
    profile = PreferenceProfile.load(people[0])
    replace(profile, picks=profile.picks + 5).save(people[0])
    assert dock.controller.profiles.profile.picks == profile.picks
    QApplication.instance().focusWindowChanged.emit(dock.window().windowHandle())
    until(qtbot, lambda: dock.controller.profiles.profile.picks == profile.picks + 5)
    assert f"{profile.picks + 5} picks" in dock.parts.profile.words.text()


def test_what_is_chosen_in_another_window_is_told(open_dock, people, qtbot):
    (_, here), (_, there) = open_dock(), open_dock()
    settle(qtbot, here)
    settle(qtbot, there)
    choose(qtbot, here, 1)
    until(qtbot, lambda: there.parts.status.text() == "Objects start from Ana now.")
    assert "Ana" not in here.parts.status.text()
    choose(qtbot, here, 0)
    until(qtbot, lambda: there.parts.status.text() == "Objects start from no profile now.")


def test_an_image_of_another_kind_is_said(open_dock, qtbot):
    viewer, dock = open_dock()
    viewer.add_image(image(), name="grey")
    warning, teach = dock.parts.profile.warning, dock.parts.profile.teach
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    play(qtbot, dock, lambda: dock.controller.pick(0))
    dock.controller.accept()
    viewer.add_image(image(1), name="another")
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    assert not warning.text()
    dock.controller.discard()
    colours = np.random.default_rng(2).integers(0, 65535, (60, 70, 3), np.uint16)
    viewer.add_image(colours, name="colour")
    until(qtbot, lambda: bool(warning.text()))
    assert "(colour, 16 bit)" in warning.text()
    assert "(grey, 8 bit)" in warning.text()
    assert warning.parentWidget() is teach.parentWidget()  # beside the switch
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    until(qtbot, lambda: "Teach" in dock.parts.status.text())
    play(qtbot, dock, lambda: dock.controller.pick(0))
    assert "Teach" not in dock.parts.status.text()  # said once
    dock.controller.discard()
    dock.controller.profiles.set_teaching(False)
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    dock.controller.accept()
    assert warning.text()  # it was not taught
    dock.controller.profiles.set_teaching(True)
    play(qtbot, dock, lambda: dock.prompt_controller.click((10, 10)))
    dock.controller.accept()
    until(qtbot, lambda: not warning.text())  # it was one of those that taught


@pytest.mark.parametrize("again", ["undo", "reopen"])
def test_what_was_accepted_while_teach_was_off_can_be_taught_later(open_dock, qtbot, again):
    viewer, dock = open_dock()
    viewer.add_image(image(), name="grey")
    controller = dock.controller
    controller.profiles.set_teaching(False)
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    play(qtbot, dock, lambda: controller.pick(0))
    controller.accept()
    assert not controller.profiles.loose
    controller.profiles.set_teaching(True)
    acts = {"undo": dock.objects.undoing.undo, "reopen": partial(dock.objects.reopen, 1)}
    play(qtbot, dock, acts[again])
    controller.accept()
    assert controller.profiles.loose.picks == 1
    play(qtbot, dock, partial(dock.objects.reopen, 1))
    controller.accept()
    assert controller.profiles.loose.picks == 1


def test_pixels_of_another_size_are_said():
    from napari_spa.io.profiles import AcceptedSize
    from napari_spa.refine.preference import unfamiliar

    session = make_session()
    profile = PreferenceProfile.empty(session.model.identity)
    assert unfamiliar(profile, "grey, 8 bit", 0.5) == ""  # nothing was learnt
    sizes = (AcceptedSize("a", "i", 100.0, 0.2), AcceptedSize("b", "k", 100.0, 0.4))
    profile = replace(profile, kinds=("grey, 8 bit",), sizes=sizes)
    assert unfamiliar(profile, "grey, 8 bit", 0.6) == ""
    assert unfamiliar(profile, "grey, 8 bit", None) == ""
    assert "Pixels are 2.5 µm here" in unfamiliar(profile, "grey, 8 bit", 2.5)
    assert "Pixels are 1000 µm here" in unfamiliar(profile, "grey, 8 bit", 1000.0)
