"""What the commands do: ``__main__`` reads the command line and imports this, so that its help is quick."""

import argparse
import fnmatch
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from pathlib import Path

from unicomp_lib import hardware, paths
from unicomp_lib.study import (
    dropping,
    external,
    own_model,
    params,
    progress,
    publish,
    ready,
    records,
    scheduler,
    security,
    sources,
    status,
    surroundings,
)
from unicomp_lib.study.hints import count
from unicomp_lib.study.plan import names_of, plan, select
from unicomp_lib.study.prefetch import prefetch
from unicomp_lib.study.status import FINISHED, state
from unicomp_lib.study.steps import Stage, Step, keys
from unicomp_lib.study.worker import explanation


def reproduce(options: argparse.Namespace) -> int:
    """Run what is missing, and publish the tables and figures of all that is finished."""
    profile = _on_model(options.profile, options.model) if options.model else params.load(options.profile)
    only = options.only or ["*"]
    ready.check_folders()
    if not options.dry_run:
        _pin(profile, only)
    every = plan(profile)
    known = keys(every)
    steps = select(every, only, profile.option)
    _check_workers(options)
    if options.step_limit is not None and not 0 < options.step_limit < 1e8:
        raise ValueError(f"--step-limit {options.step_limit:g} is not allowed; give a number of seconds above 0")
    forced = _forced(steps, options.force, profile.option)
    waiting = [step for step in steps if step.name in forced or state(step, known) not in FINISHED]
    waiting = dropping.again(waiting, every, known, only)
    if options.dry_run:
        if branches := external.unpinned(profile):
            print(f"note: not downloaded yet, so that their commits are not known: {', '.join(branches)}")
        _print_plan(profile, steps, known, waiting, options)
        return 0
    outcomes = run(profile, every, waiting, known, forced, options) if waiting else []
    for _ in steps:  # no chain of readers is longer
        if not (waiting := _outdated(steps, known, outcomes)):
            break
        outcomes += run(profile, every, dropping.again(waiting, every, known), known, set(), options)
    outcomes = list({outcome.name: outcome for outcome in outcomes}.values())
    freed = dropping.release(every, known, spared=only)
    pictures, unpublished = _published(every, known, profile)
    if freed:
        print(f"note: {freed / 1e9:.1f} GB of weights removed that nothing is to read any more (keep: false)")
    code = _summary(steps, known, outcomes, pictures, profile.name)
    if unpublished:
        print(f"not published: {unpublished}; the runs are kept, correct that and run the same command again")
    return 1 if unpublished else code


def _outdated(steps: list[Step], known: dict[str, str], outcomes: list[scheduler.Outcome]) -> list[Step]:
    """The steps to run once more: what they have read was made again meanwhile, and is not what it was.

    None that has failed or is behind one that has.
    """
    failed = {outcome.name for outcome in outcomes if outcome.state != scheduler.DONE}
    found = []
    for step in steps:
        if failed & {step.name, *step.parents}:
            failed.add(step.name)
        elif records.outdated(records.folder(step.name, known[step.name])):
            found.append(step)
    return found


def _pin(profile: params.Profile, only: list[str]) -> None:
    """Download models at a branch of the hub before the plan is made: what runs depends on the commit it is.

    What these steps lack and nothing will fetch is refused first, as it is before they run.
    """
    if not (open_ends := external.unpinned(profile)):
        return
    if _offline():
        raise params.ParamsError(
            f"no commit of {', '.join(open_ends)} has been downloaded; where the hub is reached run nox -s prefetch"
            f"{f' --{profile.option}' if profile.option else ''}"
        )
    ready.check(select(plan(profile), only, profile.option), profile)
    prefetch(profile)


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0")


def _on_model(base: str, given: str) -> params.Profile:
    """The profile that applies another one's plan to a model of the user's."""
    path, left_out = own_model.profile(base, given)
    profile = params.load(path)
    for note in [*left_out, f"this plan is the profile {path}: other commands take it as --profile {path}"]:
        print(f"note: {note}")
    return profile


def _published(every: list[Step], known: dict[str, str], profile: params.Profile) -> tuple[list[Path], str]:
    """Publish what is finished; the pictures, and why it could not be done: no computing stops for it."""
    try:
        pictures = publish.publish(every, known, profile.name)
        params.own_results(profile)
    except (OSError, ValueError) as error:
        return [], explanation(error, paths.project())
    return pictures, ""


