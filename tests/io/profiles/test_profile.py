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
from napari_spa.io import profiles as profile_file
from napari_spa.io.models.registry import ModelIdentity
from napari_spa.io.profiles import CORRECTED_COUNTS, AcceptedSize, PreferenceProfile

MODEL = ModelIdentity("spa-tiny", "ab" * 32, "both", "mixture", 16)


def test_equal_is_what_has_equal_content(tmp_path) -> None:
    profile = PreferenceProfile.empty(MODEL, name="Ana")
    profile.save(tmp_path / "ana.json")
    assert PreferenceProfile.load(tmp_path / "ana.json") == profile
    assert profile != replace(profile, picks=1)
    assert profile != "Ana"


# Written by napari-spa before profiles knew of objects.
VERSION_1 = """{
 "schema": "napari-spa profile",
 "version": 1,
 "name": "Ana",
 "task": "optic cup, φ",
 "picks": 31,
 "images": 12,
 "model": {
  "name": "spa-tiny",
  "sha256": "abababababababababababababababababababababababababababababababab",
  "head": "both",
  "sampler": "mixture",
  "latent_dim": 16
 },
 "mixture": {
  "weights": [
   0.5540679489291616,
   0.4459320510708385
  ],
  "means": [
   [
    -0.006926123563646536,
    0.5015352951547885,
    -1.3267282928093849
   ],
   [
    1.107768166657506,
    0.0937548811679036,
    -1.1708180763562224
   ]
  ],
  "variances": [
   [
    0.3388359132376283,
    0.6218064009446065,
    0.7324846740780381
   ],
   [
    0.8610882804114024,
    0.33782439316200763,
    0.4292892445894152
   ]
  ]
 }
}
"""


def _profile(seed: int = 0, m: int = 5, d: int = 3) -> PreferenceProfile:
    rng = np.random.default_rng(seed)
    weights = rng.random(m)
    mixture = MixtureParameters(
        weights / weights.sum(), rng.normal(size=(m, d)), rng.random((m, d)) + 1e-12
    )
    return PreferenceProfile(
        MODEL,
        mixture,
        7,
        2,
        'optic cup, "tight"\nφ',
        "Ana",
        3,
        0.1 + 0.2,
        {"4f": 7},
        kinds=("grey, 8 bit", "colour, float"),
    )


def _assert_same(a: PreferenceProfile, b: PreferenceProfile) -> None:
    for name in ("weights", "means", "variances"):
        np.testing.assert_array_equal(
            getattr(a.mixture, name), getattr(b.mixture, name), strict=True
        )
    counted = ("picks", "corrected", "images", "objects", "log_growth", "taught", "kinds")
    for name in ("model", "task", "name", *counted):
        assert getattr(a, name) == getattr(b, name), name


def test_a_profile_comes_back_exactly(tmp_path) -> None:
    profile = _profile()
    profile.save(tmp_path / "deep" / "ana.json")
    _assert_same(PreferenceProfile.load(str(tmp_path / "deep" / "ana.json")), profile)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["ana.json"]


@given(
    arrays(np.float64, (3, 2), elements=st.floats(-1e4, 1e4)),
    arrays(np.float64, (3, 2), elements=st.floats(5e-324, 1e8)),
)
def test_any_numbers_that_can_be_learnt_come_back_exactly(means, variances) -> None:
    mixture = MixtureParameters(np.array([0.5, 0.5, 0.0]), means, variances)
    profile = PreferenceProfile(MODEL, mixture)
    text = profile.to_json()
    _assert_same(PreferenceProfile.from_json(text), profile)
    assert PreferenceProfile.from_json(text).to_json() == text


