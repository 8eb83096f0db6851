"""The command ``compare``: reads both sides, pairs them, and writes one page."""

import argparse
import re
from dataclasses import replace
from pathlib import Path

import polars as pl

from unicomp_lib import files, paths
from unicomp_lib.compare import cells, checkpoints, inspect_log, lmeval_log, measure, page, written
from unicomp_lib.compare.lmeval_metrics import LOG_LIKELIHOOD
from unicomp_lib.compare.measure import Line
from unicomp_lib.compare.pair import Pair, check_rerun, pair
from unicomp_lib.compare.side import Side
from unicomp_lib.evaluate.statistics import Estimate
from unicomp_lib.inputs import texts
from unicomp_lib.study import params

TEXT = "held-out"  # what models are compared on token by token, if nothing else is asked for
FORMS = (
    "the folder of a checkpoint, owner/name@revision on the hub, a log of lm-eval (--log_samples) or inspect_ai, or a "
    "cell of the study such as performance/smollm2-135m/wanda-50"
)


def compare(options: argparse.Namespace) -> int:
    """Compare two models, print the answer and write the page, its tables and the items that flipped."""
    if options.items is not None and options.items < 1:
        raise ValueError(f"--items {options.items} is not allowed; give a whole number above 0")
    if options.profile.endswith((".yaml", ".yml")):  # results are called by the profile's name
        options.profile = params.load(options.profile).name
    given = [options.a, options.b, *([options.rerun] if options.rerun else [])]
    kinds = [_kind(each, options.profile) for each in given]
    if len({kind == checkpoints.KIND for kind in kinds}) > 1:
        named = ", ".join(f"{each} ({kind})" for each, kind in zip(given, kinds, strict=True))
        raise ValueError(
            f"models and recorded answers cannot be compared: {named}; give models only, or logs and cells"
        )
    _check_options(options, asked=kinds[0] == checkpoints.KIND)
    names = _names(given)
    if kinds[0] == checkpoints.KIND:
        sides, found = _models(given, names, options)
    else:
        sides = [
            _recorded(each, kind, name, options) for each, kind, name in zip(given, kinds, names, strict=True)
        ]  # fmt: skip
        found = _stored(sides[0], sides[1])
    return _report(sides, found, options)


def _check_options(options: argparse.Namespace, *, asked: bool) -> None:
    """Refuse what would be passed over, or would fail once all models have been asked."""
    if asked and options.cluster:
        raise ValueError(f"--cluster {options.cluster} is for logs; leave it out where models are asked")
    if asked:
        texts.check(options.text)
    elif options.data_dir or options.text != TEXT:
        raise ValueError("--text and --data-dir are for models; leave them out where answers are recorded")
    if options.data_dir and not Path(options.data_dir).is_dir():
        raise ValueError(f"--data-dir {options.data_dir} is not a folder; give one with the files of the tasks")
    if options.output:
        files.folder(options.output, "--output")


def _report(sides: list[Side], fidelity: dict[str, Estimate], options: argparse.Namespace) -> int:
    a, b, *rest = sides
    recorded = not a.model
    pairs, notes = pair(
        a, b, rest[0] if rest else None, metric=options.metric,
        tasks=tuple(options.tasks) if recorded else (), items=(options.items or 0) if recorded else 0,
    )  # fmt: skip
    if rest:
        check_rerun(pairs, rest[0])
    of_tasks = measure.lines(pairs)
    over_all, without = measure.whole(pairs, of_tasks)
    likely = _likelihood(sides, pairs) if not options.metric else None
    of_tasks, over_all, likely = measure.together(of_tasks, over_all, likely)
    answer = measure.sentence(a.name, b.name, of_tasks, over_all, likely)
    over_all += [likely] if likely is not None else []
    same = ["A and B are the same, so that nothing can differ but by chance"] if _same(options.a, options.b) else []
    notes = list(dict.fromkeys([*same, *a.notes, *b.notes, *notes, *([without] if without else [])]))
    about = {"A": f"{a.name}, {a.kind}", "B": f"{b.name}, {b.kind}"}
    about |= {"Rerun of A": f"{rest[0].name}, {rest[0].kind}"} if rest else {}
    folder = options.output or paths.project() / "report" / f"compare-{_plain(a.name)}--{_plain(b.name)}"
    title = f"{b.name} against {a.name}"
    html = page.page(title, answer, notes, of_tasks, over_all, pairs, fidelity, about)
    files.write_text(folder / "index.html", html)
    written.write(folder, [*of_tasks, *over_all], pairs, a.name, b.name)
    print(answer, *(f"{name}: {text}" for name, text in about.items()), "", sep="\n")
    print(written.terminal([*of_tasks, *over_all]))
    print(*(f"note: {note}" for note in notes), *(page.fidelity_lines(fidelity) if fidelity else []), sep="\n")
    print(f"page: {folder / 'index.html'}; beside it tasks.csv, items.csv and table.tex")
    return 0


