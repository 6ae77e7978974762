"""The synthetic image generator: determinism, shapes, coverage of kinds, rater habits."""

from itertools import combinations

import numpy as np
import pytest

from napari_spa.train.synthetic import (
    KINDS,
    LOOKS,
    RaterStyle,
    SyntheticSample,
    generate,
    random_panel,
    random_style,
)

TIGHT = RaterStyle(offset=-0.12, includes_penumbra=0.0, jitter=0.02)
LOOSE = RaterStyle(offset=0.12, includes_penumbra=1.0, jitter=0.02)


def _check(sample: SyntheticSample, size: int) -> None:
    assert sample.image.shape == (size, size, 3)
    assert sample.image.dtype == np.float32
    assert np.isfinite(sample.image).all()
    assert sample.image.min() >= 0
    assert sample.image.max() <= 1
    assert sample.image.std() > 0
    assert sample.masks.dtype == np.bool_
    assert sample.masks.shape[1:] == (size, size)
    assert sample.masks.any(axis=(1, 2)).all()
    assert not sample.masks.all(axis=(1, 2)).any()


def _dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def test_same_seed_same_sample():
    first = generate(np.random.default_rng(3))
    second = generate(np.random.default_rng(3))
    other = generate(np.random.default_rng(4))
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.masks, second.masks)
    assert (first.kind, first.look) == (second.kind, second.look)
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_in_every_look(kind: str, look: str):
    rng = np.random.default_rng([KINDS.index(kind), LOOKS.index(look)])
    for _ in range(3):
        sample = generate(rng, size=96, kind=kind, look=look)
        _check(sample, 96)
        assert (sample.kind, sample.look) == (kind, look)


@pytest.mark.parametrize("size", [32, 64, 130, 192, 256])
def test_sizes(size: int):
    rng = np.random.default_rng(size)
    for _ in range(4):
        _check(generate(rng, size=size), size)


def test_raters_outline_the_same_object():
    rng = np.random.default_rng(0)
    agreement = []
    for _ in range(80):
        masks = generate(rng).masks
        assert 4 <= len(masks) <= 7
        pairs = [_dice(a, b) for a, b in combinations(masks, 2)]
        assert min(pairs) > 0
        agreement.append(np.mean(pairs))
    assert 0.80 < np.mean(agreement) < 0.92
    assert 0.12 < np.mean(np.array(agreement) > 0.94) < 0.6


def test_object_sizes_cover_the_range():
    rng = np.random.default_rng(1)
    areas = [np.median(generate(rng, size=96).masks.sum(axis=(1, 2))) for _ in range(80)]
    diameters = 2 * np.sqrt(np.array(areas) / np.pi) / 96
    assert np.quantile(diameters, 0.1) < 0.18
    assert np.quantile(diameters, 0.9) > 0.48


@pytest.mark.parametrize("kind", KINDS)
def test_loose_rater_draws_larger_than_tight_one(kind: str):
    rng = np.random.default_rng(5)
    ratios = []
    for _ in range(12):
        tight, loose = generate(rng, size=96, kind=kind, raters=[TIGHT, LOOSE]).masks
        ratios.append(loose.sum() / tight.sum())
    assert np.mean(np.array(ratios) > 1) > 0.9
    assert np.median(ratios) > 1.25


def test_holes_are_filled_only_on_request():
    rng = np.random.default_rng(6)
    filling = RaterStyle(fills_holes=True, jitter=0.0, smoothness=0.0)
    sparing = RaterStyle(fills_holes=False, jitter=0.0, smoothness=0.0)
    differ = 0
    for _ in range(40):  # bands have none
        full, open_ = generate(rng, kind="folded", raters=[filling, sparing]).masks
        assert not (open_ & ~full).any()
        differ += int((full & ~open_).any())
    assert differ >= 5


def test_satellites_are_kept_only_on_request():
    rng = np.random.default_rng(7)
    keeping = RaterStyle(keeps_satellites=True, jitter=0.0)
    leaving = RaterStyle(keeps_satellites=False, jitter=0.0)
    differ = 0
    for _ in range(40):
        more, less = generate(rng, kind="lesion", raters=[keeping, leaving]).masks
        assert not (less & ~more).any()
        differ += int((more & ~less).any())
    assert 1 <= differ <= 20


def test_style_without_jitter_repeats_itself():
    style = RaterStyle(jitter=0.0)
    first, second = generate(np.random.default_rng(8), raters=[style, style]).masks
    assert np.array_equal(first, second)


def test_panels():
    rng = np.random.default_rng(9)
    assert {len(random_panel(rng)) for _ in range(100)} == {4, 5, 6, 7}
    assert all(0 <= random_style(rng).includes_penumbra <= 1 for _ in range(20))


@pytest.mark.parametrize("options", [{"kind": "unicorn"}, {"look": "crayon"}])
def test_bad_options(options: dict):
    with pytest.raises(ValueError, match="must be one of"):
        generate(np.random.default_rng(0), **options)
