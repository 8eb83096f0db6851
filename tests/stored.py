"""Item rows as a run of a model leaves them, for tests of what reads them."""

import json

import polars as pl

from unicomp_lib import tables

CELL = {"model": "m", "method": "dense", "variant": "dense", "calibration": "", "seed": 0}


def stored(task, answers, cell=CELL):
    """Item rows of generated answers as a run of a model leaves them: three metrics each, and no verdict."""
    rows = [
        {
            "dimension": "reliability", "capability": "safety", "task": task, "format": "generate", "chance": 0.0,
            "doc_id": index, "doc_hash": f"{task}{index}", "prompt_hash": "p", "cluster": f"{task}{index}",
            "metric": metric, "primary": False, "value": 0.0, "judge": "", "output": json.dumps({"answers": [answer]}),
        }
        for index, answer in enumerate(answers)
        for metric in ("empty", "tokens", "truncated")
    ]  # fmt: skip
    return tables.label(pl.DataFrame(rows, schema=tables.ITEMS), cell)
