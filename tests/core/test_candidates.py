"""Unit tests of grouping, representatives and their order."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.cluster import KMeans

from napari_spa.core.candidates import cluster_samples, gram_coordinates, representative_point


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
