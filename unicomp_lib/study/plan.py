"""From a profile to the list of steps, parents first."""

import fnmatch
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from unicomp_lib import hardware
from unicomp_lib.evaluate import task
from unicomp_lib.study import external, notebooks, sources, variants
from unicomp_lib.study.hints import meant
from unicomp_lib.study.params import (
    DENSE,
    RERUN,
    UNTRAINED,
    Compression,
    ParamsError,
    Profile,
    Vision,
    check_choices,
)
from unicomp_lib.study.steps import Cell, Output, Stage, Step, step_name

ITEMS, UNITS, TABLE, CHECKPOINT = "items.parquet", "units.parquet", "scores.parquet", "checkpoint"
EXCLUSIVE = ("efficiency",)
MEASURE_DENSE = ("efficiency", "served")
JUDGED = ("reliability",)  # dimensions whose answers are judged in a step of its own
NETWORK = "googlenet"  # the model of the vision study
NETWORKS = ("train", "prune", "accuracy", "interpretability")  # its notebooks

Reads = dict[str, Output | list[Output]]


def plan(profile: Profile) -> list[Step]:
    """All steps of a profile: compressions, evaluations, scores and figures, parents first.

    Raises ``ParamsError`` or ``NotebookError`` in one sentence for an unknown method, task,
    figure or parameter, or a value of the wrong type.
    """
    _check_shared(profile)
    external.check(profile)
    _check_bases(profile)
    compressions = [step for model in profile.models for step in _compress(profile, model)]
    evaluations = [step for dimension in profile.evaluations for step in _evaluate(profile, dimension, compressions)]
    judged = {name: _judge(profile, name, evaluations) for name in profile.evaluations if name in JUDGED}
    scores = [_score(profile, name, [judged[name]] if name in judged else evaluations) for name in profile.evaluations]
    vision = _vision(profile, profile.vision) if profile.vision else []
    items = {name: _items(name, [judged[name]] if name in judged else evaluations) for name in profile.evaluations}
    items["vision"] = _items("accuracy", vision)
    figures = [_figure(profile, name, items) for name in profile.figures]
    steps = [*compressions, *evaluations, *judged.values(), *vision, *scores, *figures]
    for step in steps:
        where = f"step {step.name} of profile {profile.name}"
        notebooks.check(step.notebook, step.parameters, where)
        check_choices(step.notebook, notebooks.defaults(step.notebook) | step.parameters, where)
    _check_names(profile, steps)
    return [sources.located(step, profile) for step in steps]


def select(steps: list[Step], patterns: Sequence[str], option: str = "") -> list[Step]:
    """The steps whose name matches one of several globs, with all they read; one without a match is a ``ParamsError``.

    ``option`` is how the profile is given to a command, for the hint.
    """
    wanted = set()
    for pattern in patterns:
        named = {step.name for step in steps if fnmatch.fnmatch(step.name, pattern)}
        if not named:
            raise ParamsError(f"no step matches {pattern!r}; {names_of(steps, pattern, option)}")
        wanted |= named
    for step in reversed(steps):
        if step.name in wanted:
            wanted |= set(step.parents)
    return [step for step in steps if step.name in wanted]


def names_of(steps: list[Step], pattern: str, option: str) -> str:
    """What to give in place of a ``pattern`` that matches no step."""
    near = meant(pattern, [step.name for step in steps])
    stages = ", ".join(sorted({f"{step.stage}/*" for step in steps}))
    return f"{f'{near} Else ' if near else ''}try one of {stages}; all names: nox -s reproduce --{option} --dry-run"


def precision(profile: Profile) -> str:
    """The profile's precision; ``auto`` is bfloat16 where this machine has it in hardware."""
    return hardware.native_precision() if profile.precision == "auto" else profile.precision


