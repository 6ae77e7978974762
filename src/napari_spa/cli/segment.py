"""``napari-spa segment``: one object of one image."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_spa.cli.console import (
    CallError,
    answer,
    check_outputs,
    echo_err,
    model_facts,
    progress_bar,
)
from napari_spa.core.quality import quality_in_words
from napari_spa.io.files import explained
from napari_spa.io.images import ImageInfo, read_image, write_labels, write_picture
from napari_spa.io.models.load import load_model
from napari_spa.io.profiles import PreferenceProfile
from napari_spa.refine.session.session import RefinementSession

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from napari_spa.core.types import BoolArray, Candidate, Proposal

_TIFF, _PICTURE = {".tif", ".tiff"}, {".png"}
_PARTS = ("mask", "added", "removed")
_MOST_CANDIDATES = 8  # more than any model offers


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    _check_outputs(options)
    if not options.point and options.box is None:
        raise CallError("nothing to start from; give --point ROW,COL or --box R0,C0,R1,C1.")
    image, info = read_image(options.image, index=options.slice)
    session, loading = _session(options)
    with progress_bar("segment") as progress:
        session.set_image(image, pixel_size=info.pixel_side)
        proposal = session.start(
            points=options.point, labels=options.label, box=options.box, progress=progress
        )
        encoding = session.seconds["encode"]
        for index in options.pick:
            proposal = session.pick(index, progress=progress)
        if options.size is not None:
            proposal = session.resize(options.size, progress=progress)
    proposing = session.seconds["propose"]
    result = session.accept()
    if options.candidates is not None:
        _write_candidates(options.candidates, proposal.candidates, info)
    _write_mask(options.output, result.mask, info)
    if options.save_profile is not None:
        result.profile.save(options.save_profile)
    if not proposal.area:
        echo_err("the mask is empty; point at another part of the object, or give a box.")
    seconds = {"load": loading, "encode": encoding, "propose": proposing}
    _report(options, proposal, seconds, session)
    return 0


def _session(options: argparse.Namespace) -> tuple[RefinementSession, float]:
    """Return a session, and the seconds that loading its model took."""
    begun = time.perf_counter()
    model = load_model(options.model, device=options.device)
    loading = time.perf_counter() - begun
    profile = None if options.profile is None else PreferenceProfile.load(options.profile)
    return RefinementSession(model, profile, seed=options.seed), loading


def _check_outputs(options: argparse.Namespace) -> None:
    output, folder = options.output, options.candidates
    if output.suffix.lower() not in _TIFF | _PICTURE:
        raise CallError(f"the mask is written as .tif or .png, not as {output.name}.")
    read = {"image": options.image, "model": Path(options.model)}
    pictures = {
        f"picture {part} of candidate {number}": candidate_path(folder, number, part)
        for number in range(_MOST_CANDIDATES if folder is not None else 0)
        for part in _PARTS
    }
    check_outputs(
        {"mask": output, **pictures, "profile": options.save_profile},
        {**read, "profile": options.profile},
    )


def _write_mask(path: Path, mask: BoolArray, info: ImageInfo) -> None:
    if path.suffix.lower() in _PICTURE:
        write_picture(path, np.where(mask, 255, 0).astype(np.uint8))
    else:
        write_labels(path, mask, info)


def _write_candidates(folder: Path, candidates: Sequence[Candidate], info: ImageInfo) -> None:
    """Write what was offered; what an earlier run offered beyond that goes."""
    for number in range(max(len(candidates), _MOST_CANDIDATES)):
        for part in _PARTS:
            path = candidate_path(folder, number, part)
            if number < len(candidates):
                _write_mask(path, getattr(candidates[number], part), info)
            else:
                with explained("remove", path):
                    path.unlink(missing_ok=True)


def candidate_path(folder: Path, number: int, part: str) -> Path:
    """Return where a candidate's mask, or what it adds or removes, is written."""
    return folder / f"candidate_{number}_{part}.tif"


def _report(
    options: argparse.Namespace,
    proposal: Proposal,
    seconds: dict[str, float],
    session: RefinementSession,
) -> None:
    lines = [
        f"{options.output}: {proposal.area} px, round {proposal.round}, "
        f"{quality_in_words(proposal.quality, proposal.calibrated)}"
    ]
    for number, c in enumerate(proposal.candidates):
        changes = f"+{c.added_area} px, -{c.removed_area} px"
        lines.append(f"  candidate {number}: {changes}, {c.weight:.0%} of the samples")
    answer(
        options,
        lines,
        mask=str(options.output),
        area=proposal.area,
        round=proposal.round,
        uncertainty=proposal.uncertainty,
        quality=proposal.quality,
        calibrated=proposal.calibrated,
        size=proposal.size,
        candidates=[
            {"added": c.added_area, "removed": c.removed_area, "weight": c.weight}
            for c in proposal.candidates
        ],
        seconds={name: round(value, 4) for name, value in seconds.items()},
        model=model_facts(session.model),
    )
