"""Images of several channels: one object for all of them, and layers looked at together."""

import threading

import numpy as np
import pytest
import tifffile
from napari.layers import Labels
from tiny_model import make_model

from napari_spa.io import images
from napari_spa.io.event_log import read_records
from napari_spa.refine.annotation.propagation import PropagationConfig
from napari_spa.refine.engine.config import EngineConfig
from napari_spa.refine.session.session import RefinementSession
from napari_spa.viewer.export import export_work
from napari_spa.viewer.layers.planes import channel_axis
from napari_spa.widgets.refine.dock import RefineDock

MODEL = make_model()
SIZE = (60, 70)


def make_session(name):
    return RefinementSession(MODEL, config=EngineConfig(samples=12))


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (*shape, *SIZE), np.uint8)


@pytest.fixture
def open_dock(make_napari_viewer, qtbot):
    docks = []

    def open_it(**layers):
        viewer = make_napari_viewer()
        for name, (data, labels) in layers.items():
            viewer.add_image(data, name=name, axis_labels=labels, rgb=False)
        dock = RefineDock(viewer, make_session)
        qtbot.addWidget(dock)
        docks.append(dock)
        qtbot.waitUntil(lambda: dock.controller.current is not None)
        return dock

    yield open_it
    for dock in docks:
        dock.release()


def play(qtbot, dock, act):
    with qtbot.waitSignal(dock.controller.proposed, timeout=30_000) as signal:
        act()
    qtbot.waitUntil(lambda: not dock.controller.busy, timeout=30_000)
    return signal.args[0]


def choose(dock, qtbot, name):
    combo = dock.parts.options.channels
    qtbot.waitUntil(lambda: combo.findText(name) >= 0, timeout=10_000)
    combo.activated.emit(combo.findText(name))
    return combo


def value(layer, *position):
    return layer.get_value(position, world=True)


def logged(dock):
    annotated = dock.controller.current
    dock.controller.autosave.flush()
    records = read_records(dock.controller.autosave.log_of(annotated))
    return [record for record in records if record["kind"] == "decision"]


@pytest.mark.parametrize("labels", [("t", "c", "y", "x"), None])
def test_an_object_is_on_all_channels(open_dock, qtbot, labels):
    image = noise(3, 2)
    dock = open_dock(cells=(image, labels))
    viewer = dock.controller.viewer
    annotated = dock.controller.current
    if labels is None:  # an axis that is chosen as channels is one from then on
        combo = choose(dock, qtbot, "Axis -3: positions 0, 1 as colours")
        assert channel_axis(annotated.image) == 1
        qtbot.waitUntil(lambda: combo.currentText() == "Channels 0, 1 as colours")
        choose(dock, qtbot, "Channel on show")
    viewer.dims.set_point((0, 1), (2, 1))
    proposal = play(qtbot, dock, lambda: dock.prompt_controller.click((2, 1, 30, 35)))
    (start,) = logged(dock)
    assert (start["look"]["axis"], start["look"]["channels"]) == (1, [1])  # the one on show
    row, column = (int(v) for v in np.argwhere(proposal.mask)[0])
    for channel in (0, 1):
        viewer.dims.set_point(1, channel)
        assert annotated.mask.layer.data[2, channel, row, column] == 1
        for layer in (annotated.prompts._points, *annotated.candidates.layers):
            if layer is not None and len(layer.data):
                corner = np.atleast_2d(layer.data[0])[0]
                assert layer.data_to_world(corner)[1] == pytest.approx(channel)
    assert dock.propagation.slices() == (3, 2)  # frames are walked, channels are not
    dock.controller.accept()
    assert annotated.annotation.objects[1].area == int(proposal.mask.sum())
    qtbot.waitUntil(lambda: [r.slices for r in dock.parts.objects.view.model().rows] == ["2"])
    layer = annotated.mask.layer
    layer.selected_label = 1
    painted = [(2, 1, 5, 5), (2, 1, 5, 6)]
    layer.data_setitem(tuple(np.array(painted).T), 1)
    layer.events.paint(value=[])
    plane = annotated.annotation.objects[1].parts[0].plane
    annotated.mask.painted.emit({plane: annotated.mask.whole(plane)})
    dock.controller.images.painting.flush()
    assert annotated.mask.layer.data[2, 0, 5, 5] == 1
    assert annotated.annotation.objects[1].area == int(proposal.mask.sum()) + 2
    dock.controller.undo()


