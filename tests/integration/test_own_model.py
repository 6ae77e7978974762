"""A model of one's own: tuned on accepted objects in the background, offered, kept by a name."""

import numpy as np
import pytest
import tifffile
from napari.layers import Labels
from tiny_model import make_model

from napari_spa.errors import Cancelled
from napari_spa.io.images import write_picture
from napari_spa.io.models.registry import find_model
from napari_spa.io.projects.paths import labels_path
from napari_spa.refine.session.session import RefinementSession
from napari_spa.train import personal
from napari_spa.train.personal import PersonalConfig
from napari_spa.widgets.refine.dock import RefineDock
from napari_spa.widgets.refine.options import TUNE

LABELS = np.zeros((60, 96), np.uint8)
for place in range(6):
    LABELS[10 + 30 * (place // 3) :][:16, 8 + 28 * (place % 3) :][:, :18] = place + 1
PIXELS = np.where(LABELS > 0, 190, 50).astype(np.uint8)


@pytest.fixture
def tune_in(make_napari_viewer, qtbot, monkeypatch, tmp_path):
    """Open a dock on an image, with so many of its objects accepted."""
    docks = []
    monkeypatch.setenv("NAPARI_SPA_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(personal, "PersonalConfig", lambda: PersonalConfig(steps=4, batch=2))

    def open_it(accepted, model=None):
        model = model or make_model()
        viewer = make_napari_viewer()
        viewer.add_image(PIXELS, name="cells")
        dock = RefineDock(viewer, lambda name: RefinementSession(model))
        qtbot.addWidget(dock)
        docks.append(dock)
        dock.tab.finding.take_over(Labels(np.where(accepted >= LABELS, LABELS, 0)))
        qtbot.waitUntil(lambda: not dock.controller.busy)
        return dock

    yield open_it
    for dock in docks:
        dock.release()


def begin(dock):
    bar = dock.parts.model
    bar.combo.activated.emit(bar.combo.findText(TUNE))
    return bar


def let_it_be(better, monkeypatch):
    values = iter((0.5, 0.7 if better else 0.5))
    monkeypatch.setattr(personal, "first_clicks", lambda *_: next(values))


def hear_what_is_learnt(monkeypatch):
    learnt = []

    def tune(model, objects, **_):
        learnt.append(objects)
        raise Cancelled

    monkeypatch.setattr(personal, "tune", tune)
    return learnt


def test_a_better_model_is_offered_and_kept_by_a_name(tune_in, qtbot, monkeypatch):
    let_it_be(True, monkeypatch)
    dock = tune_in(6)
    bar = begin(dock)
    assert bar.progress.isVisibleTo(bar)
    assert bar.combo.currentText() == "spa-tiny"
    qtbot.waitUntil(lambda: bool(bar.name.text()), timeout=30_000)
    assert not bar.progress.isVisibleTo(bar)
    assert "Dice 0.50 before, 0.70 after learning from 4" in bar.about.text()
    for bad in ("a name with blanks", "spa-tiny"):
        bar.name.setText(bad)
        bar.keep.click()
        qtbot.waitUntil(lambda: any(w in bar.about.text() for w in ("another name", "letters")))
        bar.about.setText("")
    bar.name.setText("mine")
    bar.keep.click()
    qtbot.waitUntil(lambda: dock.settings.model == "mine")
    assert find_model("mine").path is not None
    assert bar.combo.currentText() == "mine"
    assert not bar.name.isVisibleTo(bar)


def test_what_is_no_better_is_not_kept(tune_in, qtbot, monkeypatch):
    let_it_be(False, monkeypatch)
    bar = begin(tune_in(6))
    qtbot.waitUntil(lambda: "no better" in bar.about.text(), timeout=30_000)
    assert not bar.name.isVisibleTo(bar)
    assert bar.combo.isEnabled()


def test_it_can_be_cancelled(tune_in, qtbot, monkeypatch):
    monkeypatch.setattr(personal, "PersonalConfig", lambda: PersonalConfig(steps=10**6, batch=2))
    bar = begin(tune_in(6))
    qtbot.waitUntil(lambda: bar.progress.format() == "learning", timeout=30_000)
    bar.cancel.click()
    qtbot.waitUntil(lambda: bar.about.text() == "Stopped; nothing is kept.")
    assert bar.combo.isEnabled()


def test_too_few_objects_are_refused(tune_in, qtbot):
    bar = begin(tune_in(2))
    qtbot.waitUntil(lambda: "2 accepted objects to learn from" in bar.about.text())
    assert "accept at least 5" in bar.about.text()
    assert bar.combo.isEnabled()


def test_an_object_teaches_with_the_channel_it_was_made_on(make_napari_viewer, qtbot, monkeypatch):
    learnt = hear_what_is_learnt(monkeypatch)
    monkeypatch.setattr(personal, "FEWEST", 1)
    viewer, model = make_napari_viewer(), make_model()
    pixels = np.stack([PIXELS, 255 - PIXELS])
    viewer.add_image(pixels, name="both", axis_labels=("c", "y", "x"))
    dock = RefineDock(viewer, lambda name: RefinementSession(model))
    qtbot.addWidget(dock)
    try:
        viewer.dims.set_current_step(0, 1)
        with qtbot.waitSignal(dock.controller.proposed, timeout=30_000):
            dock.prompt_controller.click((1, 18, 16))
        dock.controller.accept()
        viewer.dims.set_current_step(0, 0)
        begin(dock)
        qtbot.waitUntil(lambda: bool(learnt), timeout=10_000)
    finally:
        dock.release()
    np.testing.assert_array_equal(learnt[0][0].image, pixels[1])


def test_a_project_teaches_with_its_other_images_too(open_docks, few, qtbot, monkeypatch, tmp_path):
    monkeypatch.setenv("NAPARI_SPA_MODELS", str(tmp_path / "models"))
    learnt = hear_what_is_learnt(monkeypatch)
    write_picture(few / "other.png", PIXELS)
    _, dock, refine_dock = open_docks()
    dock.controller.open(few)
    qtbot.waitUntil(lambda: dock.controller.project is not None)
    tifffile.imwrite(labels_path(dock.controller.out, "other.png"), LABELS)
    qtbot.waitUntil(lambda: refine_dock.controller.images.current is not None)
    begin(refine_dock)
    qtbot.waitUntil(lambda: bool(learnt), timeout=10_000)
    assert [(item.name, item.mask.area) for item in learnt[0]] == [("other.png", 288)] * 6