def run(
    profile: params.Profile, every: list[Step], waiting: list[Step], known: dict[str, str], forced: set[str],
    options: argparse.Namespace,
) -> list[scheduler.Outcome]:  # fmt: skip
    """Run ``waiting``; publish each figure when it is drawn, and drop weights when all that reads them is done."""
    ready.check_folders()
    _check_workers(options)
    surroundings.check(records.runs(), paths.home())
    ready.check(waiting, profile)
    if options.scheduler:
        security.check(options.scheduler)  # before anything is downloaded for it
    params.own_results(profile)  # before the first step: clean is to know whose these runs are, however they end
    if not _offline():
        prefetch(profile)
    ready.check_fetched(waiting, profile)
    local = not (options.scheduler or options.cluster)
    sharing = options.per_device
    small = ready.notes(waiting, profile, options.workers, here=local, per_device=sharing)
    for note in [*small, *surroundings.notes(os.environ)]:
        print(f"note: {note}")
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # lost workers are reported by their steps
    if options.cluster:
        print(f"workers are jobs named unicomp, begun by the queue; their logs: {records.runs() / 'cluster'}")
    stages = {step.name: step.stage for step in waiting}
    parents = {step.name: step.parents for step in waiting}
    asked = vars(options).get("only") or []
    seen, costs = progress.history(), publish.costs(profile.name)
    with _interrupts_held_back(local), progress.Reporter(waiting, seen, costs) as reporter:

        def opened(address: str, workers: int) -> None:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            reporter.opened(address, workers)

        def ended(outcome: scheduler.Outcome) -> None:
            reporter.ended(outcome)
            dropping.release(every, known, of=parents[outcome.name], spared=asked)
            if stages[outcome.name] == Stage.FIGURES:
                _published(every, known, profile)  # a figure is there to look at as soon as it is drawn

        scheduler.run(
            waiting, known, forced=forced, workers=options.workers, scheduler=options.scheduler,
            jobs=profile.cluster if options.cluster else None, limit=options.step_limit,
            per_device=sharing, seconds=progress.expected(waiting, seen, costs), opened=opened, ended=ended,
        )  # fmt: skip
    return reporter.outcomes


@contextmanager
def _interrupts_held_back(local: bool) -> Iterator[None]:
    """Hold Ctrl-C back until the ``local`` engine is up, and from its processes for good.

    A terminal sends it to all of them. They inherit what the thread that starts them blocks; without that each
    would print where it was, and an engine that is half up cannot be closed. It ends them itself.
    """
    if local:
        resource_tracker.ensure_running()  # whoever starts it first lets SIGINT through again
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def show_status(options: argparse.Namespace) -> int:
    """Say what has become of each step: first in one line, then one by one. 1 where a file is damaged."""
    profile = params.load(options.profile)
    every = plan(profile)
    known = keys(every)
    steps = select(every, options.only or ["*"], profile.option)
    damaged = status.verify(steps, known) if options.verify else {}
    done = sum(state(step, known) in FINISHED for step in steps)
    rest = len(steps) - done
    tail = f"; nox -s reproduce{f' --{profile.option}' if profile.option else ''} runs the other {rest}" if rest else ""
    print(f"profile {profile.name}: {done} of {_standing(steps)}{tail}")
    print(status.table(steps, known, damaged))
    return 1 if damaged else 0


def fetch(options: argparse.Namespace) -> int:
    """Download all that a profile reads."""
    profile = params.load(options.profile)
    ready.check_folders()
    surroundings.check(paths.home())
    lacking = sources.missing(plan(profile), profile)
    for sentence in lacking:
        print(f"note: {sentence}")
    prefetch(profile)
    if lacking:
        print(f"all else that profile {profile.name} reads is in {paths.home()} and the hub's cache")
        return 1
    print(f"all that profile {profile.name} reads is in {paths.home()} and the hub's cache")
    return 0


def clean(options: argparse.Namespace) -> int:
    """Remove what no plan needs any more, or only say what it is."""
    from unicomp_lib.study import clean as cleaning

    profile = params.load(options.profile)
    left = cleaning.find(profile)
    for what, size in left.sizes().items():
        print(f"{'would remove' if options.dry_run else 'removing'}  {size / 1e6:9.1f} MB  {what}")
    for name in left.running:
        print(f"kept, since it is running now: {name}")
    for path in left.recent:
        print(f"kept, since it was written within the last hour: {path}")
    freed = cleaning.remove(left) if not options.dry_run else sum(left.sizes().values())
    print(f"{freed / 1e6:.1f} MB {'to free' if options.dry_run else 'freed'}")
    return 0


def draw_labels(options: argparse.Namespace) -> int:
    """Write a sample of judged answers for people to label."""
    from unicomp_lib.evaluate.judges import labels

    if options.number < 1:
        raise ValueError(f"--number {options.number} is not allowed; give a whole number above 0")
    if options.seed < 0:
        raise ValueError(f"--seed {options.seed} is not allowed; give a whole number from 0 on")
    profile = params.load(options.profile)
    reliability = profile.evaluations.get("reliability")
    folder = sources.data_dir(profile, reliability.parameters.get("data_dir", "")) if reliability else ""
    number = labels.draw(profile.name, options.file, number=options.number, seed=options.seed, data_dir=folder)
    print(f"{count(number, 'answer')} in {options.file}; fill in label, then: nox -s label -- score {options.file}")
    return 0


def score_labels(options: argparse.Namespace) -> int:
    """Print how often judges agree with people."""
    import polars as pl

    from unicomp_lib.evaluate.judges import labels

    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_hide_dataframe_shape=True, float_precision=3, tbl_width_chars=160):
        print(labels.score(options.file))
    return 0