def _check_shared(profile: Profile) -> None:
    """What a profile gives to many notebooks must be a parameter of one: else it would be dropped unseen."""
    compressing = [compression.notebook for compression in profile.compressions.values()]
    _check_section("calibration", profile.calibration, ["compress/wanda", *compressing], profile)
    if profile.vision:
        _check_section("vision.shared", profile.vision.shared, [f"vision/{name}" for name in NETWORKS], profile)
        _check_repeats(profile.vision, profile.name)
    for dimension, evaluation in profile.evaluations.items():
        allowed = notebooks.defaults(f"evaluate/{dimension}")
        where = f"evaluations.{dimension} of profile {profile.name}"
        _check_unwired(evaluation.parameters | evaluation.rerun, where)
        if "tasks" in allowed and not evaluation.parameters.get("tasks"):
            raise ParamsError(f"{where} lists no tasks; add some, such as tasks: {allowed['tasks']}, or remove it")
    for variant, compression in profile.compressions.items():
        where = f"compressions.{variant} of profile {profile.name}"
        _check_unwired(compression.parameters, where)
        if compression.seeds and "seed" in compression.parameters:
            raise ParamsError(f"{where} gives both seed and seeds; remove seed")


def _check_repeats(vision: Vision, name: str) -> None:
    """Seeds of the training are those of all that follows."""
    train = vision.train
    if "seed" in vision.shared:
        raise ParamsError(f"vision.shared of profile {name} gives seed; give vision.train a seed or seeds")
    for variant, pruning in vision.prunings.items():
        if "seed" in pruning.parameters:
            raise ParamsError(
                f"vision.prunings.{variant} of profile {name} gives seed; give seeds: [{pruning.parameters['seed']}]"
            )
    if train.seeds and "seed" in train.parameters:
        raise ParamsError(f"vision.train of profile {name} gives both seed and seeds; remove seed")
    if len(set(train.seeds)) < len(train.seeds):
        raise ParamsError(f"vision.train of profile {name} gives seeds={train.seeds}; each seed may be there once")
    if len(train.seeds) < 2:
        return
    for variant, pruning in vision.prunings.items():
        if "seeds" in pruning.model_fields_set:
            raise ParamsError(
                f"vision.prunings.{variant} of profile {name} gives seeds, but vision.train has several: each pruning "
                "is repeated once a training, with its seed; remove the seeds of the pruning"
            )


def _check_section(section: str, given: dict[str, Any], of: list[str], profile: Profile) -> None:
    allowed = sorted(set().union(*map(notebooks.defaults, of)) - {*notebooks.WIRED})
    for name in given:
        if name not in allowed:
            raise ParamsError(
                f"{section} of profile {profile.name} gives {name!r}, which no notebook it is for has; allowed are "
                f"{', '.join(allowed)}; {meant(name, allowed) or 'correct the name or leave it out'}"
            )


def _check_unwired(given: dict[str, Any], where: str) -> None:
    for name in given:
        if name in notebooks.WIRED:
            raise ParamsError(f"{where} gives {name!r}, which the study sets itself; remove it")


def _check_bases(profile: Profile) -> None:
    """A base must stand above the compression that reads it, so that parents come first."""
    above: list[str] = []
    for name, compression in profile.compressions.items():
        if name != DENSE and compression.base not in above:
            raise ParamsError(
                f"compressions.{name} of profile {profile.name} has base {compression.base!r}, which is not above it; "
                f"allowed are {', '.join(above)}; correct the name or change the order"
                f"{f'; {hint}' if (hint := meant(compression.base, above)) else ''}"
            )
        above.append(name)


def _check_names(profile: Profile, steps: list[Step]) -> None:
    """No two steps may share a name or the file of a cell's items: dots join names there."""
    files = [target for step in steps for target in step.publishes.values() if step.cell]
    for name, count in Counter([step.name for step in steps] + files).items():
        if count > 1:
            raise ParamsError(f"profile {profile.name} gives {name} twice; give its models and variants other names")


def _compress(profile: Profile, model: str) -> list[Step]:
    steps = []
    for variant, compression in profile.compressions.items():
        if not external.concerns(profile, variant, model):
            continue
        allowed = notebooks.defaults(compression.notebook)
        if compression.seeds and "seed" not in allowed:
            raise ParamsError(
                f"compressions.{variant} of profile {profile.name} gives seeds, but {compression.method} "
                "draws nothing at random; remove them"
            )
        seeds: list[int | None] = [*compression.seeds] if compression.seeds else [None]
        steps += [_compress_step(profile, model, variant, seed) for seed in seeds]
    return steps


