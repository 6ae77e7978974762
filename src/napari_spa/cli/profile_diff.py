"""``napari-spa profile diff``: how two people differ, and where on an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_spa.cli.output import (
    CallError,
    check_outputs,
    model_facts,
    progress_bar,
    show,
    show_json,
)

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from napari_spa.io.models.load import LoadedModel
    from napari_spa.io.profiles.profile import PreferenceProfile
    from napari_spa.refine.preference.comparison import DistributionDifference, ProfileDisagreement


def run_diff(options: argparse.Namespace) -> int:
    """Run ``profile diff`` and return its exit status."""
    from napari_spa.cli.profile_runs import load_profile
    from napari_spa.refine.preference.comparison import compare

    _check(options)
    profiles = [load_profile(name) for name in (options.first, options.second)]
    (first_path, first), (second_path, second) = profiles
    names = _names(profiles)
    second.check(first.model)
    difference = compare(first, second) if first.picks and second.picks else None
    found = model = None
    if options.image is not None:
        image, found, model = _look(options, first, second)
        if options.output is not None:
            from napari_spa.cli.profile_panel import draw_overlay

            draw_overlay(image, found, options.output, names=names)
    if options.json:
        show_json(
            {
                "first": {"name": first.name, "path": str(first_path), **_evidence(first)},
                "second": {"name": second.name, "path": str(second_path), **_evidence(second)},
                "difference": None if difference is None else _figures(difference, names),
                "image": None if found is None else _areas(found, options),
                "model": None if model is None else model_facts(model),
            }
        )
    else:
        _tell(difference, (first, second), names)
        if found is not None:
            _tell_where(found, names, options.output)
    return 0


def _check(options: argparse.Namespace) -> None:
    prompted = bool(options.point) or options.box is not None
    if options.image is None:
        if prompted or options.output is not None or options.slice is not None:
            raise CallError("points, boxes, slices and -o need an image; give IMAGE too.")
        return
    if not prompted:
        raise CallError("nothing to start from; give --point ROW,COL or --box R0,C0,R1,C1.")
    output: Path | None = options.output
    if output is None:
        return
    if output.suffix.lower() != ".png":
        raise CallError(f"the overlay is written as .png, not as {output.name}.")
    check_outputs({"overlay": output}, {"image": options.image})


def _names(profiles: list[tuple[Path, PreferenceProfile]]) -> tuple[str, str]:
    """Return two names that differ: by task, by file, or at least by order."""
    (first_path, first), (second_path, second) = profiles
    pairs = (
        (first.name, second.name),
        (f"{first.name} ({first.task})", f"{second.name} ({second.task})"),
        (f"{first.name} ({first_path.stem})", f"{second.name} ({second_path.stem})"),
        (f"{first.name} (first)", f"{second.name} (second)"),
    )
    return next(pair for pair in pairs if pair[0] != pair[1])


def _look(
    options: argparse.Namespace, first: PreferenceProfile, second: PreferenceProfile
) -> tuple[NDArray[np.generic], ProfileDisagreement, LoadedModel]:
    from napari_spa.io.images import read_image
    from napari_spa.io.models.load import load_model
    from napari_spa.refine.engine.image_plane import Picture
    from napari_spa.refine.preference.comparison import disagree
    from napari_spa.refine.session.prompt_validation import check_prompts

    image, _ = read_image(options.image, index=options.slice)
    shape = Picture.of(image).shape
    prompts = check_prompts(options.point, options.label, options.box, None, shape)
    model = load_model(
        options.model or first.model.name, device=options.device, head=first.model.head
    )
    with progress_bar("diff") as progress:
        found = disagree(model, image, prompts, first, second, seed=options.seed, progress=progress)
    return image, found, model


def _evidence(profile: PreferenceProfile) -> dict[str, object]:
    return {"picks": profile.picks, "images": profile.images, "objects": profile.objects}


def _figures(difference: DistributionDifference, names: tuple[str, str]) -> dict[str, object]:
    from napari_spa.refine.preference.comparison import in_words

    return {
        "words": in_words(difference, names),
        "size": difference.size,
        "boundary": difference.boundary,
        "shape": difference.shape,
    }


def _areas(found: ProfileDisagreement, options: argparse.Namespace) -> dict[str, object]:
    return {
        "path": str(options.image),
        "dice": found.dice,
        "first_area": int(found.first_mask.sum()),
        "second_area": int(found.second_mask.sum()),
        "only_first": int(found.only_first.sum()),
        "only_second": int(found.only_second.sum()),
        "overlay": None if options.output is None else str(options.output),
    }


def _tell(
    difference: DistributionDifference | None,
    profiles: tuple[PreferenceProfile, PreferenceProfile],
    names: tuple[str, str],
) -> None:
    from napari_spa.refine.preference.comparison import in_words
    from napari_spa.refine.preference.summary import describe

    for name, profile in zip(names, profiles, strict=True):
        show(f"{name}: {describe(profile)}")
    if difference is None:
        return
    show(in_words(difference, names))
    if difference.boundary is not None:
        show(f"  boundary: {difference.boundary:+.2f} of the logits' spread")
    if difference.shape is not None:
        show(f"  shape: {difference.shape:.2f} deviations apart")


def _tell_where(found: ProfileDisagreement, names: tuple[str, str], overlay: Path | None) -> None:
    areas = (found.first_mask, found.only_first), (found.second_mask, found.only_second)
    for name, colour, (whole, alone) in zip(names, ("amber", "turquoise"), areas, strict=True):
        legend = f" ({colour})" if overlay is not None else ""
        show(f"{name} draws {int(whole.sum())} px, {int(alone.sum())} px of them alone{legend}")
    show(f"agreement (Dice): {found.dice:.3f}")
    if overlay is not None:
        show(f"overlay: {overlay}")
