"""Tests of ``napari-spa demo`` and of its pictures, on a tiny random network."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import skimage.data

from napari_spa.cli import demo
from napari_spa.cli.panel import ADDED, REMOVED, PanelRound, draw_panel
from napari_spa.core.types import Candidate, Proposal, Region
from napari_spa.errors import DataError
from napari_spa.io.images import read_image
from napari_spa.viewer.samples import read_picture


def disc(radius: int, shape: tuple[int, int] = (60, 80)) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - 30) ** 2 + (columns - 40) ** 2 <= radius**2


def proposal(radius: int, *others: int) -> Proposal:
    region, mask = Region(0, 0, 60, 80), disc(radius)
    offered = tuple(Candidate(disc(r), mask, region, (60, 80), 0.25) for r in others)
    return Proposal(mask.astype(np.float32), region, (60, 80), 0.5, 0.2, 1, offered)


def colour_count(picture: np.ndarray, colour: str) -> int:
    """Count pixels that are mostly a colour: blue or orange on grey."""
    red, _, blue = (picture[..., k].astype(int) for k in range(3))
    return int((blue - red > 40).sum() if colour == ADDED else (red - blue > 40).sum())


@pytest.fixture
def little_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace scikit-image's pictures by small ones; the scenes' points stay in them."""
    image = np.random.default_rng(0).integers(0, 255, (700, 450), np.uint8)
    for scene in demo.SCENES:
        monkeypatch.setattr(skimage.data, scene.name, lambda: image)


def test_each_picture_gives_a_panel_a_mask_and_three_rounds(
    run, model_file: str, tmp_path: Path, little_pictures
) -> None:
    answer = run("demo", "--no-viewer", "--model", model_file, "-o", tmp_path / "out", "--json")
    assert answer.status == 0, answer.err
    rounds = answer.json["rounds"]
    names = [scene.name for scene in demo.SCENES]
    assert list(dict.fromkeys(r["image"] for r in rounds)) == names
    for name in names:
        mine = [r for r in rounds if r["image"] == name]
        assert [r["round"] for r in mine] == list(range(1, len(mine) + 1))
        assert mine[-1]["picked"] is None
        mask, _ = read_image(tmp_path / "out" / f"{name}_mask.tif")
        assert np.count_nonzero(mask) == mine[-1]["area"]
        assert iio.imread(tmp_path / "out" / f"{name}.png").shape[1] > 1000


def test_without_json_a_table_and_how_the_script_picks(
    run, model_file: str, tmp_path: Path, little_pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "SCENES", demo.SCENES[:1])
    answer = run("demo", "--no-viewer", "--model", model_file, "-o", tmp_path / "out")
    assert demo.PICKER in answer.out
    assert [line.split()[:2] for line in answer.out.splitlines()[2:3]] == [["retina", "1"]]


def test_the_pictures_come_with_scikit_image_and_the_points_are_on_objects() -> None:
    retina, cell, tissue = (read_picture(scene.name) for scene in demo.SCENES)
    at = {scene.name: tuple(map(int, scene.point)) for scene in demo.SCENES}
    assert retina[at["retina"]][:2].sum() > 1.3 * retina[..., :2].sum(axis=-1).mean(), "the disc"
    assert cell[at["cell"]] > 2 * np.median(cell), "the cell"
    nucleus = tissue[at["immunohistochemistry"]].astype(int)
    assert nucleus[2] > nucleus[0], "a blue nucleus"


def test_a_missing_picture_is_one_sentence_and_the_rest_is_done(
    run, model_file: str, tmp_path: Path, little_pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline() -> None:
        raise OSError("no route to host\nand more")

    monkeypatch.setattr(skimage.data, "retina", offline)
    with pytest.raises(DataError, match="'retina' is not installed"):
        read_picture("retina")
    answer = run("demo", "--no-viewer", "--model", model_file, "-o", tmp_path / "out", "--json")
    assert answer.status == 1
    assert len(answer.err.splitlines()) == 1
    assert {r["image"] for r in answer.json["rounds"]} == {"cell", "immunohistochemistry"}


def test_without_a_display_it_says_so(
    run, model_file: str, tmp_path: Path, little_pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo.sys, "platform", "linux")
    monkeypatch.setattr(demo, "SCENES", demo.SCENES[1:2])
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    answer = run("demo", "--model", model_file, "-o", tmp_path / "out")
    assert answer.status == 0
    assert "No window" in answer.err


def test_the_picker_prefers_the_outline_on_the_edge() -> None:
    image = np.where(disc(12), 200, 50).astype(np.uint8)
    edges = demo.edge_strength(image)
    assert demo.pick_by_edges(proposal(14, 8, 12, 18), edges) == 1
    assert demo.pick_by_edges(proposal(14, 18, 8), edges) in (0, 1)


def test_the_panel_shows_added_and_removed_in_their_colours(tmp_path: Path) -> None:
    image = np.full((60, 80), 128, np.uint8)

    def draw(name: str, *others: int, picked: int | None = None) -> np.ndarray:
        shown = [PanelRound(proposal(12, *others), picked)]
        draw_panel(image, shown, tmp_path / name, title="A disc", point=(30, 40))
        return iio.imread(tmp_path / name)[..., :3]

    smaller, larger = draw("smaller.png", 6, 11), draw("larger.png", 13, 18)
    # The two words of the legend hold a little of each colour.
    assert colour_count(smaller, REMOVED) > 10 * colour_count(larger, REMOVED)
    assert colour_count(larger, ADDED) > 10 * colour_count(smaller, ADDED)
    framed = draw("framed.png", 6, 11, picked=1)
    assert (framed.sum(axis=-1) < 30).sum() > (smaller.sum(axis=-1) < 30).sum() + 500


def test_an_empty_mask_has_a_panel_too(tmp_path: Path) -> None:
    empty = Proposal(
        np.zeros((60, 80), np.float32), Region(0, 0, 60, 80), (60, 80), 0.5, 0.0, 1, ()
    )
    image = np.zeros((60, 80), np.uint8)
    draw_panel(image, [PanelRound(empty, None)], tmp_path / "a.png", title="", point=(3, 4))
    assert iio.imread(tmp_path / "a.png").size
