"""Every entry of File > Open Sample opens, looks right at once, and its first click works."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from napari.layers import Image
from npe2 import PluginManifest
from scipy import ndimage

import napari_spa
from napari_spa.core.measures import dice
from napari_spa.errors import DataError
from napari_spa.viewer import samples

CONTRIBUTIONS = PluginManifest.from_file(Path(__file__).parents[2] / "napari.yaml").contributions
KEYS = [sample.key for sample in CONTRIBUTIONS.sample_data]
SPACE = {  # pixel size and unit of the last axis
    "fundus": (1, "pixel"),
    "cell": (0.107, "micrometer"),
    "tissue": (1, "pixel"),
    "ct": (1, "millimeter"),
    "em": (8, "nanometer"),
}


def test_the_manifest_offers_five_samples():
    assert list(SPACE) == KEYS
    names = {command.id: command.python_name for command in CONTRIBUTIONS.commands}
    for sample in CONTRIBUTIONS.sample_data:
        assert names[sample.command] == f"napari_spa.viewer.samples:{sample.key}"


@pytest.mark.parametrize("key", KEYS)
def test_a_sample_opens_where_its_first_click_is(key, make_napari_viewer):
    viewer = make_napari_viewer()
    (layer,) = viewer.open_sample("napari-spa", key)
    assert isinstance(layer, Image)
    size, unit = SPACE[key]
    assert layer.scale[-1] == size
    assert {str(u) for u in layer.units} == {unit}
    about = layer.metadata[samples.METADATA_KEY]
    click = about["first_click"]
    assert len(click) == layer.ndim
    assert all(0 <= p < n for p, n in zip(click, layer.data.shape, strict=False))
    assert about["hint"].startswith("Click on")
    assert about["hint"].endswith(".")
    if layer.ndim == 3:
        assert viewer.dims.axis_labels == ("z", "y", "x")
    low, high = layer.contrast_limits
    plane = layer.data[click[0]] if layer.ndim == 3 else layer.data
    # The contrast limits fit: neither flat nor mostly black and white.
    assert np.clip((plane - np.float64(low)) / (high - low), 0, 1).std() > 0.08


def test_opening_a_sample_imports_no_torch():
    code = (
        "import sys\nfrom napari_spa.viewer import samples\n"
        "samples.fundus(), samples.ct()\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_picture_is_one_sentence(monkeypatch):
    def refuse():
        raise ValueError("no internet")

    monkeypatch.setattr(skimage.data, "retina", refuse)
    with pytest.raises(DataError, match="'retina' is not installed and cannot be downloaded"):
        samples.fundus()


@pytest.fixture(scope="module")
def session():
    return napari_spa.RefinementSession(napari_spa.load_model("spa-tiny", device="cpu"), seed=0)


@pytest.mark.parametrize("name", ["ct", "em"])
def test_the_first_click_segments_the_stacks_first_object(session, name):
    stack = samples.sample_stack(name)
    plane, *point = stack.first_click
    session.set_image(stack.image[plane])
    mask = session.start(points=[point]).mask
    assert dice(mask, stack.labels[plane] == 1) > 0.8


@pytest.mark.parametrize(("key", "area"), [("fundus", 28000), ("cell", 11400), ("tissue", 90)])
def test_the_first_click_segments_what_the_hint_says(session, key, area):
    ((picture, arguments, _),) = getattr(samples, key)()
    click = arguments["metadata"][samples.METADATA_KEY]["first_click"]
    session.set_image(picture)
    mask = session.start(points=[click]).mask
    assert mask[click]
    assert mask.sum() == pytest.approx(area, rel=0.3)


@pytest.mark.parametrize("name", ["ct", "em"])
def test_a_stack_is_what_its_labels_say(name):
    stack = samples.sample_stack(name)
    assert stack.labels.shape == stack.image.shape
    assert set(np.unique(stack.labels)) == {0, *stack.names}
    for label in stack.names:
        found = np.flatnonzero((stack.labels == label).any(axis=(1, 2)))
        assert np.array_equal(found, np.arange(found[0], found[-1] + 1))
    assert stack.labels[stack.first_click] == 1
    areas = np.count_nonzero(stack.labels == 1, axis=(1, 2))
    assert areas[stack.first_click[0]] == areas.max()  # propagation is best begun there
    low, high = stack.contrast_limits
    assert np.mean((stack.image >= low) & (stack.image <= high)) > 0.5


def test_the_ct_is_in_hounsfield_units():
    stack = samples.sample_stack("ct")
    assert stack.image.dtype == np.int16
    expected = {"right kidney": 185, "liver": 120, "liver metastasis": 45, "renal cyst": 12}
    square = np.ones((1, 3, 3))
    found = {
        name: stack.image[ndimage.binary_erosion(stack.labels == label, square, 2)].mean()
        for label, name in stack.names.items()
    }
    assert found == pytest.approx(expected, abs=15)


def test_the_em_shows_dark_mitochondria():
    stack = samples.sample_stack("em")
    assert stack.image.dtype == np.uint8
    inner = ndimage.binary_erosion(stack.labels > 0, np.ones((1, 3, 3)))
    outside = stack.image[stack.labels == 0]
    assert stack.image[inner].mean() < np.median(outside) - 30
    assert 0.08 < (outside < 110).mean() < 0.3