def test_a_choice_after_objects_on_single_positions_keeps_them_there(open_dock, qtbot):
    dock = open_dock(cells=(noise(3, 2), None))
    dock.controller.viewer.dims.set_point((0, 1), (0, 1))
    play(qtbot, dock, lambda: dock.prompt_controller.click((0, 1, 30, 35)))
    dock.controller.accept()
    before = dock.controller.current.mask.layer.data.copy()
    choose(dock, qtbot, "Axis -3: positions 0, 1 as colours")
    assert channel_axis(dock.controller.current.image) is None
    np.testing.assert_array_equal(dock.controller.current.mask.layer.data, before)
    assert not before[:, 0].any()


def test_the_name_of_a_slider_names_the_axis(open_dock, qtbot):
    dock = open_dock(cells=(noise(3, 2), None))
    viewer, annotated = dock.controller.viewer, dock.controller.current
    viewer.dims.set_point((0, 1), (2, 1))
    viewer.dims.axis_labels = ("t", "c", "y", "x")  # as a user who types beside the sliders
    combo = dock.parts.options.channels
    qtbot.waitUntil(lambda: combo.currentText() == "Channel on show")
    proposal = play(qtbot, dock, lambda: dock.prompt_controller.click((2, 1, 30, 35)))
    dock.controller.accept()
    row, column = (int(v) for v in np.argwhere(proposal.mask)[0])
    assert [annotated.mask.layer.data[2, c, row, column] for c in (0, 1)] == [1, 1]
    assert dock.propagation.unit() == "frame"


def test_which_image_clicks_are_for_is_said_where_another_is_selected(open_dock, qtbot):
    dock = open_dock(first=(noise(), ("y", "x")))
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    dock.controller.viewer.add_image(noise(seed=1), name="second")  # selected, and on top
    said = "Clicks are still for the current object of first"
    qtbot.waitUntil(lambda: dock.parts.status.text().startswith(said))
    dock.controller.accept()
    dock.controller.viewer.layers.selection.active = dock.controller.viewer.layers["first"]
    dock.controller.viewer.layers.selection.active = dock.controller.viewer.layers["second"]
    qtbot.waitUntil(lambda: dock.controller.current.image.name == "second")
    assert not dock.parts.status.text().startswith(said)


def test_the_axes_of_one_image_are_not_those_of_another(open_dock, qtbot):
    """Its sliders are called as the axes of the image with the most."""
    dock = open_dock(cells=(noise(3, 2), ("t", "c", "y", "x")))
    viewer, movie = dock.controller.viewer, noise(4)
    alone = viewer.add_image(movie, name="alone")
    viewer.layers.selection.active = alone
    qtbot.waitUntil(lambda: dock.controller.current.image is alone)
    assert channel_axis(alone) is None
    copy = viewer.add_image(movie, name="copy")
    viewer.layers.remove("cells")
    viewer.dims.axis_labels = ("t", "y", "x")  # as a user who types beside the slider
    qtbot.waitUntil(lambda: alone.axis_labels[0] == "t")
    viewer.layers.selection.active = copy
    qtbot.waitUntil(lambda: dock.controller.current.image is copy)
    assert copy.axis_labels[0] == "t"  # of the same extent


def test_what_a_file_says_of_its_axes_comes_before_an_image_alike(
    make_napari_viewer, qtbot, tmp_path
):
    for name, axes in (("nuclei", "CYX"), ("movie", "TYX")):
        tifffile.imwrite(tmp_path / f"{name}.tif", noise(2), imagej=True, metadata={"axes": axes})
    viewer = make_napari_viewer()
    dock = RefineDock(viewer, make_session)
    qtbot.addWidget(dock)
    try:
        for name, axis in (("nuclei", "c"), ("movie", "t")):
            (image,) = viewer.open(tmp_path / f"{name}.tif", plugin="napari")
            qtbot.waitUntil(lambda: dock.controller.current is not None)
            qtbot.waitUntil(lambda image=image, axis=axis: image.axis_labels[0] == axis)
        play(qtbot, dock, lambda: dock.prompt_controller.click((0, 30, 35)))
        dock.controller.accept()
        assert [bool(plane.any()) for plane in dock.controller.current.mask.layer.data] == [1, 0]
    finally:
        dock.release()


