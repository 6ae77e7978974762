"""Another model, contrast or channel in the middle of a round: the object stays, undo goes back."""

from dataclasses import replace

import numpy as np
import pytest
from annotator import Annotator
from tiny_model import make_model

from napari_spa.errors import CheckpointError
from napari_spa.io.event_log import read_records
from napari_spa.io.models.registry import file_digest
from napari_spa.io.profiles import PreferenceProfile
from napari_spa.refine.annotation.annotation import ArraySurface
from napari_spa.refine.engine.config import EngineConfig, FramingConfig
from napari_spa.refine.log.journal import read_journal
from napari_spa.refine.session.session import RefinementSession
from napari_spa.viewer.layers.planes import channel_choices


def named(name, seed=0, head="both", path=None):
    model = make_model(head, seed)
    digest = file_digest(path) if path else f"{seed}" * 64
    return replace(model, identity=replace(model.identity, name=name, sha256=digest), path=path)


MODELS = {"spa-tiny": named("spa-tiny"), "other": named("other", 1, "latent")}
CONFIG = EngineConfig(samples=12, framing=FramingConfig(hypotheses=0))


class Factory:
    """Loads models, and remembers which."""

    def __init__(self):
        self.models, self.loaded = dict(MODELS), []

    def __call__(self, name):
        if name not in self.models:
            raise CheckpointError("the model file is broken.")
        self.loaded.append(name)
        return RefinementSession(self.models[name], config=CONFIG)


@pytest.fixture
def factory():
    return Factory()


@pytest.fixture
def annotator(qtbot, tmp_path, factory):
    annotator = Annotator(qtbot, tmp_path / "work", factory)
    yield annotator
    annotator.close()


def shown(annotator):
    return annotator.controller.shown()


def seen(annotator):
    """What a round shows: to the last bit, and in the image."""
    proposal = shown(annotator).proposal
    masks = [c.local_mask.tobytes() for c in proposal.candidates]
    labels = np.array(annotator.controller.current.mask.store.data).tobytes()
    return proposal.round, proposal.local_probability.tobytes(), masks, labels


def made_by(annotator):
    return shown(annotator).session.model.identity.name


def picked(annotator, layer=None):
    annotated = annotator.start(annotator.first if layer is None else layer)
    annotator.round(lambda: annotator.controller.pick(0))
    return annotated


def models_of(annotator, annotated):
    """Return which model each accepted object was made with, by the log."""
    model, found = "", {}
    for record in read_records(annotator.log(annotated)):
        if record["kind"] == "session":
            model = record["model"]["name"]
        elif record["kind"] == "accept":
            found[record["object"]] = model
    return found


# ---------------------------------------------------------------------- another model


def test_another_model_counts_from_the_next_object_on(annotator):
    annotated = picked(annotator)
    before = seen(annotator)
    annotator.controller.set_model("other")
    assert annotator.said[-1] == "other from the next object on; this one goes on with spa-tiny."
    assert seen(annotator) == before
    annotator.round(lambda: annotator.controller.pick(0))
    annotator.round(annotator.controller.undo)
    assert seen(annotator) == before
    annotator.controller.accept()
    annotator.accept(annotator.first, point=(45, 50))
    assert models_of(annotator, annotated) == {1: "spa-tiny", 2: "other"}
    assert not annotator.failed


def test_a_choice_that_goes_back_changes_nothing(annotator, factory):
    picked(annotator)
    before = seen(annotator)
    annotator.controller.set_model("other")
    annotator.controller.set_model("spa-tiny")
    assert "from the next object on" not in annotator.said[-1]
    assert seen(annotator) == before
    annotator.controller.accept()
    annotator.start(annotator.first, point=(45, 50))
    assert (made_by(annotator), factory.loaded) == ("spa-tiny", ["spa-tiny"])


def test_a_model_that_cannot_be_loaded_costs_no_object(annotator):
    annotated = picked(annotator)
    annotator.controller.set_model("none")
    annotator.round(lambda: annotator.controller.pick(0))
    before = seen(annotator)
    with annotator.qtbot.waitSignal(annotator.controller.failed, timeout=30_000):
        annotator.prompt_controller.click((2, 45, 50), aim="next")
    assert annotator.failed == ["the model file is broken."]
    assert list(annotated.annotation.objects) == [1]
    annotator.round(annotator.controller.undo)  # with the model that it was made with
    assert seen(annotator) == before