def _likelihood(sides: list[Side], pairs: list[Pair]) -> Line | None:
    """The line of the reference answers' likelihoods, where both have them for the same tasks."""
    both = [
        each.task
        for each in pairs
        if each.metric != measure.BITS
        and not each.metric.startswith(LOG_LIKELIHOOD)
        and all(map(_has_bits, sides[:2], [each.task] * 2))
    ]
    if not both:
        return None
    found, _ = pair(*sides, tasks=tuple(both), metric=measure.BITS)
    return measure.likelihood(found)


def _has_bits(side: Side, task: str) -> bool:
    return measure.BITS in side.rows.filter(pl.col("task") == task)["metric"]


def _kind(given: str, profile: str) -> str:
    path = Path(given).expanduser()
    if path.is_file() and path.suffix == ".parquet":
        return cells.KIND
    if path.exists():
        for kind, known in (
            (checkpoints.KIND, checkpoints.is_checkpoint(given)), (inspect_log.KIND, inspect_log.is_log(path)),
            (lmeval_log.KIND, lmeval_log.is_log(path)),
        ):  # fmt: skip
            if known:
                return kind
        raise ValueError(f"{given} is neither a checkpoint nor a log; give {FORMS}")
    if cells.is_cell(given, profile):
        return cells.KIND
    if checkpoints.is_checkpoint(given):
        return checkpoints.KIND
    hub = f"; a model of the hub needs its revision: {given}@<commit>" if given.count("/") == 1 else ""
    raise ValueError(f"{given!r} is not there; give {FORMS}{hub}")


def _names(given: list[str]) -> list[str]:
    """What each is called: the last part of its path that differs, a rerun by its own."""
    stems = [_without_file(each.rstrip("/")) for each in given]
    if stems[0] == stems[1]:  # two files of one folder
        stems = [each.rstrip("/") for each in given]
    if len(set(stems[:2])) == 1:
        return [*(f"{Path(stem).name} ({letter})" for stem, letter in zip(stems, "AB")), *stems[2:]]
    for number in range(1, 8):
        short = ["/".join(Path(stem).parts[-number:]) for stem in stems]
        if short[0] != short[1]:
            return short
    return stems


def _without_file(given: str) -> str:
    """A log's folder, which is named after the model; its file is named after the task."""
    return str(Path(given).parent) if lmeval_log.NAME.fullmatch(Path(given).name) else given


def _recorded(given: str, kind: str, name: str, options: argparse.Namespace) -> Side:
    path = Path(given).expanduser()
    if kind == lmeval_log.KIND:
        return lmeval_log.read(path, name, options.cluster)
    if kind == inspect_log.KIND:
        return inspect_log.read(path, name, options.cluster)
    return cells.rows_of(path, name) if path.is_file() else cells.read(given, options.profile)


def _models(given: list[str], names: list[str], options: argparse.Namespace) -> tuple[list[Side], dict[str, Estimate]]:
    """Ask the models now; a rerun of the very same model is asked in batches of another size."""
    number = checkpoints.ITEMS if options.items is None else options.items
    tasks = dict.fromkeys(options.tasks or checkpoints.TASKS, number)
    checkpoints.described(tasks)
    located = [checkpoints.located(each) for each in given]
    sides = []
    for place, (model, name) in enumerate(zip(located, names, strict=True)):
        again = place == 2 and model == located[0]
        size = checkpoints.OTHER_BATCH if again else checkpoints.BATCH
        print(f"asking {name}, {len(tasks)} tasks", flush=True)
        side = checkpoints.read(model, name, tasks, batch_size=size, data_dir=options.data_dir)
        sides.append(replace(side, name=f"{name} again") if again else side)
    try:
        found = checkpoints.fidelity(located[0], located[1], options.text)
    except ValueError as error:
        sides[1] = replace(sides[1], notes=(*sides[1].notes, f"no fidelity: {error}"))
        found = {}
    return sides, found


def _stored(a: Side, b: Side) -> dict[str, Estimate]:
    """Fidelity of two cells: it is stored against the dense one of the same model alone."""
    return checkpoints.estimates(b.facts) if a.dense_of and a.dense_of == b.family and b.facts is not None else {}


def _same(a: str, b: str) -> bool:
    one, other = Path(a).expanduser(), Path(b).expanduser()
    return a == b or (one.exists() and other.exists() and one.samefile(other))


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.+_-]+", "-", name).strip("-.") or "model"
