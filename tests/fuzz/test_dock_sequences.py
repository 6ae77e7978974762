"""Any sequence of acts on two stacks: labels, table and log agree after each, and come back.

``pytest tests/fuzz/test_dock_sequences.py --fuzz 500`` plays 500 sequences; a few in CI.
"""

import os
import tempfile
import time
from pathlib import Path

import hypothesis
import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from napari.components import ViewerModel
from qtpy.QtWidgets import QApplication
from tiny_model import make_model

from napari_spa.io.event_log import read_records
from napari_spa.io.profiles import PreferenceProfile
from napari_spa.refine.annotation.annotation import ArraySurface
from napari_spa.refine.annotation.propagation import PropagationConfig
from napari_spa.refine.engine.config import EngineConfig
from napari_spa.refine.log.journal import read_journal
from napari_spa.refine.session.session import RefinementSession
from napari_spa.viewer.annotation.controller import AnnotationController
from napari_spa.viewer.annotation.display import DisplayController
from napari_spa.viewer.annotation.objects import ObjectActions
from napari_spa.viewer.annotation.prompts import PromptController
from napari_spa.viewer.annotation.stack import StackPropagation
from napari_spa.viewer.profiles.actions import ProfileActions
from napari_spa.viewer.settings import SettingsStore
from napari_spa.widgets.refine.dock import RefineDock

MODELS = {"spa-tiny": make_model(), "other": make_model("latent", 1)}
SHAPE = (4, 40, 48)
DATA = np.random.default_rng(8).integers(0, 255, (2, *SHAPE), np.uint8)
ANYWHERE = PropagationConfig(uncertainty=1.0, overlap=0.0, max_area_ratio=1e9)

slices = st.integers(0, SHAPE[0] - 1)
points = st.tuples(st.integers(1, SHAPE[1] - 2), st.integers(1, SHAPE[2] - 2))
numbers = st.integers(1, 6)
waits = st.booleans()
"""Whether one waits for what an act does, or goes on at once."""


