"""``.eval_results/`` of a model's repository on the hub: scores on data sets that are benchmarks there.

The form is that of huggingface.co/docs/hub/eval-results: a list of entries with dataset.id, dataset.task_id, value.
"""

from pathlib import Path
from typing import Any

import polars as pl
import yaml

from unicomp_lib import files
from unicomp_lib.evaluate import task
from unicomp_lib.evaluate.tasks import paper
from unicomp_lib.exchange.every_eval_ever import scored
from unicomp_lib.inputs import hub


def write(scores: pl.DataFrame, folder: Path) -> int:
    """``<model>/<variant>/.eval_results/<task>.yaml`` for each task of a hub's data set; the number of files.

    Values are in per cent. ``task_id`` is the name of the data set's config: compare it with the set's ``eval.yaml``,
    which names its tasks. The note says how many items they are of: a part of a benchmark is not its score. Controls,
    such as dense evaluated again, are no models.
    """
    count = 0
    for row in scored(scores).filter(pl.col("control").fill_null("") == "").iter_rows(named=True):
        name = row["task"]
        if not task.is_own(name) or task.described(name)["asset"] != task.HUB:
            continue
        target = folder / row["model"] / row["variant"] / ".eval_results" / f"{name}.yaml"
        files.write_text(target, yaml.safe_dump([_entry(row)], sort_keys=False, allow_unicode=True))
        count += 1
    return count


def _entry(row: dict[str, Any]) -> dict[str, Any]:
    source = paper.SOURCES[task.source(row["task"])]
    measured = f"{row['metric']} in per cent of {row['n']} items, asked as {row['format']}"
    data_set, configs = next(iter(source.reads.items()))
    wanted = hub.catalogue()[data_set]
    if row["low"] is None:
        interval = f"no interval: {row['reason'] or 'not given'}"
    else:
        interval = f"95 % interval {100 * row['low']:.2f} to {100 * row['high']:.2f}"
    return {
        "dataset": {
            "id": wanted.repository, "task_id": (configs or wanted.configs)[0], "revision": wanted.revision,
        },
        "value": round(100 * row["value"], 2) + 0.0,  # zero without a sign
        "notes": f"{row['label']}; {measured}; {interval}",
    }  # fmt: skip
