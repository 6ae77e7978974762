"""A dock on a stack, beside labels of another tool."""

import numpy as np
from skimage.draw import disk
from tiny_model import make_model

from napari_spa.io.event_log import read_records
from napari_spa.refine.engine.config import EngineConfig
from napari_spa.refine.log.journal import read_journal
from napari_spa.refine.session.session import RefinementSession
from napari_spa.viewer.layers.label_storage import StoreSurface, make_label_store
from napari_spa.widgets.refine.dock import RefineDock

MODEL = make_model()
SHAPE = (3, 60, 80)


def make_session(name):
    return RefinementSession(MODEL, config=EngineConfig(samples=12))


class Annotator:
    """A dock on a stack, and a labels layer with three discs on its first two slices."""

    def __init__(self, viewer, qtbot, data, factory):
        self.viewer, self.qtbot = viewer, qtbot
        self.image = viewer.add_image(data, name="cells")
        self.dock = RefineDock(viewer, factory)
        qtbot.addWidget(self.dock)
        self.controller, self.table = self.dock.controller, self.dock.parts.objects
        self.status_message, self.failed = [], []
        self.controller.status_message.connect(self.status_message.append)
        self.controller.failed.connect(self.failed.append)
        viewer.dims.set_current_step(0, 0)

    def add_labels(self):
        labels = np.zeros(SHAPE, np.int32)
        for number, place in ((3, (15, 15)), (7, (15, 40)), (8, (40, 30))):
            labels[(slice(0, 2), *disk(place, 9))] = number
        layer = self.viewer.add_labels(labels, name="Cellpose")
        self.viewer.layers.selection.active = self.image
        return layer

    def idle(self):
        self.qtbot.waitUntil(lambda: not self.controller.busy, timeout=60_000)

    def take_over(self):
        layer = self.add_labels()
        self.dock.tab.finding.take_over(layer)
        self.idle()
        return layer

    @property
    def annotated(self):
        return self.controller.current

    @property
    def objects(self):
        return self.annotated.annotation.objects

    def pixels(self):
        with self.annotated.bare():
            return np.array(self.annotated.mask.layer.data)

    def select(self, number):
        self.dock.objects.go_to(number)
        self.viewer.dims.set_current_step(0, 0)

    def from_log(self):
        """Read from disk what would come back after a crash."""
        self.controller.images.painting.flush()
        self.controller.autosave.flush()
        shape = self.annotated.facts.shape
        store = make_label_store(shape, axes=(len(shape) - 2, len(shape) - 1))
        log = read_records(self.controller.autosave.log_of(self.annotated))
        annotation = read_journal(log, StoreSurface(store)).annotation
        return annotation, store.read(())

    def assert_logged(self):
        annotation, array = self.from_log()
        np.testing.assert_array_equal(array, self.pixels())
        for one, other in zip(annotation.objects.values(), self.objects.values(), strict=True):
            assert (one.number, one.area, one.name, one.class_name, one.status) == (
                other.number,
                other.area,
                other.name,
                other.class_name,
                other.status,
            )