def _compress_step(profile: Profile, model: str, variant: str, seed: int | None) -> Step:
    compression = profile.compressions[variant]
    notebook = compression.notebook
    allowed = notebooks.defaults(notebook)
    shared: dict[str, Any] = {"seed": 0, **profile.calibration, **({} if seed is None else {"seed": seed})}
    parameters = {name: value for name, value in shared.items() if name in allowed} | compression.parameters_of(model)
    reads: Reads = {}
    if compression.method == DENSE:
        parameters["model"] = external.at_commit(profile.models[model], profile)
    elif compression.is_given:
        parameters["model"] = external.at_commit(compression.checkpoint_of(model), profile)
        reads["dense"] = Output(_dense(model), CHECKPOINT)
    else:
        reads["checkpoint"] = Output(_base(profile, model, compression), CHECKPOINT)
    if "teacher" in allowed:
        reads["teacher"] = Output(_dense(model), CHECKPOINT)
    cell = Cell(
        model, variant, compression.method, calibration=parameters.get("calibration", ""),
        seed=parameters.get("seed", 0), seeded=seed is not None,
    )  # fmt: skip
    return Step(Stage.COMPRESS, notebook, parameters, reads, cell=cell, computes=True, keeps=compression.keep)


def _dense(model: str) -> str:
    """Name of the step of the dense model."""
    return step_name(Stage.COMPRESS, Cell(model, DENSE, DENSE))


def _base(profile: Profile, model: str, compression: Compression) -> str:
    """Name of the step whose checkpoint a compression starts from; of several seeds, the first."""
    base = profile.compressions[compression.base]
    seed = base.seeds[0] if base.seeds else 0
    cell = Cell(model, compression.base, base.method, seed=seed, seeded=bool(base.seeds))
    return step_name(Stage.COMPRESS, cell)


def _evaluate(profile: Profile, dimension: str, compressions: list[Step]) -> list[Step]:
    evaluation = profile.evaluations[dimension]
    if evaluation.judge and dimension not in JUDGED:
        raise ParamsError(
            f"evaluations.{dimension} of profile {profile.name} gives judge, but only answers of "
            f"{', '.join(JUDGED)} are judged; remove it"
        )
    for name in evaluation.parameters.get("tasks", {}):
        if task.described(name)["dimension"] != dimension:
            raise ParamsError(
                f"evaluations.{dimension} of profile {profile.name} lists task {name!r}, which belongs "
                f"to {task.described(name)['dimension']}; move it there"
            )
    _check_without(profile, dimension)
    more = _more_items(profile, dimension)
    steps = []
    for step in compressions:
        assert step.cell is not None
        if step.cell.variant in evaluation.without:
            continue
        seeds = profile.compressions[step.cell.variant].seeds
        if evaluation.seeds == "first" and seeds and step.cell.seed != seeds[0]:
            continue
        steps.append(_evaluate_step(profile, dimension, step, step.cell, more if step.cell.variant == DENSE else None))
        if step.cell.variant == DENSE and evaluation.rerun:
            rerun = replace(step.cell, variant=RERUN)
            steps.append(_evaluate_step(profile, dimension, step, rerun, evaluation.rerun))
    return steps


def _check_without(profile: Profile, dimension: str) -> None:
    """What an evaluation leaves out must be variants; dense only where every cell measures it itself."""
    evaluation = profile.evaluations[dimension]
    dense_too = dimension in MEASURE_DENSE and not evaluation.rerun
    allowed = [name for name in profile.compressions if name != DENSE or dense_too]
    for name in evaluation.without:
        if name not in allowed:
            raise ParamsError(
                f"evaluations.{dimension}.without of profile {profile.name} lists {name!r}; allowed are "
                f"{', '.join(allowed) or 'none'}; {meant(name, allowed) or 'correct or remove it'}"
            )


