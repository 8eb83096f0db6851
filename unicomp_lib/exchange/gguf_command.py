"""The command ``export``: a checkpoint, or a cell of the study, as one GGUF file that llama.cpp serves."""

import argparse
from pathlib import Path

from unicomp_lib import quiet
from unicomp_lib.study import params, records
from unicomp_lib.study.hints import count, meant
from unicomp_lib.study.plan import CHECKPOINT, plan
from unicomp_lib.study.steps import Stage, keys


def export(options: argparse.Namespace) -> int:
    """Write the file, read it back, and say what it holds and what engines do otherwise."""
    folder, name = _folder(options.model, options.profile)
    from unicomp_lib.exchange import gguf

    quiet.known()
    done = gguf.export(folder, options.file, name=name, overwrite=options.overwrite)
    print(f"{options.file}: {done.bytes_on_disk / 1e6:.1f} MB, {_listed(done.kinds)}")
    print("read back: every code, scale and number is that of the checkpoint")
    for note in done.notes:
        print(f"note: {note}")
    return 0


def _listed(kinds: dict[str, int]) -> str:
    return ", ".join(f"{count(number, 'tensor')} {kind}" for kind, number in kinds.items())


def _folder(given: str, profile: str) -> tuple[Path, str]:
    """The folder of a checkpoint and its name: a cell's of the study, a folder itself, or a model that is fetched."""
    path = Path(given).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ValueError(f"{given} holds no checkpoint, for it has no config.json; give another folder, or a cell")
        return path, path.resolve().name
    if "@" in given or "/" not in given:
        from unicomp_lib.checkpoints import given as checkpoints

        return checkpoints.located(given), given.rpartition("/")[2]
    return _cell(given.strip("/").removeprefix(f"{Stage.COMPRESS}/"), profile)


def _cell(given: str, profile: str) -> tuple[Path, str]:
    """The folder of what a cell such as ``smollm2-135m/gptq-int4`` has made; of several seeds the first."""
    steps = plan(params.load(profile))
    start = f"{Stage.COMPRESS}/"
    cells = [step.name.removeprefix(start) for step in steps if step.stage == Stage.COMPRESS]
    found = [cell for cell in cells if cell == given or cell.startswith(f"{given}/seed-")]
    if not found:
        hint = meant(given, cells) or f"its cells are {', '.join(cells)}"
        raise ValueError(f"{given} is no folder, and no cell of profile {profile}; {hint}")
    run = records.folder(start + found[0], keys(steps)[start + found[0]])
    if not records.finished(run) or records.dropped(run):
        option = "" if profile == "embedded" else f"--profile {profile} "
        raise ValueError(
            f"{found[0]} has not been made yet; make it first: nox -s reproduce -- {option}--only {start}{found[0]}"
        )
    return run / CHECKPOINT, found[0].replace("/", "-")
