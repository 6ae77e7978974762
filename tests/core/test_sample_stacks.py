"""The stacks look and behave as their known objects say."""

import json
import subprocess
import sys

import numpy as np
import pytest
from scipy import ndimage

from napari_spa.core.sample_stacks import ct_stack, em_stack
from napari_spa.core.sample_stacks.fields import ellipsoid, smooth_noise, union

STACKS = {"ct": ct_stack, "em": em_stack}


@pytest.fixture(scope="module")
def ct():
    return ct_stack()


@pytest.fixture(scope="module")
def em():
    return em_stack()


def slices(stack, label):
    return np.flatnonzero((stack.labels == label).any(axis=(1, 2)))


def check_contract(stack):
    """What callers rely on, for every stack and every seed."""
    assert stack.labels.shape == stack.image.shape
    assert stack.labels.dtype == np.uint8
    assert set(np.unique(stack.labels)) == {0, *stack.names}
    for label in stack.names:
        found = slices(stack, label)
        assert np.array_equal(found, np.arange(found[0], found[-1] + 1))
    assert stack.labels[stack.first_click] == 1
    assert stack.first_click[0] == (len(stack.image) - 1) // 2
    low, high = stack.contrast_limits
    assert np.mean((stack.image >= low) & (stack.image <= high)) > 0.5


@pytest.mark.parametrize("name", STACKS)
def test_the_same_seed_gives_the_same_stack_and_another_another(name, request):
    stack, again, other = request.getfixturevalue(name), STACKS[name](), STACKS[name](seed=1)
    np.testing.assert_array_equal(again.image, stack.image)
    np.testing.assert_array_equal(again.labels, stack.labels)
    assert not np.array_equal(other.labels, stack.labels)
    check_contract(stack)
    check_contract(other)


def test_ct_is_made_of_hounsfield_units(ct):
    assert ct.image.dtype == np.int16
    assert ct.image.min() == -1024
    expected = {"right kidney": 185, "liver": 120, "liver metastasis": 45, "renal cyst": 12}
    inner = {
        label: ndimage.binary_erosion(ct.labels == label, np.ones((1, 3, 3)), iterations=2)
        for label in ct.names
    }
    found = {name: ct.image[inner[label]].mean() for label, name in ct.names.items()}
    assert found == pytest.approx(expected, abs=15)
    assert 8 < ct.image[inner[2]].std() < 25  # the noise of an abdominal CT


def test_ct_objects_begin_and_end_inside_the_stack(ct):
    counts = {name: len(slices(ct, label)) for label, name in ct.names.items()}
    assert 18 <= counts["right kidney"] <= 26
    assert counts["liver metastasis"] == counts["renal cyst"] == 7
    for label in (1, 3, 4):
        assert 0 < slices(ct, label)[0] < slices(ct, label)[-1] < len(ct.image) - 1


def test_the_kidney_changes_its_shape(ct):
    solidity = []
    for z in slices(ct, 1)[2:-2]:
        mask = ct.labels[z] == 1
        filled = ndimage.binary_closing(
            np.pad(mask, 20), ndimage.generate_binary_structure(2, 1), 12
        )
        solidity.append(mask.sum() / filled.sum())
    assert max(solidity) > 0.97
    assert min(solidity) < 0.93  # the hilum


def test_em_shows_dark_membranes_and_mitochondria(em):
    assert em.image.dtype == np.uint8
    inner = ndimage.binary_erosion(em.labels > 0, np.ones((1, 3, 3)))
    outside = em.image[em.labels == 0]
    assert em.image[inner].mean() < np.median(outside) - 30
    assert 0.08 < (outside < 110).mean() < 0.3


def test_em_objects_begin_and_end_inside_the_stack(em):
    assert len(slices(em, 1)) == 21
    assert len(slices(em, 2)) == 7
    for label in (1, 2):
        assert 0 < slices(em, label)[0] < slices(em, label)[-1] < len(em.image) - 1


def test_em_sections_jump_from_slice_to_slice(em):
    brightness = em.image.reshape(len(em.image), -1).mean(axis=1)
    assert 2 < brightness.std() < 12


def test_smooth_noise_has_unit_variance_and_the_asked_grain():
    rng = np.random.default_rng(0)
    noise = smooth_noise(rng, (40, 60, 80), (10, 15, 20))
    assert noise.shape == (40, 60, 80)
    assert noise.dtype == np.float32
    assert noise.std() == pytest.approx(1, abs=0.1)
    assert np.abs(np.diff(noise, axis=0)).mean() < 0.5


def test_ellipsoid_is_a_distance_at_its_border():
    axis = np.linspace(-12, 12, 97, dtype=np.float32)
    distance = ellipsoid(axis[:, None, None], axis[:, None], axis, (3, 5, 8))
    assert distance[48, 48].min() == pytest.approx(-3, abs=0.1)
    np.testing.assert_allclose(distance[48, 48, [16, 80]], 0, atol=0.02)  # x = -8 and 8
    assert distance[48, 48, 84] == pytest.approx(1, abs=0.2)  # x = 9


def test_union_is_the_smaller_distance_away_from_the_fillet():
    first, second = np.float32([-5.0, 4.0]), np.float32([5.0, -4.0])
    np.testing.assert_allclose(union(first, second, 2), [-5, -4])


def test_no_window_and_no_torch_is_needed():
    code = (
        "import json, sys\nfrom napari_spa.core import sample_stacks\n"
        "print(json.dumps(sorted(m for m in sys.modules if '.' not in m)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"napari", "qtpy", "torch", "skimage"} & set(json.loads(run.stdout))
