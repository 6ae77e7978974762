"""Unit: preference profiles: exact round trips, and one sentence for everything else."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_spa.core.types import MixtureParameters
from napari_spa.errors import DataError, ProfileError, SpaError
from napari_spa.io.identity import ModelIdentity
from napari_spa.io.profiles import PreferenceProfile

MODEL = ModelIdentity("spa-tiny", "ab" * 32, "both", "mixture", 16)


def _profile(seed: int = 0, m: int = 5, d: int = 3) -> PreferenceProfile:
    rng = np.random.default_rng(seed)
    weights = rng.random(m)
    mixture = MixtureParameters(
        weights / weights.sum(), rng.normal(size=(m, d)), rng.random((m, d)) + 1e-12
    )
    return PreferenceProfile(MODEL, mixture, 7, 2, 'optic cup, "tight"\nφ', "Ana")


def _assert_same(a: PreferenceProfile, b: PreferenceProfile) -> None:
    for name in ("weights", "means", "variances"):
        np.testing.assert_array_equal(
            getattr(a.mixture, name), getattr(b.mixture, name), strict=True
        )
    assert (a.model, a.picks, a.images, a.task, a.name) == (
        b.model,
        b.picks,
        b.images,
        b.task,
        b.name,
    )


def test_a_profile_comes_back_exactly(tmp_path) -> None:
    profile = _profile()
    profile.save(tmp_path / "deep" / "ana.json")
    _assert_same(PreferenceProfile.load(str(tmp_path / "deep" / "ana.json")), profile)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["ana.json"]


@given(
    arrays(np.float64, (3, 2), elements=st.floats(-1e300, 1e300)),
    arrays(np.float64, (3, 2), elements=st.floats(5e-324, 1e300)),
)
def test_any_finite_numbers_come_back_exactly(means, variances) -> None:
    mixture = MixtureParameters(np.array([0.5, 0.5, 0.0]), means, variances)
    profile = PreferenceProfile(MODEL, mixture)
    text = profile.to_json()
    _assert_same(PreferenceProfile.from_json(text), profile)
    assert PreferenceProfile.from_json(text).to_json() == text


def test_the_file_is_plain_json_with_a_version(tmp_path) -> None:
    _profile().save(tmp_path / "p.json")
    content = json.loads((tmp_path / "p.json").read_text(encoding="utf-8"))
    assert content["schema"] == "napari-spa profile"
    assert content["version"] == 1
    assert content["model"]["sha256"] == MODEL.sha256
    assert content["picks"] == 7


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch) -> None:
    path = tmp_path / "p.json"
    _profile(1).save(path)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(DataError, match="No space left"):
        _profile(2).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({"name": "copy of spa-tiny"}, True),
        ({"sha256": "cd" * 32}, False),
        ({"head": "logit"}, False),
        ({"sampler": "weighted-sum"}, False),
        ({"latent_dim": 8}, False),
    ],
)
def test_a_profile_is_for_the_model_it_was_made_with(change, fits) -> None:
    other = replace(MODEL, **change)
    if fits:
        _profile().check(other)
        return
    with pytest.raises(ProfileError, match="'Ana' was made with spa-tiny") as caught:
        _profile().check(other)
    assert "\n" not in str(caught.value)


def _edited(*keys: str, value: object) -> str:
    content = json.loads(_profile().to_json())
    place = content
    for key in keys[:-1]:
        place = place[key]
    if value is KeyError:
        del place[keys[-1]]
    else:
        place[keys[-1]] = value
    return json.dumps(content)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a napari-spa profile"),
        ("{", "not a napari-spa profile"),
        ("[" * 200_000, "not a napari-spa profile"),
        ("[]", "not a napari-spa profile"),
        ('{"a": 1}', "not a napari-spa profile"),
        (_edited("schema", value="other"), "not a napari-spa profile"),
        (_edited("version", value=2), "newer napari-spa"),
        (_edited("version", value="1"), "impossible version"),
        (_edited("version", value=True), "impossible version"),
        (_edited("version", value=0), "impossible version"),
        (_edited("version", value=KeyError), "impossible version"),
        (_edited("extra", value=1), "has unknown 'extra'"),
        (_edited("picks", value=KeyError), "lacks 'picks'"),
        (_edited("picks", value=-1), "picks"),
        (_edited("picks", value=1.5), "picks"),
        (_edited("images", value=10**400), "images"),
        (_edited("task", value=None), "task"),
        (_edited("model", value=[]), "model"),
        (_edited("model", "sha256", value=KeyError), "sha256"),
        (_edited("model", "latent_dim", value="16"), "latent_dim"),
        (_edited("mixture", value=None), "mixture"),
        (_edited("mixture", "weights", value=[0.5] * 5), "sum to 1"),
        (_edited("mixture", "weights", value=[-1.0, 0.5, 0.5, 0.5, 0.5]), "negative"),
        (_edited("mixture", "weights", value=[0.2] * 4 + ["0.2"]), "not numbers"),
        (_edited("mixture", "weights", value=[0.2] * 4 + [True]), "not numbers"),
        (_edited("mixture", "weights", value=[0.25] * 4), "fit each other"),
        (_edited("mixture", "weights", value=[[0.2]] * 5), "not numbers"),
        (_edited("mixture", "means", value=[[1.0, 2.0], [3.0]]), "no shape"),
        (_edited("mixture", "means", value=[]), "fit each other"),
        (_edited("mixture", "means", value=[[]] * 5), "fit each other"),
        (_edited("mixture", "means", value=[[10**400] * 3] * 5), "no shape"),
        (_edited("mixture", "means", value=[[float("nan")] * 3] * 5), "not a napari-spa profile"),
        (_edited("mixture", "variances", value=[[0.0] * 3] * 5), "above 0"),
        (re.sub(r"0\.\d+", "1e999", _profile().to_json(), count=1), "finite"),
    ],
)
def test_what_is_no_profile_is_one_sentence(tmp_path, text, says) -> None:
    path = tmp_path / "p.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ProfileError, match=says) as caught:
        PreferenceProfile.load(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert message.endswith(".")


@pytest.mark.parametrize("kind", ["missing", "folder", "bytes", "huge"])
def test_files_that_cannot_be_profiles_are_one_sentence(tmp_path, kind, monkeypatch) -> None:
    path = tmp_path / "p.json"
    if kind == "folder":
        path.mkdir()
    elif kind == "bytes":
        path.write_bytes(b"\xff\xfe\x00")
    elif kind == "huge":
        monkeypatch.setattr("napari_spa.io.profiles._LARGEST_FILE", 10)
        _profile().save(path)
    with pytest.raises(ProfileError, match=r"p\.json"):
        PreferenceProfile.load(path)


def test_a_profile_cannot_be_made_of_a_broken_mixture() -> None:
    sound = _profile().mixture
    broken = MixtureParameters(sound.weights, sound.means, np.full_like(sound.variances, np.inf))
    with pytest.raises(ProfileError, match="finite"):
        PreferenceProfile(MODEL, broken)
    with pytest.raises(ProfileError, match="-1 picks"):
        PreferenceProfile(MODEL, sound, picks=-1)


def test_damaged_text_gives_an_answer_or_a_sentence() -> None:
    """Fuzz: characters replaced and cut at seeded places."""
    rng = np.random.default_rng(0)
    whole = _profile().to_json()
    refused = 0
    for _ in range(400):
        text = list(whole)
        for _ in range(int(rng.integers(1, 4))):
            text[rng.integers(len(text))] = chr(int(rng.integers(32, 127)))
        try:
            PreferenceProfile.from_json("".join(text[: rng.integers(1, 2 * len(text))]))
        except SpaError:
            refused += 1
    assert 200 < refused < 400
