"""Data sets of the Hugging Face hub, pinned by revision in ``params/hub.yaml`` and kept as Parquet in the cache."""

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import yaml
from pydantic import BaseModel, ConfigDict, Field

from unicomp_lib import files, locks, paths

VERSION = "1"

COMMIT = re.compile("[0-9a-f]{40}")
OF_MODELS = ("*.json", "*.safetensors", "*.jinja")  # no code, and no weights in forms that can run code

UNREACHED = "see that this machine reaches the hub, or run 'nox -s prefetch' on one that does and set HF_HUB_OFFLINE=1"
# By the name of a class of its clients' errors, or of one that it is made from.
ADVICE = {
    "LocalEntryNotFoundError": UNREACHED,  # by its class an entry that is not there, but it was not asked for
    "GatedRepoError": "accept its terms at {page}, and log in with: hf auth login",
    "DisabledRepoError": "the hub has disabled it: see {page}",
    "RepositoryNotFoundError": "correct its name, or log in with: hf auth login",
    "DatasetNotFoundError": "correct its name, or log in with: hf auth login",
    "RevisionNotFoundError": "correct its revision",
    "EntryNotFoundError": "correct its revision",
}
# By the status of an answer that has no error of its own.
ANSWERS = {
    401: "your token is not valid: log in again with hf auth login, or correct or unset HF_TOKEN",
    403: "your token may not read it: allow it to read gated repositories, at https://huggingface.co/settings/tokens",
    404: "correct its name and revision, or log in with: hf auth login",
    429: "the hub was asked too often: wait some minutes, and log in with hf auth login, which allows more",
}
BROKEN = "the hub has a fault: try again later, what has arrived is kept"
FULL = "the disk is full: free some, or choose another place with HF_HOME and UNICOMP_HOME"


class DataSet(BaseModel):
    """One entry of ``params/hub.yaml``: the parts of a repository that are read, at one commit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    repository: Annotated[str, Field(pattern=r"^[^/\s]+/[^/\s]+$")]
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    licence: str
    configs: Annotated[list[str], Field(min_length=1)]
    splits: Annotated[list[str], Field(min_length=1)]
    file: str = ""  # the one file that is read of a repository too large to read whole

    @property
    def page(self) -> str:
        """Where people read about it, and accept its terms."""
        return f"https://huggingface.co/datasets/{self.repository}"


class HubError(ConnectionError):
    """The hub does not give what is asked for; the message says what, why, and what to do."""


@cache
def catalogue() -> dict[str, DataSet]:
    """All data sets by name, as ``params/hub.yaml`` pins them."""
    text = (paths.project() / "params" / "hub.yaml").read_text(encoding="utf-8")
    return {name: DataSet.model_validate(entry) for name, entry in yaml.safe_load(text).items()}


def rows(name: str, config: str, split: str, *, first: int | None = None) -> list[dict[str, Any]]:
    """The rows, or the ``first`` of them, of one split of one config of a pinned data set, downloaded if need be.

    Raises a ``HubError`` in one sentence where they are neither in the cache nor to be had from the hub.
    """
    return pl.read_parquet(_fetched(name, config, split), n_rows=first).to_dicts()


def is_here(name: str, configs: list[str] | None = None) -> bool:
    """Whether all splits of these or all configs of a data set are in the cache."""
    return all(_path(name, config, split).is_file() for config, split in _parts(name, configs))


def fetch(name: str, configs: list[str] | None = None) -> None:
    """Download what is missing of a data set: all its splits, of these or all its configs."""
    for config, split in _parts(name, configs):
        _fetched(name, config, split)


def refusals(models: list[tuple[str, str]], data_sets: dict[str, list[str] | None]) -> list[str]:
    """A sentence for each repository that is still to be downloaded and that this user may not read.

    ``models``: repository and revision of each; ``data_sets``: names of ``params/hub.yaml`` with their configs.
    """
    from huggingface_hub import auth_check

    wanted = {repository: "model" for repository, revision in models if not _is_whole(_note(repository, revision))}
    wanted |= {
        catalogue()[name].repository: "dataset" for name, configs in data_sets.items() if not is_here(name, configs)
    }
    said = []
    for repository, kind in wanted.items():
        try:
            with asking(
                f"{kind} {repository}", f"https://huggingface.co/{'datasets/' * (kind == 'dataset')}{repository}"
            ):
                auth_check(repository, repo_type=kind)
        except HubError as error:
            said.append(str(error))
    return said


def fetch_model(repository: str, revision: str) -> None:
    """Download a model's weights, configuration and tokenizer into the hub's own cache.

    What a finished download consists of is noted, so that the next time nothing is asked while all of it is there.
    """
    from huggingface_hub import snapshot_download

    note = _note(repository, revision)
    if _is_whole(note):
        return
    print(f"fetching {repository}", flush=True)
    with asking(f"model {repository}", f"https://huggingface.co/{repository}"):
        folder = Path(snapshot_download(repository, revision=revision, allow_patterns=list(OF_MODELS)))
    sizes = {str(file): file.stat().st_size for file in sorted(folder.rglob("*")) if file.is_file()}
    files.write_text(note, json.dumps(sizes))


def model_folder(repository: str) -> Path:
    """The folder of a model in the hub's own cache, whether or not it is there."""
    home = os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME", "~/.cache/huggingface")) / "hub"
    return Path(home).expanduser() / f"models--{repository.replace('/', '--')}"


