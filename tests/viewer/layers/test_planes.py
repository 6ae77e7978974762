"""What a user may look at in a layer, in words."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_spa.core.plane import Plane
from napari_spa.viewer.export import axes_of
from napari_spa.viewer.layers.planes import (
    Channels,
    DisplaySettings,
    axis_kind,
    channel_choices,
    click_in_plane,
    logged_display,
    show_plane,
    shown_plane,
    slice_in_words,
    slice_spacing,
    step_noun,
    to_data,
    to_world,
    unit_ratios,
    zoom_of,
)


@pytest.mark.parametrize(
    ("shape", "labels", "names"),
    [
        ((20, 30), None, ["Grey values"]),
        ((9, 20, 30), None, ["Grey values of the slice"]),
        ((4, 20, 30), None, ["Grey values of the slice", "Axis -3: positions 0, 1, 2 as colours"]),
        ((4, 20, 30), "tyx", ["Grey values of the slice"]),
        ((4, 20, 30), "zyx", ["Grey values of the slice"]),
        (
            (4, 2, 20, 30),
            "tcyx",
            [
                "Channel on show",
                "Channels 0, 1 as colours",
                "Channel 0 alone",
                "Channel 1 alone",
            ],
        ),
        (
            (2, 2, 20, 30),
            ("stain", "channel", "y", "x"),
            [
                "Channel on show",
                "Channels 0, 1 as colours",
                "Channel 0 alone",
                "Channel 1 alone",
            ],
        ),
        (
            (2, 20, 30),
            ("stain", "y", "x"),
            ["Grey values of the slice", "Stains 0, 1 as colours"],
        ),
    ],
)
def test_channels_are_named_by_what_they_are(shape, labels, names):
    layer = Image(np.zeros(shape), axis_labels=None if labels is None else tuple(labels), rgb=False)
    assert [choice.name for choice in channel_choices(layer)] == names


@pytest.mark.parametrize(
    ("units", "labels", "kind"),
    [
        (("s", "um", "um"), None, "frame"),  # by its unit, whatever it is called
        (("um", "um", "um"), None, "position"),
        (("um", "um", "um"), ("z", "y", "x"), "slice"),
    ],
)
def test_an_axis_of_seconds_is_one_of_frames(units, labels, kind):
    layer = Image(np.zeros((3, 5, 5)), units=units, axis_labels=labels)
    assert axis_kind(layer, 0) == kind


@pytest.mark.parametrize(
    ("label", "unit", "noun"),
    [
        ("t", "pixel", "frame"),
        ("Timepoint", "pixel", "frame"),
        ("-3", "second", "frame"),  # napari's own name for an unnamed axis
        ("-3", "micrometer", "slice"),
        ("-3", "pixel", "slice"),
        ("Angle", "pixel", "angle"),
        ("s", "pixel", "slice"),
        ("y", "pixel", "slice"),
    ],
)
def test_a_walk_is_told_in_what_its_axis_is(label, unit, noun):
    units = (unit, "pixel", "pixel") if unit in ("pixel", "second") else (unit,) * 3
    layer = Image(np.zeros((3, 5, 6)), axis_labels=(label, "a", "b"), units=units)
    assert step_noun(layer, 0) == noun


@pytest.mark.parametrize("turn", ["roll", "transpose"])
def test_a_plane_is_shown_in_a_view_that_was_turned(turn):
    viewer = ViewerModel()
    layer = viewer.add_image(np.zeros((4, 8, 9), np.uint8))
    plane = shown_plane(viewer, layer).at(0, 3)
    getattr(viewer.dims, turn)()
    before = viewer.dims.order
    show_plane(viewer, layer, plane)
    assert viewer.dims.current_step[0] == 3
    assert set(viewer.dims.displayed) == {1, 2}
    assert turn == "roll" or viewer.dims.order == before  # which shows the plane as it is


@pytest.mark.parametrize(
    ("shape", "labels", "index", "words"),
    [
        ((4, 8, 9), ("z", "y", "x"), (3, 0, 0), "slice 3"),
        ((2, 4, 8, 9), ("t", "z", "y", "x"), (1, 3, 0, 0), "slice 1.3"),
        ((3, 4, 8, 9), ("c", "t", "y", "x"), (0, 3, 0, 0), "frame 3"),
        ((8, 9), ("y", "x"), (0, 0), "another slice"),
    ],
)
def test_a_slice_is_named_as_in_the_table(shape, labels, index, words):
    layer = Image(np.zeros(shape, np.uint8), axis_labels=labels)
    plane = Plane((len(shape) - 2, len(shape) - 1), index)
    assert slice_in_words(layer, plane) == words


@pytest.mark.parametrize(
    ("label", "scale", "unit", "spacing"),
    [
        ("z", (5, 1, 1), "pixel", 5),
        ("z", (1, 0.25, 0.25), "micrometer", 4),
        ("z", (1, 1, 1), "micrometer", 1),
        ("z", (1, 1, 1), "pixel", None),
        ("-3", (1, 1, 1), "pixel", None),
        ("t", (5, 1, 1), "pixel", 0),
        ("-3", (5, 1, 1), "second", 0),
    ],
)
def test_slices_lie_apart_as_the_scale_says(label, scale, unit, spacing):
    units = (unit, "pixel", "pixel") if unit == "second" else (unit,) * 3
    layer = Image(np.zeros((3, 5, 6)), axis_labels=(label, "y", "x"), scale=scale, units=units)
    assert slice_spacing(layer, Plane((1, 2), (0, 0, 0)), 0) == spacing


def test_places_are_where_they_are_seen_whatever_units_the_layers_have():
    viewer = ViewerModel()
    stack = viewer.add_image(np.zeros((5, 20, 30)), scale=(2, 0.5, 0.5), units=("mm", "um", "um"))
    viewer.add_image(np.zeros((20, 30)), scale=(100, 100), units=("nm", "nm"))
    place = (3, 4, 7)
    world = to_world(viewer, stack, place)
    np.testing.assert_allclose(world[1:], (2000, 3500))  # the world is in nm
    np.testing.assert_allclose(to_data(viewer, stack, world), place)
    np.testing.assert_allclose(to_data(viewer, stack, world[1:]), (0, 4, 7))
    assert zoom_of(viewer, stack.units) == pytest.approx(1000 * viewer.scene.camera.zoom)
    plane = Plane((1, 2), (3, 0, 0))
    show_plane(viewer, stack, plane)
    assert shown_plane(viewer, stack) == plane
    assert click_in_plane(viewer, stack, plane, tuple(world)) == (4.0, 7.0)


def test_sliders_go_to_the_one_channel_that_is_looked_at():
    viewer = ViewerModel()
    layer = viewer.add_image(np.zeros((4, 3, 20, 30)), axis_labels=tuple("tcyx"))
    plane = Plane((2, 3), (2, 0, 0, 0))
    for chosen, channel in (((1,), 1), ((0, 2), 1), (None, 1), ((2,), 2)):
        show_plane(viewer, layer, plane, DisplaySettings(Channels("", 1, chosen)))
        assert tuple(viewer.dims.current_step[:2]) == (2, channel)


@pytest.mark.parametrize(
    ("labels", "record", "channels"),
    [
        ("cyx", {"axis": 0, "channels": [9]}, (0, (9,))),  # not offered alone
        ("cyx", {"axis": None, "channels": None}, (0, (4,))),  # before the axis was called so
        (None, {"axis": 0, "channels": [3]}, (0, (3,))),  # and after its name is gone
        ("cyx", {"axis": 0, "channels": [99]}, (0, (7,))),  # as now
        ("cyx", {"axis": None, "channels": None, "layers": ["gone"]}, (0, (7,))),
    ],
)
def test_a_log_says_how_a_plane_was_looked_at(labels, record, channels):
    # Of an axis without a name up to 8 positions may be channels.
    layer = Image(np.zeros((8 if labels is None else 12, 20, 30)), axis_labels=labels)
    now = DisplaySettings(Channels("Channel on show", 0, (7,)))
    record, choices = {**record, "limits": [[1, 2], [3, 4]]}, channel_choices(layer)
    look = logged_display(layer, Plane((1, 2), (4, 0, 0)), record, now, choices)
    assert (look.channels.axis, look.channels.chosen) == channels
    assert look.limits == (None if look is now else ((1.0, 2.0), (3.0, 4.0)))


@pytest.mark.parametrize(
    ("labels", "units", "axes"),
    [
        (("frame", "y", "x"), None, "TYX"),
        (None, ("s", "um", "um"), "TYX"),
        (None, None, "ZYX"),
        (("channel", "y", "x"), None, "CYX"),
        (("frame", "", "y", "x"), None, "TZYX"),
        (("", "c", "y", "x"), None, "ZCYX"),
        (("z", "t", "y", "x"), None, "ZTYX"),
        (("t", "", "c", "y", "x"), None, "TZCYX"),
        (("t", "frame", "y", "x"), None, "TZYX"),
        (("y", "x", "z"), None, "ZYX"),
        (("x", "t", "y"), ("um", "s", "um"), "TYX"),
        (("y", "y", "x"), None, "ZYX"),
        (None, None, "TZCYX"),
    ],
)
def test_exports_name_the_axes_as_the_dock_does(labels, units, axes):
    shape = (2,) * len(axes)
    assert axes_of(Image(np.zeros(shape), axis_labels=labels, units=units)) == axes


def test_lengths_are_compared_and_other_kinds_of_units_are_not():
    layer = Image(np.zeros((2, 2, 2, 2)), units=("s", "mm", "um", "nm"))
    np.testing.assert_allclose(unit_ratios(layer.units, [layer.units[-1]] * 4), (1, 1e6, 1e3, 1))
