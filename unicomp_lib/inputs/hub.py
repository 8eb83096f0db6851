"""Data sets of the Hugging Face hub, pinned by revision in ``params/hub.yaml`` and kept as Parquet in the cache."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import yaml
from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field

from unicomp_lib import files, paths

VERSION = "1"

ADVICE = {
    "GatedRepoError": "accept its terms at {page}, and log in with: hf auth login",
    "RepositoryNotFoundError": "correct its name, or log in with: hf auth login",
    "DatasetNotFoundError": "correct its name, or log in with: hf auth login",
    "RevisionNotFoundError": "correct its revision",
    "EntryNotFoundError": "correct its revision",
}


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


def rows(name: str, config: str, split: str) -> list[dict[str, Any]]:
    """The rows of one split of one config of a pinned data set, downloaded if need be.

    Raises a ``HubError`` in one sentence where they are neither in the cache nor to be had from the hub.
    """
    return pl.read_parquet(_fetched(name, config, split)).to_dicts()


def fetch(name: str, configs: list[str] | None = None) -> None:
    """Download what is missing of a data set: all its splits, of these or all its configs."""
    for config in catalogue()[name].configs if configs is None else configs:
        for split in catalogue()[name].splits:
            _fetched(name, config, split)


def _fetched(name: str, config: str, split: str) -> Path:
    """The Parquet file of a split, whole or not at all. What is there is not asked for again: its commit is fixed."""
    wanted = catalogue()[name]
    folder = paths.home() / "hub" / f"{wanted.repository.replace('/', '--')}-{wanted.revision[:12]}" / config
    path = folder / f"{split}.parquet"
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{split}.lock"):
        if not path.is_file():
            with asking(f"data set {wanted.repository}, {config}, {split},", wanted.page):
                files.write_whole(path, lambda part: _download(wanted, config, split).to_parquet(part))
    return path


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
        named = [each for each in _causes(error) if type(each).__name__ in ADVICE]
        first = named[-1] if named else error
        gated = "is a gated dataset" in str(first)  # for which datasets has no error of its own
        advice = ADVICE.get(
            "GatedRepoError" if gated else type(first).__name__,
            "see that this machine reaches the hub, or run 'nox -s prefetch' where one does, on the same cache folder",
        )
        reason = " ".join(str(first).split())[:200]
        raise HubError(
            f"{what} could not be downloaded from the hub ({type(first).__name__}: {reason}); "
            f"{advice.format(page=page)}"
        ) from error


def _causes(error: BaseException) -> Iterator[BaseException]:
    following: BaseException | None = error
    while following is not None:
        yield following
        following = following.__cause__ or following.__context__
