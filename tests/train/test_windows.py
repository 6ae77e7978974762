"""Unit tests of training windows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_spa.train.data import RatedObject
from napari_spa.train.windows import WindowConfig, _with_neighbour, draw_users, draw_window

CONFIG = WindowConfig(size=64)


def disc(radius: int, size: int = 160) -> np.ndarray:
    rows, columns = np.ogrid[:size, :size]
    return (rows - size // 2) ** 2 + (columns - size // 2) ** 2 <= radius**2


@pytest.fixture
def item() -> RatedObject:
    masks = np.stack([disc(12), disc(18)])
    image = np.repeat(np.where(masks[1], 220, 30).astype(np.uint8)[..., None], 3, axis=2)
    return RatedObject(image, masks)


def windows(item: RatedObject, config: WindowConfig, count: int):
    return [draw_window(item, config, np.random.default_rng([3, k])) for k in range(count)]


def test_shapes_types_and_ranges(item) -> None:
    for window in windows(item, CONFIG, 20):
        assert window.pixels.shape == (3, 64, 64)
        assert window.pixels.dtype == torch.float32
        assert torch.isfinite(window.pixels).all()
        assert window.targets.shape == (4, 32, 32)
        assert 0 <= window.targets.min() <= window.targets.max() <= 1
        assert ((window.point >= 0) & (window.point < 64)).all()
        assert 0 <= window.visible <= 1


def test_it_is_seeded(item) -> None:
    first, again = windows(item, CONFIG, 3), windows(item, CONFIG, 3)
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a.pixels, b.pixels)
        assert torch.equal(a.targets, b.targets)
        assert torch.equal(a.point, b.point)
    assert not torch.equal(first[0].pixels, first[1].pixels)


def test_the_click_lies_where_all_agree(item) -> None:
    config = replace(CONFIG, far_share=0.0)
    for window in windows(item, config, 30):
        column, row = (window.point / 2).long().tolist()
        near = window.targets[:, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        assert near.amax(dim=(1, 2)).min() > 0.5


def test_targets_lie_on_the_object_in_the_pixels(item) -> None:
    """Image and masks go through the same geometry: the bright disc is under the mask."""
    clear = []
    for window in windows(item, replace(CONFIG, near=(1.4, 3.5), far_share=0.0), 40):
        covered = window.targets.amax(dim=0) > 0.9
        grey = window.pixels.mean(0).reshape(32, 2, 32, 2).mean(dim=(1, 3))
        outside = window.targets.amax(dim=0) < 0.1
        if not (covered.any() and outside.any()):
            continue
        contrast = abs(float(grey[covered].mean() - grey[outside].mean()))
        clear.append(contrast > 3 * float(grey[outside].std().clamp(min=0.1)))
    # Where a window reaches beyond the image the disc may be mirrored into it.
    assert sum(clear) > 0.9 * len(clear) > 25


def test_visible_is_the_share_in_sight(item) -> None:
    whole = windows(item, replace(CONFIG, near=(4.0, 5.0), far_share=0.0), 10)
    cut = windows(item, replace(CONFIG, near=(0.4, 0.5), far_share=0.0), 10)
    assert min(float(w.visible) for w in whole) > 0.9
    assert max(float(w.visible) for w in cut) < 0.7


@pytest.mark.parametrize("stretch", [0.0, 0.3])
def test_the_extent_is_the_box_of_the_target(item, stretch) -> None:
    config = replace(CONFIG, near=(3.0, 4.0), far_share=0.0, stretch=stretch)
    checked = 0
    for window in windows(item, config, 30):
        if window.visible < 0.99:
            continue
        for target, (x, y, width, height) in zip(window.targets, window.extents, strict=True):
            inside = target > 0.5
            rows, columns = inside.any(1).nonzero(), inside.any(0).nonzero()
            size = inside.shape[0]
            assert float(x) == pytest.approx(
                float((columns[0] + columns[-1] + 1) / 2 / size), abs=0.04
            )
            assert float(y) == pytest.approx(float((rows[0] + rows[-1] + 1) / 2 / size), abs=0.04)
            span = torch.tensor([len(columns), len(rows)]) / size
            assert torch.stack([width, height]).exp().allclose(span, atol=0.06)
            checked += 1
    assert checked > 20


def test_a_strong_change_of_looks_moves_nothing(item) -> None:
    config = replace(CONFIG, restyle=1.0, far_share=0.0)
    pairs = [windows(item, each, 20) for each in (replace(CONFIG, far_share=0.0), config)]
    changed = [float((a.pixels - b.pixels).abs().mean()) for a, b in zip(*pairs, strict=True)]
    assert np.median(changed) > 0.2
    for plain, other in zip(*pairs, strict=True):
        assert torch.equal(plain.targets, other.targets)
        assert torch.equal(plain.point, other.point)
        assert torch.isfinite(other.pixels).all()


def test_a_pasted_neighbour_leaves_the_object_as_it_is(item) -> None:
    rng = np.random.default_rng(5)
    users = torch.from_numpy(np.stack([disc(6, 64), disc(8, 64)])).float()
    image = torch.full((3, 64, 64), 0.1).where(users[1] == 0, torch.tensor(0.9))
    for _ in range(10):
        pasted = _with_neighbour(image, users, rng)
        taken = users.amax(0) > 0
        assert torch.equal(pasted[:, taken], image[:, taken])
        beside = (pasted - image).abs().amax(0) > 0.3
        assert 20 < beside.sum() <= (users[0] > 0).sum()


def test_users_are_raters_and_combinations_of_them() -> None:
    masks = np.stack([disc(8), disc(12), disc(16)])
    rng = np.random.default_rng(0)
    users = np.concatenate([draw_users(masks, 4, rng) for _ in range(50)])
    assert users.shape == (200, 160, 160)
    assert users.any(axis=(1, 2)).all()
    single = [any(np.array_equal(user, mask) for mask in masks) for user in users]
    assert np.mean(single) > 0.6
    union, core = masks.any(axis=0), masks.all(axis=0)
    assert all((user & ~union).sum() == 0 and (core & ~user).sum() == 0 for user in users)
    one = draw_users(masks[:1], 3, rng)
    assert all(np.array_equal(user, masks[0]) for user in one)


def test_every_part_of_a_window_has_one_type(item) -> None:
    # A batch is stacked in a worker by the type of its first window, and else by the widest.
    drawn = windows(item, CONFIG, 40)
    for parts in zip(*drawn, strict=True):
        assert {part.dtype for part in parts} == {torch.float32}
    assert {float(window.visible) == 1 for window in drawn} == {True, False}
