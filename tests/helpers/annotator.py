"""What the dock is made of, without a window, and a session that waits when it is told to."""

import threading

import numpy as np
from napari.components import ViewerModel
from tiny_model import make_model

from napari_spa.io.event_log import read_records
from napari_spa.refine.annotation.propagation import PropagationConfig
from napari_spa.refine.engine.config import EngineConfig
from napari_spa.refine.log.serialization import unpack
from napari_spa.refine.session.session import RefinementSession
from napari_spa.viewer.annotation.controller import AnnotationController
from napari_spa.viewer.annotation.display import DisplayController
from napari_spa.viewer.annotation.objects import ObjectActions
from napari_spa.viewer.annotation.prompts import PromptController
from napari_spa.viewer.annotation.stack import StackPropagation

MODEL = make_model()
ON_AND_ON = PropagationConfig(uncertainty=1.0, overlap=0.0, max_area_ratio=1e9)


class GatedSession(RefinementSession):
    """Waits at a gate, when there is one, before each of its acts; then may fail."""

    def __init__(self):
        super().__init__(MODEL, config=EngineConfig(samples=12))
        self.gate, self.fault, self.inside = None, None, threading.Event()

    def _pass(self):
        if self.gate is not None:
            self.inside.set()
            self.gate.wait(20)
        fault, self.fault = self.fault, None
        if fault is not None:
            raise fault


def _gated(name):
    def act(self, *args, **kwargs):
        self._pass()
        return getattr(RefinementSession, name)(self, *args, **kwargs)

    return act


for _name in ("start_with", "look_again", "pick", "restore", "set_view"):
    setattr(GatedSession, _name, _gated(_name))


class Annotator:
    """What the dock is made of, without a window: two stacks, and a gate before the session."""

    def __init__(self, qtbot, root, factory=None):
        rng = np.random.default_rng(3)
        self.qtbot, self.viewer, self.session = qtbot, ViewerModel(), GatedSession()
        data = rng.integers(0, 255, (2, 5, 60, 70), np.uint8)
        self.first = self.viewer.add_image(data[0], name="first")
        self.second = self.viewer.add_image(data[1], name="second")
        self.controller = AnnotationController(
            self.viewer, factory or (lambda name: self.session), work_root=root
        )
        self.prompt_controller = PromptController(self.controller)
        self.display, self.actions = (
            DisplayController(self.controller),
            ObjectActions(self.controller),
        )
        self.propagation = StackPropagation(self.controller)
        self.propagation.config = ON_AND_ON
        self.failed, self.said, self.closed = [], [], False
        self.controller.failed.connect(self.failed.append)
        self.controller.status_message.connect(self.said.append)

    def show(self, layer, z=2):
        self.viewer.layers.selection.active = layer
        self.viewer.dims.set_current_step(0, z)
        return self.controller.images.annotate(layer)

    def round(self, act):
        with self.qtbot.waitSignal(self.controller.proposed, timeout=30_000):
            act()

    def start(self, layer, point=(30, 35), z=2, aim="auto"):
        annotated = self.show(layer, z)
        self.round(lambda: self.prompt_controller.click((z, *point), aim=aim))
        return annotated

    def accept(self, layer, point=(30, 35), z=2):
        annotated = self.start(layer, point, z)
        self.controller.accept()
        assert annotated.active is None, self.failed
        return annotated

    def hold(self):
        """From now on the session waits at the gate."""
        self.session.inside.clear()
        self.session.gate = threading.Event()

    def go_on(self):
        """Open the gate, and wait until nothing is under way any more."""
        gate, self.session.gate = self.session.gate, None
        if gate is not None:
            gate.set()
        if not self.closed:
            self.controller.worker._executor.submit(lambda: None).result(60)
            self.qtbot.waitUntil(lambda: not self.controller.busy, timeout=60_000)
        self.qtbot.wait(30)

    def close(self):
        if not self.closed:
            self.closed = True
            if self.session.gate is not None:
                self.session.gate.set()
            self.prompt_controller.gestures.release()
            self.controller.close()

    def log(self, annotated):
        self.controller.autosave.flush()
        return self.controller.autosave.log_of(annotated)

    def edits(self, annotated, log=None):
        """Return the painted planes in an image's log: slice and number of painted pixels."""
        records = read_records(log or self.log(annotated))
        return [
            (record["plane"]["index"][0], int((labels_of(record) > 0).sum()))
            for record in records
            if record["kind"] == "edit"
        ]


def labels_of(record):
    count = int(np.prod(record["shape"]))
    return unpack(record["labels"], "<u4", count).reshape(record["shape"])
