"""Tests of a model of one's own on a tiny network and small projects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from tiny_model import make_model

from napari_spa.core.types import LocalMask
from napari_spa.errors import Cancelled, DataError, ModelError
from napari_spa.io.images import write_picture
from napari_spa.io.projects.paths import labels_path
from napari_spa.io.projects.project import Project
from napari_spa.train.personal import (
    AcceptedObject,
    PersonalConfig,
    accepted_objects,
    set_aside,
    tune,
)

FAST = PersonalConfig(steps=3, batch=2, tested=2)


def discs(count: int = 6) -> list[AcceptedObject]:
    rows, columns = np.ogrid[:48, :48]
    found = []
    for number in range(count):
        mask = (rows - 20 - number) ** 2 + (columns - 24) ** 2 <= (8 + number % 3) ** 2
        found.append(
            AcceptedObject(
                f"{number % 3}.png",
                np.where(mask, 190, 60).astype(np.uint8),
                LocalMask.crop(mask),
            )
        )
    return found


def test_the_decoder_follows_and_the_encoder_and_the_given_model_stay() -> None:
    model = make_model()
    before = {name: value.clone() for name, value in model.spa.state_dict().items()}
    told: list[float] = []
    made = tune(model, discs(), FAST, progress=lambda share, message: told.append(share))
    after, given = made.spa.state_dict(), model.spa.state_dict()
    assert all(torch.equal(given[name], before[name]) for name in before)
    changed = {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])}
    assert "mask_decoder" in changed
    assert "image_encoder" not in changed
    assert 0 <= made.before <= 1
    assert 0 <= made.after <= 1
    assert made.better == (made.after > made.before)
    assert (made.learnt_from, made.tested_on) == (4, 2)
    assert told == pytest.approx(sorted(told))


def test_images_are_set_aside_whole_where_there_are_three() -> None:
    learn, test = set_aside(discs(9), FAST)
    assert learn
    assert test
    assert not {item.name for item in learn} & {item.name for item in test}
    one = [AcceptedObject("a", item.image, item.mask) for item in discs(9)]
    learn, test = set_aside(one, FAST)
    assert len(learn) == 6
    assert len(test) == 2  # of three set aside


def test_it_can_be_cancelled_and_refuses_what_it_cannot_do() -> None:
    def cancel(share: float, message: str) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        tune(make_model(), discs(), FAST, progress=cancel)
    with pytest.raises(DataError, match="too few"):
        tune(make_model(), discs(4), FAST)
    with pytest.raises(ModelError, match="cannot be tuned"):
        tune(make_model(head="logit", convention="sam"), discs(), FAST)


def test_a_projects_objects_are_those_of_its_images_and_planes(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    labels = np.zeros((48, 48), np.uint16)
    labels[4:20, 4:20], labels[30:44, 30:44], labels[0, 47] = 7, 300, 9
    write_picture(source / "a.png", np.where(labels > 0, 200, 40).astype(np.uint8))
    stack = np.stack([np.where(labels > 0, 200, 40)] * 3).astype(np.uint8)
    np.save(source / "b.npy", stack)
    write_picture(source / "untouched.png", stack[0])
    project = Project.create(source, out)
    project.update("b.npy", status="done")
    project.close()
    with pytest.raises(DataError, match="holds 0 accepted objects to learn from"):
        accepted_objects(out)
    tifffile.imwrite(labels_path(out, "a.png"), labels)
    stacked = np.stack([labels, 0 * labels, labels])
    tifffile.imwrite(labels_path(out, "b.npy"), stacked, photometric="minisblack")
    found = accepted_objects(out)
    assert [item.name for item in found] == ["a.png", "a.png", *["b.npy/0"] * 2, *["b.npy/2"] * 2]
    assert [item.mask.area for item in found] == [256, 196] * 3
    assert all(item.image.shape == (48, 48) for item in found)
    (source / "b.npy").unlink()  # its objects cannot be learnt from, and that is said
    with pytest.raises(DataError, match=r"holds 2 accepted objects .* Not read: b\.npy is not in"):
        accepted_objects(out)
