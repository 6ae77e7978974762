"""``napari-spa profile``: what is known about a user, kept, compared and put together."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from napari_spa.cli.console import (
    CallError,
    answer,
    check_outputs,
    echo_err,
    find_profile,
    model_facts,
    progress_bar,
    table,
)
from napari_spa.cli.panel import draw_overlay
from napari_spa.io.images import read_image
from napari_spa.io.models.load import LoadedModel, load_model
from napari_spa.io.profiles import PreferenceProfile, ProfileStore
from napari_spa.refine.engine.image_plane import ImagePlane
from napari_spa.refine.preference import (
    ProfileDisagreement,
    boundary_lean,
    compare,
    describe,
    disagree,
    evidence,
    in_words,
    merge_profiles,
    relative_size,
)
from napari_spa.refine.session.prompt_validation import check_prompts
from napari_spa.refine.session.session import RefinementSession

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


def run_list(options: argparse.Namespace) -> int:
    """Run ``profile list`` and return its exit status."""
    store = ProfileStore()
    entries = store.list()
    listed = [
        {
            "name": entry.name,
            "task": entry.task,
            "path": str(entry.path),
            "picks": entry.picks,
            "corrected": entry.corrected,
            "images": entry.images,
            "model": None if entry.model is None else entry.model.name,
            "problem": entry.problem or None,
        }
        for entry in entries
    ]
    if not listed:
        echo_err(f"no profiles yet in {store.root}; 'napari-spa profile new NAME' makes one.")
    columns = ("name", "task", "picks", "corrected", "images", "model")
    rows = [
        [
            *("-" if facts[name] in ("", None) else str(facts[name]) for name in columns),
            str(facts["problem"] or facts["path"]),
        ]
        for facts in listed
    ]
    lines = table([*columns, "file"], rows) if rows else []
    answer(options, lines, folder=str(store.root), profiles=listed)
    return 0


def run_show(options: argparse.Namespace) -> int:
    """Run ``profile show`` and return its exit status."""
    path, profile = load_profile(options.profile)
    return _report(options, path, profile)


def run_new(options: argparse.Namespace) -> int:
    """Run ``profile new`` and return its exit status."""
    identity = load_model(options.model, device=options.device).identity
    entry = ProfileStore().new(options.name, model=identity, task=options.task)
    return _report(options, entry.path, PreferenceProfile.load(entry.path))


def run_rename(options: argparse.Namespace) -> int:
    """Run ``profile rename`` and return its exit status."""
    path = find_profile(options.profile)
    profile = ProfileStore().rename(path, options.name, options.task)
    return _report(options, path, profile)


def run_reset(options: argparse.Namespace) -> int:
    """Run ``profile reset`` and return its exit status."""
    path, store = find_profile(options.profile), ProfileStore()
    before = store.reset(path)
    kept = f"; a copy is in {store.removed}" if before.evidence else ""
    echo_err(f"{evidence(before)} forgotten{kept}")
    return _report(options, *load_profile(str(path)))


def run_merge(options: argparse.Namespace) -> int:
    """Run ``profile merge`` and return its exit status."""
    if len(options.profiles) < 2:
        raise CallError("there is nothing to merge; give two profiles or more.")
    if options.output.suffix.lower() != ".json":
        raise CallError(f"a profile is written as .json, not as {options.output.name}.")
    loaded = [load_profile(name) for name in options.profiles]
    if len({path.resolve() for path, _ in loaded}) < len(loaded):
        raise CallError("a profile is given twice; it would count twice.")
    read = {f"profile {profile.name}": path for path, profile in loaded}
    check_outputs({"merged profile": options.output}, read)
    name = options.name or options.output.stem
    merged = merge_profiles([profile for _, profile in loaded], name, options.task)
    merged.save(options.output)
    return _report(options, options.output, merged)


def load_profile(name: str) -> tuple[Path, PreferenceProfile]:
    """Find a profile and read it; the nameless take the name of their file."""
    path = find_profile(name)
    profile = PreferenceProfile.load(path)
    return path, replace(profile, name=profile.name or path.stem)


def _report(options: argparse.Namespace, path: Path, profile: PreferenceProfile) -> int:
    """Say what is in a profile, and return the exit status."""
    lean, words = boundary_lean(profile), describe(profile)
    lines = [f"{profile.name}{', ' * bool(profile.task)}{profile.task}", words]
    if lean is not None:
        lines.append(f"boundary: {lean:+.2f} (outwards is +, in units of the logits' spread)")
    lines.append(f"model: {profile.model.name}, {profile.model.head} head")
    lines.append(f"file: {path}")
    answer(
        options,
        lines,
        path=str(path),
        name=profile.name,
        task=profile.task,
        words=words,
        **_evidence(profile),
        growth=relative_size(profile),
        boundary=lean,
        components=profile.mixture.components,
        channels=profile.mixture.dimension,
        model=asdict(profile.model),
    )
    return 0


def run_diff(options: argparse.Namespace) -> int:
    """Run ``profile diff`` and return its exit status."""
    _check_diff(options)
    (first_path, first), (second_path, second) = map(load_profile, (options.first, options.second))
    names = _names(first, second)
    second.check(first.model)
    difference = None
    if first.evidence and second.evidence:
        size = compare(first, second)
        difference = {"words": in_words(size, names), "size": size}
    found = model = None
    if options.image is not None:
        image, found, model = _look(options, first, second)
        if options.output is not None:
            draw_overlay(image, found, options.output, names=names)
    lines = [f"{n}: {describe(p)}" for n, p in zip(names, (first, second), strict=True)]
    if difference is not None:
        lines.append(str(difference["words"]))
    if found is not None:
        lines += _disagreement_lines(found, names, options.output)
    answer(
        options,
        lines,
        first={"name": first.name, "path": str(first_path), **_evidence(first)},
        second={"name": second.name, "path": str(second_path), **_evidence(second)},
        difference=difference,
        image=None if found is None else _areas(found, options),
        model=None if model is None else model_facts(model),
    )
    return 0


def _check_diff(options: argparse.Namespace) -> None:
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


def _names(first: PreferenceProfile, second: PreferenceProfile) -> tuple[str, str]:
    """Return two names that differ: by order where they are called the same."""
    if first.name != second.name:
        return first.name, second.name
    return f"{first.name} (first)", f"{second.name} (second)"


def _look(
    options: argparse.Namespace, first: PreferenceProfile, second: PreferenceProfile
) -> tuple[NDArray[np.generic], ProfileDisagreement, LoadedModel]:
    image, _ = read_image(options.image, index=options.slice)
    shape = ImagePlane.of(image).shape
    prompts = check_prompts(options.point, options.label, options.box, None, shape)
    model = load_model(
        options.model or first.model.name, device=options.device, head=first.model.head
    )
    session = RefinementSession(model, seed=options.seed)
    with progress_bar("diff") as progress:
        found = disagree(session, image, prompts, first, second, progress=progress)
    return image, found, model


def _evidence(profile: PreferenceProfile) -> dict[str, object]:
    return {
        "picks": profile.picks,
        "corrected": profile.corrected,
        "images": profile.images,
        "objects": profile.objects,
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


def _disagreement_lines(
    found: ProfileDisagreement, names: tuple[str, str], overlay: Path | None
) -> list[str]:
    lines = []
    areas = (found.first_mask, found.only_first), (found.second_mask, found.only_second)
    for name, colour, (whole, alone) in zip(names, ("amber", "turquoise"), areas, strict=True):
        legend = f" ({colour})" if overlay is not None else ""
        drawn = f"{name} draws {int(whole.sum())} px"
        lines.append(f"{drawn}, {int(alone.sum())} px of them alone{legend}")
    lines.append(f"agreement (Dice): {found.dice:.3f}")
    if overlay is not None:
        lines.append(f"overlay: {overlay}")
    return lines
