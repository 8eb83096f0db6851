"""Where things lie: the checkout, the cache, the folder a notebook writes to."""

import os
from pathlib import Path

from platformdirs import user_cache_path

from unicomp_lib import by_hand, quiet

VERSION = "1"


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