def _check_workers(options: argparse.Namespace) -> None:
    """Raise a ``ValueError`` where so many steps cannot run at once; without a number, set as many as can."""
    each, here = options.per_device, hardware.devices()
    if each < 1:
        raise ValueError(f"--per-device {each} is not allowed; give a whole number above 0")
    if each > 1 and (options.scheduler or options.cluster):
        raise ValueError(
            f"--per-device {each} is about the accelerators of this machine, and --scheduler and --cluster use others; "
            "leave it out"
        )
    if each > 1 and not here:
        raise ValueError(
            f"--per-device {each} needs an accelerator that torch can use, and there is none here; give the number of "
            "steps at once with --workers"
        )
    if options.workers is None:
        options.workers = hardware.workers(each)
    if options.workers < 1:
        raise ValueError(f"--workers {options.workers} is not allowed; give a whole number above 0")
    if here and options.workers > each * len(here):
        more = f" with {count(each, 'step')} on each" if each > 1 else "; several steps share one with --per-device"
        raise ValueError(
            f"--workers {options.workers} is more than the {count(len(here), 'accelerator')} here{more}; give at most "
            f"{each * len(here)}"
        )


def _summary(
    steps: list[Step], known: dict[str, str], outcomes: list[scheduler.Outcome], pictures: list[Path], profile: str
) -> int:
    from unicomp_lib import results

    bad = [outcome for outcome in outcomes if outcome.state != scheduler.DONE]
    for outcome in bad:
        print(f"{outcome.state}: {outcome.name}: {outcome.reason}")
    finished = len(steps) - len(bad)
    print(f"{finished} of {_standing(steps)}, {len(outcomes) - len(bad)} of them run now")
    for note in publish.several_machines(steps, known):
        print(f"note: {note}")
    for picture in pictures:
        print(f"figure: {shown(picture)}")
    print(f"tables: {shown(results.folder(profile))}")
    return 1 if bad else 0


def _forced(steps: list[Step], patterns: list[str], option: str) -> set[str]:
    for pattern in patterns:
        if not fnmatch.filter([step.name for step in steps], pattern):
            raise params.ParamsError(f"--force {pattern!r} matches no step; {names_of(steps, pattern, option)}")
    names: set[str] = set()
    for step in steps:
        if any(fnmatch.fnmatch(step.name, pattern) for pattern in patterns) or names & set(step.parents):
            names.add(step.name)
    return names


def _print_plan(
    profile: params.Profile, steps: list[Step], known: dict[str, str], waiting: list[Step], options: argparse.Namespace
) -> None:
    """Every step with what it will cost, then the whole; what is not ready yet is only noted here."""
    from unicomp_lib.study import designing, needs  # heavy, as they import the harness

    workers, local = options.workers, not (options.scheduler or options.cluster)
    width = max(len(step.name) for step in steps)
    names = {step.name for step in waiting}
    seen, costs = progress.history(), publish.costs(profile.name)
    expected = progress.expected(waiting, seen, costs)
    away = bool(options.cluster and profile.cluster.gpus)  # on accelerators of whose speed nothing is known here
    wanted = {step.name: needs.of(step, profile, away=away) for step in waiting}
    print(f"{'':4}  {'':{width}}  {needs.HEADER}")
    for step in steps:
        took = expected.get(step.name)
        cost = needs.columns(wanted[step.name], step, profile, took, away=away) if step.name in names else ""
        print(
            f"{'run ' if step.name in names else 'keep'}  {step.name:{width}}  {cost:{len(needs.HEADER)}}  "
            f"{step.notebook}  {known[step.name]}"
        )
    held = max((need.device for need in wanted.values() if need), default=0.0)
    notes = ready.notes(waiting, profile, workers, here=local, per_device=options.per_device, held=held)
    for sentence in [*ready.problems(waiting, profile), *notes]:
        print(f"note: {sentence}")
    for sentence in designing.expected(profile):
        print(f"note: {sentence}")
    whole = len(expected) == len(waiting) and bool(waiting)
    if away and waiting and not whole:
        print(f"note: {needs.AWAY}")
    seconds = progress.remaining(waiting, seen, costs, workers) if whole else None
    about = "about"
    if not whole and not away and waiting and all(wanted.values()):
        each = [expected.get(step.name, need.seconds) for step in waiting if (need := wanted[step.name])]
        about, seconds = "very roughly", sum(each) / workers
    time = f", {about} {progress.clock(seconds)} with {count(workers, 'worker')}" if seconds else ""
    needed, free = ready.disk(waiting, profile, workers), ready.free()
    disk = f", about {needed / 1e9:.1f} GB to be written" if waiting else ""
    print(f"{len(waiting)} of {count(len(steps), 'step')} to run{time}; {free / 1e9:.0f} GB free on this disk{disk}")


def _standing(steps: list[Step]) -> str:
    return f"{count(len(steps), 'step')} {'stands' if len(steps) == 1 else 'stand'}"


def shown(path: Path) -> Path:
    """A path as it is printed: relative to the checkout."""
    return path.relative_to(paths.project())
