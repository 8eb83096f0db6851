"""GoogLeNet's speed: images per second forward and in training, and units per second whose MIS is scored.

Compared with plain PyTorch on the same weights, images and thread: channels first and float32 throughout, and a loop
that scores one unit after another.
"""

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable

import polars as pl
import torch
from torch.nn import functional

from unicomp_lib import files, hardware, paths
from unicomp_lib.vision import mis, network

UNITS = 7280  # of the whole network


def main() -> None:
    """Parse the command line, run every case on both sides in turn and print and save the table."""
    parser = argparse.ArgumentParser(prog="nox -s bench -- vision", description=__doc__)
    parser.add_argument("--size", type=int, default=64, help="pixels per side (%(default)s)")
    parser.add_argument("--batch", type=int, default=64, help="images per batch (%(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="of each measurement (%(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    precision = hardware.native_precision()
    cases = {
        "forward, images per second": (options.batch, *_forward(options.size, options.batch)),
        "training, images per second": (options.batch, *_training(options.size, options.batch, precision)),
        "MIS, units per second": (64, *_scoring()),
    }
    rows = []
    for name, (count, study, plain) in cases.items():
        ours, theirs = _in_turn(study, plain, options.repeats)
        rows.append(
            {
                "case": name, "study": count / statistics.median(ours), "plain": count / statistics.median(theirs),
                "speed_up": statistics.median(theirs) / statistics.median(ours),
                "lowest": min(b / a for a, b in zip(ours, theirs, strict=True)),
                "highest": max(b / a for a, b in zip(ours, theirs, strict=True)),
            }
        )  # fmt: skip
        print(pl.DataFrame(rows[-1:]), flush=True)
    table = pl.DataFrame(rows)
    target = paths.project() / "results" / "bench" / "vision.csv"
    target.parent.mkdir(parents=True, exist_ok=True)
    files.write_whole(target, table.write_csv)
    seconds = UNITS / rows[2]["study"]
    print(f"training in {precision}; the MIS of all {UNITS:,} units takes {seconds:.1f} s; written to {target}")


def _in_turn(study: Callable[[], object], plain: Callable[[], object], repeats: int) -> tuple[list[float], list[float]]:
    seconds: tuple[list[float], list[float]] = ([], [])
    for repeat in range(-1, repeats):
        for times, run in zip(seconds, (study, plain), strict=True):
            start = time.perf_counter()
            run()
            if repeat >= 0:
                times.append(time.perf_counter() - start)
    return seconds


def _forward(size: int, batch: int) -> tuple[Callable[[], object], Callable[[], object]]:
    channels_last, channels_first = network.new(9).cpu(), network.new(9).cpu().to(memory_format=torch.contiguous_format)
    images = torch.randn(batch, 3, size, size)

    def run(model: torch.nn.Module, layout: torch.memory_format) -> Callable[[], object]:
        inputs = images.contiguous(memory_format=layout)

        def forward() -> object:
            with torch.no_grad():
                return model(inputs)

        return forward

    return run(channels_last, torch.channels_last), run(channels_first, torch.contiguous_format)


def _training(size: int, batch: int, precision: str) -> tuple[Callable[[], object], Callable[[], object]]:
    images, labels = torch.randn(batch, 3, size, size), torch.randint(0, 9, (batch,))

    def run(layout: torch.memory_format, autocast: bool) -> Callable[[], None]:
        model = network.new(9).cpu().to(memory_format=layout).train()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True)
        inputs = images.contiguous(memory_format=layout)

        def step() -> None:
            with torch.autocast("cpu", dtype=torch.bfloat16) if autocast else contextlib.nullcontext():
                scores = model(inputs)
            functional.cross_entropy(scores.float(), labels).backward()
            optimizer.step()
            optimizer.zero_grad()

        return step

    return run(torch.channels_last, precision == "bfloat16"), run(torch.contiguous_format, False)


def _scoring() -> tuple[Callable[[], object], Callable[[], object]]:
    """64 units with 200 extreme images per side, out of 1,108 images with 1,280 features."""
    generator = torch.Generator().manual_seed(0)
    features = functional.normalize(torch.randn(1108, 1280, generator=generator))
    top, bottom = (torch.randint(0, 1108, (64, 200), generator=generator) for _ in range(2))

    def together() -> object:
        return mis.score(top, bottom, features, alpha=6.25)

    def one_by_one() -> object:
        scores = []
        for high, low in zip(top, bottom, strict=True):
            for task in range(20):
                positive, negative = features[high[task::20]], features[low[task::20]]
                high_apart, low_apart = (
                    (positive[1:] @ query).mean() - (negative[1:] @ query).mean()
                    for query in (positive[0], negative[0])
                )
                scores.append(torch.sigmoid(6.25 * (high_apart - low_apart)))
        return torch.stack(scores)

    return together, one_by_one


if __name__ == "__main__":
    main()