def test_the_file_is_plain_json_with_a_version(tmp_path) -> None:
    _profile().save(tmp_path / "p.json")
    content = json.loads((tmp_path / "p.json").read_text(encoding="utf-8"))
    assert content["schema"] == "napari-spa profile"
    assert content["version"] == 6
    assert content["model"]["sha256"] == MODEL.sha256
    assert content["picks"] == 7
    assert content["objects"] == 3


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
        (_edited("version", value=7), "newer napari-spa"),
        (_edited("version", value="1"), "impossible version"),
        (_edited("version", value=True), "impossible version"),
        (_edited("version", value=0), "impossible version"),
        (_edited("version", value=KeyError), "impossible version"),
        (_edited("extra", value=1), "has unknown 'extra'"),
        (_edited("picks", value=KeyError), "lacks 'picks'"),
        (_edited("picks", value=-1), "picks"),
        (_edited("picks", value=1.5), "picks"),
        (_edited("images", value=10**400), "too large"),
        (_edited("task", value=None), "task"),
        (_edited("version", value=1), "has unknown 'corrected'"),
        (_edited("objects", value=KeyError), "lacks 'objects'"),
        (_edited("objects", value=True), "objects"),
        (_edited("log_growth", value="0.1"), "log_growth"),
        (_edited("log_growth", value=True), "log_growth"),
        (_edited("log_growth", value=10**400), "too large"),
        (_edited("name", value="\ud800"), "not text"),
        (_edited("model", value=[]), "model"),
        (_edited("model", "sha256", value=KeyError), "model"),
        (_edited("model", "latent_dim", value="16"), "model"),
        (_edited("mixture", value=None), "mixture"),
        (_edited("mixture", "weights", value=[0.5] * 5), "sum to 1"),
        (_edited("mixture", "weights", value=[-1.0, 0.5, 0.5, 0.5, 0.5]), "negative"),
        (_edited("mixture", "weights", value=[0.2] * 4 + ["0.2"]), "mixture is damaged"),
        (_edited("mixture", "weights", value=[0.2] * 4 + [True]), "mixture is damaged"),
        (_edited("mixture", "weights", value=[0.25] * 4), "fit each other"),
        (_edited("mixture", "weights", value=[[0.2]] * 5), "mixture is damaged"),
        (_edited("mixture", "means", value=[[1.0, 2.0], [3.0]]), "several lengths"),
        (_edited("mixture", "means", value=[]), "fit each other"),
        (_edited("mixture", "means", value=[[]] * 5), "fit each other"),
        (_edited("mixture", "means", value=[[10**400] * 3] * 5), "too large"),
        (_edited("mixture", "means", value=[[1e300] * 3] * 5), "no pick can have led to"),
        (_edited("mixture", "variances", value=[[1e9] * 3] * 5), "no pick can have led to"),
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
    with pytest.raises(ProfileError, match="do not agree"):
        PreferenceProfile(MODEL, sound, images=1, taught={"a": 1, "b": 2})
    with pytest.raises(ProfileError, match="-1 objects"):
        PreferenceProfile(MODEL, sound, objects=-1)
    with pytest.raises(ProfileError, match="finite"):
        PreferenceProfile(MODEL, sound, log_growth=float("nan"))
    most = 2**53 - 1  # two such added up would be a file that cannot be read again
    with pytest.raises(ProfileError, match=f"{most} picks"):
        PreferenceProfile(MODEL, sound, picks=most)
    with pytest.raises(ProfileError, match="do not agree"):
        PreferenceProfile(MODEL, sound, images=1, taught={"a": most})


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


def test_a_file_of_version_1_comes_forward_exactly() -> None:
    profile = PreferenceProfile.from_json(VERSION_1)
    assert (profile.name, profile.task, profile.model) == ("Ana", "optic cup, φ", MODEL)
    assert (profile.picks, profile.images) == (31, 12)
    assert (profile.objects, profile.log_growth) == (0, 0.0)
    # Drawn as the writer of the file drew them.
    rng = np.random.default_rng(41)
    weights = rng.random(2)
    np.testing.assert_array_equal(profile.mixture.weights, weights / weights.sum())
    np.testing.assert_array_equal(profile.mixture.means, rng.normal(size=(2, 3)))
    np.testing.assert_array_equal(profile.mixture.variances, rng.random((2, 3)))
    _assert_same(PreferenceProfile.from_json(profile.to_json()), profile)