class DockMachine(RuleBasedStateMachine):
    """What the dock is made of, without a window, and a person who does anything."""

    actions = 0

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="napari-spa-")
        self.root, self.faults, self.offers = Path(self.folder.name), [], []
        self.profiles = [None]
        for name, model in MODELS.items():
            self.profiles.append(self.root / f"{name}.json")
            PreferenceProfile.empty(model.identity, name=name).save(self.profiles[-1])
        self.open()

    def open(self):
        """Open a window on both images, and annotate the first."""
        self.make()
        self.images = [
            self.viewer.add_image(data, name=name) for data, name in zip(DATA, "ab", strict=True)
        ]
        self.propagation.config = ANYWHERE
        self.controller.failed.connect(self.faults.append)
        self.recovery.offered.connect(self.on_offered)
        self.display.set_contrast("automatic")
        self.viewer.layers.selection.active = self.images[0]
        self.controller.images.annotate(self.images[0])

    def make(self):
        self.viewer = ViewerModel()
        self.controller = AnnotationController(
            self.viewer, session_factory(), work_root=self.root / "work"
        )
        self.prompt_controller = PromptController(self.controller)
        self.display, self.objects = (
            DisplayController(self.controller),
            ObjectActions(self.controller),
        )
        self.propagation, self.recovery = (
            StackPropagation(self.controller),
            self.controller.recovery,
        )
        self.profile_actions = ProfileActions(self.controller)

    def release(self):
        self.prompt_controller.gestures.release()
        self.controller.close()

    def on_offered(self, offers):
        self.offers = offers

    def settle(self, wait=True):
        DockMachine.actions += 1
        self.until(lambda: not (wait and self.controller.busy))

    def until(self, condition):
        deadline = time.monotonic() + 60
        while not condition():
            QApplication.processEvents()
            assert time.monotonic() < deadline, "it never ends"
            time.sleep(0.001)
        QApplication.processEvents()

    # ------------------------------------------------------------------ what one can do

    @rule(z=slices, image=st.integers(0, 1))
    def look_at(self, z, image):
        self.viewer.layers.selection.active = self.images[image]
        self.viewer.dims.set_current_step(0, z)
        target = self.controller.target()
        if target is not None:
            self.controller.images.annotate(target)
        self.settle(False)

    @rule(point=points, label=st.integers(0, 1), wait=waits)
    def click(self, point, label, wait):
        z = self.viewer.dims.current_step[0]
        self.prompt_controller.click((z, *point), label)
        self.settle(wait)

    @rule(one=points, other=points, wait=waits)
    def box(self, one, other, wait):
        z = self.viewer.dims.current_step[0]
        self.prompt_controller.box((z, *one), (z, *other))
        self.settle(wait)

    @rule(path=st.lists(points, min_size=1, max_size=4), wait=waits)
    def stroke(self, path, wait):
        z = self.viewer.dims.current_step[0]
        self.prompt_controller.stroke([(z, *point) for point in path])
        self.settle(wait)

    @rule(index=st.integers(0, 4), wait=waits)
    def choose(self, index, wait):
        if self.controller.choosing:
            self.controller.choose(index)
        self.settle(wait)

    @rule(act=st.sampled_from(["undo", "redo", "accept", "discard", "cancel"]), wait=waits)
    def press(self, act, wait):
        getattr(self.controller, act)()
        self.settle(wait)

    @rule(number=numbers, act=st.sampled_from(["reopen", "delete", "go_to"]), wait=waits)
    def on_object(self, number, act, wait):
        getattr(self.objects, act)(number)
        self.settle(wait)

    @rule(way=st.sampled_from(["forward", "backward", "both", 1, -1]), wait=waits)
    def walk(self, way, wait):
        if isinstance(way, int):
            self.propagation.propagate_one(way)
        else:
            self.propagation.propagate(way)
        self.settle(wait)

    @rule(z=slices, point=points, number=st.integers(0, 6), wait=waits)
    def paint(self, z, point, number, wait):
        annotated = self.controller.current
        if annotated is not None and annotated.mask.shown and not self.controller.busy:
            annotated.mask.layer.paint((z, *point), number)
        self.settle(wait)

    @rule(overlap=st.sampled_from(["protect", "replace"]))
    def set_overlap(self, overlap):
        self.controller.overlap = overlap

    @rule(blind=st.booleans())
    def set_blind(self, blind):
        self.controller.blind = blind

    @rule(contrast=st.sampled_from(["automatic", "layer"]), wait=waits)
    def set_contrast(self, contrast, wait):
        self.display.set_contrast(contrast)
        self.display.look_again()
        self.settle(wait)

    @rule(scale=st.sampled_from([0.5, 1.5]), wait=waits)
    def zoom(self, scale, wait):
        self.display.look_at(scale=scale)
        self.settle(wait)

    @rule(name=st.sampled_from(list(MODELS)))
    def change_model(self, name):
        self.controller.set_model(name)
        self.controller.profiles.release()
        self.settle(False)

    @rule(which=st.integers(0, 2), wait=waits)
    def change_profile(self, which, wait):
        self.profile_actions.choose(self.profiles[which])
        self.settle(wait)

    @rule(remove=st.booleans())
    def leave(self, remove):
        """Let an image go, as a folder does, or because its layer is removed."""
        annotated = self.controller.current
        if annotated is None:
            return
        log = self.controller.autosave.log_of(annotated)
        if remove:
            number = self.images.index(annotated.image)
            self.viewer.layers.remove(annotated.image)
            self.images[number] = self.viewer.add_image(DATA[number], name="ab"[number])
        else:
            self.controller.leave(annotated)
        self.settle(False)
        if log is not None:
            self.until(lambda: read_records(log)[-1]["kind"] == "closed")
            self.comes_back(annotated, log)

    @rule()
    def close_and_come_back(self):
        """Close the window, open another one, and bring the work on the latest image back."""
        annotated = self.controller.current
        log = None if annotated is None else self.controller.autosave.log_of(annotated)
        number = 0 if annotated is None else self.images.index(annotated.image)
        self.close()
        self.open()
        self.viewer.layers.selection.active = self.images[number]
        again = self.controller.images.annotate(self.images[number])
        if log is None or not annotated.annotation.objects:
            return
        self.until(lambda: not self.controller.busy)
        self.recovery.look(again)
        self.until(lambda: any(offer.path == log.parent for offer in self.offers))
        self.recovery.recover(next(o for o in self.offers if o.path == log.parent))
        self.settle()
        with again.bare():
            np.testing.assert_array_equal(again.mask.store.data, annotated.mask.store.data)
        assert table(again) == table(annotated)

    # ------------------------------------------------------------------ what always holds

    @invariant()
    def nothing_unexpected(self):
        assert not [fault for fault in self.faults if "unexpected" in fault], self.faults

    @invariant()
    def one_active_object(self):
        active = [annotated for annotated in self.controller.images if annotated.active is not None]
        assert len(active) <= 1
        assert not active or active[0] is self.controller.current

    @invariant()
    def labels_are_what_the_table_says(self):
        self.controller.images.painting.flush()
        for annotated in self.controller.images:
            with annotated.bare():
                labels = np.array(annotated.mask.store.data)
            there = {n: int((labels == n).sum()) for n in np.unique(labels).tolist() if n}
            assert {n: active.area for n, active in annotated.annotation.objects.items()} == there

    def close(self):
        works = list(self.controller.images)
        logs = [self.controller.autosave.log_of(annotated) for annotated in works]
        self.release()
        QApplication.processEvents()
        for annotated, log in zip(works, logs, strict=True):
            if log is not None:
                self.comes_back(annotated, log)

    def teardown(self):
        try:
            self.close()
        finally:
            self.folder.cleanup()

    def comes_back(self, annotated, log):
        """The log alone gives the same labels and the same objects."""
        array = np.zeros(SHAPE, np.uint16)
        read = read_journal(read_records(log), ArraySurface(array))
        np.testing.assert_array_equal(array, np.array(annotated.mask.store.data))
        assert table(annotated) == table(read)
        assert read.closed


