"""From a profile to the list of steps, parents first."""

import fnmatch
from typing import Any

from unicomp_lib import hardware
from unicomp_lib.evaluate import task
from unicomp_lib.study import notebooks
from unicomp_lib.study.params import Compression, ParamsError, Profile, Vision
from unicomp_lib.study.steps import Output, Step

EXCLUSIVE = ("efficiency",)
AGAIN = "dense-again"
JUDGED = ("reliability",)  # dimensions whose answers are judged in a step of its own


def plan(profile: Profile) -> list[Step]:
    """All steps of a profile: compressions, evaluations, scores and figures, parents first.

    Raises ``ParamsError`` or ``NotebookError`` in one sentence for an unknown method, task,
    figure or parameter, or a value of the wrong type.
    """
    _check_bases(profile)
    compressions = [step for model in profile.models for step in _compress(profile, model)]
    evaluations = [step for dimension in profile.evaluations for step in _evaluate(profile, dimension, compressions)]
    judged = {name: _judge(profile, name, evaluations) for name in profile.evaluations if name in JUDGED}
    scores = [_score(name, [judged[name]] if name in judged else evaluations) for name in profile.evaluations]
    vision = _vision(profile, profile.vision) if profile.vision else []
    figures = [_figure(profile, name) for name in profile.figures]
    steps = [*compressions, *evaluations, *judged.values(), *vision, *scores, *figures]
    for step in steps:
        notebooks.check(step.notebook, step.parameters, f"step {step.name} of profile {profile.name}")
    return steps


def select(steps: list[Step], pattern: str) -> list[Step]:
    """The steps whose name matches a glob, with all they read; no match is a ``ParamsError``."""
    wanted = {step.name for step in steps if fnmatch.fnmatch(step.name, pattern)}
    if not wanted:
        kinds = ", ".join(sorted({step.name.split("/")[0] + "/*" for step in steps}))
        raise ParamsError(f"no step matches {pattern!r}; try one of {kinds}, or --dry-run to see all names")
    for step in reversed(steps):
        if step.name in wanted:
            wanted |= set(step.parents)
    return [step for step in steps if step.name in wanted]


def precision(profile: Profile) -> str:
    """The profile's precision; ``auto`` is what this machine multiplies fastest."""
    return hardware.native_precision() if profile.precision == "auto" else profile.precision


def _check_bases(profile: Profile) -> None:
    """A base must stand above the compression that reads it, so that parents come first."""
    above: list[str] = []
    for name, compression in profile.compressions.items():
        if name != "dense" and compression.base not in above:
            raise ParamsError(
                f"compressions.{name} of profile {profile.name} has base {compression.base!r}, which is not above it; "
                f"allowed are {', '.join(above)}; mend the name or change the order"
            )
        above.append(name)


def _compress(profile: Profile, model: str) -> list[Step]:
    found = []
    for variant, compression in profile.compressions.items():
        allowed = notebooks.defaults(f"compress/{compression.method}")
        seeds = compression.seeds or [0]
        if compression.seeds and "seed" not in allowed:
            raise ParamsError(
                f"compressions.{variant} of profile {profile.name} gives seeds, but {compression.method} "
                "draws nothing at random; remove them"
            )
        for seed in seeds:
            name = f"compress/{model}/{variant}" + (f"/seed-{seed}" if compression.seeds else "")
            found.append(_compress_step(profile, model, name, compression, seed))
    return found


def _compress_step(profile: Profile, model: str, name: str, compression: Compression, seed: int) -> Step:
    notebook = f"compress/{compression.method}"
    allowed = notebooks.defaults(notebook)
    shared: dict[str, Any] = {**profile.calibration, "seed": seed}
    parameters = {key: value for key, value in shared.items() if key in allowed} | compression.parameters
    if compression.method == "dense":
        return Step(name, notebook, {**parameters, "model": profile.models[model]})
    reads: dict[str, Output | list[Output]] = {"checkpoint": Output(_base(profile, model, compression), "checkpoint")}
    if "teacher" in allowed:
        reads["teacher"] = Output(f"compress/{model}/dense", "checkpoint")
    return Step(name, notebook, parameters, reads)


def _base(profile: Profile, model: str, compression: Compression) -> str:
    """Name of the step whose checkpoint a compression starts from; of several seeds, the first."""
    seeds = profile.compressions[compression.base].seeds
    return f"compress/{model}/{compression.base}" + (f"/seed-{seeds[0]}" if seeds else "")


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
    found = []
    for step in compressions:
        variant = step.name.split("/")[2]
        first = (profile.compressions[variant].seeds or [0])[0]
        if evaluation.seeds == "first" and step.parameters.get("seed", first) != first:
            continue
        found.append(_evaluate_step(profile, dimension, step, variant))
        if variant == "dense" and evaluation.again:
            found.append(_evaluate_step(profile, dimension, step, AGAIN, evaluation.again))
    return found