def test_undo_and_redo_across_another_model(annotator):
    picked(annotator)
    first = seen(annotator)
    annotator.controller.set_model("other")
    annotator.round(lambda: annotator.prompt_controller.click((2, 45, 50), aim="next"))
    second = seen(annotator)
    assert made_by(annotator) == "other"
    annotator.round(annotator.controller.undo)
    assert (seen(annotator), made_by(annotator)) == (first, "spa-tiny")
    annotator.round(annotator.controller.redo)
    assert (seen(annotator), made_by(annotator)) == (second, "other")
    annotator.controller.discard()
    annotator.controller.set_model("spa-tiny")
    annotator.round(annotator.controller.undo)
    assert (seen(annotator), made_by(annotator)) == (second, "other")


def test_an_object_is_reopened_and_carried_with_its_own_model(annotator):
    annotated = picked(annotator)
    before = seen(annotator)
    annotator.controller.accept()
    annotator.controller.set_model("other")
    annotator.round(lambda: annotator.actions.reopen(1))
    assert (seen(annotator), made_by(annotator)) == (before, "spa-tiny")
    annotator.round(lambda: annotator.propagation.propagate_one(1))
    assert made_by(annotator) == "spa-tiny"
    annotator.controller.accept()
    annotator.propagation.propagate("forward")
    annotator.go_on()
    assert len(annotated.annotation.objects[1].parts) > 2
    assert set(models_of(annotator, annotated).values()) == {"spa-tiny"}
    assert not annotator.failed


def test_what_was_made_with_a_model_that_is_gone_is_reopened_from_its_pixels(annotator, factory):
    picked(annotator)
    mask = shown(annotator).proposal.mask
    annotator.controller.accept()
    annotator.controller.set_model("other")
    annotator.accept(annotator.second)
    factory.models["spa-tiny"] = named("spa-tiny", 3)  # other weights under its name
    annotator.show(annotator.first)
    annotator.round(lambda: annotator.actions.reopen(1))
    assert made_by(annotator) == "other"
    np.testing.assert_array_equal(shown(annotator).proposal.mask, mask)
    annotator.controller.accept()
    annotated = annotator.controller.current
    read = read_journal(
        read_records(annotator.log(annotated)), ArraySurface(np.zeros((5, 60, 70), np.uint16))
    )
    (part,) = read.annotation.objects[1].parts
    assert (part.decisions[0].prompts.exact, part.model.name) == (True, "other")


def test_a_file_with_other_weights_counts_from_the_next_object_on(annotator, factory, tmp_path):
    path = tmp_path / "mine.pt"
    path.write_bytes(b"one")
    factory.models["spa-tiny"] = named("spa-tiny", 0, path=path)
    picked(annotator)
    path.write_bytes(b"another")
    factory.models["spa-tiny"] = named("spa-tiny", 1, path=path)
    annotator.round(lambda: annotator.controller.pick(0))
    annotator.display.set_contrast("layer")
    annotator.round(annotator.display.look_again)
    assert factory.loaded == ["spa-tiny"]
    annotator.round(lambda: annotator.prompt_controller.click((2, 45, 50), aim="next"))
    assert factory.loaded == ["spa-tiny", "spa-tiny"]
    path.unlink()
    annotator.round(lambda: annotator.controller.pick(0))
    annotator.round(lambda: annotator.prompt_controller.click((2, 20, 20), aim="next"))
    assert len(factory.loaded) == 2


def test_an_object_teaches_the_profile_of_its_own_model(annotator, tmp_path):
    profiles, paths = annotator.controller.profiles, {}
    for name, model in MODELS.items():
        paths[name] = tmp_path / f"{name}.json"
        PreferenceProfile.empty(model.identity, name=name).save(paths[name])
    profiles.use(paths["spa-tiny"])
    picked(annotator)
    profiles.release()  # as the dock does with another model, and the profile used last with it
    profiles.use(paths["other"])
    annotator.controller.set_model("other")
    annotator.controller.accept()
    picked(annotator, annotator.second)
    annotator.controller.accept()
    profiles.files.wait_for(lambda: None)
    taught = {name: PreferenceProfile.load(path).picks for name, path in paths.items()}
    assert taught == {"spa-tiny": 1, "other": 1}
    assert not annotator.failed


@pytest.mark.parametrize("gone", [False, True])
def test_work_comes_back_with_the_model_that_the_log_names(qtbot, tmp_path, gone):
    first = Annotator(qtbot, tmp_path / "work", Factory())
    picked(first)
    before, clicks = seen(first), shown(first).timeline.state.own_clicks
    first.controller.set_model("other")
    first.close()
    second = Annotator(qtbot, tmp_path / "work", factory := Factory())
    if gone:
        del factory.models["spa-tiny"]
    second.controller.set_model("other")
    recovery, offers = second.controller.recovery, []
    recovery.offered.connect(offers.extend)
    recovery.look(second.show(second.first))
    qtbot.waitUntil(lambda: bool(offers), timeout=30_000)
    second.round(lambda: recovery.recover(offers[0]))
    if gone:  # from all that was said
        assert made_by(second) == "other"
        assert set(clicks) <= set(shown(second).timeline.state.prompts.clicks)
    else:
        assert (seen(second), made_by(second)) == (before, "spa-tiny")
    second.close()


