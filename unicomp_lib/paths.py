"""Where things lie: the checkout, the cache, the folder a notebook writes to."""

import json
import os
from pathlib import Path

from platformdirs import user_cache_path

from unicomp_lib import by_hand, quiet

VERSION = "1"
WEIGHTS = "model.safetensors"
# Files of JSON that are read before the weights, and what in them is a mapping if it is there.
SETTINGS = {
    "config.json": "quantization_config", f"{WEIGHTS}.index.json": "weight_map", "tokenizer.json": "model",
    "tokenizer_config.json": "added_tokens_decoder", "generation_config.json": "",
}  # fmt: skip
POINTER = b"version https://git-lfs"


def project() -> Path:
    """Root of the checkout: the folder that holds ``notebooks/`` and ``params/``.

    A ``RuntimeError`` says so where the package was installed without them.
    """
    root = Path(__file__).resolve().parent.parent
    if not ((root / "notebooks").is_dir() and (root / "params").is_dir()):
        raise RuntimeError(
            f"the study runs in a checkout: beside the package, {root} has no folders notebooks and params; "
            "clone the repository and run nox in it, or pip install --no-deps -e . there"
        )
    return root


def home() -> Path:
    """Cache of assets and scratch outputs: ``UNICOMP_HOME``, or the user's cache folder."""
    chosen = os.environ.get("UNICOMP_HOME")
    return Path(chosen).expanduser().resolve() if chosen else user_cache_path("unicomp")


def checkpoint_folder(model: str) -> Path | None:
    """The folder that ``model`` names, as it stands or within the checkout; None where it names none."""
    places = (Path(model), project() / model)
    return next((place.resolve() for place in places if model and place.is_dir()), None)


def shards(folder: Path) -> list[Path]:
    """The files of safetensors that hold a checkpoint's weights, found as transformers finds them.

    ``model.safetensors``, else what the index lists, else all that there are, since other tools give theirs other
    names. Files beside these are no part of the model.
    """
    if (whole := folder / WEIGHTS).is_file():
        return [whole]
    if (index := folder / f"{WEIGHTS}.index.json").is_file():
        listed = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return [folder / name for name in sorted(set(listed.values()))]
    return sorted(folder.glob("*.safetensors"))


def unreadable(folder: Path) -> str:
    """Why a folder cannot be read as the checkpoint of one model, in a sentence; empty where it can."""
    if not any(folder.glob("*.safetensors")):
        return f"{folder} holds no weights as .safetensors; save them with save_pretrained: other forms can run code"
    if (adapter := folder / "adapter_config.json").is_file():
        return (
            f"{adapter} is of a LoRA adapter, which would be left out; merge it into the weights (merge_and_unload) "
            "and save the whole model"
        )
    faults = [_of_settings(folder / name, inside) for name, inside in SETTINGS.items() if (folder / name).is_file()]
    return next(filter(None, faults), "") or next(filter(None, map(_of_weights, shards(folder))), "")


def _of_settings(file: Path, inside: str) -> str:
    try:
        given = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return f"{file} is no valid JSON; restore it"
    right = isinstance(given, dict) and isinstance(given.get(inside) or {}, dict)
    return "" if right else f"{file} is not of the form that transformers writes; restore it"


def _of_weights(file: Path) -> str:
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        return f"{file} is listed in the index beside it, but it is not there; restore it"
    try:
        with safe_open(file, framework="np"):
            return ""
    except SafetensorError as error:
        with file.open("rb") as start:
            is_pointer = start.read(len(POINTER)) == POINTER
        if is_pointer:
            return f"{file} is a pointer of Git LFS and not the weights; fetch them with git lfs pull"
        return f"{file} is no whole file of safetensors ({error}); restore it"


def output_folder(output: str, name: str) -> Path:
    """Create and return the folder a notebook writes to.

    ``output`` is what the runner passes; an empty one, the notebooks' default, means a scratch folder of this
    ``name`` and the notebook's parameters in the cache, so that a notebook opened by hand overwrites neither a run
    nor what it wrote with other parameters. A ``ValueError`` names a parameter that the notebook does not have.
    """
    quiet.known()
    parameters = by_hand.given()
    if output:
        folder = Path(output)
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    folder = by_hand.folder(home() / "scratch", name, parameters)
    if parameters:
        print(f"what this notebook saves is in {folder}")
    return folder
