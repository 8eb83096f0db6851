"""The files and folders that a profile names: where they lie on this machine, and whether they are there."""

from dataclasses import replace
from pathlib import Path

from unicomp_lib import paths
from unicomp_lib.inputs import assets, texts
from unicomp_lib.study import params
from unicomp_lib.study.hints import meant
from unicomp_lib.study.params import ParamsError, Profile
from unicomp_lib.study.steps import TEXTS, Stage, Step

FOLDERS = ("data", "data_dir")
VISION = ("data", "weights")
IMAGES = "emoji"  # the images that are an asset: ``vision.images.EMOJI``
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
    """A sentence for each data set of images and each file of weights that ``steps`` read and that is not there."""
    found = []
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


def _path(name: str, value: str, step: Step, profile: Profile) -> Path | None:
    if name == "model":
        return model(value, profile.folder)
    if name == "data_dir":
        return _folder(value, profile)
    known = name == "interpreter" or (step.stage == Stage.VISION and name in VISION and value != IMAGES)
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
