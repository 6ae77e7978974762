"""Whatever a user says in a session holds, at its pixels, in all that is shown."""

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tiny_model import make_model

from napari_spa.core.obedience import TOUCH, box_pixels, box_strips
from napari_spa.core.types import Box, Stroke
from napari_spa.refine.engine.config import EngineConfig
from napari_spa.refine.engine.predictor import SpaPredictor
from napari_spa.refine.session.acts import _latest, stroke_pixels
from napari_spa.refine.session.session import RefinementSession

SHAPE = (70, 90)
IMAGE = np.random.default_rng(0).integers(0, 255, (*SHAPE, 3), np.uint8)
MODELS = {
    "window": make_model(),
    "squash": make_model("logit", convention="medsam"),
    "pad": make_model("latent", convention="sam"),
}
PIXEL = st.tuples(st.integers(0, SHAPE[0] - 1), st.integers(0, SHAPE[1] - 1))
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("click"), PIXEL, st.integers(0, 1)),
        st.tuples(st.just("stroke"), st.lists(PIXEL, min_size=1, max_size=4), st.integers(0, 1)),
        st.tuples(st.just("lasso"), st.lists(PIXEL, min_size=1, max_size=5), st.integers(0, 1)),
        st.tuples(st.just("box"), PIXEL, PIXEL),
        st.tuples(st.just("pick"), st.integers(0, 3), st.none()),
        st.tuples(st.just("resize"), st.floats(-1, 1), st.none()),
    ),
    max_size=4,
)


def shown_masks(proposal):
    return [proposal.mask, *(candidate.mask for candidate in proposal.candidates)]


def under(stroke):
    return dict.fromkeys(map(tuple, stroke_pixels(stroke).tolist()), stroke.label == 1)


def play(session, acts):
    """Do the acts; return what has to hold now: labels of pixels, and the box."""
    proposal, said, box = session.proposal, {(30, 40): True}, None
    for act, first, second in acts:
        if act == "click":
            proposal = session.click(first, second)
            fresh = {first: second == 1}
        elif act == "stroke":
            proposal = session.stroke(first, second)
            fresh = under(Stroke(tuple(first), second))
        elif act == "lasso":
            proposal = session.stroke(first, second, filled=True)
            fresh = under(Stroke(tuple(first), second, filled=True))
        elif act == "box":
            low, high = np.minimum(first, second), np.maximum(first, second) + 1
            box = Box(float(low[0]), float(low[1]), float(high[0]), float(high[1]))
            proposal = session.box((box.row0, box.column0, box.row1, box.column1))
            rows, columns = box_pixels(box, SHAPE)
            # Later wins: what was asked for outside of the box is not asked for any more.
            said = {
                (r, c): label
                for (r, c), label in said.items()
                if not label or (rows.start <= r < rows.stop and columns.start <= c < columns.stop)
            }
            continue
        elif act == "resize":
            proposal = session.resize(first)
            continue
        else:
            proposal = session.pick(first % max(len(proposal.candidates), 1))
            continue
        said |= fresh
        for (r, c), label in fresh.items():
            if label and box is not None:  # and a later click outside makes the box larger
                box = Box(
                    min(box.row0, r),
                    min(box.column0, c),
                    max(box.row1, r + 1),
                    max(box.column1, c + 1),
                )
    return proposal, said, box


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("kind", MODELS)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@example(acts=[("box", (1, 0), (1, 0)), ("click", (0, 0), 1), ("box", (1, 0), (1, 0))])
@example(acts=[("click", (10, 80), 1), ("resize", -1.0, None), ("click", (30, 41), 0)])
@example(acts=[("box", (20, 30), (50, 60)), ("resize", 1.0, None)])
@example(acts=[("box", (20, 30), (50, 60)), ("click", (5, 80), 1), ("click", (30, 40), 0)])
@example(acts=[("stroke", [(0, 33), (30, 1)], 0), ("stroke", [(0, 0), (12, 35)], 1)])
@given(acts=ACTIONS)
def test_prompts_are_obeyed(kind, trusted, acts):
    session = RefinementSession(MODELS[kind], config=EngineConfig(samples=8))
    session.set_image(IMAGE)
    session.start(points=[(30, 40)])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(SpaPredictor, "trusts", lambda predictor, shown: trusted)
        proposal, said, box = play(session, acts)
    places = np.array(list(said), dtype=int).reshape(-1, 2)
    labels = np.array(list(said.values()), dtype=bool)
    for mask in shown_masks(proposal):
        if len(places):
            np.testing.assert_array_equal(mask[places[:, 0], places[:, 1]], labels)
        if box is not None:
            rows, columns = box_pixels(box, SHAPE)
            outside = mask.copy()
            outside[rows, columns] = False
            assert not outside.any()
            free = np.ones(SHAPE, bool)
            free[tuple(places[~labels].T)] = False
            for strip in box_strips(box, SHAPE, TOUCH):
                assert mask[strip].any() or not free[strip].any()


def test_a_stroke_is_written_down_and_read_again(tmp_path):
    from napari_spa.refine.log.serialization import decision_from_record, decision_to_record

    session = RefinementSession(MODELS["window"], config=EngineConfig(samples=8))
    session.set_image(IMAGE)
    session.start(points=[(30, 40)])
    session.stroke([(10.2, 11.0), (20, 30), (20, 31)], 0)
    decision = session.timeline.state.decisions[-1]
    record = decision_to_record(decision)
    assert decision_from_record(record).prompts == decision.prompts or (
        decision_from_record(record).prompts.strokes == decision.prompts.strokes
    )
    assert decision.prompts.strokes == (Stroke(((10, 11), (20, 30), (20, 31)), 0),)
    session.stroke([(30, 40), (30, 44), (36, 42)], filled=True)
    lasso = session.timeline.state.decisions[-1].prompts
    assert (
        decision_from_record(
            decision_to_record(session.timeline.state.decisions[-1])
        ).prompts.strokes
        == lasso.strokes
    )
    assert lasso.strokes[-1].filled
    del record["prompts"]["strokes"]  # as earlier versions wrote it
    assert decision_from_record(record).prompts.strokes == ()


def test_of_places_named_twice_the_first_time_orders_and_the_last_time_counts():
    rng = np.random.default_rng(0)
    places, labels = rng.integers(-9, 30, (2000, 2)), rng.random(2000) < 0.5
    said = {}
    for place, label in zip(map(tuple, places.tolist()), labels.tolist(), strict=True):
        said[place] = label
    named, last = _latest(places, labels)
    assert list(map(tuple, named.tolist())) == list(said)
    assert last.tolist() == list(said.values())
