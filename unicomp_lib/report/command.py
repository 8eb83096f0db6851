"""The command that builds the report."""

import argparse

from unicomp_lib import paths
from unicomp_lib.report import site
from unicomp_lib.study import commands, params, scheduler
from unicomp_lib.study.hints import count
from unicomp_lib.study.plan import plan
from unicomp_lib.study.status import FINISHED, state
from unicomp_lib.study.steps import Stage, keys


def report(options: argparse.Namespace) -> int:
    """Run what only the report shows, and build the site of all that has been run here or published."""
    profile = params.load(options.profile)
    study, more = plan(profile), site.teaching(profile, options.profile)
    every = [*study, *more]
    known = keys(every)
    sources = site.read(profile, every, known)  # what is missing is said before chapters run
    outcomes: list[scheduler.Outcome] = []
    if options.without_chapters:
        sources = sources.without(Stage.EXPLORE)
    else:
        for name, reason in site.left_out(sources, more).items():
            print(f"note: {name} is left out: {reason}")
            more = [step for step in more if step.name != name]
        # What explores the results is run again each time: the results are not among its parameters.
        forced = {step.name for step in more if step.stage == Stage.EXPLORE}
        waiting = [step for step in more if step.name in forced or state(step, known) not in FINISHED]
        outcomes = commands.run(profile, every, waiting, known, forced, options) if waiting else []
    bad = [outcome for outcome in outcomes if outcome.state != scheduler.DONE]
    for outcome in bad:
        print(f"{outcome.state}: {outcome.name}: {outcome.reason}")
    if missing := [step for step in study if not sources.done(step)]:
        print(f"note: {len(missing)} of {count(len(study), 'step')} not run here; what is published stands for them")
    first = site.build(sources, paths.project() / "report" / profile.name)
    size = sum(file.stat().st_size for file in first.parent.rglob("*") if file.is_file()) / 1e6
    print(f"report: {commands.shown(first)}, {size:.0f} MB; open it in a browser")
    return 1 if bad else 0
