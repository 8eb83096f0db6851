"""What can be known before the first step: that everything is there, and that the machine is large enough."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import psutil

from unicomp_lib import hardware, paths
from unicomp_lib.evaluate import task
from unicomp_lib.evaluate.tasks import folder as benchmarks
from unicomp_lib.evaluate.tasks import paper
from unicomp_lib.inputs import assets, hub
from unicomp_lib.study import notebooks, params, records, sources
from unicomp_lib.study.params import ParamsError, Profile
from unicomp_lib.study.steps import Stage, Step

# A checkpoint's size beside that of the dense one in bfloat16, by method; quantized ones keep embeddings and scales.
FORMS = {
    "smoothquant": 0.55,
    "fp8": 0.55,
    "nvfp4": 0.38,
    "mxfp4": 0.37,
    "quarot": 0.65,
    "int8": 0.55,
    "float8": 0.55,
    "int4": 0.35,
    "int2": 0.2,
}
NETWORK, TABLES = 45e6, 3e6  # bytes of a saved GoogLeNet, and of the notebook and tables of any step
WIDTHS = ("hidden_size", "intermediate_size")  # inputs of a decoder's matrices


def check_folders() -> None:
    """Raise a ``ParamsError`` where runs or the cache cannot be written: a file in their place, or no right to."""
    for what, folder in (("the runs", records.runs()), ("the cache (UNICOMP_HOME)", paths.home())):
        there = next(place for place in (folder, *folder.parents) if place.exists())
        if not there.is_dir():
            raise ParamsError(
                f"{what} cannot be written to {folder}: {there} is a file; move it, or choose another place"
            )
        if not os.access(there, os.W_OK | os.X_OK):
            raise ParamsError(
                f"{what} cannot be written to {folder}: you may not write in {there}; choose another place"
            )


def check(waiting: list[Step], profile: Profile) -> None:
    """Raise a ``ParamsError`` for the first thing that is not there and that nothing will fetch."""
    for sentence in sources.missing(waiting, profile):
        raise ParamsError(sentence)


def check_fetched(waiting: list[Step], profile: Profile) -> None:
    """Raise a ``ParamsError`` for what shows once all is fetched.

    That is too many items, a group size that does not divide, a text longer than a model reads.
    """
    for sentence in [*_items(waiting), *_groups(waiting, profile), *_lengths(waiting, profile)]:
        raise ParamsError(sentence)


def problems(waiting: list[Step], profile: Profile) -> list[str]:
    """The same sentences, as far as they are known without fetching anything."""
    known = [*_items(waiting, fetched=False), *_groups(waiting, profile), *_lengths(waiting, profile)]
    return [*sources.missing(waiting, profile), *known]


def notes(
    waiting: list[Step], profile: Profile, workers: int, *, here: bool = True, per_device: int = 1, held: float = 0.0
) -> list[str]:
    """A sentence each where memory or disk look too small for these steps; they are estimates, and stop nothing.

    ``here``: steps run on this machine, whose memory and accelerators then count. Up to ``per_device`` share one, and
    a step holds up to ``held`` bytes of it, where that is known: else the largest model's weights are counted.
    """
    found = []
    needed, left = disk(waiting, profile, workers), free()
    if needed > left:
        found.append(
            f"the runs need about {needed / 1e9:.1f} GB of disk, and {left / 1e9:.1f} GB are free at {paths.project()};"
            " free some, or run a part with --only"
        )
    if not here:
        return found
    largest = max((size for source in _models(waiting, profile) if (size := model_size(source, profile))), default=0)
    found += hardware.notes(largest)
    at_once = min(workers, sum(step.computes for step in waiting))
    total = psutil.virtual_memory().total
    if largest * at_once > total and not hardware.devices():
        found.append(
            f"{at_once} steps at once hold at least {largest * at_once / 1e9:.0f} GB of weights, and this machine has "
            f"{total / 1e9:.0f} GB of memory; give fewer with --workers, or take a machine with more"
        )
    return found + _sharing(min(per_device, at_once), max(largest, held))


def _sharing(at_once: int, held: float) -> list[str]:
    """A sentence where steps that share an accelerator, of which one holds so many bytes, may not all fit on it."""
    memory = hardware.accelerators().memory if at_once > 1 else 0.0
    if not memory or at_once * held <= memory:
        return []
    return [
        f"{at_once} steps at once on an accelerator may hold {at_once * held / 1e9:.0f} GB, and it has "
        f"{memory / 1e9:.0f} GB; give fewer with --per-device"
    ]


def free() -> int:
    """Bytes that are free where runs are written."""
    return shutil.disk_usage(paths.project()).free


def disk(waiting: list[Step], profile: Profile, workers: int = 1) -> float:
    """Bytes that these steps need: as measured where a step of this name has run, else estimated.

    Of checkpoints that are not kept, there are as many at once as ``workers``.
    """
    sizes = [(step, _measured(step) or estimated(step, profile)) for step in waiting]
    passing = sorted((size for step, size in sizes if not step.keeps), reverse=True)
    return sum(size for step, size in sizes if step.keeps) + sum(passing[:workers]) + TABLES * len(passing[workers:])


def model_size(source: str, profile: Profile) -> float | None:
    """Bytes of a model's weights in bfloat16: of the files that are here, else by the number in its name."""
    folders = [folder for folder in _checkpoints(source, profile) if any(folder.glob("*.safetensors"))]
    if folders:
        return float(sum(file.stat().st_size for file in paths.shards(folders[0]) if file.is_file()))
    number = re.search(r"(\d+(?:\.\d+)?)([BbMm])(?![A-Za-z])", source.partition("@")[0].rpartition("/")[2])
    return 2 * float(number[1]) * (1e9 if number[2] in "Bb" else 1e6) if number else None


