"""Unit: what is in a profile, in words that its evidence supports."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from napari_spa.core.types import MixtureParameters
from napari_spa.io.models.registry import ModelIdentity
from napari_spa.io.profiles import AcceptedSize, PreferenceProfile
from napari_spa.refine.preference import (
    boundary_lean,
    describe,
    in_brief,
    proportion,
    relative_size,
)

BOTH = ModelIdentity("spa-tiny", "ab" * 32, "both", "mixture", 2)


def _profile(offset: float = 0.0, model: ModelIdentity = BOTH, **known: object):
    means = np.array([[0.0, 0.0, offset - 0.1], [0.0, 0.0, offset + 0.3]])
    if model.head == "logit":
        means = np.roll(means, 1, axis=1)
    mixture = MixtureParameters(np.array([0.75, 0.25]), means, np.full((2, 3), 0.16))
    return replace(PreferenceProfile(model, mixture), **{"picks": 31, "images": 12, **known})


def _grown(size: float, objects: int, **known: object):
    return _profile(objects=objects, log_growth=objects * math.log(size), **known)


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        (PreferenceProfile.empty(BOTH), "Nothing learnt yet."),
        (_grown(1.5, 4, picks=0), "Nothing learnt yet."),
        (
            _grown(1.06, 18),
            "Tends to draw 6 % larger than the model first recommends. "
            "Learnt from 31 picks on 12 images.",
        ),
        (
            _grown(0.8, 5),
            "Tends to draw 20 % smaller than the model first recommends. "
            "Learnt from 31 picks on 12 images.",
        ),
        (
            _grown(1.004, 5),
            "Tends to draw about as large as the model first recommends. "
            "Learnt from 31 picks on 12 images.",
        ),
        (
            _grown(2.5, 1, picks=1, images=1),
            "So far drew 2.5 times as large as the model first recommends (1 object). "
            "Learnt from 1 pick on 1 image. "
            "That is little: the model's own ideas still weigh more.",
        ),
        (_profile(0.3), "Boundaries lean outwards. Learnt from 31 picks on 12 images."),
        (_profile(-0.3), "Boundaries lean inwards. Learnt from 31 picks on 12 images."),
        (_profile(0.01), "Learnt from 31 picks on 12 images."),
        (_profile(0.3, replace(BOTH, head="latent")), "Learnt from 31 picks on 12 images."),
        (
            _profile(picks=0, corrected=4, images=3),
            "Learnt from 4 corrected objects on 3 images.",
        ),
        (
            _profile(corrected=1),
            "Learnt from 31 picks and 1 corrected object on 12 images.",
        ),
        (_profile(picks=12_345, images=1_000), "Learnt from 12,345 picks on 1,000 images."),
    ],
)
def test_words(profile: PreferenceProfile, words: str) -> None:
    assert describe(profile) == words


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        (PreferenceProfile.empty(BOTH), "Nothing learnt yet."),
        (_grown(1.06, 18), "Tends to draw 6 % larger, 31 picks, 12 images"),
        (_grown(2.5, 5), "Tends to draw 2.5 times as large, 31 picks, 12 images"),
        (_grown(1.06, 4), "31 picks, 12 images"),  # too few objects for a tendency
        (_profile(picks=1, images=1), "1 pick, 1 image"),
        (_profile(picks=0, corrected=2, images=1), "2 corrected objects, 1 image"),
    ],
)
def test_in_brief(profile: PreferenceProfile, words: str) -> None:
    assert in_brief(profile) == words


def test_growth_is_the_geometric_mean_and_never_overflows() -> None:
    assert relative_size(_profile(objects=2, log_growth=math.log(2.0) + math.log(0.5))) == 0.0
    assert relative_size(_profile()) is None
    huge = relative_size(_profile(objects=1, log_growth=1e300))
    assert huge is not None
    assert math.isfinite(huge)
    assert relative_size(_profile(objects=1, log_growth=-1e300)) == -1.0
    for extreme in (1e300, -1e300):
        assert "Learnt" in describe(_profile(objects=9, log_growth=extreme))


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (0.0149, "about as large as X"),
        (0.02, "2 % larger than X"),
        (0.996, "100 % larger than X"),
        (1.0, "2.0 times as large as X"),
        (11.4, "12 times as large as X"),
        (-0.999, "99 % smaller than X"),
    ],
)
def test_proportions(size: float, said: str) -> None:
    assert proportion(size, "X") == said


@pytest.mark.parametrize("head", ["both", "logit"])
def test_the_lean_is_the_mean_boundary_offset(head: str) -> None:
    model = replace(BOTH, head=head)
    assert boundary_lean(_profile(0.2, model)) == pytest.approx(0.2)
    assert boundary_lean(_profile(0.2, model, picks=0)) is None
    assert boundary_lean(_profile(0.2, replace(model, head="latent"))) is None


@pytest.mark.parametrize("head", ["both", "logit"])
def test_the_models_own_offsets_have_mean_0(head: str) -> None:
    """The words take it for granted, so that they need no model."""
    from tiny_model import make_model

    from napari_spa.core.types import Click, Prompts
    from napari_spa.refine.engine.predictor import SpaPredictor

    model = make_model(head)
    predictor = SpaPredictor(model)
    predictor.set_image(np.random.default_rng(0).random((40, 50)))
    prompts = Prompts((Click(20, 20),))
    view = predictor.frame(prompts).view
    own = PreferenceProfile(model.identity, predictor.initial_mixture(view, prompts), picks=9)
    assert boundary_lean(own) == pytest.approx(0, abs=1e-12)


def test_sizes_are_said_with_and_without_picks():
    sizes = tuple(AcceptedSize(f"{k}", "one", 90.0) for k in range(3))
    alone = replace(PreferenceProfile.empty(BOTH), sizes=sizes[:1])
    assert describe(alone) == "Remembers how large 1 accepted object was."
    assert in_brief(alone) == "1 size, no picks"
    assert describe(_profile(0.01, sizes=sizes)) == (
        "Learnt from 31 picks on 12 images. Remembers how large 3 accepted objects were."
    )
