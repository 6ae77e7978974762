"""Labels of another tool are taken over, refined and written back in a real viewer."""

import numpy as np
from labelled import SHAPE
from skimage.draw import disk

from napari_spa.core.plane import Plane
from napari_spa.core.types import LocalMask
from napari_spa.refine.annotation.objects import Part


def test_a_labels_layer_is_taken_over_refined_and_written_back(annotator):
    layer = annotator.take_over()
    before = np.array(layer.data)
    np.testing.assert_array_equal(annotator.pixels(), before)
    assert list(annotator.objects) == [3, 7, 8]  # numbers that are free stay
    assert annotator.status_message[-1] == "3 objects taken over."  # on two slices each
    assert not layer.visible
    annotator.assert_logged()
    annotator.dock.objects.delete(7)
    annotator.dock.tab.finding.write_back()
    np.testing.assert_array_equal(layer.data, np.where(before == 7, 0, before))
    annotator.dock.objects.undoing.undo_act()
    annotator.dock.objects.undoing.undo_act()
    assert not annotator.objects  # one act
    assert not annotator.pixels().any()


def test_a_layer_that_is_taken_over_again_stays_the_origin_of_its_objects(annotator):
    layer, finding = annotator.take_over(), annotator.dock.tab.finding
    before = np.array(layer.data)
    annotator.dock.objects.delete(7)
    annotator.annotated.remove(8, Plane((1, 2), (0, 0, 0)))
    smaller = np.zeros(SHAPE[1:], bool)
    smaller[disk((15, 15), 4)] = True
    annotator.annotated.write(
        3, Part(Plane((1, 2), (1, 0, 0)), "accepted"), LocalMask.crop(smaller), "protect"
    )
    annotator.assert_logged()
    assert annotator.from_log()[0].taken == annotator.annotated.annotation.taken
    there = annotator.pixels()
    finding._taken = None  # as in another window
    assert finding.origin is layer
    finding.take_over(layer)
    annotator.idle()
    assert annotator.status_message[-1] == "2 objects taken over. 1 taken over before."
    np.testing.assert_array_equal(annotator.pixels()[there > 0], there[there > 0])
    assert list(annotator.objects) == [3, 7, 8]
    finding.take_over(layer)
    annotator.idle()
    assert annotator.status_message[-1] == "0 objects taken over. 3 taken over before."
    annotator.dock.objects.delete(7)
    finding._taken = None
    finding.write_back()
    after = np.where(before == 7, 0, before)
    after[1][(before[1] == 3) & ~smaller] = 0
    np.testing.assert_array_equal(layer.data, after)


def test_a_layer_of_the_same_name_with_other_labels_is_taken_over(annotator):
    annotator.viewer.layers.remove(annotator.take_over())
    other = np.zeros(SHAPE, np.int32)
    other[(0, *disk((48, 65), 8))] = 3
    layer = annotator.viewer.add_labels(other, name="Cellpose")
    annotator.viewer.layers.selection.active = annotator.image
    annotator.dock.tab.finding.take_over(layer)
    annotator.idle()
    assert annotator.status_message[-1] == "1 object taken over."
    assert list(annotator.objects) == [3, 7, 8, 9]


def test_what_fills_the_same_pixels_was_taken_over_before(annotator):
    layer = annotator.take_over()
    other = annotator.viewer.add_labels(np.where(layer.data == 8, 2, layer.data), name="same")
    annotator.viewer.layers.selection.active = annotator.image
    annotator.dock.tab.finding.take_over(other)
    annotator.idle()
    assert annotator.status_message[-1] == "0 objects taken over. 3 taken over before."
    annotator.dock.objects.delete(8)
    annotator.dock.tab.finding.write_back()
    np.testing.assert_array_equal(other.data, np.where(layer.data == 8, 0, layer.data))


def test_writing_back_is_taken_back_in_the_layers_own_history(annotator):
    layer = annotator.take_over()
    before = np.array(layer.data)
    layer.paint((0, 50, 70), 90)
    painted = np.array(layer.data)
    annotator.dock.objects.delete(7)
    annotator.dock.tab.finding.write_back()
    assert annotator.status_message[-1].endswith("now. Ctrl+Z on that layer takes it back.")
    np.testing.assert_array_equal(layer.data, np.where(painted == 7, 0, painted))
    layer.undo()
    np.testing.assert_array_equal(layer.data, painted)
    layer.undo()
    np.testing.assert_array_equal(layer.data, before)
    layer.data = before.copy()
    layer.data.flags.writeable = False
    annotator.dock.tab.finding.write_back()
    np.testing.assert_array_equal(layer.data, np.where(before == 7, 0, before))
    assert "Ctrl+Z" not in annotator.status_message[-1]


