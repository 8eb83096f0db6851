"""Profiles: ``params/<profile>.yaml``, validated before anything runs."""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from unicomp_lib import paths

Count = Annotated[int, Field(ge=1)]


class ParamsError(ValueError):
    """A params file is wrong; the text says what was given, what is allowed and what to do."""


class Vocabulary(BaseModel):
    """Parameter names that mean the same in every notebook, with their allowed ranges.

    A notebook may have others; their names and types are checked against its parameters cell.
    """

    model_config = ConfigDict(extra="allow", strict=True)

    sparsity: Annotated[float, Field(ge=0, lt=1)] | None = None
    pattern: Annotated[str, Field(pattern=r"^(\d+:\d+)?$")] | None = None
    samples: Count | None = None
    length: Annotated[int, Field(ge=2)] | None = None
    seed: Annotated[int, Field(ge=0)] | None = None
    batch_size: Count | None = None
    prompt: Count | None = None
    generate: Count | None = None
    batch: Count | None = None
    repeats: Annotated[int, Field(ge=2)] | None = None
    rate: Annotated[float, Field(ge=0, lt=1)] | None = None
    steps: Count | None = None
    epochs: Annotated[int, Field(ge=0)] | None = None
    size: Annotated[int, Field(ge=32)] | None = None
    explanations: Count | None = None
    tasks: dict[str, Annotated[int, Field(ge=0)]] | None = None


class Compression(BaseModel):
    """One entry of ``compressions``: a method, its calibration seeds, and its notebook's parameters.

    ``base`` is the entry whose checkpoint it compresses further, such as a pruned one to quantize.
    """

    model_config = ConfigDict(extra="allow")

    method: str
    base: str = "dense"
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """What the notebook is given beside checkpoint, seed and calibration."""
        return dict(self.model_extra or {})


class Evaluation(BaseModel):
    """One entry of ``evaluations``: on which calibration seeds, and its notebook's parameters.

    ``again`` are parameters with which dense is evaluated a second time, as ``dense-again``: how
    far its scores then move is the noise below which no difference means anything. ``judge`` are the
    parameters of the notebook that judges the answers, such as ``judge_url``.
    """

    model_config = ConfigDict(extra="allow")

    seeds: Literal["all", "first"] = "all"
    again: dict[str, Any] = {}
    judge: dict[str, Any] = {}

    @property
    def parameters(self) -> dict[str, Any]:
        """What the notebook is given beside checkpoints, cell and precision."""
        return dict(self.model_extra or {})


class Pruning(BaseModel):
    """One entry of ``vision.prunings``: the parameters of ``notebooks/vision/prune.ipynb``, and its seeds."""

    model_config = ConfigDict(extra="allow")

    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = [0]

    @property
    def parameters(self) -> dict[str, Any]:
        """What the notebook is given beside checkpoint, images and seed."""
        return dict(self.model_extra or {})


class Vision(BaseModel):
    """The study of GoogLeNet: its images, the parameters of its notebooks, and what is pruned.

    ``shared`` are given to every notebook that has them, such as data and size. Interpretability is
    evaluated on the first seed of each pruning.
    """

    model_config = ConfigDict(extra="forbid")

    shared: dict[str, Any] = {}
    train: dict[str, Any] = {}
    prunings: dict[str, Pruning] = {}
    interpretability: dict[str, Any] = {}


class Cluster(BaseModel):
    """Section ``cluster``: the jobs that ``--cluster slurm`` asks for, each one worker."""

    model_config = ConfigDict(extra="forbid")

    jobs: Count = 4
    partition: str = ""
    account: str = ""
    gpus: Literal[0, 1] = 1
    cores: Count = 8
    memory: str = "64GB"
    time: Annotated[str, Field(pattern=r"^(\d+-)?\d+:\d\d(:\d\d)?$")] = "08:00:00"
    interface: str = ""
    extra: list[str] = []
    prologue: list[str] = []


class Profile(BaseModel):
    """A whole profile; see the comments in ``params/embedded.yaml``."""

    model_config = ConfigDict(extra="forbid")

    name: str
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    models: Annotated[dict[str, str], Field(min_length=1)]
    calibration: dict[str, Any] = {}
    compressions: Annotated[dict[str, Compression], Field(min_length=1)]
    evaluations: dict[str, Evaluation]
    vision: Vision | None = None
    cluster: Cluster = Cluster()
    figures: list[str] = []


def profile_path(profile: str) -> Path:
    """Path of a profile given by name (``embedded``) or by the path of a YAML file."""
    if profile.endswith((".yaml", ".yml")):
        path = Path(profile)
    else:
        path = paths.project() / "params" / f"{profile}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in path.parent.glob("*.yaml") if file.stem not in ("assets", "published"))
        raise ParamsError(f"profile {profile!r} is not there; allowed are {', '.join(known)}, or a YAML file's path")
    return path


def load(profile: str) -> Profile:
    """Read and validate a profile. Raises ``ParamsError`` with one sentence for the first fault."""
    path = profile_path(profile)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ParamsError(f"{path.name} is no valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ParamsError(f"{path.name} must be a mapping with models, compressions, evaluations and figures")
    try:
        found = Profile.model_validate({"name": path.stem, **content})
    except ValidationError as error:
        raise ParamsError(_sentence(error, path.name)) from error
    if "dense" not in found.compressions:
        raise ParamsError(f"{path.name} has no compression 'dense', which all others are compared with; add it")
    for name, compression in found.compressions.items():
        check_ranges(compression.parameters, f"compressions.{name} of {path.name}")
    for name, evaluation in found.evaluations.items():
        check_ranges(evaluation.parameters, f"evaluations.{name} of {path.name}")
        check_ranges(evaluation.again, f"evaluations.{name}.again of {path.name}")
    check_ranges(found.calibration, f"calibration of {path.name}")
    for name, given in _vision(found).items():
        check_ranges(given, f"{name} of {path.name}")
    return found


def _vision(profile: Profile) -> dict[str, dict[str, Any]]:
    if not (vision := profile.vision):
        return {}
    prunings = {f"vision.prunings.{name}": pruning.parameters for name, pruning in vision.prunings.items()}
    parts = {"shared": vision.shared, "train": vision.train, "interpretability": vision.interpretability}
    return prunings | {f"vision.{name}": part for name, part in parts.items()}


def check_ranges(parameters: dict[str, Any], where: str) -> None:
    """Raise ``ParamsError`` when a parameter of the common vocabulary is out of its range."""
    try:
        TypeAdapter(Vocabulary).validate_python(parameters)
    except ValidationError as error:
        raise ParamsError(_sentence(error, where)) from error


def _sentence(error: ValidationError, where: str) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        allowed = ", ".join(sorted(set(Profile.model_fields) - {"name"}))
        return f"{where} has an unknown key {name!r}; allowed are {allowed}; mend or remove it"
    if first["type"] == "missing":
        return f"{where} lacks {name!r}; add it"
    rule = first["msg"][0].lower() + first["msg"][1:]
    return f"{where} gives {name}={first['input']!r}, which is not allowed ({rule}); mend it"