@pytest.mark.parametrize("early", [False, True])
def test_a_file_that_napari_opened_says_what_its_axes_are(
    make_napari_viewer, qtbot, tmp_path, monkeypatch, early
):
    """napari's own reader names the axes of no file; a click may come before ours answers."""
    clicked, read = threading.Event(), images.axes_in_file
    if early:
        monkeypatch.setattr(images, "axes_in_file", lambda *a: clicked.wait(30) and read(*a))
    path = tmp_path / "movie.tif"
    tifffile.imwrite(path, noise(4, 3), imagej=True, metadata={"axes": "TCYX"})
    viewer = make_napari_viewer()
    (image,) = viewer.open(path, plugin="napari")
    assert channel_axis(image) is None
    dock = RefineDock(viewer, make_session)
    qtbot.addWidget(dock)
    try:
        combo = dock.parts.options.channels
        qtbot.waitUntil(lambda: dock.controller.current is not None)
        if not early:
            qtbot.waitUntil(lambda: combo.currentText() == "Channel on show", timeout=30_000)
        viewer.dims.set_point((0, 1), (2, 1))
        proposal = play(
            qtbot, dock, lambda: (dock.prompt_controller.click((2, 1, 30, 35)), clicked.set())
        )
        qtbot.waitUntil(lambda: combo.currentText() == "Channel on show", timeout=30_000)
        assert tuple(image.axis_labels) == tuple(viewer.dims.axis_labels) == ("t", "c", "y", "x")
        dock.controller.accept()
        row, column = (int(v) for v in np.argwhere(proposal.mask)[0])
        labels = dock.controller.current.mask.layer.data
        assert [labels[2, c, row, column] for c in range(3)] == [1, 1, 1]
        assert dock.propagation.unit() == "frame"
    finally:
        dock.release()


def test_an_object_of_all_channels_is_exported_once(open_dock, qtbot, tmp_path):
    from napari_spa.io.export import ExportRequest
    from napari_spa.io.images import open_image

    image = noise(3, 2)
    dock = open_dock(cells=(image, ("t", "c", "y", "x")))
    dock.controller.viewer.dims.set_point(0, 0)
    proposal = play(qtbot, dock, lambda: dock.prompt_controller.click((0, 0, 30, 35)))
    dock.controller.accept()
    request = ExportRequest(tmp_path, ("labels", "tables"))
    report = export_work(dock.controller.current, request, None, ())(lambda *_: None)
    assert not report.problems
    (tiff,) = tmp_path.glob("*.tif")
    stack = np.asarray(open_image(tiff).levels[0])
    assert stack.shape == (3, *SIZE)
    np.testing.assert_array_equal(stack[0] == 1, proposal.mask)
    (table,) = tmp_path.glob("*objects.csv")
    heading, row = (line.split(",") for line in table.read_text().splitlines()[:2])
    found = dict(zip(heading, row, strict=True))
    assert float(found["area"]) == proposal.mask.sum()
    means = [image[0, c][proposal.mask].mean() for c in (0, 1)]
    assert [float(found[f"intensity_mean_{c}"]) for c in (0, 1)] == pytest.approx(means)


def test_an_export_measures_in_one_unit_of_length(open_dock, qtbot, tmp_path):
    from napari_spa.io.export import ExportRequest

    dock = open_dock(cells=(noise(3), ("z", "y", "x")))
    layer = dock.controller.viewer.layers["cells"]
    layer.scale, layer.units = (0.002, 0.5, 0.5), ("mm", "um", "um")
    dock.controller.viewer.dims.set_current_step(0, 1)
    point = (2.0, 15.0, 17.5)  # in micrometres, as the viewer's world is
    proposal = play(qtbot, dock, lambda: dock.prompt_controller.click(point))
    dock.controller.accept()
    assert dock.controller.current.annotation.objects[1].parts[0].plane.index[0] == 1
    export_work(dock.controller.current, ExportRequest(tmp_path, ("tables",)), None, ())(
        lambda *_: None
    )
    (table,) = tmp_path.glob("*objects.csv")
    heading, row = (line.split(",") for line in table.read_text().splitlines()[:2])
    volume = float(dict(zip(heading, row, strict=True))["volume"])
    assert volume == pytest.approx(proposal.mask.sum() * 2.0 * 0.5 * 0.5)


def test_an_export_has_rows_and_columns_last(open_dock, qtbot, tmp_path):
    from napari_spa.io.export import ExportRequest
    from napari_spa.io.images import open_image

    dock = open_dock(cells=(np.moveaxis(noise(3), 0, 2), ("y", "x", "z")))
    viewer = dock.controller.viewer
    viewer.layers["cells"].scale = (0.5, 0.5, 2.0)
    viewer.dims.order = (2, 0, 1)
    viewer.dims.set_current_step(2, 1)
    proposal = play(qtbot, dock, lambda: dock.prompt_controller.click((15.0, 17.5, 2.0)))
    dock.controller.accept()
    request = ExportRequest(tmp_path, ("labels", "tables"))
    assert not export_work(dock.controller.current, request, None, ())(lambda *_: None).problems
    (tiff,) = tmp_path.glob("*.tif")
    stack = np.asarray(open_image(tiff).levels[0])
    assert stack.shape == (3, *SIZE)
    np.testing.assert_array_equal(stack[1] == 1, proposal.mask)
    (table,) = tmp_path.glob("*objects.csv")
    heading, row = (line.split(",") for line in table.read_text().splitlines()[:2])
    found = dict(zip(heading, row, strict=True))
    row, column = np.argwhere(proposal.mask).mean(axis=0)
    where = [float(found[f"centroid_{axis}"]) for axis in ("z", "row", "column")]
    assert where == pytest.approx((1.0, row, column), abs=0.01)
    assert float(found["position_z"]) == pytest.approx(2.0)