def _more_items(profile: Profile, dimension: str) -> dict[str, Any]:
    """The tasks as dense is asked them, where it is asked more items of some than its variants are."""
    evaluation, tasks = profile.evaluations[dimension], profile.evaluations[dimension].parameters.get("tasks", {})
    where = f"evaluations.{dimension}.dense of profile {profile.name}"
    for name, items in evaluation.dense.items():
        if name not in tasks:
            allowed = f"allowed are those of its tasks: {', '.join(tasks) or 'none'}"
            raise ParamsError(f"{where} lists {name!r}; {allowed}; {meant(name, tasks) or 'correct or remove it'}")
        if not task.is_own(name):
            raise ParamsError(
                f"{where} lists {name!r}, whose items lm-eval gives in the order of a file, of which the first are no "
                "random sample; remove it"
            )
        if not tasks[name] or 0 < items < tasks[name]:
            asked = f"{tasks[name]} items" if tasks[name] else "all items"
            raise ParamsError(f"{where} gives {name} {items} items, but its variants are asked {asked}; give more")
    return {"tasks": tasks | evaluation.dense} if evaluation.dense else {}


def _evaluate_step(
    profile: Profile, dimension: str, compression: Step, cell: Cell, changed: dict[str, Any] | None = None
) -> Step:
    """The evaluation of a checkpoint as ``cell``, with the profile's parameters but for ``changed``."""
    notebook = f"evaluate/{dimension}"
    allowed = notebooks.defaults(notebook)
    sources = {"checkpoint": compression.name, "dense": _dense(cell.model)}
    reads: Reads = {name: Output(source, CHECKPOINT) for name, source in sources.items() if name in allowed}
    given = profile.evaluations[dimension].parameters | (changed or {})
    return Step(
        Stage.EVALUATE, notebook, {"cell": cell.columns, "precision": precision(profile), **given}, reads, cell=cell,
        topic=dimension, publishes={ITEMS: _item_file(cell, dimension)}, computes=True,
        exclusive=dimension in EXCLUSIVE,
    )  # fmt: skip


def _item_file(cell: Cell, dimension: str) -> str:
    return "items/" + ".".join([*cell.parts, dimension, "parquet"])


def _judge(profile: Profile, dimension: str, evaluations: list[Step]) -> Step:
    """The judging of all cells' answers: one step, so that another judge costs no run of a model."""
    evaluation = profile.evaluations[dimension]
    if url := evaluation.judge.get("judge_url"):
        _check_judge(str(url), f"evaluations.{dimension}.judge of profile {profile.name}")
    given = {name: value for name, value in evaluation.parameters.items() if name == "data_dir"}
    return Step(
        Stage.JUDGE, "evaluate/judge", given | evaluation.judge, {"items": _items(dimension, evaluations)},
        topic=dimension, publishes={ITEMS: f"judged.{dimension}.parquet"},
    )  # fmt: skip


def _check_judge(url: str, where: str) -> None:
    """Refuse an address with a secret before any file holds it."""
    from unicomp_lib.evaluate.judges import endpoint  # here, since few profiles have one

    try:
        endpoint.check_url(url)
    except ValueError as error:
        raise ParamsError(f"{where}: {error}") from error


def _score(profile: Profile, dimension: str, evaluations: list[Step]) -> Step:
    return Step(
        Stage.SCORES, "evaluate/scores", {"dimension": dimension, "variants": variants.facts(profile)},
        {"items": _items(dimension, evaluations)}, topic=dimension, publishes={TABLE: TABLE},
    )  # fmt: skip


def _items(dimension: str, steps: list[Step]) -> list[Output]:
    return [Output(step.name, ITEMS) for step in steps if step.topic == dimension]


def _vision(profile: Profile, vision: Vision) -> list[Step]:
    """The study of GoogLeNet: train, prune, evaluate, and its scores."""
    networks, evaluations = [], []
    for repeat in [{"seed": seed} for seed in vision.train.seeds] or [{}]:
        of_training = _repeat(profile, vision, repeat)
        dense = Output(of_training[0].name, CHECKPOINT)
        networks += of_training
        evaluations += [step for network in of_training for step in _evaluate_network(profile, vision, network, dense)]
    accuracy, interpretability = (
        [step for step in evaluations if step.topic == kind] for kind in ("accuracy", "interpretability")
    )
    tables: Reads = {
        "images": [Output(step.name, ITEMS) for step in accuracy],
        "units": [Output(step.name, UNITS) for step in interpretability],
    }
    scores = Step(
        Stage.SCORES, "vision/scores", {"variants": variants.vision_facts(profile)}, tables, topic="vision",
        publishes={TABLE: TABLE, UNITS: "units.vision.parquet"},
    )  # fmt: skip
    return [*networks, *accuracy, *interpretability, scores]


