"""The profile in use: read, taught once, never lost, and shared with other windows."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from napari_spa.errors import DataError
from napari_spa.io.models.registry import ModelIdentity
from napari_spa.io.profiles import PreferenceProfile, ProfileStore
from napari_spa.viewer.profiles import active
from napari_spa.viewer.profiles.active import (
    UNSAVED,
    ActiveProfile,
    recent_profiles,
    recent_profiles_path,
    remember_profile,
)

MODEL = ModelIdentity("tiny", "ab" * 32, "both", "mixture", 2)
OTHER = replace(MODEL, name="other", sha256="cd" * 32)


class Session:
    """As much of a session as the book needs: each object teaches two picks."""

    def __init__(self, model=MODEL):
        self.model, self.profile = SimpleNamespace(identity=model), None

    def accept(self):
        self.profile = self.profile_update()(self.profile)
        return self

    def profile_update(self):
        model = self.model.identity
        return lambda p: replace(p, picks=p.picks + 2) if p else _of(model, picks=2)


def _of(model=MODEL, **known):
    return replace(PreferenceProfile.empty(model), **known)


@pytest.fixture
def profile_store(tmp_path):
    return ProfileStore(tmp_path / "shelf")


@pytest.fixture
def ana(profile_store):
    return profile_store.add(_of(name="Ana", picks=10, images=3))


@pytest.fixture
def open_book(profile_store, qtbot):
    books = []

    def open_it():
        profiles = ActiveProfile(profile_store)
        profiles.model_name = "tiny"
        books.append(profiles)
        profiles.complaints = []
        profiles.failed.connect(profiles.complaints.append)
        return profiles

    yield open_it
    for profiles in books:
        profiles.close()


def settle(profiles, qtbot):
    """Wait until the files' thread did all, and its answers arrived."""
    done = []
    profiles.files.ask(lambda: None, done.append)
    qtbot.waitUntil(lambda: bool(done), timeout=10_000)


def test_an_object_teaches_the_file_once_and_the_words_follow(open_book, ana, qtbot):
    profiles, session = open_book(), Session()
    profiles.use(ana)
    settle(profiles, qtbot)
    profiles.equip(session)
    assert session.profile.picks == 10
    assert profiles.learn(session.accept()).path == ana
    assert profiles.words()[0] == "12 picks, 3 images"  # at once, before it is written
    profiles.learn(session.accept())
    settle(profiles, qtbot)
    assert PreferenceProfile.load(ana).picks == 14
    assert (session.profile.picks, profiles.entry.picks) == (14, 14)
    assert not profiles.unwritten


def test_teaching_can_be_switched_off(open_book, ana, qtbot):
    """The profile is used as it is, and the session forgets what the object would have taught."""
    profiles, session = open_book(), Session()
    profiles.use(ana)
    settle(profiles, qtbot)
    profiles.equip(session)
    profiles.set_teaching(False)
    assert profiles.learn(session.accept()) is None
    assert session.profile.picks == 10
    settle(profiles, qtbot)
    assert PreferenceProfile.load(ana).picks == 10
    profiles.set_teaching(True)
    profiles.learn(session.accept())
    settle(profiles, qtbot)
    assert PreferenceProfile.load(ana).picks == 12
    profiles.use(None)
    profiles.set_teaching(False)
    profiles.learn(session.accept())
    assert profiles.loose is None
    assert session.profile is None


def test_two_windows_teach_one_profile(open_book, ana, qtbot):
    books, sessions = [open_book(), open_book()], [Session(), Session()]
    for profiles, session in zip(books, sessions, strict=True):
        profiles.use(ana)
        profiles.equip(session)
        settle(profiles, qtbot)
        profiles.learn(session.accept())
        settle(profiles, qtbot)
    books[0].learn(sessions[0].accept())
    settle(books[0], qtbot)
    assert PreferenceProfile.load(ana).picks == 16
    assert sessions[0].profile.picks == 16  # with what the other window taught it


def test_a_lesson_that_cannot_be_written_is_tried_again(open_book, ana, qtbot, monkeypatch):
    profiles, session = open_book(), Session()
    profiles.use(ana)
    profiles.equip(session)
    settle(profiles, qtbot)

    def refuse(path, change):
        raise DataError(f"cannot write {path}: No space left on device.")

    with monkeypatch.context() as patch:
        patch.setattr(active, "update_profile", refuse)
        for _ in range(2):
            profiles.learn(session.accept())
            settle(profiles, qtbot)
    assert profiles.complaints == [
        f"cannot write {ana}: No space left on device; what you taught it is kept and tried again."
    ]
    assert profiles.unwritten
    assert profiles.words()[0].startswith("Not saved yet: 14 picks")
    assert (session.profile.picks, PreferenceProfile.load(ana).picks) == (14, 10)
    profiles.use(None)
    profiles.use(ana)
    settle(profiles, qtbot)
    assert session.profile.picks == 14  # coming back loses none of it
    profiles.learn(session.accept())
    settle(profiles, qtbot)
    assert PreferenceProfile.load(ana).picks == 16
    assert not profiles.unwritten


