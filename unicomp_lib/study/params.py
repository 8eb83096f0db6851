"""Profiles: ``params/<profile>.yaml``, validated before anything runs."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, TypeAdapter, ValidationError

from unicomp_lib import files, paths
from unicomp_lib.study import strict_yaml
from unicomp_lib.study.hints import meant

Count = Annotated[int, Field(ge=1)]

# Variants that the study makes itself: the model as it is, the same evaluated a second time, random weights.
DENSE, RERUN, UNTRAINED = "dense", "dense-rerun", "untrained"
# Methods of which the study has no part: a checkpoint that others have compressed, in a folder or on the hub.
GIVEN, PUBLISHED = "given", "published"
RESERVED = (RERUN, "all")
# Parameters that may differ between the models of one variant, since they are right for one shape alone.
BY_MODEL = ("layers", "hidden", "neurons", "groups", "learning_rate", "alpha")
LONGEST = 80  # letters of a name: several are in the name of a folder
NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]*"  # of what becomes part of a path
NOT_PROFILES = ("assets", "published", "published_scores", "claims", "hub")  # files of params/ that are no profile
DEFAULT = "embedded"
OWNER = "profile.txt"  # in results/<profile>: the file of a profile that lies outside params/


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
    bits: Literal[2, 3, 4, 8] | None = None
    group_size: Count | None = None
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

    ``base`` is the entry whose checkpoint it compresses further, such as a pruned one to quantize. ``label`` is
    its name in figures, and ``sibling`` the entry it is compared with: the same method, calibrated otherwise.
    Both follow from method and parameters where they are not given. ``keep: false`` has the weights of its checkpoint
    removed once all that reads them is done; they are made again where they are needed. ``checkpoint`` belongs to the
    methods ``given`` and ``published``: the folder, or ``owner/name@revision`` on the hub, of the compressed model, or
    one for each of the profile's models; a model without one is left out there. So are those without a value of a
    parameter of ``BY_MODEL`` that is given for each model.
    """

    model_config = ConfigDict(extra="allow")

    method: str
    base: str = DENSE
    label: str = ""
    sibling: str = ""
    checkpoint: str | dict[str, str] = ""
    keep: Annotated[bool, Field(strict=True)] = True
    seeds: Annotated[list[Annotated[int, Field(ge=0, strict=True)]], Field(min_length=1)] | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """What the notebook is given beside checkpoint, seed and calibration."""
        return dict(self.model_extra or {})

    @property
    def is_given(self) -> bool:
        """Whether others have compressed it."""
        return self.method in (GIVEN, PUBLISHED)

    @property
    def notebook(self) -> str:
        """The notebook of its method."""
        return f"compress/{GIVEN if self.is_given else self.method}"

    def parameters_of(self, model: str) -> dict[str, Any]:
        """The same for one of the profile's models, as far as they are given for it."""
        every = self.parameters
        named = {name: value[model] for name, value in every.items() if isinstance(value, dict) and model in value}
        return {name: value for name, value in every.items() if not isinstance(value, dict)} | named

    def checkpoint_of(self, model: str) -> str:
        """The compressed checkpoint of one of the profile's models; empty where it has none."""
        return self.checkpoint if isinstance(self.checkpoint, str) else self.checkpoint.get(model, "")


class Evaluation(BaseModel):
    """One entry of ``evaluations``: on which calibration seeds, and its notebook's parameters.

    ``rerun`` are parameters with which dense is evaluated a second time, as ``dense-rerun``: how
    far its scores then move is the noise below which no difference means anything. ``dense`` gives tasks of which
    dense is asked more items than its variants. ``without`` are variants that it leaves out. ``judge`` are the
    parameters of the notebook that judges the answers, such as ``judge_url``.
    """

    model_config = ConfigDict(extra="allow")

    seeds: Literal["all", "first"] = "all"
    rerun: dict[str, Any] = {}
    dense: dict[str, Annotated[int, Field(ge=0, strict=True)]] = {}
    without: list[str] = []
    judge: dict[str, Any] = {}

    @property
    def parameters(self) -> dict[str, Any]:
        """What the notebook is given beside checkpoints, cell and precision."""
        return dict(self.model_extra or {})