def test_layers_of_one_field_are_looked_at_together(open_dock, qtbot):
    nuc, cyto = noise(seed=1), noise(seed=2)
    dock = open_dock(cyto=(cyto, None), nuc=(nuc, None), small=(noise()[:30], None))
    viewer = dock.controller.viewer
    viewer.layers.selection.active = viewer.layers["nuc"]
    combo = choose(dock, qtbot, "nuc + cyto")
    assert [combo.itemText(n) for n in range(combo.count())] == ["Grey values", "nuc + cyto"]
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    seen = dock.controller.session.sampler
    both = RefinementSession(MODEL, config=EngineConfig(samples=12))
    both.set_image(np.stack([nuc, cyto], axis=-1))
    assert seen.fingerprint == both.sampler.fingerprint
    assert logged(dock)[0]["look"]["layers"] == ["cyto"]
    dock.controller.accept()
    viewer.layers.selection.active = viewer.layers["cyto"]  # a channel of the same image
    qtbot.wait(50)
    play(qtbot, dock, lambda: dock.prompt_controller.click((10, 10), aim="next"))
    assert [type(layer) for layer in viewer.layers].count(Labels) == 1
    dock.controller.discard()
    viewer.layers.remove(viewer.layers["cyto"])
    assert "nuc is used alone" in dock.parts.status.text()
    play(qtbot, dock, lambda: dock.prompt_controller.click((10, 10)))
    assert "layers" not in logged(dock)[-1]["look"]


def test_work_on_several_channels_is_offered_again(make_napari_viewer, qtbot, open_dock):
    image = noise(2)
    dock = open_dock(cells=(image, ("c", "y", "x")))
    choose(dock, qtbot, "Channels 0, 1 as colours")
    proposal = play(qtbot, dock, lambda: dock.prompt_controller.click((0, 30, 35)))
    dock.controller.autosave.flush()
    dock.release()
    again = open_dock(cells=(image, ("c", "y", "x")))
    with qtbot.waitSignal(
        again.controller.recovery.offered, timeout=30_000, check_params_cb=bool
    ) as signal:
        pass
    list(again.controller.current.ready())  # as where something was done meanwhile
    qtbot.wait(100)
    back = play(qtbot, again, lambda: again.controller.recovery.recover(signal.args[0][0]))
    np.testing.assert_array_equal(back.mask, proposal.mask)
    data = again.controller.current.mask.layer.data
    np.testing.assert_array_equal(data[1] == 1, proposal.mask)
    assert again.controller.current.display.channels.name == "Channels 0, 1 as colours"
    combo = again.parts.options.channels
    qtbot.waitUntil(lambda: combo.currentText() == "Channels 0, 1 as colours")


def restore(qtbot, dock):
    """Bring back what another window left."""
    recovery = dock.controller.recovery
    with qtbot.waitSignal(recovery.offered, timeout=30_000, check_params_cb=bool) as signal:
        pass
    with qtbot.waitSignal(recovery.restored, timeout=30_000):
        recovery.recover(signal.args[0][0])


@pytest.mark.parametrize(
    ("labels", "at"), [(("t", "c", "y", "x"), (2, 1)), (("c", "y", "x"), (1,))]
)
def test_what_comes_back_is_seen_on_its_channel_and_the_next_on_the_one_on_show(
    open_dock, qtbot, labels, at
):
    image = noise(*(3, 2)[-len(at) :])
    dock = open_dock(cells=(image, labels))
    dock.controller.viewer.dims.set_point(range(len(at)), at)
    proposal = play(qtbot, dock, lambda: dock.prompt_controller.click((*at, 30, 35)))
    dock.controller.autosave.flush()
    dock.release()
    again = open_dock(cells=(image, labels))
    viewer, channel = again.controller.viewer, len(at) - 1
    viewer.dims.set_point(range(len(at)), (0,) * len(at))
    back = play(qtbot, again, lambda: restore(qtbot, again))
    np.testing.assert_array_equal(back.mask, proposal.mask)
    assert tuple(viewer.dims.current_step[: len(at)]) == at
    assert again.parts.options.channels.currentText() == "Channel on show"
    again.controller.accept()
    viewer.dims.set_point(channel, 0)
    play(qtbot, again, lambda: again.prompt_controller.click((*at[:-1], 0, 10, 12)))
    assert [record["look"]["channels"] for record in logged(again)] == [[1], [0]]


