"""The files and folders that a profile names: where they lie on this machine, and whether they are there."""

from dataclasses import replace
from pathlib import Path

from unicomp_lib import paths
from unicomp_lib.evaluate import task
from unicomp_lib.evaluate.tasks import folder as benchmarks
from unicomp_lib.evaluate.tasks import trustllm
from unicomp_lib.inputs import assets, texts
from unicomp_lib.study import params
from unicomp_lib.study.hints import count, meant
from unicomp_lib.study.params import ParamsError, Profile
from unicomp_lib.study.steps import TEXTS, Stage, Step

FOLDERS = ("data", "data_dir")
VISION = ("data", "weights")
IMAGES = "emoji"  # the images that are an asset: ``vision.images.EMOJI``
TRUSTLLM = "dataset/dataset.zip of github.com/HowieHwong/TrustLLM"  # where ``benchmarks.ARCHIVE`` comes from
TINY = "tiny-random-llama"  # the model that is made on the spot: ``checkpoints.models.TINY``


def located(step: Step, profile: Profile) -> Step:
    """The step with the absolute path of each file and folder it names.

    Raises a ``ParamsError`` for a text, a folder of items or a model that is not there. Images and weights of
    networks may still be on their way: see ``missing``.
    """
    found: dict[str, str] = {}
    for name, value in step.parameters.items():
        if not isinstance(value, str) or not value:
            continue
        try:
            if name in TEXTS:
                source = texts.located(value, lambda part: params.located(part, profile.folder))
                texts.check(source)
                if source != value or any(Path(part).is_absolute() for _, part in texts.split(value)):
                    found[name] = source
            elif path := _path(name, value, step, profile):
                found[name] = str(path)
        except ValueError as error:
            raise ParamsError(f"step {step.name} of profile {profile.name}: {error}") from error
    return replace(step, located=found) if found else step


def data_dir(profile: Profile, given: str) -> str:
    """The folder of items that a profile names, as an absolute path; empty where it names none."""
    return str(_folder(given, profile)) if given else ""


def missing(steps: list[Step], profile: Profile) -> list[str]:
    """A sentence for each file or folder that ``steps`` read, that is not there and that nothing will fetch.

    Items of tasks that the user provides, such as TrustLLM's archive, data sets of images, and weights of networks.
    """
    found = _missing_items(steps, profile)
    for step in steps:
        for name in VISION if step.stage == Stage.VISION else ():
            value = step.parameters.get(name, "")
            if value and value != IMAGES and name not in step.located and not Path(value).is_absolute():
                found.append(f"{name} {value!r} of profile {profile.name} is not there; {_looked(profile)}")
            elif value and value != IMAGES and not Path(step.located.get(name, value)).exists():
                found.append(
                    f"{name} {value!r} of profile {profile.name} is not there; put it there or correct the path"
                )
    return list(dict.fromkeys(found))


def items_file(name: str, data_dir: str) -> Path | None:
    """The file in ``data_dir`` that holds the items of one of our tasks; None where there is none."""
    source = task.source(name)
    return (trustllm if source in trustllm.SOURCES else benchmarks).file(source, data_dir)


def _missing_items(steps: list[Step], profile: Profile) -> list[str]:
    """A sentence for each file of items that tasks read from ``data_dir`` alone and that is not there."""
    readers: dict[tuple[str, str], set[str]] = {}
    for step in steps:
        data_dir = step.located.get("data_dir", "")
        for name in step.parameters.get("tasks", {}) if step.stage == Stage.EVALUATE else ():
            if task.described(name)["asset"] == task.FOLDER and items_file(name, data_dir) is None:
                wanted = benchmarks.FILES.get(task.source(name), benchmarks.ARCHIVE)
                readers.setdefault((data_dir, wanted), set()).add(name)
    return [
        f"{wanted} is not there, which {count(len(names), 'task')} of profile {profile.name} "
        f"{'reads' if len(names) == 1 else 'read'}; {_provided(data_dir, wanted)}"
        for (data_dir, wanted), names in readers.items()
    ]


def _provided(data_dir: str, wanted: str) -> str:
    """What a user does about a file of items that is not there."""
    place = f"put it there as {Path(data_dir) / wanted}" if data_dir else "set data_dir to a folder that contains it"
    return f"take {TRUSTLLM} and {place}" if wanted == benchmarks.ARCHIVE else place


def _path(name: str, value: str, step: Step, profile: Profile) -> Path | None:
    if name == "model":
        return model(value, profile.folder)
    if name == "data_dir":
        return _folder(value, profile)
    of_images = step.stage in (Stage.VISION, Stage.FIGURES) and name in VISION
    known = name == "interpreter" or (of_images and value != IMAGES)
    return params.located(value, profile.folder) if known else None


def _folder(given: str, profile: Profile) -> Path:
    path = params.located(given, profile.folder)
    if path is None or not path.is_dir():
        raise ParamsError(f"data_dir {given!r} of profile {profile.name} is not a folder; {_looked(profile)}")
    return path


def _looked(profile: Profile) -> str:
    return f"looked for in {paths.project()} and {profile.folder.absolute()}: put it there or correct the path"


def made() -> list[str]:
    """Names of the models that are made on the spot or come in a package."""
    catalogue = assets.catalogue().items()
    return [TINY, *(name for name, asset in catalogue if any(file.endswith(".gguf") for file in asset.files))]


def model(given: str, folder: Path) -> Path | None:
    """The folder of a checkpoint, looked for beside a profile in ``folder`` too; None for one made or on the hub.

    Raises a ``ParamsError`` for what is neither, and for a folder that holds no checkpoint.
    """
    if given in made():
        return None
    if path := params.located(given, folder):
        _check_checkpoint(path)
        return path
    repository, _, revision = given.partition("@")
    if repository.count("/") == 1 and not given.startswith((".", "/", "~")) and revision:
        return None
    if repository.count("/") == 1 and not given.startswith((".", "/", "~")):
        raise ParamsError(
            f"model {given!r} is no folder here, and a model of the hub needs its revision, so that its weights cannot "
            f"change under a result: {given}@<commit>"
        )
    hint = meant(given, made())
    raise ParamsError(
        f"model {given!r} is not known; {f'{hint} ' if hint else ''}allowed are {', '.join(made())}, the "
        "folder of a checkpoint, or owner/name@revision on the hub"
    )


def _check_checkpoint(folder: Path) -> None:
    if not folder.is_dir():
        raise ParamsError(f"model {str(folder)!r} is a file; give the folder of a checkpoint")
    if not (folder / "config.json").is_file():
        raise ParamsError(f"the folder {folder} holds no checkpoint: it has no config.json; give another folder")
    if reason := paths.unreadable(folder):
        raise ParamsError(reason)
