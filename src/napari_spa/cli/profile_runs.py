"""What ``napari-spa profile`` does on the user's profiles; comparing has its own file."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_spa.cli.output import CallError, check_outputs, say, show, show_json, show_table

if TYPE_CHECKING:
    import argparse

    from napari_spa.io.profiles.profile import PreferenceProfile


def run_list(options: argparse.Namespace) -> int:
    """Run ``profile list`` and return its exit status."""
    from napari_spa.io.profiles.store import ProfileStore

    shelf = ProfileStore()
    entries = shelf.list()
    if options.json:
        listed = [
            {
                "name": entry.name,
                "task": entry.task,
                "path": str(entry.path),
                "picks": entry.picks,
                "images": entry.images,
                "model": None if entry.model is None else entry.model.name,
                "problem": entry.problem or None,
            }
            for entry in entries
        ]
        show_json({"folder": str(shelf.root), "profiles": listed})
        return 0
    if not entries:
        say(f"no profiles yet in {shelf.root}; 'napari-spa profile new NAME' makes one.")
        return 0
    rows = [
        [
            entry.name,
            entry.task or "-",
            str(entry.picks),
            str(entry.images),
            "-" if entry.model is None else entry.model.name,
            entry.problem or str(entry.path),
        ]
        for entry in entries
    ]
    show_table(["name", "task", "picks", "images", "model", "file"], rows)
    return 0


def run_show(options: argparse.Namespace) -> int:
    """Run ``profile show`` and return its exit status."""
    path, profile = load_profile(options.profile)
    _report(path, profile, json=options.json)
    return 0


def run_new(options: argparse.Namespace) -> int:
    """Run ``profile new`` and return its exit status."""
    from napari_spa.io.models.load import load_model
    from napari_spa.io.profiles.profile import PreferenceProfile
    from napari_spa.io.profiles.store import ProfileStore

    identity = load_model(options.model, device=options.device).identity
    entry = ProfileStore().new(options.name, model=identity, task=options.task)
    _report(entry.path, PreferenceProfile.load(entry.path), json=options.json)
    return 0


def run_rename(options: argparse.Namespace) -> int:
    """Run ``profile rename`` and return its exit status."""
    from napari_spa.io.profiles.store import ProfileStore

    path = find_profile(options.profile)
    profile = ProfileStore().rename(path, options.name, options.task)
    _report(path, profile, json=options.json)
    return 0


def run_reset(options: argparse.Namespace) -> int:
    """Run ``profile reset`` and return its exit status."""
    from napari_spa.io.profiles.store import ProfileStore
    from napari_spa.refine.preference.summary import evidence

    path = find_profile(options.profile)
    before = ProfileStore().reset(path)
    back = "; 'napari-spa profile restore' undoes it" if before.picks else ""
    say(f"{evidence(before)} forgotten{back}")
    _report(path, before.emptied(), json=options.json)
    return 0


def run_restore(options: argparse.Namespace) -> int:
    """Run ``profile restore`` and return its exit status."""
    from napari_spa.io.profiles.profile import PreferenceProfile
    from napari_spa.io.profiles.store import ProfileStore

    shelf = ProfileStore()
    path = shelf.bring_back(shelf.removed.find(options.name))
    _report(path, PreferenceProfile.load(path), json=options.json)
    return 0


def run_merge(options: argparse.Namespace) -> int:
    """Run ``profile merge`` and return its exit status."""
    if len(options.profiles) < 2:
        raise CallError("there is nothing to merge; give two profiles or more.")
    check_json_file(options.output)
    loaded = [load_profile(name) for name in options.profiles]
    if len({path.resolve() for path, _ in loaded}) < len(loaded):
        raise CallError("a profile is given twice; its picks would count twice.")
    read = {f"profile {profile.name}": path for path, profile in loaded}
    check_outputs({"merged profile": options.output}, read)
    from napari_spa.refine.preference.update import merge_profiles

    name = options.name or options.output.stem
    merged = merge_profiles([profile for _, profile in loaded], name, options.task)
    merged.save(options.output)
    _report(options.output, merged, json=options.json)
    return 0


def find_profile(name: str) -> Path:
    """Find a profile by the path of its file, or by its name among the user's own."""
    from napari_spa.io.profiles.store import ProfileStore

    path = Path(name)
    looks_like_a_file = path.suffix.lower() == ".json" or path.name != name
    return path if looks_like_a_file or path.is_file() else ProfileStore().find(name)


def load_profile(name: str) -> tuple[Path, PreferenceProfile]:
    """Find a profile and read it; the nameless take the name of their file."""
    from napari_spa.io.profiles.profile import PreferenceProfile

    path = find_profile(name)
    profile = PreferenceProfile.load(path)
    return path, replace(profile, name=profile.name or path.stem)


def check_json_file(path: Path) -> None:
    """Refuse to write a profile where none belongs."""
    if path.suffix.lower() != ".json":
        raise CallError(f"a profile is written as .json, not as {path.name}.")
    if path.is_dir():
        raise CallError(f"{path} is a folder; give a file name.")


def _report(path: Path, profile: PreferenceProfile, *, json: bool) -> None:
    from napari_spa.refine.preference.summary import boundary_lean, describe, growth

    lean, size = boundary_lean(profile), growth(profile)
    if json:
        show_json(
            {
                "path": str(path),
                "name": profile.name,
                "task": profile.task,
                "words": describe(profile),
                "picks": profile.picks,
                "images": profile.images,
                "objects": profile.objects,
                "growth": size,
                "boundary": lean,
                "components": profile.mixture.components,
                "channels": profile.mixture.dimension,
                "model": asdict(profile.model),
            }
        )
        return
    show(f"{profile.name}{', ' * bool(profile.task)}{profile.task}")
    show(describe(profile))
    if lean is not None:
        show(f"boundary: {lean:+.2f} (outwards is +, in units of the logits' spread)")
    show(f"model: {profile.model.name}, {profile.model.head} head")
    show(f"file: {path}")
