"""``napari-spa batch``: all images of a folder, in one process, in several or on a cluster."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING

from napari_spa.batch.executors import exposed
from napari_spa.batch.plan import BatchPlan, make_plan
from napari_spa.batch.resume import verify
from napari_spa.batch.runner import BatchReport, estimate, in_words, run_batch
from napari_spa.batch.task import AutoConfig, BatchRecipe
from napari_spa.cli.console import CallError, answer, checking_the_call, echo_err, progress_bar
from napari_spa.core.presentation import counted, first_of

if TYPE_CHECKING:
    import argparse

_STOPPED = 130


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    # Threads that spin while they wait slow other processes ten times.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if options.verify:
        return _verify(options)
    if not (options.prompts or options.masks or options.auto):
        raise CallError("say where objects come from: --prompts CSV, --masks DIR or --auto.")
    if options.grid is not None and not options.auto:
        raise CallError("--grid is for --auto; leave it out.")
    plan = _plan(options)
    for note in plan.notes:
        echo_err(f"napari-spa: {note}")
    if options.dry_run:
        return _dry_run(options, plan)
    return _run(options, plan)


def _plan(options: argparse.Namespace) -> BatchPlan:
    recipe = BatchRecipe(
        model=options.model,
        device=options.device,
        profile=options.profile,
        seed=options.seed,
        source="prompts" if options.prompts else "masks" if options.masks else "auto",
        auto=AutoConfig() if options.grid is None else AutoConfig(grid=options.grid),
    )
    with checking_the_call():
        return make_plan(
            options.source,
            options.out,
            recipe,
            options.prompts or options.masks,
            recursive=options.recursive,
        )


def _run(options: argparse.Namespace, plan: BatchPlan) -> int:
    if options.scheduler is not None and exposed(options.scheduler):
        echo_err(
            f"napari-spa: what goes to {options.scheduler} is not encrypted, and who can change it "
            "can run programs here; use tls:// outside a network that you trust."
        )
    try:
        with progress_bar("batch") as progress:
            report = run_batch(
                plan,
                workers=options.workers,
                scheduler=options.scheduler,
                overwrite=options.overwrite,
                progress=progress,
            )
    except KeyboardInterrupt:
        echo_err(
            "napari-spa: stopped; what is done is kept, and the same command goes on from there."
        )
        return _STOPPED
    _report(options, report)
    return 1 if report.failed or report.missing or plan.absent else 0


def _report(options: argparse.Namespace, report: BatchReport) -> None:
    for note in report.notes:
        echo_err(f"napari-spa: {note}")
    for name, reason in report.failed:
        echo_err(f"napari-spa: {name} failed: {reason}")
    for name, number, reason in report.missing:
        echo_err(f"napari-spa: {name}, object {number}: {reason}")
    lines = [
        f"{options.out}: {counted(len(report.done), 'image')} done with "
        f"{counted(report.objects, 'object')} in {in_words(report.seconds)}"
    ]
    if report.unchanged:
        lines.append(f"{counted(len(report.unchanged), 'image')} done before and unchanged")
    if report.kept:
        kept = first_of(report.kept)
        lines.append(f"{kept}: labels of a user, kept (--overwrite would replace them)")
    if report.review:
        first = first_of(report.review)
        lines.append(f"{counted(len(report.review), 'image')} to review, first: {first}")
    answer(
        options,
        lines,
        out=str(options.out),
        manifest=str(options.out / "manifest.json"),
        done=len(report.done),
        objects=report.objects,
        unchanged=len(report.unchanged),
        kept=report.kept,
        failed=[{"image": name, "why": reason} for name, reason in report.failed],
        missing=[
            {"image": name, "object": number, "why": reason}
            for name, number, reason in report.missing
        ],
        review=report.review,
        seconds=report.seconds,
    )


def _dry_run(options: argparse.Namespace, plan: BatchPlan) -> int:
    found = estimate(plan, workers=options.workers, overwrite=options.overwrite)
    if found.problem:
        echo_err(f"napari-spa: {found.measured} failed: {found.problem}")
    lines = [f"{found.to_do} of {counted(found.images, 'image')} to do, nothing is written"]
    if found.kept:
        lines.append(f"{counted(found.kept, 'image')} with labels of a user, kept")
    if found.to_do:
        lines.append(f"about {counted(found.objects, 'object')}")
        if not found.problem:
            lines.append(
                f"about {in_words(found.seconds)} with {counted(options.workers, 'worker')} and "
                f"{_size(found.disk)} on disk, measured on {found.measured_on}"
            )
    facts = asdict(found)
    del facts["problem"]
    answer(options, lines, **facts)
    return 1 if found.problem else 0


def _verify(options: argparse.Namespace) -> int:
    given = options.prompts or options.masks or options.auto
    plan = _plan(options) if given else None
    with progress_bar("batch") as progress:
        verdict = verify(options.out, plan, progress=progress)
    if plan is None:
        echo_err("napari-spa: the inputs were not checked; say where prompts are.")
    lines = [f"{what}: {why}" for what, why in verdict.wrong]
    lines.append(
        f"{options.out}: {verdict.checked} digests of {verdict.images} images checked, "
        f"{len(verdict.wrong) or 'nothing'} wrong"
    )
    answer(
        options,
        lines,
        out=str(options.out),
        images=verdict.images,
        checked=verdict.checked,
        wrong=[{"what": what, "why": why} for what, why in verdict.wrong],
    )
    return 1 if verdict.wrong else 0


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"
