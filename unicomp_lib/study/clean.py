"""Remove what no plan needs any more; nothing else in the study ever removes a result."""

import io
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import polars as pl

from unicomp_lib import files, locks, paths, results, tables
from unicomp_lib.study import params, publish, records
from unicomp_lib.study.params import ParamsError, Profile
from unicomp_lib.study.plan import plan
from unicomp_lib.study.steps import Step, keys
from unicomp_lib.study.worker import held

ITEMS = "items"
RECENT = 3600  # seconds since it was written within which scratch may be that of a notebook or step at work


@dataclass
class Left:
    """What may go: run folders, scratch, files of results, and tables with the rows that they keep.

    ``running`` and ``recent`` stay: runs whose step runs now, and scratch that was written within the last hour.
    """

    runs: list[Path] = field(default_factory=list)
    scratch: list[Path] = field(default_factory=list)
    results: list[Path] = field(default_factory=list)
    tables: dict[Path, pl.DataFrame] = field(default_factory=dict)
    running: list[str] = field(default_factory=list)
    recent: list[Path] = field(default_factory=list)

    def sizes(self) -> dict[str, int]:
        """Bytes by what they are, for people to read."""
        whole = {_shown(path): _size(path) for path in [*self.runs, *self.scratch, *self.results]}
        rows = {
            f"rows of {_shown(path)} that belong to no cell": max(path.stat().st_size - len(_parquet(kept)), 0)
            for path, kept in self.tables.items()
        }
        return whole | rows


def find(profile: Profile) -> Left:
    """What is left over of a profile: runs of its steps that no known profile plans, scratch, and old results.

    Known are the profiles in ``params/`` and those elsewhere that have results here. A ``ParamsError`` names one
    that cannot be read or is gone: what its runs are is then not known either.
    """
    steps = plan(profile)
    wanted = _wanted(profile)
    running = _running()
    busy = "\n".join(
        (run / records.STEP).read_text(encoding="utf-8") for run in running if (run / records.STEP).is_file()
    )
    left = Left(running=[run.name for run in running])
    digits = "?" * 12  # a key's
    for name in dict.fromkeys(step.name for step in steps):
        for run in sorted(records.runs().glob(records.folder(name, digits).name)):
            # What a running step reads is named in its step.json.
            if run.is_dir() and run.name not in wanted and run not in running and run.name not in busy:
                left.runs.append(run)
    # What is left of making dropped weights again, which was interrupted.
    left.runs += [run for run in sorted(records.runs().glob("*.again")) if run not in running]
    for name in ("scratch", "states"):
        folder = paths.home() / name
        for path in sorted(path for path in folder.glob("*") if path.suffix != ".lock"):
            (left.recent if _written(path) > time.time() - RECENT else left.scratch).append(path)
    _find_results(profile, steps, left)
    return left


def remove(left: Left) -> int:
    """Remove it, but for runs that have begun meanwhile; returns the bytes that are free again."""
    freed = 0
    for run in left.runs:
        size = _size(run)
        with locks.held(run / records.LOCK, wait=False) as mine:
            if not mine:
                continue
            # Gone at once under another name: a half-removed run is never taken for a finished one.
            away = run.rename(run.with_name(f".removed-{run.name}"))
        shutil.rmtree(away)
        freed += size
    for path in [*left.scratch, *left.results]:
        freed += _size(path)
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for path, kept in left.tables.items():
        before, content = path.stat().st_size, _parquet(kept)
        files.write_whole(path, partial(Path.write_bytes, data=content))
        freed += max(before - len(content), 0)
    return freed


def _wanted(profile: Profile) -> set[str]:
    """Names of the run folders that any known profile plans, in each precision a machine may choose."""
    names = set()
    for known in [profile, *_others(profile)]:
        precisions = ("bfloat16", "float32") if known.precision == "auto" else (known.precision,)
        for precision in precisions:
            chosen = known.model_copy(update={"precision": precision})
            try:
                planned = keys(plan(chosen))
            except ValueError as error:
                raise _unknown(known.name, error) from error
            names |= {records.folder(name, key).name for name, key in planned.items()}
    return names


def _unknown(name: str, error: ValueError) -> ParamsError:
    return ParamsError(f"which runs are stale is not known, since {name} cannot be read: {error}")


def _others(profile: Profile) -> list[Profile]:
    given = [name for name in params.own_profiles() if name != profile.name]
    folders = sorted((paths.project() / "results").iterdir()) if (paths.project() / "results").is_dir() else []
    for folder in folders:
        owner = params.owner(folder.name)
        if not owner or folder.name == profile.name:
            continue
        if not owner.is_file():
            raise ParamsError(
                f"which runs are stale is not known, since {_shown(folder)} is of the profile {owner}, which is not "
                f"there; put it back, or remove {_shown(folder)} if you need neither it nor its runs"
            )
        given.append(str(owner))
    profiles = []
    for name in given:
        try:
            profiles.append(params.load(name))
        except ValueError as error:
            raise _unknown(name, error) from error
    return profiles


def _running() -> list[Path]:
    """Run folders in which a step runs now."""
    return [lock.parent for lock in sorted(records.runs().glob(f"*/{records.LOCK}")) if held(lock.parent)]


def _find_results(profile: Profile, steps: list[Step], left: Left) -> None:
    """Published files that no step publishes, and rows of cells that are not in the plan."""
    folder = results.folder(profile.name)
    published = {target for step in steps for target in step.publishes.values()}
    old = [*folder.glob(f"{ITEMS}/*.parquet"), *folder.glob("judged.*.parquet"), *folder.glob("units.*.parquet")]
    left.results = sorted(path for path in old if str(path.relative_to(folder)) not in published)
    cells = {(step.cell.model, step.cell.variant) for step in steps if step.cell}
    cells |= {(model, name) for model, _ in cells for name in params.RESERVED}  # rows on all variants together
    dimensions = {step.topic for step in steps if publish.SCORES in step.publishes.values()}
    path = folder / publish.SCORES
    if path.is_file():
        table = tables.read(path)
        pairs = pl.DataFrame(sorted(cells), schema={"model": pl.String, "variant": pl.String}, orient="row")
        kept = table.filter(pl.col("dimension").is_in(sorted(dimensions)))
        kept = kept.join(pairs, on=["model", "variant"], how="semi", maintain_order="left")
        if len(kept) < len(table):
            left.tables[path] = kept


def _parquet(table: pl.DataFrame) -> bytes:
    content = io.BytesIO()
    table.write_parquet(content)
    return content.getvalue()


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    inside = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
    return sum(file.lstat().st_size for file in inside if file.is_symlink() or file.is_file())


def _written(path: Path) -> float:
    """When a file, or the latest of a folder, was written, in seconds since 1970."""
    latest = 0.0
    for inside in (path, *path.rglob("*")):
        with suppress(FileNotFoundError):  # replaced meanwhile
            latest = max(latest, inside.lstat().st_mtime)
    return latest


def _shown(path: Path) -> str:
    return str(path.relative_to(paths.project()) if path.is_relative_to(paths.project()) else path)