def test_what_is_there_already_is_left_alone_when_a_layer_is_taken_over(annotator):
    annotator.take_over()
    before = annotator.pixels()
    other = np.zeros(SHAPE, np.uint16)
    other[(0, *disk((15, 15), 10))] = 1
    other[(0, *disk((45, 60), 8))] = 3
    layer = annotator.viewer.add_labels(other, name="StarDist")
    annotator.viewer.layers.selection.active = annotator.image
    annotator.dock.tab.finding.take_over(layer)
    annotator.idle()
    assert (
        annotator.status_message[-1] == "1 object taken over. 1 left out: others are there already."
    )
    after = annotator.pixels()
    np.testing.assert_array_equal(after[before > 0], before[before > 0])
    assert set(np.unique(after)) == {0, 3, 7, 8, 9}


def test_large_labels_keep_their_numbers(annotator):
    annotator.dock.prompt_controller.click((0.0, 50.0, 70.0))
    annotator.qtbot.waitUntil(lambda: annotator.controller.choosing, timeout=60_000)
    annotator.idle()
    annotator.controller.accept()
    mine = annotator.pixels() == 1
    layer = annotator.add_labels()
    layer.data = np.where(np.asarray(layer.data) == 8, 70_000, np.asarray(layer.data))
    annotator.dock.tab.finding.take_over(layer)
    annotator.idle()
    assert {3, 7, 70_000} <= {*annotator.objects}
    assert (annotator.pixels() == 1).sum() == mine.sum()
    annotator.assert_logged()
    annotator.dock.objects.undoing.undo_act()
    assert annotator.status_message[-1] == "Taken back: add 3 objects."
    annotator.dock.objects.undoing.redo_act()
    assert annotator.status_message[-1] == "Done again: add 3 objects."
    annotator.assert_logged()


def test_what_was_not_taken_over_is_not_written(annotator):
    """Labels of one slice: that slice alone, whichever is on show; -1 and new labels stay."""
    layer = annotator.add_labels()
    layer.data = np.array(layer.data)[0]
    layer.data[:3] = -1
    annotator.dock.tab.finding.take_over(layer)
    annotator.idle()
    assert list(annotator.objects) == [3, 7, 8]
    layer.data[-4:, -4:] = 90  # painted by the user since
    before = layer.data.copy()
    annotator.dock.objects.delete(7)
    annotator.viewer.dims.set_current_step(0, 1)
    annotator.dock.tab.finding.write_back()
    np.testing.assert_array_equal(layer.data, np.where(before == 7, 0, before))
    for _ in range(2):
        annotator.dock.objects.undoing.undo_act()
    assert not annotator.objects
    after = layer.data.copy()
    annotator.dock.tab.finding.write_back()  # it would empty the layer
    assert "is left" in annotator.failed[-1]
    np.testing.assert_array_equal(layer.data, after)


def test_labels_of_a_volume_are_taken_over_for_the_time_on_show(open_annotator):
    movie = np.random.default_rng(3).integers(0, 255, (2, *SHAPE), np.uint8)
    annotator = open_annotator(movie)
    annotator.viewer.dims.set_current_step(0, 1)
    layer = annotator.add_labels()
    layer.scale = (1, 1.5, 1.5)
    annotator.dock.tab.finding.take_over(layer)
    annotator.idle()
    assert annotator.status_message[-1] == (
        "3 objects taken over. Cellpose lies elsewhere in the viewer; its labels were taken row by "
        "row."
    )
    np.testing.assert_array_equal(annotator.pixels()[1], layer.data)
    assert not annotator.pixels()[0].any()
    annotator.viewer.dims.set_current_step(0, 0)
    before = layer.data.copy()
    annotator.dock.tab.finding.write_back()
    np.testing.assert_array_equal(layer.data, before)


def test_layers_of_another_size_are_refused(annotator):
    layer = annotator.viewer.add_labels(np.ones((9, 9), np.uint8))
    annotator.viewer.layers.selection.active = annotator.image
    annotator.dock.tab.finding.take_over(layer)
    assert "another size" in annotator.failed[-1]


def test_whole_numbers_that_napari_takes_for_labels_are_said_to_be(annotator):
    annotator.viewer.layers.remove(annotator.image)
    layer = annotator.viewer.add_labels(np.ones(SHAPE, np.int32), name="counts")
    annotator.viewer.layers.selection.active = layer
    annotator.dock.prompt_controller.click((0.0, 15.0, 40.0))
    assert "for napari counts is labels" in annotator.failed[-1]


def test_what_was_written_back_goes_with_its_object(annotator):
    layer = annotator.take_over()
    before = layer.data.copy()
    mask = np.zeros(SHAPE[1:], bool)
    mask[50:56, 60:70] = True
    plane = Plane((1, 2), (0, 0, 0))
    with annotator.annotated.bare():
        annotator.annotated.write(9, Part(plane, "accepted"), LocalMask.crop(mask), "protect")
    annotator.dock.tab.finding.write_back()
    assert (layer.data[0, 50:56, 60:70] == 9).all()
    annotator.dock.objects.delete(9)
    annotator.dock.tab.finding.write_back()
    np.testing.assert_array_equal(layer.data, before)