# ---------------------------------------------------------------------- another look


def by_contrast(annotator):
    annotator.first.contrast_limits = (20, 150)
    annotator.display.set_contrast("layer")
    annotator.display.look_again()


def by_channels(annotator):
    annotated = annotator.controller.current
    annotator.display.set_display(
        replace(annotated.display, channels=channel_choices(annotator.first)[1])
    )


@pytest.mark.parametrize("change", [by_contrast, by_channels])
def test_another_look_is_a_step_that_can_be_undone(annotator, change):
    annotated = picked(annotator)
    annotator.controller.run(lambda session, progress: session.resize(0.5, progress=progress))
    annotator.go_on()
    before, mask = seen(annotator)[:3], shown(annotator).mask
    annotator.round(lambda: change(annotator))
    after, look = seen(annotator)[:3], annotated.display
    assert after[0] == before[0] + 1
    assert annotator.said[-1].startswith("Seen as you look at the image now; Undo goes back.")
    assert shown(annotator).timeline.state.prompts.mask is mask
    assert shown(annotator).timeline.state.informative_picks == 1
    annotator.first.contrast_limits = (0, 90)  # what was seen is seen again, whatever came since
    assert annotator.actions.undoing.can_undo
    annotator.round(annotator.controller.undo)
    assert seen(annotator)[:3] == before
    assert annotator.said[-1].startswith("Seen as before;")
    assert annotated.display == look
    annotator.round(annotator.controller.undo)
    annotator.round(annotator.controller.redo)
    assert seen(annotator)[:3] == before
    assert annotator.actions.undoing.can_redo
    annotator.round(annotator.controller.redo)
    assert seen(annotator)[:3] == after
    assert not annotator.failed


def test_a_look_that_undo_went_back_to_is_taken_again(annotator):
    picked(annotator)
    before = seen(annotator)
    annotator.round(lambda: by_contrast(annotator))
    after = seen(annotator)
    annotator.round(lambda: annotator.controller.pick(0))
    annotator.round(annotator.controller.undo)
    annotator.round(annotator.controller.undo)
    assert seen(annotator) == before
    annotator.display.set_contrast("automatic")
    annotator.display.look_again()  # it is looked at so
    assert not annotator.controller.busy
    annotator.round(annotator.controller.redo)
    assert seen(annotator) == after
    annotator.round(annotator.controller.redo)
    assert shown(annotator).proposal.round == 4
    annotator.round(annotator.controller.undo)
    annotator.round(annotator.controller.undo)
    annotator.round(lambda: annotator.controller.pick(0))
    assert not annotator.actions.undoing.can_redo


def test_an_object_seen_two_ways_comes_back_in_its_round(annotator):
    picked(annotator)
    first = seen(annotator)
    annotator.round(lambda: by_contrast(annotator))
    second = seen(annotator)
    annotator.controller.accept()
    annotator.display.set_contrast("automatic")
    annotator.round(annotator.controller.undo)  # the contrast stays what it is now
    assert seen(annotator) == second
    annotator.controller.discard()
    annotator.round(annotator.controller.undo)
    assert seen(annotator) == second
    annotator.round(annotator.controller.undo)
    assert seen(annotator) == first
    annotator.round(annotator.controller.redo)
    assert seen(annotator) == second


@pytest.mark.parametrize("change", [by_contrast, by_channels])
@pytest.mark.parametrize("undone", [0, 1])
def test_work_seen_two_ways_comes_back_after_a_crash(annotator, qtbot, tmp_path, change, undone):
    picked(annotator)
    rounds = [seen(annotator)]
    annotator.round(lambda: change(annotator))
    rounds.append(seen(annotator))
    if undone:
        annotator.round(annotator.controller.undo)
    annotator.close()
    again = Annotator(qtbot, tmp_path / "work", Factory())
    recovery, offers = again.controller.recovery, []
    recovery.offered.connect(offers.extend)
    recovery.look(again.show(again.first))
    qtbot.waitUntil(lambda: bool(offers), timeout=30_000)
    again.round(lambda: recovery.recover(offers[0]))
    assert seen(again)[:3] == rounds[not undone][:3]
    if not undone:
        again.round(again.controller.undo)
        assert seen(again)[:3] == rounds[0][:3]
    again.round(again.controller.undo)
    assert shown(again).proposal.round == 1
    again.close()
