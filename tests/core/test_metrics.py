"""Unit tests of agreement measures and the simulated user."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score

from napari_spa.core.measures import dice, disagreement, iou, pairwise_dice, pick_nearest
from napari_spa.errors import InputError


def masks(count, seed=0, shape=(20, 30)):
    return np.random.default_rng(seed).random((count, *shape)) > 0.6


def test_agree_with_scikit_learn():
    a, b = masks(2)
    assert dice(a, b) == pytest.approx(f1_score(a.ravel(), b.ravel()))
    assert iou(a, b) == pytest.approx(jaccard_score(a.ravel(), b.ravel()))


def test_empty_masks_have_a_rule():
    empty, full = np.zeros((3, 3), bool), np.ones((3, 3), bool)
    assert dice(empty, empty) == iou(empty, empty) == 1.0
    assert dice(empty, full) == iou(full, empty) == 0.0


def test_different_shapes_are_refused():
    with pytest.raises(InputError, match="different shapes"):
        dice(np.ones((2, 2), bool), np.ones((2, 3), bool))


def test_pairwise_has_every_pair():
    m = masks(4)
    assert pairwise_dice(m)[0] == dice(m[0], m[1])
    assert len(pairwise_dice(m)) == 6


def test_disagreement_is_one_minus_mean_dice():
    m = masks(5)
    expected = 1 - np.mean([dice(x, m[0]) for x in m])
    assert disagreement(m.astype(np.float32), m[0]) == pytest.approx(expected)
    assert disagreement(m[:1].astype(np.float32), m[0]) == 0.0


def test_picks_the_nearest_and_refuses_nothing():
    m = masks(4)
    assert pick_nearest(m, m[2]) == 2
    with pytest.raises(InputError):
        pick_nearest([], m[0])
