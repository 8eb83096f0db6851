"""The study's compression compared with llm-compressor's: time, memory and perplexity of each method.

Same model, same calibration tokens, same evaluation text, one CPU thread, a process for each run,
and the two sides in turn, so that a change of the machine's speed affects both. CPU seconds are those of
the compression alone: imports and loading come before them, the perplexity after. Allow 25 minutes for
all methods on one draw.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import polars as pl
from safetensors.torch import save_file

from unicomp_lib import files, paths
from unicomp_lib.checkpoints import models
from unicomp_lib.inputs import calibration
from unicomp_lib.study import scheduler

HERE = Path(__file__).parent
METHODS = (
    "dense", "wanda-50", "wanda-2-4", "sparsegpt-50", "sparsegpt-2-4", "gptq-int4", "awq-int4",
    "smoothquant-w8a8", "w8a8",
)  # fmt: skip


def main() -> None:
    """Parse the command line, run every method on both sides and print and save the table."""
    parser = argparse.ArgumentParser(prog="nox -s bench -- compression", description=__doc__)
    parser.add_argument("--peer", required=True, help=argparse.SUPPRESS)  # given by nox
    parser.add_argument("--model", default="smollm2-135m-instruct", help="as in a profile (%(default)s)")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS, metavar="METHOD",
                        help=f"all by default: {', '.join(METHODS)}")  # fmt: skip
    parser.add_argument("--samples", type=int, default=32, help="calibration samples (%(default)s)")
    parser.add_argument("--length", type=int, default=256, help="tokens per sample (%(default)s)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="draws of the calibration text (%(default)s)")
    parser.add_argument("--blocks", type=int, default=24, help="held-out blocks of 256 tokens (%(default)s)")
    options = parser.parse_args()
    target = paths.project() / "results" / "bench" / "compression.csv"
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as temporary:
        try:
            drawn = _draw(options, Path(temporary))
        except ValueError as error:
            parser.error(str(error))
        for seed, tokens in drawn.items():
            for method in options.methods:
                rows.append({"seed": seed, **_row(method, options, tokens)})
                files.write_whole(target, pl.DataFrame(rows).write_csv)  # an hour's runs outlive a failure of the last
    with pl.Config(tbl_cols=-1, tbl_rows=-1, tbl_width_chars=160, float_precision=3, tbl_hide_dataframe_shape=True):
        print(_means(pl.DataFrame(rows)))
    print(f"geometric means over draws; each draw is in {target}\n"
          "ratios are study / llm-compressor, below 1 in the study's favour")  # fmt: skip


def _draw(options: argparse.Namespace, folder: Path) -> dict[int, Path]:
    """A file of calibration and evaluation tokens for each seed."""
    tokenizer = models.load_tokenizer(options.model)
    evaluation = calibration.blocks(tokenizer, "held-out", samples=options.blocks, length=256)
    drawn = {seed: folder / f"{seed}.safetensors" for seed in options.seeds}
    for seed, tokens in drawn.items():
        text = calibration.blocks(tokenizer, samples=options.samples, length=options.length, seed=seed)
        save_file({"calibration": text, "evaluation": evaluation}, tokens)
    return drawn


def _means(rows: pl.DataFrame) -> pl.DataFrame:
    """Geometric means over seeds: the ratio of two is the mean of the ratios."""
    columns = [f"{name}_{part}" for name in ("perplexity", "cpu") for part in ("study", "peer", "ratio")]
    means = pl.col(*columns, "peak_ratio").cast(float).log().mean().exp()
    return rows.group_by("method", maintain_order=True).agg(means)


def _row(method: str, options: argparse.Namespace, tokens: Path) -> dict[str, object]:
    ours = _run(sys.executable, "study_side.py", method, options.model, tokens)
    peer = _run(options.peer, "llm_compressor_side.py", method, models.checkpoint(options.model)[0], tokens)
    values = {
        f"{name}_{side}": costs[name]
        for name in ("perplexity", "cpu", "wall", "peak")
        for side, costs in (("study", ours), ("peer", peer))
    }
    ratios = {f"{name}_ratio": ours[name] / peer[name] for name in ours}
    if method == "dense":  # nothing is compressed, so only the text's perplexity is compared
        ratios |= dict.fromkeys(("cpu_ratio", "wall_ratio", "peak_ratio"))
    times = f", CPU {ours['cpu']:.0f} | {peer['cpu']:.0f} s: {ratios['cpu_ratio']:.2f}" if ratios["cpu_ratio"] else ""
    print(f"{method}: perplexity {ours['perplexity']:.2f} | {peer['perplexity']:.2f}: "
          f"{ratios['perplexity_ratio']:.3f}{times}", flush=True)  # fmt: skip
    return {"method": method, **values, **ratios}


def _run(python: str, script: str, method: str, model: str, tokens: Path) -> dict[str, float]:
    report = tokens.with_name("report.json")
    report.unlink(missing_ok=True)
    # Both sides get the settings of the study's own steps.
    environment = {"HF_HUB_OFFLINE": "1", **os.environ, **scheduler.ENVIRONMENT, "CUDA_VISIBLE_DEVICES": ""}
    command = [python, str(HERE / script), method, model, str(tokens), str(report)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tokens.parent)
    if done.returncode:
        sys.exit(f"{script} {method} failed with exit code {done.returncode}:\n{done.stderr[-3000:]}")
    return json.loads(report.read_text())


if __name__ == "__main__":
    main()