class Pruning(BaseModel):
    """One entry of ``vision.prunings``: the parameters of ``notebooks/vision/prune.ipynb``, seeds, name in figures."""

    model_config = ConfigDict(extra="allow")

    label: str = ""

    seeds: Annotated[list[Annotated[int, Field(ge=0, strict=True)]], Field(min_length=1)] = [0]

    @property
    def parameters(self) -> dict[str, Any]:
        """What the notebook is given beside checkpoint, images and seed."""
        return dict(self.model_extra or {})


class Training(BaseModel):
    """Section ``vision.train``: the parameters of ``notebooks/vision/train.ipynb``, and the seeds of its repeats."""

    model_config = ConfigDict(extra="allow")

    seeds: list[Annotated[int, Field(ge=0, strict=True)]] = []

    @property
    def parameters(self) -> dict[str, Any]:
        """What the notebook is given beside images and the seed of a repeat."""
        return dict(self.model_extra or {})


class Vision(BaseModel):
    """The study of GoogLeNet: its images, the parameters of its notebooks, and what is pruned.

    ``shared`` are given to every notebook that has them, such as data and size. With ``seeds``, ``train`` is repeated
    once a seed, and so is all that follows: each pruning starts from every training, with its seed, and is compared
    with the dense network of that training. Else a pruning may have seeds of its own, of which the first alone is
    evaluated for interpretability.
    """

    model_config = ConfigDict(extra="forbid")

    shared: dict[str, Any] = {}
    train: Training = Training()
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
    """A whole profile; see the comments in ``params/embedded.yaml``. One of ``vision`` alone has no models."""

    model_config = ConfigDict(extra="forbid")

    name: str
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    models: dict[str, str] = {}
    calibration: dict[str, Any] = {}
    compressions: dict[str, Compression] = {}
    evaluations: dict[str, Evaluation] = {}
    vision: Vision | None = None
    cluster: Cluster = Cluster()
    figures: list[str] = []

    _file: Path | None = PrivateAttr(default=None)
    _option: str = PrivateAttr(default="")

    @property
    def folder(self) -> Path:
        """Where the profile's file lies."""
        return self._file.parent if self._file else paths.project() / "params"

    @property
    def option(self) -> str:
        """How commands are given this profile, such as `` --profile tiny``; empty for the default one."""
        return self._option


def own_profiles() -> list[str]:
    """Names of the profiles in ``params/``."""
    return sorted(file.stem for file in (paths.project() / "params").glob("*.yaml") if file.stem not in NOT_PROFILES)


def profile_path(profile: str) -> Path:
    """Path of a profile given by name (``embedded``) or by the path of a YAML file."""
    if profile.endswith((".yaml", ".yml")):
        path = Path(profile).expanduser()
    else:
        path = paths.project() / "params" / f"{profile}.yaml"
    if not path.is_file() or profile in NOT_PROFILES:
        known = own_profiles()
        hint = meant(Path(profile).stem, known)
        raise ParamsError(
            f"profile {profile!r} is not there; allowed are {', '.join(known)}, or a YAML file's path"
            f"{f'; {hint}' if hint else ''}"
        )
    return path


def located(value: str, folder: Path) -> Path | None:
    """The file or folder that a profile in ``folder`` names, None where there is none.

    A relative path is looked for in the checkout, then beside the profile; ``~`` is the user's home.
    """
    try:
        given = Path(value).expanduser()
        places = [given] if given.is_absolute() else [paths.project() / given, folder.absolute() / given]
        return next((place for place in places if place.exists()), None) if value else None
    except (OSError, RuntimeError):  # a name that no file can have, or the home of a user that there is not
        return None


def load(name: str) -> Profile:
    """Read and validate a profile. Raises ``ParamsError`` with one sentence for the first fault."""
    path = profile_path(name)
    try:
        content = strict_yaml.read(path)
    except ValueError as error:
        raise ParamsError(str(error)) from error
    if not isinstance(content, dict):
        raise ParamsError(f"{path.name} must be a mapping with models, compressions, evaluations and figures")
    try:
        profile = Profile.model_validate({"name": path.stem, **content})
    except ValidationError as error:
        raise ParamsError(_sentence(error, path.name)) from error
    profile._file = path
    profile._option = "" if name == DEFAULT else f" --profile {name}"
    _check_sections(profile, path.name)
    _check_names(profile, path.name)
    _check_outputs(profile, path)
    for variant, compression in profile.compressions.items():
        check_ranges(compression.parameters, f"compressions.{variant} of {path.name}")
    for dimension, evaluation in profile.evaluations.items():
        check_ranges(evaluation.parameters, f"evaluations.{dimension} of {path.name}")
        check_ranges(evaluation.rerun, f"evaluations.{dimension}.rerun of {path.name}")
    check_ranges(profile.calibration, f"calibration of {path.name}")
    for section, given in _vision(profile).items():
        check_ranges(given, f"{section} of {path.name}")
    return profile


