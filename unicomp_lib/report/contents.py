"""Which pages a report has, and what each is made from."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from unicomp_lib import paths
from unicomp_lib.report import front, pages, unrun
from unicomp_lib.report.markup import code, commit, plain
from unicomp_lib.study import notebooks, records, variants
from unicomp_lib.study.params import DENSE, UNTRAINED, Profile
from unicomp_lib.study.steps import Stage, Step

VISION = {"train": "training", "prune": "pruning and retraining", "interpretability": "what its units see"}


@dataclass(frozen=True)
class Study:
    """What a report is built from: a profile's steps, the runs there are, and what has been published."""

    profile: Profile
    steps: list[Step]
    keys: dict[str, str]
    figures: Path
    scores: pl.DataFrame
    facts: dict[str, Any]

    def run(self, step: Step) -> Path:
        """The folder of a step's run, whether or not it is there."""
        return records.folder(step.name, self.keys[step.name])

    def done(self, step: Step) -> bool:
        """Whether a step's run is there and whole."""
        return records.finished(self.run(step)) is not None

    def of(self, stage: Stage) -> list[Step]:
        """The steps of one stage, in their order."""
        return [step for step in self.steps if step.stage == stage]

    def without(self, stage: Stage) -> "Study":
        """The same without the steps of one stage."""
        return replace(self, steps=[step for step in self.steps if step.stage != stage])

    def command(self, name: str, options: str = "") -> str:
        """A command of this profile, as the reader types it."""
        given = f"{self.profile.option} {options}".strip()
        return f"nox -s {name}{f' -- {given}' if given else ''}"


def lay_out(study: Study, source: Path) -> dict[str, list[str]]:
    """Write the pages of all notebooks into ``source``, and return the entries of each section of the contents."""
    sections = {
        "Figures": _figures(study, source),
        "Methods": _methods(study, source),
        "GoogLeNet": _networks(study, source),
        "Learn": _chapters(study, source),
        "Explore": _executed(study, source, [(step, "") for step in study.of(Stage.EXPLORE) if study.done(step)]),
    }
    return {caption: entries for caption, entries in sections.items() if entries}


def figure_files(study: Study, step: Step) -> list[str]:
    """Names of the pictures and tables that a step of the stage figures has published."""
    return unrun.published(step.notebook, study.figures, study.facts.get("figures", {}))


def _figures(study: Study, source: Path) -> list[str]:
    entries = []
    for step in study.of(Stage.FIGURES):
        names = figure_files(study, step)
        if study.done(step):
            entries += _executed(study, source, [(step, "")])
        elif names:
            closing = _closing(study, step, names)
            unrun.figure(step.notebook, source / f"{_page(step)}.ipynb", study.figures, names, closing=closing)
            entries.append(_entry(notebooks.heading(step.notebook)[0], _page(step)))
    return entries


def _methods(study: Study, source: Path) -> list[str]:
    """Every variant of the first model, of several seeds the first; one page a notebook for those not run here."""
    facts, model = variants.facts(study.profile), next(iter(study.profile.models), None)
    first: dict[str, Step] = {}
    for step in study.of(Stage.COMPRESS):
        if step.cell and step.cell.model == model:
            variant = step.cell.variant
            if variant not in first or (study.done(step) and not study.done(first[variant])):
                first[variant] = step
    named = [(step, facts[variant]["label"]) for variant, step in first.items()]
    measured = ("agreement with dense", front.shares(front.of(study.scores.filter(dimension="fidelity"), "agreement")))
    return [
        *_executed(study, source, [(step, label) for step, label in named if study.done(step)]),
        *_not_run(study, source, [(step, label) for step, label in named if not study.done(step)], measured),
    ]


def _networks(study: Study, source: Path) -> list[str]:
    """Every network's training or pruning, and what the units of the two that are not pruned see."""
    facts = variants.vision_facts(study.profile)
    done, waiting = [], []
    for step in study.of(Stage.VISION):
        if step.cell and step.topic in VISION:
            label = facts[step.cell.variant]["label"]
            if not study.done(step):
                waiting.append((step, label))
            elif step.topic != "interpretability" or step.cell.variant in (DENSE, UNTRAINED):
                done.append((step, f"{label}: {VISION[step.topic]}"))
    networks = study.scores.filter(pl.col("dimension") == "vision")
    measured = ("accuracy, all images", front.shares(front.of(networks, "acc")))
    return [*_executed(study, source, done), *_not_run(study, source, waiting, measured)]