def _models(waiting: list[Step], profile: Profile) -> list[str]:
    names = {step.cell.model for step in waiting if step.cell}
    return [source for name, source in profile.models.items() if name in names]


def _checkpoints(source: str, profile: Profile) -> list[Path]:
    """Folders in which a model's weights may lie: its own, the converted one, the hub's cache."""
    repository, _, revision = hub.pinned(source).partition("@")
    snapshot = hub.model_folder(repository) / "snapshots" / revision
    own = params.located(source, profile.folder)
    converted = sorted((paths.home() / "models").glob(f"{source}*")) if "/" not in source else []
    return [place for place in (own, *converted, snapshot if revision else None) if place and place.is_dir()]


def _measured(step: Step) -> float:
    """Bytes of the last run of a step of this name that has finished under any key."""
    return written(last) if (last := last_record(step)) else 0.0


def written(record: dict[str, Any]) -> float:
    """Bytes that a step wrote, those that were dropped included."""
    entries = [*record["files"].values(), *record.get("dropped", {}).values()]
    return float(sum(entry["size"] if isinstance(entry, dict) else entry for entry in entries))


def last_record(step: Step) -> dict[str, Any] | None:
    """The last record of a step of this name, under any key, with what its run took; None where there is none."""
    digits = "?" * 12  # a key's
    there = records.runs().glob(f"{records.folder(step.name, digits).name}/{records.RECORD}")
    found = sorted(there, key=lambda record: record.stat().st_mtime)
    for path in found[-1:]:
        try:
            record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            written(record)
            numbers = record["seconds"], record["peak_memory"]
            return record if all(isinstance(number, int | float) for number in numbers) else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return None


def estimated(step: Step, profile: Profile) -> float:
    """Bytes that a step writes, by its method and its model's size."""
    if step.stage == Stage.VISION:
        return TABLES + (NETWORK if step.topic in ("train", "prune") else 0)
    if step.stage != Stage.COMPRESS or step.cell is None:
        return TABLES
    compression = profile.compressions[step.cell.variant]
    source = compression.checkpoint_of(step.cell.model) if compression.is_given else profile.models[step.cell.model]
    size = model_size(source, profile) or 0.0
    return TABLES + size * share(step.cell.method, notebooks.defaults(step.notebook) | step.parameters)


def share(method: str, given: dict[str, Any]) -> float:
    """A checkpoint's size beside that of the dense one in bfloat16, by method and parameters."""
    if "bits" in given:
        return float(given["bits"] / 16 + 0.1)
    return FORMS.get(method, FORMS.get(str(given.get("weights")), 1.0))


