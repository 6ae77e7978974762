"""Unit tests of the prompts that training plays."""

from __future__ import annotations

import torch

from napari_spa.train.windows import (
    PlayedPrompts,
    corrective_clicks,
    draw_boxes,
    first_prompts,
    pick_points,
)


def discs() -> torch.Tensor:
    rows, columns = torch.arange(32)[:, None], torch.arange(32)
    centres = ((16, 16), (8, 20), (24, 10))
    return torch.stack([((rows - r) ** 2 + (columns - c) ** 2 <= 36).float() for r, c in centres])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def value_at(masks: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """The masks' values ``(B, P)`` at points in pixels of twice their resolution."""
    index = ((points - 0.5) / 2).round().long()
    rows = torch.arange(len(masks))[:, None]
    return masks[rows, index[..., 1], index[..., 0]]


def test_first_prompts_are_of_four_kinds_and_agree_with_the_mask() -> None:
    masks = discs()
    centre = torch.tensor([[32.5, 32.5], [40.5, 16.5], [20.5, 48.5]])
    kinds = set()
    for seed in range(60):
        played = first_prompts(masks, centre, generator(seed))
        kinds.add((played.points.shape[1], played.boxes is not None))
        assert (value_at(masks, played.points)[played.labels == 1] == 1).all()
        assert played.definite == (played.boxes is not None)
    assert kinds == {(1, False), (1, True), (0, True), (5, False)}


def test_boxes_are_tight_or_loose_but_near() -> None:
    masks = discs()
    boxes = torch.stack([draw_boxes(masks, generator(seed)) for seed in range(40)])
    tight = torch.tensor([19.5, 19.5, 45.5, 45.5])  # rows and columns 10 to 22, doubled
    off = (boxes[:, 0] - tight) * torch.tensor([-1.0, -1.0, 1.0, 1.0])
    assert off.min() > -3
    assert off.max() < 9
    assert off.mean() > 0.5


def test_corrective_clicks_lie_in_errors_and_have_the_users_label() -> None:
    user, wrong = discs(), discs().roll(6, dims=2)
    nothing = PlayedPrompts(torch.zeros(3, 0, 2), torch.zeros(3, 0), None, 64, definite=False)
    for seed in range(20):
        played = corrective_clicks(nothing, wrong, user, 1.0, generator(seed))
        assert (played.labels >= 0).all()
        assert (value_at(user, played.points) == played.labels).all()
        first = played.points[:, :1]
        assert (value_at(wrong, first) != value_at(user, first)).all()
    unneeded = corrective_clicks(nothing, user, user, 1.0, generator())
    assert (unneeded.labels == -1).all()


def test_a_pick_is_labelled_by_the_pick_itself() -> None:
    picked, mean = discs().roll(5, dims=1), discs()
    nothing = PlayedPrompts(torch.zeros(3, 0, 2), torch.zeros(3, 0), None, 64, definite=False)
    played = pick_points(nothing, picked, mean, 1.0, generator())
    assert (value_at(picked, played.points) == played.labels).all()
    assert (value_at(mean, played.points) != played.labels).all()