def test_a_lesson_that_never_could_be_written_is_named_at_the_end(open_book, ana, qtbot):
    profiles, session = open_book(), Session()
    profiles.use(ana)
    profiles.equip(session)
    settle(profiles, qtbot)
    ana.unlink()
    profiles.learn(session.accept())
    settle(profiles, qtbot)
    assert "is gone" in profiles.complaints[0]
    assert profiles.entry.problem
    assert profiles.close() == ("Ana",)


def test_a_profile_of_another_model_is_refused_and_work_goes_on(open_book, profile_store, qtbot):
    profiles, session = open_book(), Session()
    profiles.equip(session)
    profiles.learn(session.accept())
    path = profile_store.add(_of(OTHER, name="Ben", picks=5))
    profiles.use(path)
    settle(profiles, qtbot)
    qtbot.waitUntil(lambda: bool(profiles.complaints))
    assert "cannot be used with tiny" in profiles.complaints[0]
    assert profiles.chosen is None
    assert session.profile.picks == 2
    settle(profiles, qtbot)
    assert not profiles.fits(profiles.entries[0])


def test_what_is_learnt_without_a_profile_waits_while_one_is_in_use(open_book, ana, qtbot):
    profiles, session = open_book(), Session()
    profiles.equip(session)
    assert profiles.words()[0] == UNSAVED
    assert profiles.learn(session.accept()).path is None
    assert "Unsaved: " in profiles.words()[0]
    profiles.use(ana)
    settle(profiles, qtbot)
    assert session.profile.picks == 10
    profiles.use(None)
    assert session.profile.picks == 2


def test_names_are_judged_while_they_are_typed(open_book, ana, qtbot):
    profiles = open_book()
    profiles.refresh()
    settle(profiles, qtbot)
    assert "needs a name" in profiles.problem("  ")
    assert "Ana already" in profiles.problem(" aNA ")
    assert not profiles.problem("Ana", "optic cup")
    assert not profiles.problem("ana", but=ana)
    assert not profiles.problem("Ben")


def test_the_last_profile_of_each_model_is_remembered():
    assert recent_profiles().get("tiny", "") == ""
    remember_profile("tiny", "/a/ana.json")
    remember_profile("other", "/a/ben.json")
    remember_profile("tiny", "/a/cleo.json")
    assert [recent_profiles().get(name, "") for name in ("tiny", "other")] == [
        "/a/cleo.json",
        "/a/ben.json",
    ]
    recent_profiles_path().write_text("{", encoding="utf-8")
    assert recent_profiles().get("tiny", "") == ""
    remember_profile("tiny", "/a/ana.json")
    assert recent_profiles().get("tiny", "") == "/a/ana.json"


def test_what_was_taught_is_taken_back_one_after_another(open_book, ana, qtbot):
    profiles, session = open_book(), Session()
    profiles.use(ana)
    settle(profiles, qtbot)
    profiles.equip(session)
    before = PreferenceProfile.load(ana).to_json()
    taught = [profiles.learn(session.accept()) for _ in range(3)]
    settle(profiles, qtbot)
    assert not profiles.unlearn(taught[0], session)  # others came after it
    for one in reversed(taught):
        assert profiles.unlearn(one, session)
    settle(profiles, qtbot)
    assert PreferenceProfile.load(ana).to_json() == before
    assert (session.profile.picks, profiles.profile.picks, profiles.entry.picks) == (10, 10, 10)
    assert not profiles.unlearn(taught[0], session)  # once


def test_what_another_window_taught_since_stays(open_book, ana, qtbot):
    books, sessions = [open_book(), open_book()], [Session(), Session()]
    taught = []
    for profiles, session in zip(books, sessions, strict=True):
        profiles.use(ana)
        profiles.equip(session)
        settle(profiles, qtbot)
        taught.append(profiles.learn(session.accept()))
        settle(profiles, qtbot)
    assert not books[0].unlearn(taught[0], sessions[0])
    assert PreferenceProfile.load(ana).picks == 14


def test_a_lesson_that_could_not_be_written_is_taken_back(open_book, ana, qtbot):
    profiles, session = open_book(), Session()
    profiles.use(ana)
    profiles.equip(session)
    settle(profiles, qtbot)
    content = ana.read_bytes()
    ana.write_bytes(b"damaged")
    taught = profiles.learn(session.accept())
    settle(profiles, qtbot)
    ana.write_bytes(content)
    assert profiles.unlearn(taught, session)
    profiles.close()
    assert ana.read_bytes() == content


def test_what_the_window_learnt_is_taken_back(open_book, qtbot):
    profiles, session = open_book(), Session()
    profiles.equip(session)
    taught = profiles.learn(session.accept())
    assert profiles.profile.picks == 2
    assert profiles.unlearn(taught, session)
    settle(profiles, qtbot)
    assert (profiles.profile.picks, session.profile.picks) == (0, 0)