def _items(waiting: list[Step], *, fetched: bool = True) -> list[str]:
    """A sentence for each of our tasks that is asked for more items than its set has."""
    asked: dict[tuple[str, str], int] = {}
    for step in waiting:
        for name, number in step.parameters.get("tasks", {}).items() if step.stage == Stage.EVALUATE else ():
            key = (name, step.located.get("data_dir", ""))
            asked[key] = max(number, asked.get(key, 0))
    found = []
    for (name, data_dir), number in asked.items():
        if number and task.is_own(name) and (fetched or _is_fetched(name)):
            from unicomp_lib.evaluate.tasks import items

            there = len(items.items(task.source(name), data_dir))
            if number > there:
                found.append(
                    f"{number} items of {name} are asked for, and the set has {there}; give at most that, or 0 for all"
                )
    return found


def is_here(name: str, data_dir: str = "") -> bool:
    """Whether the items of one of the study's tasks can be read without a download: in the cache, or a folder."""
    if not task.is_own(name):
        return False
    return _is_fetched(name) or (bool(data_dir) and benchmarks.file(task.source(name), data_dir) is not None)


def _is_fetched(name: str) -> bool:
    """Whether the files of a task's items are in the cache, as far as their names say."""
    asset = task.described(name)["asset"]
    if asset == task.HUB:
        reads = paper.SOURCES[task.source(name)].reads
        return all(hub.is_here(data_set, configs) for data_set, configs in reads.items())
    if asset not in assets.catalogue():
        return asset != task.FOLDER
    wanted = assets.asset(asset)
    folder = paths.home() / "assets" / f"{wanted.package.replace('/', '-')}-{wanted.version}"
    return bool(wanted.files) and all((folder / inside).is_file() for inside in wanted.files)


def _groups(waiting: list[Step], profile: Profile) -> list[str]:
    """A sentence for each group size that does not divide the inputs of a model whose configuration is here."""
    found = []
    for step in waiting:
        group = (notebooks.defaults(step.notebook) | step.parameters).get("group_size")
        if step.stage == Stage.COMPRESS and step.cell and group and _is_of_dense(step, profile):
            if step.cell.method == "cache":  # groups of a head's channels, whose number a configuration may not give
                continue
            for name, width in _widths(profile.models[step.cell.model], profile).items():
                if width % group:
                    near = next((size for size in (128, 64, 32, 16, 8) if width % size == 0), 1)
                    found.append(
                        f"{step.name} has group_size={group}, which does not divide the model's {name} of {width}; "
                        f"give a divisor, such as {near}"
                    )
    return found


def _lengths(waiting: list[Step], profile: Profile) -> list[str]:
    """A sentence for each step whose texts are longer than a model reads whose configuration is here."""
    found = []
    for step in waiting:
        if step.cell is None:
            continue
        given = notebooks.defaults(step.notebook) | step.parameters
        length, what = given.get("length", 0), f"length={given.get('length')}"
        if "prompt" in given:
            length, what = given["prompt"] + given["generate"] + 1, f"prompt={given['prompt']} and more"
        folders = _checkpoints(profile.models[step.cell.model], profile) if length else []
        longest = next((number for folder in folders if (number := positions(folder))), length)
        if length > longest:
            found.append(f"{step.name} has {what}, and {step.cell.model} reads {longest} tokens; give fewer")
    return found


def _is_of_dense(step: Step, profile: Profile) -> bool:
    return step.cell is not None and profile.compressions[step.cell.variant].base == params.DENSE


def _widths(source: str, profile: Profile) -> dict[str, int]:
    return next((found for folder in _checkpoints(source, profile) if (found := widths(folder))), {})


def configuration(source: str, profile: Profile) -> dict[str, Any]:
    """A model's configuration, as far as numbers go; empty where it is not here."""
    for folder in _checkpoints(source, profile):
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            return {name: value for name, value in config.items() if isinstance(value, int) and value}
        except (OSError, ValueError, AttributeError):
            continue
    return {}


def positions(folder: Path) -> int:
    """Tokens of the longest text that a checkpoint's configuration allows; 0 where it does not say so itself."""
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        scaled = (config.get("rope_parameters") or config.get("rope_scaling") or {}).get("factor")
        longest = config.get("max_position_embeddings") or config.get("n_positions")
        return longest if isinstance(longest, int) and not scaled else 0
    except (OSError, ValueError, AttributeError):
        return 0


def widths(folder: Path) -> dict[str, int]:
    """The inputs of a decoder's matrices, by name, as a checkpoint's configuration gives them; empty without one."""
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return {name: config[name] for name in WIDTHS if isinstance(config.get(name), int)}
    except (OSError, ValueError, TypeError):
        return {}