def test_sizes_of_accepted_objects_are_kept_exactly() -> None:
    sizes = (AcceptedSize("a", "one", 412.0, 0.325), AcceptedSize("b", "two", 0.1 + 0.2))
    profile = PreferenceProfile.from_json(replace(_profile(), sizes=sizes).to_json())
    assert profile.sizes == sizes
    content = json.loads(profile.to_json())
    del content["sizes"], content["kinds"], content["corrected"]
    older = PreferenceProfile.from_json(json.dumps({**content, "version": 3}))
    assert (older.sizes, older.picks) == ((), profile.picks)


@pytest.mark.parametrize(
    "sizes",
    [
        7,
        [7],
        [{"object": "a", "image": "b", "area": 3}],
        [{"object": "a", "image": "b", "area": 0, "pixel_size": 0}],
        [{"object": "a", "image": "b", "area": 3, "pixel_size": -1}],
        [{"object": 4, "image": "b", "area": 3, "pixel_size": 0}],
        [{"object": "a", "image": "b", "area": 1e300, "pixel_size": 0}],
    ],
)
def test_impossible_sizes_are_refused(sizes) -> None:
    content = {**json.loads(_profile().to_json()), "sizes": sizes}
    with pytest.raises(ProfileError, match="size"):
        PreferenceProfile.from_json(json.dumps(content))


def test_a_size_is_the_same_thing_in_pixels_of_another_image() -> None:
    size = AcceptedSize("a", "one", 400.0, 0.5)
    assert size.in_pixels(0.25) == pytest.approx(1600.0)
    assert size.in_pixels(0.0) == AcceptedSize("a", "one", 400.0).in_pixels(0.25) == 400.0


def test_corrected_objects_are_evidence_and_those_of_version_5_were_none() -> None:
    profile = PreferenceProfile.from_json(replace(_profile(), corrected=3).to_json())
    assert (profile.corrected, profile.evidence) == (3, profile.picks + 3 * CORRECTED_COUNTS)
    content = json.loads(profile.to_json())
    del content["corrected"]
    older = PreferenceProfile.from_json(json.dumps({**content, "version": 5}))
    assert (older.corrected, older.evidence) == (0, profile.picks)
    with pytest.raises(ProfileError, match="corrected"):
        replace(profile, corrected=-1)


def test_every_version_has_a_way_forward(monkeypatch) -> None:
    now, since = profile_file.VERSION, profile_file._SINCE
    assert set(since) == set(range(2, now + 1))
    # One version from now, a file of version 1 gets what all versions in between brought.
    monkeypatch.setattr(profile_file, "_SINCE", {**since, now + 1: {"hand": ""}})
    monkeypatch.setattr(profile_file, "VERSION", now + 1)
    content = profile_file.read_content(VERSION_1)
    assert content["version"] == now + 1
    assert (content["log_growth"], content["hand"], content["picks"]) == (0.0, "", 31)
    assert (content["taught"], content["sizes"]) == ({}, [])


@pytest.mark.parametrize(("head", "channels"), [("both", 17), ("logit", 5), ("latent", 16)])
def test_an_empty_profile_is_a_profile(head, channels) -> None:
    profile = PreferenceProfile.empty(replace(MODEL, head=head), name="Ben", task="disc")
    assert (profile.picks, profile.images, profile.objects) == (0, 0, 0)
    assert profile.mixture.means.shape == (1, channels)
    _assert_same(PreferenceProfile.from_json(profile.to_json()), profile)


def test_an_emptied_profile_keeps_only_what_it_is_called() -> None:
    emptied = _profile().emptied()
    assert (emptied.name, emptied.task, emptied.model) == ("Ana", _profile().task, MODEL)
    assert (emptied.picks, emptied.images, emptied.objects, emptied.log_growth) == (0, 0, 0, 0.0)
    assert not emptied.mixture.means.any()