@pytest.mark.parametrize("act", ["reopen", "undo"])
@pytest.mark.parametrize("window", ["this", "next", "next, which has no names for the axes"])
def test_an_accepted_object_is_taken_up_on_its_channel(open_dock, qtbot, window, act):
    image, labels = noise(3, 2), ("t", "c", "y", "x")
    dock = open_dock(cells=(image, labels))
    dock.controller.viewer.dims.set_point((0, 1), (2, 1))
    proposal = play(qtbot, dock, lambda: dock.prompt_controller.click((2, 1, 30, 35)))
    dock.controller.accept()
    seen = dock.controller.session.sampler.fingerprint
    if window != "this":
        dock.controller.autosave.flush()
        dock.release()
        dock = open_dock(cells=(image, labels if window == "next" else None))
        restore(qtbot, dock)
    controller, viewer = dock.controller, dock.controller.viewer
    viewer.dims.set_point((0, 1), (2, 0))
    acts = {"reopen": lambda: dock.objects.reopen(1), "undo": controller.undo}
    back = play(qtbot, dock, acts[act])
    np.testing.assert_array_equal(back.mask, proposal.mask)
    assert controller.session.sampler.fingerprint == seen
    assert tuple(viewer.dims.current_step[:2]) == (2, 1)
    assert controller.current.display.channels.chosen is None  # still the one on show
    controller.accept()
    assert controller.current.annotation.objects[1].area == int(proposal.mask.sum())


@pytest.mark.parametrize("act", ["undo", "go to"])
def test_what_was_made_on_another_channel_is_shown_on_it(open_dock, qtbot, act):
    dock = open_dock(cells=(noise(2), ("c", "y", "x")))
    controller, viewer = dock.controller, dock.controller.viewer
    viewer.dims.set_point(0, 1)
    play(qtbot, dock, lambda: dock.prompt_controller.click((1, 30, 35)))
    (controller.discard if act == "undo" else controller.accept)()
    viewer.dims.set_point(0, 0)
    if act == "undo":
        play(qtbot, dock, controller.undo)
    else:
        dock.objects.go_to(1)
    assert viewer.dims.current_step[0] == 1


@pytest.mark.parametrize("act", ["propagate_one", "propagate"])
def test_an_object_goes_to_other_slices_on_its_channel(open_dock, qtbot, act):
    frames = np.repeat(noise(1, 2), 3, axis=0)
    dock = open_dock(cells=(frames, ("t", "c", "y", "x")))
    controller, viewer = dock.controller, dock.controller.viewer
    viewer.dims.set_point((0, 1), (1, 1))
    play(qtbot, dock, lambda: dock.prompt_controller.click((1, 1, 30, 35)))
    controller.accept()
    viewer.dims.set_point(1, 0)
    if act == "propagate_one":
        play(qtbot, dock, lambda: dock.propagation.propagate_one(1))
        assert tuple(viewer.dims.current_step[:2]) == (2, 1)
        looks = [record["look"] for record in logged(dock)]
    else:
        on_and_on = PropagationConfig(uncertainty=1.0, overlap=0.0, max_area_ratio=1e9)
        dock.propagation.config = on_and_on
        dock.propagation.propagate("forward")
        qtbot.waitUntil(lambda: not controller.busy, timeout=30_000)
        parts = controller.current.annotation.objects[1].parts
        looks = [part.source["look"] for part in parts]
    assert [list(look["channels"]) for look in looks] == [[1], [1]]


def test_an_accepted_object_is_taken_up_in_its_grey_values(open_dock, qtbot):
    image = noise().astype(np.uint16) * 200
    dock = open_dock(cells=(image, ("y", "x")))
    play(qtbot, dock, lambda: dock.prompt_controller.click((30, 35)))
    dock.controller.accept()
    seen = dock.controller.session.sampler.intensity
    dock.controller.viewer.layers["cells"].contrast_limits = (0, 5000)
    play(qtbot, dock, lambda: dock.objects.reopen(1))
    assert dock.controller.session.sampler.intensity == seen
