"""A scripted annotator works through a stack in a real viewer; the headless API does the same."""

import re
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import Qt
from tiny_model import make_model

from napari_spa.core.plane import Plane
from napari_spa.core.types import LocalMask
from napari_spa.errors import InputError
from napari_spa.io.export import ExportRequest
from napari_spa.refine.annotation.annotation import Annotation, ArraySurface
from napari_spa.refine.annotation.objects import Part
from napari_spa.refine.annotation.propagation import PropagationConfig, propagate, propagate_one
from napari_spa.refine.engine.config import EngineConfig
from napari_spa.refine.session.acts import evidence_of
from napari_spa.refine.session.session import RefinementSession
from napari_spa.refine.session.state import known_of
from napari_spa.widgets.objects.rows import SLICES
from napari_spa.widgets.refine.dock import RefineDock

MODEL = make_model()
SHAPE = (12, 64, 72)
# A random network sees no object end; only the stack's edges and empty masks do.
ON_AND_ON = PropagationConfig(uncertainty=1.0, overlap=0.0, max_area_ratio=1e9)
SCALE, TRANSLATE = (2.5, 0.7, 0.7), (10.0, -3.0, 4.0)


def make_session(name=""):
    return RefinementSession(MODEL, config=EngineConfig(samples=12))


def stack():
    """Noise of some size, the same from slice to slice but for a drift."""
    rng = np.random.default_rng(5)
    coarse = rng.random((SHAPE[0] // 3 + 2, 10, 11))
    fine = np.kron(coarse, np.ones((3, 8, 8)))[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    return (200 * fine + 55 * rng.random(SHAPE)).astype(np.uint8)


class Headless:
    """The annotator of the library: a session, an annotation and an array."""

    def __init__(self, data, source):
        self.data, self.source = data, source
        self.session = make_session()
        self.array = np.zeros(data.shape, np.uint16)
        self.annotation = Annotation(ArraySurface(self.array))
        self.active = None
        self.groups = count(1)

    def plane(self, z):
        return Plane((1, 2), (z, 0, 0))

    def start(self, z, point):
        self.session.set_image(self.data[z], source=self.source)
        self.session.start([point])
        self.active = (self.annotation.next_number, self.plane(z))

    def pick(self, index):
        if index < len(self.session.proposal.candidates):
            self.session.pick(index)

    def click(self, point, label):
        self.session.click(point, label)

    def undo(self):
        if self.session.can_undo:
            self.session.undo()

    def redo(self):
        if self.session.can_redo:
            self.session.redo()

    def accept(self):
        number, plane = self.active
        proposal = self.session.proposal
        decisions = self.session.timeline.state.decisions
        if self.put(number, plane, proposal, decisions, "accepted"):
            self.session.accept()
            self.active = None
            return number
        return None

    def put(self, number, plane, proposal, decisions, status, group=None):
        part = Part(plane, status, proposal.round, proposal.uncertainty, tuple(decisions))
        mask = LocalMask.crop(proposal.local_mask, proposal.region)
        said = evidence_of(part.decisions)
        mask = self.annotation.without_leftovers(number, plane, mask, said)
        try:
            self.annotation.commit(number, part, mask, group=group)
        except InputError:
            return False
        return True

    def discard(self):
        self.active = None

    def reopen(self, number):
        part = self.annotation.objects[number].parts[0]
        self.session.set_image(self.data[part.plane.index[0]], source=self.source)
        self.session.restore(part.decisions, learnt=known_of(part.decisions))
        self.active = (number, part.plane)

    def delete(self, number):
        self.annotation.remove(number)

    def undo_objects(self):
        self.annotation.undo()

    def redo_objects(self):
        self.annotation.redo()

    def propagate(self, number, z):
        plane = self.plane(z)
        part = self.annotation.objects[number].on(plane)
        mask = self.annotation.pixels(number, plane)
        group = next(self.groups)
        for way in (range(z + 1, SHAPE[0]), range(z - 1, -1, -1)):
            for found in propagate(
                self.session,
                lambda p: self.data[p],
                list(way),
                mask,
                start=z,
                config=replace(
                    ON_AND_ON,
                    mixture=part.decisions[-1].mixture,
                    free=lambda p, found: self.annotation.outline(number, self.plane(p), found)[1],
                ),
            ):
                status = "review" if found.doubtful else "propagated"
                there = self.plane(found.position)
                self.put(number, there, found.proposal, found.decisions, status, group)

    def propagate_one(self, number, z):
        plane, following = self.plane(z), self.plane(z + 1)
        part = self.annotation.objects[number].on(plane)
        mask = self.annotation.pixels(number, plane)
        mixture = part.decisions[-1].mixture
        propagate_one(
            self.session,
            self.data[z + 1],
            mask,
            before=self.data[z],
            mixture=mixture,
            source=self.source,
        )
        self.active = (number, following)


class InViewer:
    """The annotator of the dock: the same acts, through the dock's own ways in."""

    def __init__(self, viewer, dock, qtbot):
        self.viewer, self.dock, self.qtbot = viewer, dock, qtbot
        self.controller = dock.controller
        self.image = dock.controller.target()
        self.acts = dock.parts.action_buttons

    def shown(self, act):
        with self.qtbot.waitSignal(self.controller.proposed, timeout=30_000):
            act()

    def idle(self):
        self.qtbot.waitUntil(lambda: not self.controller.busy, timeout=60_000)

    def start(self, z, point):
        self.viewer.dims.set_current_step(0, z)
        world = self.image.data_to_world((z, *point))
        self.shown(lambda: self.dock.prompt_controller.click(tuple(world), aim="next"))

    def pick(self, index):
        if index < len(self.controller.active.shown.proposal.candidates):
            self.shown(self.dock.parts.grid.cards[index].button.click)

    def click(self, point, label):
        z = self.controller.active.plane.index[0]
        world = self.image.data_to_world((z, *point))
        self.shown(lambda: self.dock.prompt_controller.click(tuple(world), label, aim="current"))

    def undo(self):
        if self.dock.objects.undoing.can_undo:
            self.shown(self.acts["undo"].click)

    def redo(self):
        if self.dock.objects.undoing.can_redo:
            self.shown(self.acts["redo"].click)

    def accept(self):
        number = self.controller.active.number
        self.acts["accept"].click()
        return number if self.controller.active is None else None

    def discard(self):
        self.acts["discard"].click()

    def reopen(self, number):
        self.viewer.dims.set_current_step(0, 0)
        table = self.dock.parts.objects
        first = self.controller.current.annotation.objects[number].parts[0].plane
        self.viewer.dims.set_current_step(0, first.index[0])
        self.shown(lambda: table.reopen_requested.emit(number))

    def delete(self, number):
        self.dock.parts.objects.delete_requested.emit(number)

    def undo_objects(self):
        self.dock.objects.undoing.undo_act()

    def redo_objects(self):
        self.acts["redo"].click()

    def propagate(self, number, z):
        self.dock.objects.go_to(number)
        self.viewer.dims.set_current_step(0, z)
        self.dock.parts.stack.propagate_requested.emit("both")
        self.idle()

    def propagate_one(self, number, z):
        self.dock.objects.go_to(number)
        self.viewer.dims.set_current_step(0, z)
        self.shown(lambda: self.dock.parts.stack.propagate_one_requested.emit(1))


def finish(annotator):
    """Accept the current object, or discard it where all its pixels belong to earlier ones."""
    number = annotator.accept()
    if number is None:
        annotator.discard()
    return number


def play(annotator, disturb=lambda turn: None):
    """Annotate thirty objects, changing one's mind as people do."""
    rng = np.random.default_rng(11)
    for turn in range(1, 31):
        z = int(rng.integers(SHAPE[0]))
        point = tuple(float(v) for v in rng.integers(4, 60, 2))
        annotator.start(z, point)
        for _ in range(int(rng.integers(4))):
            act = rng.choice(["pick", "pick", "click", "undo", "redo"])
            if act == "pick":
                annotator.pick(int(rng.integers(4)))
            elif act == "click":
                place = tuple(float(v) for v in rng.integers(4, 60, 2))
                annotator.click(place, int(rng.integers(2)))
            else:
                getattr(annotator, act)()
        disturb(turn)
        number = finish(annotator)
        if number is None:
            continue
        if turn % 3 == 0:
            annotator.reopen(number)
            annotator.pick(0)
            finish(annotator)
        if turn == 9:
            annotator.delete(number)
            annotator.undo_objects()
        if turn == 12:
            annotator.delete(number - 1)
        if turn in (14, 22):
            annotator.propagate(number, z)  # turn 22 finds other objects in its way at once
        if turn == 14:
            annotator.undo_objects()  # the propagation, in one step
            annotator.redo_objects()
        if turn == 19 and z + 1 < SHAPE[0]:
            annotator.propagate_one(number, z)
            annotator.pick(1)
            finish(annotator)


@pytest.mark.slow
def test_thirty_objects_equal_the_headless_api_bit_for_bit(make_napari_viewer, qtbot, tmp_path):
    data = stack()
    viewer = make_napari_viewer()
    layer = viewer.add_image(data, name="stack", scale=SCALE, translate=TRANSLATE)
    dock = RefineDock(viewer, make_session)
    qtbot.addWidget(dock)
    try:
        gui = InViewer(viewer, dock, qtbot)
        dock.propagation.config = ON_AND_ON

        def disturb(turn):
            """Rename, hide, move and delete layers in the middle of an object."""
            ours = [x for x in viewer.layers if gui.controller.current.owns(x)]
            if turn == 4:
                layer.name = "renamed"
                for mine in ours:
                    mine.name = f"mine {mine.name}"
            elif turn == 8:
                viewer.layers.move(0, len(viewer.layers))
                ours[0].visible = not ours[0].visible
            elif turn in (11, 20):
                for mine in ours:
                    viewer.layers.remove(mine)

        play(gui, disturb)
        library = Headless(data, gui.controller.current.source())
        play(library)
        mask = gui.controller.current.mask.layer
        np.testing.assert_array_equal(mask.data, library.array)
        np.testing.assert_allclose(mask.scale, SCALE)
        np.testing.assert_allclose(mask.translate, TRANSLATE)
        table, objects = gui.controller.current.annotation.objects, library.annotation.objects
        assert list(table) == list(objects)
        assert [o.area for o in table.values()] == [o.area for o in objects.values()]
        assert [o.status for o in table.values()] == [o.status for o in objects.values()]
        profile, other = gui.controller.session.profile, library.session.profile
        # The name of a remembered object has the time in it.
        mine, its = (
            re.sub(r'"object": "[0-9a-f]+"', "", one.to_json()) for one in (profile, other)
        )
        assert mine == its
        assert profile.images == 1  # a stack
        dock.objects.export(ExportRequest(tmp_path))
        gui.idle()
        saved = tifffile.imread(tmp_path / "renamed-labels.tif")
        np.testing.assert_array_equal(saved, library.array)
    finally:
        dock.release()


def test_a_movie_is_told_in_frames(make_napari_viewer, qtbot):
    viewer = make_napari_viewer()
    viewer.add_image(stack()[:4], name="movie", axis_labels=("t", "y", "x"))
    dock = RefineDock(viewer, make_session)
    qtbot.addWidget(dock)
    try:
        gui = InViewer(viewer, dock, qtbot)
        dock.propagation.config = ON_AND_ON
        said = []
        gui.controller.status_message.connect(said.append)
        gui.start(1, (30.0, 30.0))
        number = finish(gui)
        gui.propagate(number, 1)
        assert said[-1].startswith("Propagated to ")
        assert " frame" in said[-1]
        assert not [text for text in said if "slice" in text.lower()]
        assert dock.parts.stack.strip.words_at(1).startswith("Frame 1 of")
        (row,) = dock.parts.objects.view.model().rows
        assert ", frame " in row.words()
        assert " on 4 frames" in dock.parts.objects.summary.text()
        heading = dock.parts.objects.view.model().headerData(SLICES, Qt.Orientation.Horizontal)
        assert heading == "Frame"
        assert said[-1].startswith(
            "Propagated to 3 frames; 3 need review. Reached the last frame. "
        )
        gui.undo_objects()
        assert said[-1] == f"Taken back: propagation of object {number}."
        gui.redo_objects()
        assert said[-1] == f"Done again: propagation of object {number}."
        gui.propagate(number, 3)
        assert "1 frame" in said[-1]
        assert said[-1].endswith(". Ended at frame 1: it is accepted or painted.")
        (before,) = dock.parts.objects.view.model().rows
        gui.reopen(number)
        (row,) = dock.parts.objects.view.model().rows
        assert (row.places, row.area) == (before.places, before.area)  # of all its frames
    finally:
        dock.release()


def test_the_sample_stack_is_shown_where_its_object_is_largest(make_napari_viewer, qtbot):
    viewer = make_napari_viewer()
    (layer,) = viewer.open_sample("napari-spa", "ct")
    click = layer.metadata["napari-spa"]["first_click"]
    dock = RefineDock(viewer, make_session)
    qtbot.addWidget(dock)
    try:
        qtbot.waitUntil(lambda: viewer.dims.current_step[0] == click[0], timeout=10_000)
        viewer.dims.set_current_step(0, 3)
        viewer.layers.selection.active = layer
        qtbot.wait(50)
        assert viewer.dims.current_step[0] == 3  # the user went there
    finally:
        dock.release()
