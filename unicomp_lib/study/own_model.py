"""``reproduce --model NAME=FOLDER``: a profile's plan on another model, without a file that its user has to write."""

import re
from pathlib import Path
from typing import Any

import yaml

from unicomp_lib import files, paths
from unicomp_lib.study import notebooks, params, ready, sources, strict_yaml
from unicomp_lib.study.params import DENSE, NAME, ParamsError

FILE = "profile.yaml"
SIZES = ("layers", "hidden", "neurons", "groups")  # parameters that are sizes of the profile's own model
DIVISORS = (128, 64, 32, 16, 8)


def profile(base: str, given: str) -> tuple[str, list[str]]:
    """Path of the profile that applies ``base``'s plan to the model ``given``, and what it leaves out, in sentences.

    It is written to ``results/<base>-<NAME>/profile.yaml``, and any command takes it as its ``--profile``. Left out
    are what is not of this model: GoogLeNet, checkpoints that others compressed, and students whose sizes are those
    of the profile's own model. A group size that does not divide the model's width is replaced by the next that does.
    """
    name, source = _parts(given)
    if base not in params.own_profiles():
        raise ParamsError(
            f"--model goes with a profile of params/ ({', '.join(params.own_profiles())}); in {base} write the model "
            f"under models: {name}: {source}"
        )
    sources.model(source, paths.project() / "params")  # what is not there is said before anything is written
    called = f"{base}-{name}"
    path = paths.project() / "results" / called / FILE
    content = strict_yaml.read(params.profile_path(base))
    content, notes = _changed(content, name, source)
    header = f"# Written by: nox -s reproduce -- --profile {base} --model {given}\n"
    text = header + yaml.safe_dump({"name": called, **content}, sort_keys=False, allow_unicode=True)
    has_results = path.is_file() and len(list(path.parent.iterdir())) > 1
    if has_results and (models := strict_yaml.read(path)["models"]) != content["models"]:
        raise ParamsError(
            f"the results of {called} are of the model {models[name]}; give {source} another name, such as "
            f"--model {name}-2={source}"
        )
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        files.write_text(path, text)
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return str(shown), notes


def _parts(given: str) -> tuple[str, str]:
    name, sign, source = given.partition("=")
    if not sign or not source or not re.fullmatch(NAME, name):
        raise ParamsError(
            f"--model {given!r} is not allowed; give NAME=FOLDER, the name made of letters, digits and . _ - +, such "
            "as --model mine=checkpoints/mine"
        )
    folder = Path(source).expanduser()
    return name, str(folder.resolve()) if folder.exists() else source


def _changed(content: dict[str, Any], name: str, source: str) -> tuple[dict[str, Any], list[str]]:
    """The content of a profile for another model, and what was left out or replaced."""
    if not content.get("compressions"):
        raise ParamsError("this profile has no models, so that --model replaces nothing; give another --profile")
    out = _left_out(content["compressions"])
    content = {key: value for key, value in content.items() if key not in ("name", "vision")}
    content["models"] = {name: source}
    content["compressions"] = {key: entry for key, entry in content["compressions"].items() if key not in out}
    figures = content.get("figures", [])
    content["figures"] = [
        figure for figure in figures if "vision_scores" not in notebooks.defaults(f"figures/{figure}")
    ]
    notes = [f"left out, since they are made for another model: {', '.join(out)}"] if out else []
    return content, [*notes, *_regrouped(content["compressions"], source)]


def _left_out(compressions: dict[str, dict[str, Any]]) -> list[str]:
    """Compressions that are not of any model, and those based on them."""
    out: list[str] = []
    for name, entry in compressions.items():
        own = entry.get("method") in (params.GIVEN, params.PUBLISHED) or any(entry.get(size) for size in SIZES)
        if own or entry.get("base", DENSE) in out:
            out.append(name)
    return out


def _regrouped(compressions: dict[str, dict[str, Any]], source: str) -> list[str]:
    """Give each group size that does not divide the model's width the next one that does."""
    widths = ready.widths(Path(source)).values()
    notes = []
    for name, entry in compressions.items():
        group = entry.get("group_size")
        if isinstance(group, int) and any(width % group for width in widths):
            fits = [size for size in DIVISORS if size < group and not any(width % size for width in widths)]
            if fits:
                entry["group_size"] = fits[0]
                notes.append(f"{name} has groups of {fits[0]}, since {group} does not divide the model's width")
    return notes
