"""A folder worked through in the real dock: what its tests do again and again."""

import numpy as np
from tiny_model import make_model

from napari_spa.refine.engine.config import EngineConfig
from napari_spa.refine.session.session import RefinementSession

MODEL = make_model()
SHAPE = (48, 56)


def make_session(name):
    return RefinementSession(MODEL, config=EngineConfig(samples=12))


def pixels(seed, shape=SHAPE, dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype)


def until(qtbot, condition):
    qtbot.waitUntil(condition, timeout=30_000)


def open_folder(qtbot, dock, folder):
    dock.open_folder(folder)
    until(qtbot, lambda: dock.controller.current is not None)


def go(qtbot, dock, name):
    dock.controller.go(name)
    until(qtbot, lambda: dock.controller.current == name)


def ready(refine_dock):
    return refine_dock.controller.choosing and not refine_dock.controller.busy


def click(qtbot, dock, refine_dock, point=(24, 28)):
    """Click into the plane on show, in data pixels."""
    layer = dock.controller.stage.current.layer
    place = list(dock.controller.stage.plane().index)
    place[-2:] = point
    refine_dock.prompt_controller.click(tuple(layer.data_to_world(place)))
    until(qtbot, lambda: ready(refine_dock))


def accept(qtbot, dock, refine_dock, point=(24, 28)):
    click(qtbot, dock, refine_dock, point)
    refine_dock.parts.action_buttons["accept"].click()
    assert refine_dock.controller.active is None


def layers_of(viewer, name):
    return [layer for layer in viewer.layers if layer.name.endswith(name)]


def finish_first(open_docks, folder, qtbot):
    """Accept an object on the first image of a folder, and go on to the second."""
    _, dock, refine_dock = open_docks()
    open_folder(qtbot, dock, folder)
    accept(qtbot, dock, refine_dock)
    go(qtbot, dock, "cell2.png")
    dock.controller.saver.flush()
    return dock


def annotate_one(qtbot, dock, refine_dock, folder, name):
    """Open a folder, accept an object on one of its images, and go on to another."""
    open_folder(qtbot, dock, folder)
    go(qtbot, dock, name)
    accept(qtbot, dock, refine_dock)
    dock.controller.done()
    until(qtbot, lambda: dock.controller.current not in (None, name))
    dock.controller.saver.flush()


def answers_of(dock):
    buttons = [dock.parts._answers.itemAt(n).widget() for n in range(dock.parts._answers.count())]
    return {button.text(): button for button in buttons}