def pinned(source: str) -> str:
    """``owner/name@revision`` at the commit that a branch or tag was when it was downloaded here.

    As it is, where it names a commit, and where nothing of the branch has been downloaded.
    """
    repository, _, revision = source.partition("@")
    if COMMIT.fullmatch(revision):
        return source
    try:
        commit = (model_folder(repository) / "refs" / revision).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return source
    return f"{repository}@{commit}" if COMMIT.fullmatch(commit) else source


def _note(repository: str, revision: str) -> Path:
    known = revision[:12] if COMMIT.fullmatch(revision) else revision.replace("/", "--")
    return paths.home() / "hub" / f"{repository.replace('/', '--')}-{known}.json"


def _is_whole(note: Path) -> bool:
    try:
        sizes = json.loads(note.read_text(encoding="utf-8"))
        return bool(sizes) and all(Path(file).stat().st_size == size for file, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def _fetched(name: str, config: str, split: str) -> Path:
    """The Parquet file of a split, whole or not at all. What is there is not asked for again: its commit is fixed."""
    wanted, path = catalogue()[name], _path(name, config, split)
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with locks.held(path.with_suffix(".lock")):
        if not path.is_file():
            with asking(f"data set {wanted.repository}, {config}, {split},", wanted.page):
                files.write_whole(path, lambda part: _download(wanted, config, split).to_parquet(part))
    return path


def _path(name: str, config: str, split: str) -> Path:
    wanted = catalogue()[name]
    folder = f"{wanted.repository.replace('/', '--')}-{wanted.revision[:12]}"
    if wanted.file:
        folder += f"-{hashlib.sha256(wanted.file.encode()).hexdigest()[:8]}"
    return paths.home() / "hub" / folder / config / f"{split}.parquet"


def _parts(name: str, configs: list[str] | None) -> list[tuple[str, str]]:
    wanted = catalogue()[name]
    return [(config, split) for config in (wanted.configs if configs is None else configs) for split in wanted.splits]


def _download(wanted: DataSet, config: str, split: str) -> Any:
    from datasets import load_dataset  # heavy, and not needed where the file is in the cache

    print(f"fetching {wanted.repository}, {config}, {split}", flush=True)
    if wanted.file:
        return load_dataset(
            wanted.repository, data_files={split: wanted.file}, split=split, revision=wanted.revision,
            verification_mode="no_checks",  # the card counts the rows of all files
        )  # fmt: skip
    return load_dataset(wanted.repository, config, split=split, revision=wanted.revision)


@contextmanager
def asking(what: str, page: str = "its page at the hub") -> Iterator[None]:
    """Say in one sentence why the hub did not give ``what``.

    Its clients raise errors of half a dozen libraries, some with pages of text, and wrap one in another.
    """
    try:
        yield
    except Exception as error:
        told = [(each, advice) for each in _causes(error) if (advice := _advice(each))]
        # The innermost that names a cause; a bare status, from which such an error is made, only where there is none.
        exact = [pair for pair in told if pair[1] not in (UNREACHED, BROKEN, *ANSWERS.values())]
        first, advice = (exact or told or [(error, UNREACHED)])[-1]
        reason = " ".join(str(first).split())[:200]
        raise HubError(
            f"{what} could not be downloaded from the hub ({type(first).__name__}: {reason}); "
            f"{advice.format(page=page)}"
        ) from error


def _advice(error: BaseException) -> str:
    """What to do about one error; empty where its class, number and status say nothing."""
    if "is a gated dataset" in str(error):  # for which datasets has no error of its own
        return ADVICE["GatedRepoError"]
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return FULL
    if name := next((each.__name__ for each in type(error).__mro__ if each.__name__ in ADVICE), ""):
        return ADVICE[name]
    status = getattr(getattr(error, "response", None), "status_code", 0)
    return ANSWERS.get(status, BROKEN if status >= 500 else "")


@contextmanager
def offline() -> Iterator[None]:
    """Have the hub's clients read what they have kept, and ask nothing, while the block runs."""
    import datasets
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


def _causes(error: BaseException) -> Iterator[BaseException]:
    following: BaseException | None = error
    while following is not None:
        yield following
        following = following.__cause__ or following.__context__