def _is_own(path: Path) -> bool:
    return path.absolute().parent.resolve() == (paths.project() / "params").resolve()


def _check_outputs(profile: Profile, path: Path) -> None:
    """No profile may write where another one's results are: they lie in folders of the profile's name."""
    if _is_own(path):
        if profile.name != path.stem:
            raise ParamsError(
                f"{path.name} has the name {profile.name!r}, but a profile in params/ is called by its file, and so "
                "are its results; remove name, or rename the file"
            )
        return
    rename = "rename the file, or give it another name, such as name: my-study"
    if taken := [name for name in own_profiles() if name.casefold() == profile.name.casefold()]:
        raise ParamsError(
            f"{path} is called {profile.name!r}, and would replace the results of the profile {taken[0]!r} in params/; "
            f"{rename}"
        )
    other = owner(profile.name)
    if other and other.is_file() and not other.samefile(path):
        raise ParamsError(f"{path} is called {profile.name!r} like {other}, whose results it would replace; {rename}")


def owner(name: str) -> Path | None:
    """The file of the profile outside ``params/`` whose results are in ``results/<name>``, as far as is known."""
    try:
        return Path((paths.project() / "results" / name / OWNER).read_text(encoding="utf-8").strip())
    except (OSError, ValueError):
        return None


def own_results(profile: Profile) -> None:
    """Note in ``results/<name>`` which file outside ``params/`` these results are of."""
    if profile._file and not _is_own(profile._file):
        target = paths.project() / "results" / profile.name / OWNER
        if owner(profile.name) != (path := profile._file.resolve()):
            files.write_text(target, f"{path}\n")


def _check_sections(profile: Profile, where: str) -> None:
    """What a study of models needs; what ``vision`` alone must not have."""
    language = ("models", "compressions", "evaluations")
    given = [name for name in language if name in profile.model_fields_set]
    if profile.vision and not given:
        return
    if empty := [name for name in language[:2] if not getattr(profile, name)]:
        raise ParamsError(f"{where} lacks {empty[0]!r}; add it")
    if "evaluations" not in given:
        raise ParamsError(f"{where} lacks 'evaluations'; add it")
    if DENSE not in profile.compressions:
        raise ParamsError(f"{where} has no compression {DENSE!r}, which all others are compared with; add it")
    if (method := profile.compressions[DENSE].method) != DENSE:
        raise ParamsError(
            f"compressions.{DENSE} of {where} has the method {method!r}, but is what all others are compared with; "
            f"give method: {DENSE}, and {method} under another name"
        )


def _check_names(profile: Profile, where: str) -> None:
    """Names become parts of paths and of tables: refuse what is no name, and what the study itself uses."""
    prunings = profile.vision.prunings if profile.vision else {}
    sections = {
        "name": [profile.name], "models": profile.models, "compressions": profile.compressions,
        "evaluations": profile.evaluations, "vision.prunings": prunings, "figures": profile.figures,
    }  # fmt: skip
    for section, names in sections.items():
        for name in names:
            if not re.fullmatch(NAME, name):
                raise ParamsError(
                    f"{section} of {where} has the name {name!r}; a name is made of letters, digits and . _ - +, and "
                    "begins with a letter or digit; change it"
                )
            if len(name) > LONGEST:
                raise ParamsError(
                    f"{section} of {where} has a name of {len(name)} letters, {name[:20]}…; names of folders are made "
                    f"of it: give one of at most {LONGEST}"
                )
    for name, compression in profile.compressions.items():
        if not re.fullmatch(NAME, compression.method):
            raise ParamsError(
                f"compressions.{name}.method of {where} is {compression.method!r}; give the name of a notebook in "
                "notebooks/compress"
            )
    for section, names, reserved in (
        ("compressions", profile.compressions, RESERVED),
        ("vision.prunings", prunings, (*RESERVED, DENSE, UNTRAINED)),
    ):
        if taken := [name for name in names if name in reserved]:
            raise ParamsError(f"{section} of {where} has the name {taken[0]!r}, which the study uses itself; change it")