def _chapters(study: Study, source: Path) -> list[str]:
    """The chapters in the order of their page, which links all of them; those not run are shown without outputs."""
    folder = paths.project() / "notebooks" / "learn"
    text = (folder / "README.md").read_text(encoding="utf-8")
    (source / "learn").mkdir(parents=True, exist_ok=True)
    (source / "learn" / "README.md").write_text(text, encoding="utf-8")
    done = {step.topic: step for step in study.of(Stage.LEARN) if study.done(step)}
    entries = [_entry("The chapters", "learn/README")]
    for topic in re.findall(r"\((\w+)\.ipynb\)", text):
        name = f"learn/{topic}"
        if topic in done:
            entries += _executed(study, source, [(done[topic], "")])
            continue
        note = (
            "This chapter has not been run here, so it is shown without its outputs. "
            f"`{study.command('report')}` runs all chapters and shows them; `nox -s lab` opens them in Jupyter."
        )
        unrun.show(name, source / f"{name}.ipynb", note=note)
        entries.append(_entry(notebooks.heading(name)[0], name))
    return entries


def _executed(study: Study, source: Path, shown: list[tuple[Step, str]]) -> list[str]:
    entries = []
    for step, heading in shown:
        folded = step.stage not in (Stage.LEARN, Stage.EXPLORE)  # elsewhere pictures speak, and code is a click away
        names = figure_files(study, step) if step.stage == Stage.FIGURES else []
        closing = _closing(study, step, names)
        pages.write(
            study.run(step), source / f"{_page(step)}.ipynb", heading=heading, folded=folded, closing=closing
        )  # fmt: skip
        entries.append(_entry(heading or notebooks.heading(step.notebook)[0], _page(step)))
    return entries


def _not_run(
    study: Study, source: Path, waiting: list[tuple[Step, str]], measured: tuple[str, dict[str, str]]
) -> list[str]:
    """One page for each notebook that some steps would run, with the steps and what was ``measured`` of them."""
    by_notebook: dict[str, list[tuple[Step, str]]] = {}
    for step, label in waiting:
        by_notebook.setdefault(step.notebook, []).append((step, label))
    entries = []
    for notebook, of_notebook in by_notebook.items():
        run = study.command("reproduce", f"--only {of_notebook[0][0].name}")
        note = (
            "This notebook has not been run here, so it is shown without its outputs. "
            f"`{run}` runs it for {plain(of_notebook[0][1])}, and `{study.command('report')}` then shows them."
        )
        closing = f"## In this study\n\n{_variants(study, of_notebook, measured)}"
        unrun.show(notebook, source / f"{notebook}.ipynb", note=note, closing=closing, folded=True)
        entries.append(_entry(notebooks.heading(notebook)[0], notebook))
    return entries


def _variants(study: Study, steps: list[tuple[Step, str]], measured: tuple[str, dict[str, str]]) -> str:
    """A table of a notebook's steps: settings, what was measured, and the run behind what is published."""
    name, values = measured
    lines = [f"| variant | settings | {name} | published from |", "|---|---|---|---|"]
    for step, label in steps:
        value = values.get(step.cell.variant, "") if step.cell else ""
        run = published_run(study, step)
        lines.append(f"| {plain(label)} | {pages.given(step.parameters)} | {value or 'not measured'} | {run} |")
    return "\n".join(lines)


def published_run(study: Study, step: Step) -> str:
    """The run behind what is published of a step: its key, cost and commit, and whether it would be another now."""
    run = study.facts["steps"].get(step.name)
    if not run:
        return "no run on record"
    made = f", commit {commit(run['commit'])}" if run.get("commit") else ""
    now = study.keys[step.name]
    changed = "" if now == run["key"] else f"; changed since, now key {code(now)}"
    return f"key {code(run['key'])}, {run['seconds']:.0f} s{made}{changed}"


def _closing(study: Study, step: Step, names: list[str]) -> str:
    """What stands below a page: its data to download, and where they come from."""
    up = "../" * _page(step).count("/")
    links = ", ".join(f"{{download}}`{name} <{up}files/{name}>`" for name in names)
    downloads = f"Data and pictures to download: {links}.\n\n" if links else ""
    if record := records.finished(study.run(step)):
        origin = pages.provenance(record, step.parameters, {name: study.keys[name] for name in step.parents})
    else:
        rows = [f"| step | {code(step.name)}: {published_run(study, step)} |", "|---|---|"]
        rows += [f"| notebook | {code('notebooks/' + step.notebook + '.ipynb')} |"]
        run = study.facts["steps"]
        rows += [f"| reads | {code(name)}, key {code(run[name]['key'])} |" for name in step.parents if name in run]
        rows += ["| machine, packages | see [all steps](../provenance.md) |"]
        origin = "\n".join(rows)
    return f"## Data and provenance\n\n{downloads}{origin}"


def _page(step: Step) -> str:
    return step.name.replace("+", "-and-")


def _entry(title: str, page: str) -> str:
    """A line of a table of contents, where the last angle brackets hold the page."""
    return f"{' '.join(title.split())} <{page}>"
