"""``napari-spa demo``: segment the pictures that come with scikit-image."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from napari_spa.cli.console import answer, echo_err, model_facts, progress_bar, table
from napari_spa.cli.panel import PanelRound, draw_panel
from napari_spa.core.transforms import to_unit_rgb
from napari_spa.errors import DataError
from napari_spa.io.images import ImageInfo, write_labels
from napari_spa.io.models.load import load_model
from napari_spa.refine.session.session import RefinementSession
from napari_spa.viewer.samples import open_window, read_picture

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_spa.core.types import Proposal

ROUNDS = 3
PICKER = "The script picks the candidate whose outline runs along the strongest edges."


@dataclass(frozen=True, slots=True)
class Scene:
    """One picture of the demo."""

    name: str  # the function of ``skimage.data`` that gives it
    title: str  # what is segmented
    point: tuple[float, float]  # the click, row and column


SCENES = (
    Scene("retina", "Optic disc in a fundus photograph", (660, 250)),
    Scene("cell", "A cell in phase contrast", (375, 425)),
    Scene("immunohistochemistry", "A nucleus in stained tissue", (355, 188)),
)


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    model = load_model(options.model, device=options.device)
    lines: list[dict[str, object]] = []
    done: list[Scene] = []
    for scene in SCENES:
        try:
            image = read_picture(scene.name)
        except DataError as error:
            echo_err(f"napari-spa: {error}")
            continue
        rounds, seconds = _play(RefinementSession(model), image, scene)
        _write(options.output, scene, image, rounds)
        lines += [_facts(scene, *each) for each in zip(rounds, seconds, strict=True)]
        done.append(scene)
    if not done:
        raise DataError("none of the demo's pictures is here; reinstall scikit-image.")
    pictures = ", ".join(str(options.output / f"{scene.name}.png") for scene in done)
    answer(
        options,
        [
            PICKER,
            *table(list(lines[0]), [[_shown(value) for value in line.values()] for line in lines]),
            f"Pictures of all rounds: {pictures}",
        ],
        folder=str(options.output),
        rounds=lines,
        model=model_facts(model),
    )
    if not options.no_viewer:
        _open_viewer(done[0])
    return 0 if len(done) == len(SCENES) else 1


def _facts(scene: Scene, shown: PanelRound, seconds: float) -> dict[str, object]:
    proposal = shown.proposal
    return {
        "image": scene.name,
        "round": proposal.round,
        "area": proposal.area,
        "uncertainty": proposal.uncertainty,
        "candidates": len(proposal.candidates),
        "picked": shown.picked,
        "seconds": round(seconds, 3),
    }


def _shown(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def edge_strength(image: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return how fast the brightness of an image changes at each pixel, (H, W)."""
    from scipy import ndimage

    grey = to_unit_rgb(image).mean(axis=2)
    return np.asarray(ndimage.gaussian_gradient_magnitude(grey, 2.0), dtype=np.float32)


def pick_by_edges(proposal: Proposal, edges: NDArray[np.float32]) -> int:
    """Pick the candidate with the greatest mean edge strength along its outline."""
    from scipy import ndimage

    def score(mask: NDArray[np.bool_]) -> float:
        outline = mask ^ ndimage.binary_erosion(mask)
        return float(edges[outline].mean()) if outline.any() else -1.0

    return int(np.argmax([score(candidate.mask) for candidate in proposal.candidates]))


def _play(
    session: RefinementSession, image: NDArray[np.generic], scene: Scene
) -> tuple[list[PanelRound], list[float]]:
    """Return the rounds of one object, and the seconds each took."""
    edges = edge_strength(image)
    session.set_image(image)
    with progress_bar(scene.name) as progress:
        proposal = session.start(points=[scene.point], progress=progress)
    rounds: list[PanelRound] = []
    seconds = [sum(session.seconds.values())]
    while proposal.candidates and len(rounds) < ROUNDS - 1:
        picked = pick_by_edges(proposal, edges)
        rounds.append(PanelRound(proposal, picked))
        proposal = session.pick(picked)
        seconds.append(sum(session.seconds.values()))
    return [*rounds, PanelRound(proposal, None)], seconds


def _write(
    folder: Path, scene: Scene, image: NDArray[np.generic], rounds: list[PanelRound]
) -> None:
    mask = rounds[-1].proposal.mask
    height, width = mask.shape
    write_labels(folder / f"{scene.name}_mask.tif", mask, ImageInfo("YX", (height, width)))
    draw_panel(image, rounds, folder / f"{scene.name}.png", title=scene.title, point=scene.point)


def _open_viewer(scene: Scene) -> None:
    """Open napari with the first picture and the dock, where that is possible."""
    display = (
        sys.platform != "linux" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    if not display or find_spec("napari") is None:
        echo_err("No window: it takes a display, and napari (pip install 'napari-spa[all]').")
        return
    echo_err(f"Opening napari; click on the object, for example at {scene.point}.")
    open_window(read_picture(scene.name), name=scene.name)
