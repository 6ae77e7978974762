"""Which few masks are offered, and which of them are nested."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.cluster import KMeans

from napari_spa.core.candidates import (
    Offer,
    choose,
    cluster_samples,
    dice_matrix,
    far_apart,
    gram_coordinates,
    levels_of_area,
    log_choice,
    representative_point,
)


def discs(radii, size=64, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    r = np.hypot(*(np.indices((size, size)) - size / 2))
    maps = [expit((radius - r) + noise * rng.normal(size=r.shape)) for radius in radii]
    return np.stack(maps).astype(np.float32)


def test_gram_coordinates_keep_every_distance():
    maps = discs(np.random.default_rng(0).uniform(5, 25, 48), noise=0.3)
    flat = maps.reshape(48, -1).astype(float)
    pixel = ((flat[:, None] - flat) ** 2).sum(-1)
    c = gram_coordinates(maps)
    np.testing.assert_allclose(((c[:, None] - c) ** 2).sum(-1), pixel, rtol=1e-3, atol=1e-2)


def test_labels_equal_kmeans_on_pixels():
    radii = np.concatenate([np.full(12, r) + np.linspace(0, 1, 12) for r in (6, 11, 16, 22)])
    maps = discs(radii, noise=0.2)
    clusters = cluster_samples(maps, 4)
    pixel = KMeans(4, n_init=3, random_state=0).fit(maps.reshape(48, -1)).labels_
    together = clusters.labels[:, None] == clusters.labels
    np.testing.assert_array_equal(together, pixel[:, None] == pixel)


def test_representatives_are_members_ordered_by_area():
    maps = discs(np.random.default_rng(3).uniform(5, 25, 48), noise=0.2)
    clusters = cluster_samples(maps, 4)
    areas = [(maps[k] > 0.5).sum() for k in clusters.representatives]
    assert areas == sorted(areas)
    for group, member in enumerate(clusters.representatives):
        assert clusters.labels[member] == group
    assert sum(clusters.weights) == pytest.approx(1.0)


@pytest.mark.parametrize("distinct", [1, 2, 3])
def test_fewer_distinct_masks_give_fewer_groups(distinct):
    radii = np.resize([8, 12, 20][:distinct], 48)
    clusters = cluster_samples(discs(radii), 4)
    assert len(clusters.representatives) == distinct
    assert set(clusters.labels) == set(range(distinct))


def test_representative_point_tells_the_picked_group_and_has_its_value():
    maps = discs(np.repeat([8.0, 20.0], 24))
    clusters = cluster_samples(maps, 2)
    rng = np.random.default_rng(0)
    row, column, label = representative_point(
        maps, clusters.labels == 1, maps[clusters.representatives[1]], rng
    )
    assert 8 < np.hypot(row - 32, column - 32) < 20
    assert label == 1
    row, column, label = representative_point(
        maps, clusters.labels == 0, maps[clusters.representatives[0]], rng
    )
    assert label == 0


def test_no_representative_point_without_alternatives():
    maps = discs(np.full(10, 9.0))
    clusters = cluster_samples(maps, 4)
    assert (
        representative_point(maps, clusters.labels == 0, maps[0], np.random.default_rng(0)) is None
    )


APART = np.zeros((4, 4), dtype=bool)


def test_each_place_adds_what_the_places_before_lack():
    agreement = np.array([[1.0, 0.9, 0.1], [0.9, 1.0, 0.1], [0.1, 0.1, 1.0]])
    offer = Offer(agreement, np.zeros(3), np.array([0.4, 0.35, 0.25]), ["shape"] * 3, APART)
    assert choose(offer, 2) == [0, 2]


def test_at_most_two_are_the_recommendation_grown_or_shrunk_while_there_are_others():
    agreement = np.eye(4)
    likely, kinds = np.array([0.4, 0.3, 0.2, 0.1]), ["size"] * 3 + ["shape"]
    offer = Offer(agreement, np.zeros(4), likely, kinds, APART)
    assert choose(offer, 3) == [0, 1, 3]
    assert choose(offer, 4) == [0, 1, 3, 2]


def test_a_pick_speaks_for_what_is_most_like_it():
    agreement = np.array([[1.0, 0.2, 0.2], [0.5, 0.5, 0.5], [0.2, 0.9, 0.8]])
    found = log_choice(agreement, 0, strength=8.0)
    first = 1 / (1 + 2 * np.exp(8.0 * (0.2 - 1.0)))
    assert np.exp(found) == pytest.approx(
        [first, 1 / 3, 1 / (1 + np.exp(8 * 0.7) + np.exp(8 * 0.6))]
    )
    every = np.exp([log_choice(agreement, k) for k in range(3)])
    assert every.sum(axis=0) == pytest.approx(1.0)


def test_what_is_as_good_as_the_recommendation_comes_last():
    agreement = np.array([[0.9, 0.2], [0.0, 0.6]])
    central, likely = np.array([0.9, 0.0]), np.array([0.7, 0.3])
    offer = Offer(agreement, central, likely, ["shape", "object"], APART)
    assert choose(offer, 1) == [1]


@pytest.mark.parametrize(
    ("kinds", "worth", "chosen"),
    [
        (["size", "shape", "object", "shape"], 0.79, [0, 3, 2]),  # the one that tells least goes
        (["size", "object", "object", "shape"], 0.79, [3, 1, 2]),  # a part or a whole stays
        (["size", "shape", "object", "shape"], 0.2, [0, 1, 2]),  # it would cost too much
    ],
)
def test_one_row_of_nested_masks_is_broken_up_where_it_costs_little(kinds, worth, chosen):
    agreement = np.eye(4)
    agreement[1, 3] = agreement[0, 3] = worth
    nested = np.ones((4, 4), dtype=bool)
    nested[3, :3] = nested[:3, 3] = False
    likely = np.array([0.36, 0.05, 0.58, 0.01]) if worth > 0.5 else np.array([0.4, 0.2, 0.4, 0])
    if kinds[1] == "object":
        likely = np.array([0.05, 0.4, 0.54, 0.01])
    assert sorted(choose(Offer(agreement, np.zeros(4), likely, kinds, nested), 3)) == sorted(chosen)


def test_dice_of_all_pairs():
    masks = np.random.default_rng(0).random((5, 9, 9)) > 0.5
    masks[4] = False
    found = dice_matrix(masks, masks)
    for i, a in enumerate(masks):
        for j, b in enumerate(masks):
            total = a.sum() + b.sum()
            expected = 2 * (a & b).sum() / total if total else 1.0
            assert found[i, j] == pytest.approx(expected)


def test_a_level_leaves_so_many_pixels_above_it():
    maps = np.random.default_rng(0).normal(size=(3, 20, 20)).astype(np.float32)
    for area in (1, 57, 399):
        levels = levels_of_area(maps, area)
        assert [(one > level).sum() for one, level in zip(maps, levels, strict=True)] == [area] * 3


def test_the_far_ones_are_taken_and_copies_are_not():
    places = np.array([0.0, 0.0, 1.0, 5.0])
    distance = np.abs(places[:, None] - places)
    assert far_apart(distance, np.array([1.0, 0.9, 0.9, 0.9]), 4).tolist() == [0, 3, 2]
