"""Old objects are left out of searches for garbage, and found when it matters."""

import gc
import weakref

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_spa.viewer.annotation.controller import AnnotationController
from napari_spa.viewer.compat import OldObjects


class Ring:
    def __init__(self):
        self.itself = self


@pytest.fixture
def old():
    """Return old objects of which none are spared by another test of this process."""
    frozen = gc.get_freeze_count()
    gc.unfreeze()
    old = OldObjects()
    yield old
    old.search()
    if frozen:
        gc.freeze()


def dropped(old):
    ring = Ring()
    kept = weakref.ref(ring)
    old.spare()
    return kept


def test_what_is_spared_is_found_after_a_search(old):
    kept = dropped(old)
    gc.collect()
    assert kept() is not None
    old.search()
    gc.collect()
    assert kept() is None


def test_a_search_can_wait_for_the_next(old):
    kept = dropped(old)
    with old.search_later():
        old.search()
    gc.collect()
    assert kept() is not None
    old.search()
    gc.collect()
    assert kept() is None


def test_what_someone_else_spares_stays_so(old):
    gc.freeze()
    old.spare()
    old.search()
    assert gc.get_freeze_count()
    gc.unfreeze()


def test_an_import_is_not_interrupted(old):
    with old.imported():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count()
    gc.disable()
    try:
        with old.imported():
            assert not gc.isenabled()
        assert not gc.isenabled()  # as someone else wanted it
    finally:
        gc.enable()


def test_a_removed_image_is_let_go_of(old, monkeypatch, qapp):
    monkeypatch.setattr("napari_spa.viewer.annotation.controller.old_objects", old)
    viewer = ViewerModel()
    controller = AnnotationController(viewer)
    for _ in range(2):  # napari's selection refers to the latest, removed or not
        viewer.add_layer(Image(np.zeros((9, 9))))
    gone = weakref.ref(viewer.layers[0])
    old.spare()
    assert gc.get_freeze_count()
    viewer.layers.remove(gone())
    gc.collect()
    assert gone() is None
    old.spare()
    controller.close()
    assert not gc.get_freeze_count()


def test_an_image_that_came_since_is_let_go_of_without_a_search_of_all(old, monkeypatch, qapp):
    monkeypatch.setattr("napari_spa.viewer.annotation.controller.old_objects", old)
    viewer = ViewerModel()
    controller = AnnotationController(viewer)
    viewer.add_layer(Image(np.zeros((9, 9))))
    old.spare()
    for _ in range(2):
        viewer.add_layer(Image(np.zeros((9, 9))))
    old.spare(again=False)
    gone = weakref.ref(viewer.layers[1])
    viewer.layers.remove(gone())
    assert gc.get_freeze_count()
    gc.collect()
    assert gone() is None
    controller.close()