def _evaluate_step(
    profile: Profile, dimension: str, compression: Step, label: str, changed: dict[str, Any] | None = None
) -> Step:
    """The evaluation of one checkpoint under the name ``label``, with the profile's parameters but for ``changed``."""
    _, model, variant, *seed = compression.name.split("/")
    notebook = f"evaluate/{dimension}"
    allowed = notebooks.defaults(notebook)
    cell = {
        "model": model,
        "method": profile.compressions[variant].method,
        "variant": label,
        "calibration": compression.parameters.get("calibration", ""),
        "seed": compression.parameters.get("seed", 0),
    }
    given = profile.evaluations[dimension].parameters | (changed or {})
    wired: dict[str, Output | list[Output]] = {
        name: Output(source, "checkpoint")
        for name, source in {"checkpoint": compression.name, "dense": f"compress/{model}/dense"}.items()
        if name in allowed
    }
    parameters = {"cell": cell, "precision": precision(profile), **given}
    name = "/".join(["evaluate", model, label, *seed, dimension])
    return Step(name, notebook, parameters, wired, exclusive=dimension in EXCLUSIVE)


def _judge(profile: Profile, dimension: str, evaluations: list[Step]) -> Step:
    """The judging of all cells' answers: one step, so that another judge costs no run of a model."""
    evaluation = profile.evaluations[dimension]
    given = {name: value for name, value in evaluation.parameters.items() if name == "data_dir"}
    return Step(
        f"judge/{dimension}", "evaluate/judge", given | evaluation.judge, {"items": _items(dimension, evaluations)}
    )


def _score(dimension: str, evaluations: list[Step]) -> Step:
    return Step(
        f"scores/{dimension}", "evaluate/scores", {"dimension": dimension}, {"items": _items(dimension, evaluations)}
    )


def _items(dimension: str, steps: list[Step]) -> Output | list[Output]:
    return [Output(step.name, "items.parquet") for step in steps if step.name.endswith(f"/{dimension}")]


def _vision(profile: Profile, vision: Vision) -> list[Step]:
    """The study of GoogLeNet: train, prune, evaluate, and its scores."""
    networks = [
        _seen(profile, "vision/dense/train", vision.train),
        _seen(profile, "vision/untrained/train", vision.train | {"epochs": 0, "weights": ""}),
    ]
    dense = Output(networks[0].name, "checkpoint")
    for variant, pruning in vision.prunings.items():
        for seed in pruning.seeds:
            name = "/".join(["vision", variant, *([f"seed-{seed}"] if len(pruning.seeds) > 1 else []), "prune"])
            networks.append(_seen(profile, name, pruning.parameters | {"seed": seed}, {"checkpoint": dense}))
    judged: dict[str, list[Step]] = {"accuracy": [], "interpretability": []}
    for network in networks:
        variant = network.name.split("/")[1]
        pruned = vision.prunings.get(variant)
        method = network.parameters.get("method", "unstructured") if pruned else variant
        seed = network.parameters.get("seed", 0)
        cell = {"model": "googlenet", "method": method, "variant": variant, "calibration": "", "seed": seed}
        reads: dict[str, Output | list[Output]] = {"checkpoint": Output(network.name, "checkpoint"), "dense": dense}
        for kind, steps in judged.items():
            if kind == "interpretability" and pruned and seed != pruned.seeds[0]:
                continue
            given = {"cell": cell} | (vision.interpretability if kind == "interpretability" else {})
            steps.append(_seen(profile, network.name.rpartition("/")[0] + f"/{kind}", given, reads))
    tables: dict[str, Output | list[Output]] = {
        "images": [Output(step.name, "items.parquet") for step in judged["accuracy"]],
        "units": [Output(step.name, "units.parquet") for step in judged["interpretability"]],
    }
    return [
        *networks,
        *judged["accuracy"],
        *judged["interpretability"],
        Step("scores/vision", "vision/scores", {}, tables),
    ]


def _seen(
    profile: Profile, name: str, parameters: dict[str, Any], reads: dict[str, Output | list[Output]] | None = None
) -> Step:
    notebook = "vision/" + name.rpartition("/")[2]
    allowed = notebooks.defaults(notebook)
    shared = {"precision": precision(profile), **profile.vision.shared} if profile.vision else {}
    known = {key: value for key, value in shared.items() if key in allowed}
    return Step(name, notebook, known | parameters, reads or {})


def _figure(profile: Profile, figure: str) -> Step:
    """A figure reads the scores of each dimension that its notebook has a parameter for."""
    notebook = f"figures/{figure}"
    wanted = [name for name in notebooks.defaults(notebook) if name.endswith("_scores")]
    there = [*profile.evaluations, *(["vision"] if profile.vision else [])]
    missing = [name for name in wanted if name.removesuffix("_scores") not in there]
    if missing:
        raise ParamsError(
            f"figure {figure!r} of profile {profile.name} needs evaluation "
            f"{missing[0].removesuffix('_scores')!r}; add it to evaluations or remove the figure"
        )
    reads: dict[str, Output | list[Output]] = {
        name: Output(f"scores/{name.removesuffix('_scores')}", "scores.parquet") for name in wanted
    }
    return Step(f"figures/{figure}", notebook, {}, reads)