class WindowMachine(DockMachine):
    """The dock itself, in a window of napari's that all sequences share."""

    window = None

    def __init__(self):
        SettingsStore().save(profile="")  # of the sequence before
        super().__init__()

    def make(self):
        os.environ["XDG_STATE_HOME"] = str(self.root)  # where work is left; a fixture resets it
        self.viewer = self.window
        self.viewer.layers.clear()
        self.viewer.dims.ndisplay = 2
        self.dock = RefineDock(self.viewer, session_factory())
        self.viewer.window.add_dock_widget(self.dock, name="SPA Refine")
        for part in (
            "controller",
            "prompt_controller",
            "display",
            "objects",
            "propagation",
        ):
            setattr(self, part, getattr(self.dock, part))
        self.recovery = self.controller.recovery
        self.profile_actions = self.dock.profiles.actions

    def release(self):
        self.dock.release()
        self.viewer.window.remove_dock_widget(self.dock)
        self.dock.deleteLater()


def session_factory():
    """Return what makes the sessions of a window: one for each model."""
    sessions = {}

    def make(name):
        config = EngineConfig(samples=8)
        return sessions.setdefault(name, RefinementSession(MODELS[name], config=config))

    return make


def table(annotated):
    return [(n, active.area, active.status) for n, active in annotated.annotation.objects.items()]


def play(machine, count, seed, capsys):
    settings = hypothesis.settings(
        max_examples=count,
        stateful_step_count=15,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    DockMachine.actions = 0
    run_state_machine_as_test(hypothesis.seed(seed)(machine), settings=settings)
    with capsys.disabled():
        print(f"\n{machine.__name__}: seed {seed}, {count} sequences, {DockMachine.actions} acts")  # noqa: T201


def test_any_sequence_of_acts_leaves_labels_table_and_log_as_one(
    qapp, fuzz_count, fuzz_seed, capsys
):
    play(DockMachine, fuzz_count, fuzz_seed, capsys)


def test_any_sequence_of_acts_in_a_window(make_napari_viewer, fuzz_count, fuzz_seed, capsys):
    WindowMachine.window = make_napari_viewer()
    play(WindowMachine, fuzz_count if fuzz_count != 12 else 2, fuzz_seed, capsys)
    WindowMachine.window = None
