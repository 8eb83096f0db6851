"""Command line of the study: ``python -m unicomp_lib reproduce | status | report | prefetch | label``."""

import argparse
import fnmatch
import io
import logging
import os
import shutil
import sys
from pathlib import Path

import polars as pl

from unicomp_lib import hardware, paths, results
from unicomp_lib.evaluate.judges import labels
from unicomp_lib.inputs.assets import AssetError
from unicomp_lib.study import params, progress, publish, records, scheduler, slurm, status
from unicomp_lib.study.notebooks import NotebookError
from unicomp_lib.study.plan import plan, select
from unicomp_lib.study.prefetch import prefetch
from unicomp_lib.study.status import State, state
from unicomp_lib.study.steps import Stage, Step, keys
from unicomp_lib.study.worker import explanation


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and run it; 0 when all is well, 1 when a step failed, 2 on bad input."""
    options = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a run's log file is read while it runs
    try:
        return int(options.command(options))
    except (params.ParamsError, NotebookError, AssetError, ConnectionError, ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {explanation(error, paths.project())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; finished steps are kept, run the same command to go on", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="unicomp", description="What compression really does to a model.")
    commands = parser.add_subparsers(required=True, metavar="reproduce | status | report | prefetch | label")
    reproduce = commands.add_parser("reproduce", help="run what is missing, then draw the figures")
    states = commands.add_parser("status", help="list what is done, stale, failed and missing")
    fetch = commands.add_parser("prefetch", help="download all that a profile reads")
    for command, function in ((reproduce, _reproduce), (states, _status), (fetch, _fetch)):
        command.add_argument("--profile", default="embedded", help="tiny, embedded, paper or a YAML file (%(default)s)")
        command.set_defaults(command=function)
    for command in (reproduce, states):
        command.add_argument("--only", metavar="GLOB", default="*", help="steps by name, with all they read")
    reproduce.add_argument("--force", metavar="GLOB", help="run these again, and all that reads them")
    reproduce.add_argument("--dry-run", action="store_true", help="print the plan and stop; needs no network")
    reproduce.add_argument("--workers", type=int, default=hardware.workers(), help="steps at once (%(default)s)")
    elsewhere = reproduce.add_mutually_exclusive_group()
    elsewhere.add_argument("--scheduler", metavar="ADDRESS", help="a running Dask scheduler, tcp://host:8786")
    elsewhere.add_argument(
        "--cluster", choices=slurm.SYSTEMS, help="submit workers as the profile's section cluster says"
    )
    report = commands.add_parser("report", help="build a site of static pages from a finished profile")
    report.add_argument("--profile", default="embedded", help="tiny, embedded, paper or a YAML file (%(default)s)")
    report.add_argument(
        "--without-chapters", action="store_true", help="leave out the teaching notebooks, which run once"
    )
    report.add_argument("--workers", type=int, default=hardware.workers(), help="notebooks at once (%(default)s)")
    report.set_defaults(command=_report, scheduler=None, cluster=None)
    _add_label(commands.add_parser("label", help="draw judged answers for people to label, or score their labels"))
    return parser


def _add_label(label: argparse.ArgumentParser) -> None:
    actions = label.add_subparsers(required=True, metavar="draw | score")
    draw = actions.add_parser("draw", help="write a sample of judged answers to a CSV file")
    draw.add_argument("file", type=Path, help="CSV file to write; fill in its column label with 0 or 1")
    draw.add_argument("--profile", default="embedded", help="a finished profile (%(default)s)")
    draw.add_argument("--number", type=int, default=200, help="answers to draw (%(default)s)")
    draw.add_argument("--seed", type=int, default=0, help="of the sample (%(default)s)")
    draw.set_defaults(command=_draw)
    score = actions.add_parser("score", help="accuracy and Cohen's kappa of the judges on a labelled file")
    score.add_argument("file", type=Path, help="the labelled CSV file")
    score.set_defaults(command=_score)


def _draw(options: argparse.Namespace) -> int:
    if options.number < 1:
        raise ValueError(f"--number {options.number} is not allowed; give a whole number above 0")
    reliability = params.load(options.profile).evaluations.get("reliability")
    data_dir = reliability.parameters.get("data_dir", "") if reliability else ""
    count = labels.draw(options.profile, options.file, number=options.number, seed=options.seed, data_dir=data_dir)
    print(f"{count} answers in {options.file}; fill in label, then: nox -s label -- score {options.file}")
    return 0


def _score(options: argparse.Namespace) -> int:
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_hide_dataframe_shape=True, float_precision=3, tbl_width_chars=160):
        print(labels.score(options.file))
    return 0


def _reproduce(options: argparse.Namespace) -> int:
    profile = params.load(options.profile)
    every = plan(profile)
    known = keys(every)
    steps = select(every, options.only)
    if options.workers < 1:
        raise ValueError(f"--workers {options.workers} is not allowed; give a whole number above 0")
    forced = _forced(steps, options.force)
    waiting = [step for step in steps if step.name in forced or state(step, known) != State.DONE]
    if options.dry_run:
        _print_plan(steps, known, waiting, _expected(waiting, profile.name, options.workers))
        return 0
    outcomes = _run(profile, every, waiting, known, forced, options) if waiting else []
    pictures = publish.publish(every, known, profile.name)
    return _summary(steps, known, outcomes, pictures, profile.name)


def _run(
    profile: params.Profile, every: list[Step], waiting: list[Step], known: dict[str, str], forced: set[str],
    options: argparse.Namespace,
) -> list[scheduler.Outcome]:  # fmt: skip
    if os.environ.get("HF_HUB_OFFLINE", "0") in ("", "0"):
        prefetch(profile)
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # lost workers are reported by their steps
    if options.cluster:
        print(f"workers are jobs named unicomp, begun by the queue; their logs: {records.runs() / 'cluster'}")
    stages = {step.name: step.stage for step in waiting}
    with progress.Reporter(waiting, progress.history(), publish.costs(profile.name)) as reporter:

        def ended(outcome: scheduler.Outcome) -> None:
            reporter.ended(outcome)
            if stages[outcome.name] == Stage.FIGURES:
                publish.publish(every, known, profile.name)  # a figure is there to look at as soon as it is drawn

        scheduler.run(
            waiting, known, forced=forced, workers=options.workers, scheduler=options.scheduler,
            jobs=profile.cluster if options.cluster else None, opened=reporter.opened, ended=ended,
        )  # fmt: skip
    return reporter.outcomes


def _summary(
    steps: list[Step], known: dict[str, str], outcomes: list[scheduler.Outcome], pictures: list[Path], profile: str
) -> int:
    bad = [outcome for outcome in outcomes if outcome.state != scheduler.DONE]
    for outcome in bad:
        print(f"{outcome.state}: {outcome.name}: {outcome.reason}")
    finished = len(steps) - len(bad)
    print(f"{finished} of {len(steps)} steps stand, {len(outcomes) - len(bad)} of them run now")
    for note in publish.several_machines(steps, known):
        print(f"note: {note}")
    for picture in pictures:
        print(f"figure: {_shown(picture)}")
    print(f"tables: {_shown(results.folder(profile))}")
    return 1 if bad else 0


def _status(options: argparse.Namespace) -> int:
    steps = plan(params.load(options.profile))
    print(status.table(select(steps, options.only), keys(steps)))
    return 0


def _report(options: argparse.Namespace) -> int:
    profile = params.load(options.profile)
    from unicomp_lib.report import site  # heavy

    study, more = plan(profile), [] if options.without_chapters else site.teaching(profile, options.profile)
    every = [*study, *more]
    known = keys(every)
    # What explores the results is run again each time: the results are not among its parameters.
    forced = {step.name for step in more if step.stage == Stage.EXPLORE}
    waiting = [step for step in more if step.name in forced or state(step, known) != State.DONE]
    outcomes = _run(profile, every, waiting, known, forced, options) if waiting else []
    for outcome in outcomes:
        if outcome.state != scheduler.DONE:
            print(f"{outcome.state}: {outcome.name}: {outcome.reason}")
    missing = [step.name for step in study if state(step, known) != State.DONE]
    if missing:
        print(
            f"note: {len(missing)} of {len(study)} steps have not been run, {missing[0]} the first; they have no page"
        )
    first = site.build(profile, every, known, paths.project() / "report" / profile.name)
    size = sum(file.stat().st_size for file in first.parent.rglob("*") if file.is_file()) / 1e6
    print(f"report: {_shown(first)}, {size:.0f} MB; open it in a browser")
    return 1 if any(outcome.state != scheduler.DONE for outcome in outcomes) else 0


def _fetch(options: argparse.Namespace) -> int:
    profile = params.load(options.profile)
    plan(profile)
    prefetch(profile)
    print(f"all that profile {profile.name} reads is in {paths.home()} and the hub's cache")
    return 0


def _forced(steps: list[Step], pattern: str | None) -> set[str]:
    names: set[str] = set()
    for step in steps:
        if (pattern and fnmatch.fnmatch(step.name, pattern)) or names & set(step.parents):
            names.add(step.name)
    if pattern and not names:
        raise params.ParamsError(f"--force {pattern!r} matches no step; see --dry-run for all names")
    return names


def _print_plan(steps: list[Step], known: dict[str, str], waiting: list[Step], expected: str) -> None:
    width = max(len(step.name) for step in steps)
    names = {step.name for step in waiting}
    for step in steps:
        print(f"{'run ' if step.name in names else 'keep'}  {step.name:{width}}  {step.notebook}  {known[step.name]}")
    free = shutil.disk_usage(paths.project()).free / 1e9
    print(f"{len(waiting)} of {len(steps)} steps to run{expected}; {free:.0f} GB free on this disk")


def _expected(waiting: list[Step], profile: str, workers: int) -> str:
    """How long steps will take, where all of them are of the run behind the figures: others are known when they run."""
    costs = publish.costs(profile)
    if not waiting or any(step.name not in costs for step in waiting):
        return ""
    seconds = progress.remaining(waiting, progress.history(), costs, workers)
    return f", about {progress.clock(seconds or 0)} with {workers} workers"


def _shown(path: Path) -> Path:
    return path.relative_to(paths.project())


if __name__ == "__main__":
    sys.exit(main())