def _repeat(profile: Profile, vision: Vision, repeat: dict[str, int]) -> list[Step]:
    """One training: the dense network, the untrained one, and what is pruned from dense."""
    several = len(vision.train.seeds) > 1
    networks = []
    for kind, changed in ((DENSE, {}), (UNTRAINED, {"epochs": 0, "weights": ""})):
        parameters = vision.train.parameters | repeat | changed
        cell = Cell(NETWORK, kind, kind, seed=parameters.get("seed", 0), seeded=several)
        networks.append(_network(profile, cell, "train", parameters))
    reads: Reads = {CHECKPOINT: Output(networks[0].name, CHECKPOINT)}
    for variant, pruning in vision.prunings.items():
        method = pruning.parameters.get("method", notebooks.defaults("vision/prune")["method"])
        for seed in repeat.values() if several else pruning.seeds:
            cell = Cell(NETWORK, variant, method, seed=seed, seeded=several or len(pruning.seeds) > 1)
            networks.append(_network(profile, cell, "prune", pruning.parameters | {"seed": seed}, reads))
    return networks


def _evaluate_network(profile: Profile, vision: Vision, network: Step, dense: Output) -> list[Step]:
    """Accuracy of every network, and interpretability of all but the later seeds that only a pruning has."""
    assert network.cell is not None
    reads: Reads = {"checkpoint": Output(network.name, CHECKPOINT), "dense": dense}
    cell = {"cell": network.cell.columns}
    accuracy = _network(profile, network.cell, "accuracy", cell, reads)
    pruning = vision.prunings.get(network.cell.variant)
    if pruning and len(vision.train.seeds) < 2 and network.cell.seed != pruning.seeds[0]:
        return [accuracy]
    return [
        accuracy, _network(profile, network.cell, "interpretability", cell | vision.interpretability, reads)
    ]  # fmt: skip


def _network(profile: Profile, cell: Cell, topic: str, parameters: dict[str, Any], reads: Reads | None = None) -> Step:
    """One step of the vision study: ``topic`` names its notebook."""
    notebook = f"vision/{topic}"
    allowed = notebooks.defaults(notebook)
    shared = {"precision": precision(profile), **profile.vision.shared} if profile.vision else {}
    known = {name: value for name, value in shared.items() if name in allowed}
    publishes = {ITEMS: _item_file(cell, "vision")} if topic == "accuracy" else {}
    return Step(
        Stage.VISION, notebook, known | parameters, reads or {}, cell=cell, topic=topic, publishes=publishes,
        computes=True,
    )  # fmt: skip


def _figure(profile: Profile, figure: str, items: dict[str, list[Output]]) -> Step:
    """A figure reads the scores, and the items, of each dimension that its notebook has a parameter for.

    One that shows images is told which ones were explained.
    """
    notebook = f"figures/{figure}"
    allowed = notebooks.defaults(notebook)
    names = [name for name in allowed if name.endswith(("_scores", "_items"))]
    wanted = {name: name.rpartition("_")[0] for name in names}
    there = [*profile.evaluations, *(["vision"] if profile.vision else [])]
    missing = [dimension for dimension in wanted.values() if dimension not in there]
    if missing:
        raise ParamsError(
            f"figure {figure!r} of profile {profile.name} needs evaluation "
            f"{missing[0]!r}; add it to evaluations or remove the figure"
        )
    reads: Reads = {
        name: items[dimension] if name.endswith("_items") else Output(step_name(Stage.SCORES, topic=dimension), TABLE)
        for name, dimension in wanted.items()
    }
    explained = profile.vision.shared | profile.vision.interpretability if profile.vision else {}
    images = {name: value for name, value in explained.items() if name in allowed}
    return Step(Stage.FIGURES, notebook, images, reads, topic=figure)