def _vision(profile: Profile) -> dict[str, dict[str, Any]]:
    if not (vision := profile.vision):
        return {}
    prunings = {f"vision.prunings.{name}": pruning.parameters for name, pruning in vision.prunings.items()}
    parts = {"shared": vision.shared, "train": vision.train.parameters, "interpretability": vision.interpretability}
    return prunings | {f"vision.{name}": part for name, part in parts.items()}


def check_ranges(parameters: dict[str, Any], where: str) -> None:
    """Raise ``ParamsError`` when a parameter has no value, or one of the common vocabulary is out of its range."""
    if empty := [name for name, value in parameters.items() if value is None]:
        raise ParamsError(f"{where} gives {empty[0]} no value; give one, or remove it")
    try:
        TypeAdapter(Vocabulary).validate_python(parameters)
    except ValidationError as error:
        raise ParamsError(_sentence(error, where)) from error


# Values that notebooks take, by notebook; a test holds them to the modules that refuse all others.
CHOICES: dict[str, dict[str, tuple[str, ...]]] = {
    "compress/quanto": {"weights": ("int8", "int4", "int2", "float8"), "activations": ("", "int8")},
    "compress/minitron": {"divergence": ("forward", "reverse")},
    "compress/lrc": {"divergence": ("forward", "reverse")},
    "vision/prune": {
        "method": ("unstructured", "filters", "connections"), "criterion": ("l1", "random"),
        "scope": ("layerwise", "global"), "schedule": ("one-shot", "iterative"),
    },
    "vision/interpretability": {"split": ("train", "val"), "measure": ("efficientnet-lite0", "dreamsim")},
}  # fmt: skip


def check_choices(notebook: str, parameters: dict[str, Any], where: str) -> None:
    """Raise ``ParamsError`` where a notebook would refuse a value, or two that contradict each other."""
    for name, allowed in CHOICES.get(notebook, {}).items():
        value = parameters[name]
        if value not in allowed:
            options = ", ".join(option or "nothing" for option in allowed)
            raise ParamsError(
                f"{where} gives {name}={value!r}; allowed are {options}; {meant(value, allowed) or 'correct it'}"
            )
    if parameters.get("pattern"):
        kept, group = map(int, parameters["pattern"].split(":"))
        if not 0 < kept < group:
            raise ParamsError(
                f"{where} gives pattern={parameters['pattern']!r}; n:m keeps n of every m weights, with 0 < n < m, "
                "such as 2:4; correct it"
            )
        if abs(parameters["sparsity"] - (1 - kept / group)) > 1e-9:
            raise ParamsError(
                f"{where} has sparsity={parameters['sparsity']}, which contradicts pattern={parameters['pattern']!r}: "
                f"it removes {1 - kept / group:g}; give that"
            )
    if notebook == "compress/smoothquant" and not 0 <= parameters["alpha"] <= 1:
        raise ParamsError(f"{where} gives alpha={parameters['alpha']}; give a share from 0 to 1")
    if parameters.get("schedule") == "iterative" and parameters["epochs"] % parameters["steps"]:
        raise ParamsError(
            f"{where} has epochs={parameters['epochs']}, which {parameters['steps']} steps cannot divide equally; give "
            "a multiple of the steps"
        )


SECTIONS: dict[tuple[str, ...], type[BaseModel]] = {(): Profile, ("vision",): Vision, ("cluster",): Cluster}


def _sentence(error: ValidationError, where: str) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    section, key = tuple(map(str, first["loc"][:-1])), str(first["loc"][-1]) if first["loc"] else ""
    if first["type"] == "extra_forbidden":
        allowed = sorted(set(SECTIONS[section].model_fields) - {"name"})
        hint = meant(key, allowed) or "correct or remove it"
        return f"{where} has an unknown key {name!r}; allowed are {', '.join(allowed)}; {hint}"
    if key == "[key]":
        owner = ".".join(section[:-1])
        return f"{where} gives {owner} the name {first['input']!r}, which YAML does not read as text; put it in quotes"
    if first["type"] == "missing":
        return f"{where} lacks {name!r}; add it"
    rule = first["msg"][0].lower() + first["msg"][1:]
    return f"{where} gives {name}={first['input']!r}, which is not allowed ({rule}); correct it"
