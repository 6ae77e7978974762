"""A pick is obeyed: it weighs what follows, and the recommendation moves to what was picked."""

from dataclasses import replace

import numpy as np
import pytest
from skimage import data
from tiny_model import make_model

import napari_spa
from napari_spa.core.measures import dice
from napari_spa.core.obedience import NO_EVIDENCE
from napari_spa.refine.engine.alternatives import Choice, Option, UserInput
from napari_spa.refine.engine.config import EngineConfig
from napari_spa.refine.engine.view import FieldOfView
from napari_spa.refine.log.serialization import decision_from_record, decision_to_record
from napari_spa.refine.session.session import RefinementSession

IMAGE = np.random.default_rng(0).integers(0, 255, (120, 140), np.uint8)
CONFIG = EngineConfig(samples=12)
VIEW, PART = FieldOfView(0, 0, 64, 64), FieldOfView(16, 16, 32, 32)


def disc(view, row, column, radius, size=64):
    steps = (np.arange(size) + 0.5) / size
    rows, columns = view.row + steps * view.height, view.column + steps * view.width
    away = np.hypot(rows[:, None] - row, columns - column)
    return (1 / (1 + np.exp(away - radius))).astype(np.float32)


def test_a_mask_is_read_over_another_view():
    option = Option(PART, disc(PART, 32, 32, 10))
    there = option.logits_over(VIEW, 64)
    alike = dice(there > 0, disc(VIEW, 32, 32, 10) > 0.5)
    assert alike > 0.97
    assert (there[:16] < -5).all()  # beyond its own view is background
    same = 1 / (1 + np.exp(-option.logits_over(PART, 64)))
    np.testing.assert_allclose(same, option.probability, atol=1e-3)


def test_a_pick_weighs_masks_of_any_view():
    shown = (Option(VIEW, disc(VIEW, 32, 32, 6)), Option(VIEW, disc(VIEW, 32, 32, 14)))
    small, large = disc(PART, 32, 32, 6)[None], disc(PART, 32, 32, 14)[None]
    for index, (likely, unlikely) in enumerate(((small, large), (large, small))):
        said = UserInput((), NO_EVIDENCE, (Choice(shown, index),))
        found = said.log_likelihood(np.concatenate([likely, unlikely]), PART)
        assert found[0] > np.log(0.5) > found[1]
        again = replace(said, choices=2 * said.choices)
        np.testing.assert_allclose(
            again.log_likelihood(likely, PART), 2 * said.log_likelihood(likely, PART)
        )


def play(session, indices=(3, 0, 1)):
    shown = session.start(points=[(60, 70)])
    for index in indices:
        shown = session.pick(min(index, len(shown.candidates) - 1))
    return shown


def fresh(model=None, **changes):
    session = RefinementSession(model or make_model(), config=CONFIG, **changes)
    session.set_image(IMAGE)
    return session


def test_picks_are_restored_from_the_log_to_the_last_bit():
    session, other = fresh(), fresh(seed=9)
    last = play(session)
    records = [decision_to_record(d) for d in session.timeline.state.decisions]
    restored = other.restore([decision_from_record(record) for record in records])
    np.testing.assert_array_equal(restored.probability, last.probability)
    assert len(session.timeline.state.choices) == len(other.timeline.state.choices) == 3
    for _ in range(3):
        one, two = session.undo(), other.undo()
        np.testing.assert_array_equal(one.probability, two.probability)
    assert session.timeline.state.choices == ()


def test_a_frozen_session_and_the_papers_groups_take_no_more_than_before():
    frozen = fresh(adapt=False)
    play(frozen)
    assert frozen.timeline.state.choices == ()
    groups = RefinementSession(make_model(), config=replace(CONFIG, alternatives="groups"))
    groups.set_image(IMAGE)
    play(groups)
    assert groups.timeline.state.choices == ()


@pytest.mark.parametrize(
    ("name", "point"),
    [("coins", (150, 195)), ("immunohistochemistry", (360, 345)), ("retina", (700, 1350))],
)
def test_the_recommendation_moves_to_what_was_picked(name, point):
    session = RefinementSession(napari_spa.load_model("spa-tiny", device="cpu"), seed=0)
    session.set_image(getattr(data, name)())
    start = session.start(points=[point])
    moved, nearest = [], []
    for index in range(len(start.candidates)):
        shown, wanted = start, index
        for _ in range(2):
            candidates = shown.candidates
            picked = candidates[min(wanted, len(candidates) - 1)].mask
            others = [c.mask for c in candidates if c.mask is not picked]
            after = session.pick(min(wanted, len(candidates) - 1))
            # Nearer to it than before, or already there.
            moved.append(dice(after.mask, picked) >= min(0.85, dice(shown.mask, picked)))
            rivals = [dice(m, picked) for m in others if not np.array_equal(m, picked)]
            nearest.append(dice(after.mask, picked) >= max(rivals, default=0.0))
            for one in (after, *after.candidates):
                assert one.mask[point]
            shown = after
        session.undo()
        session.undo()
    assert np.mean(moved) >= 0.8
    assert np.mean(nearest) >= 0.75
