"""The command ``publish``: a finished profile's results in the forms that others read."""

import argparse
import time

from unicomp_lib import files, results, tables
from unicomp_lib.exchange import (
    columns,
    data_set,
    efficiency_tables,
    every_eval_ever,
    method_tables,
    model_cards,
    paper_tables,
)
from unicomp_lib.study import external, params
from unicomp_lib.study.hints import count


def publish(options: argparse.Namespace) -> int:
    """Write the data set, the records of Every Eval Ever, the model cards' results and the tables; upload nothing."""
    every_eval_ever.relationship(options.relationship)  # before anything is written
    profile = params.load(options.profile)
    scores = tables.read(results.folder(profile.name) / "scores.parquet")
    rows = data_set.items(profile.name)
    files.folder(options.folder, "FOLDER")
    moment = int(time.time())
    data_set.write(rows, options.folder / "data_set", profile.name, by=options.by, moment=moment)
    models = {name: external.at_commit(source, profile) for name, source in profile.models.items()}
    number = every_eval_ever.write(
        scores, options.folder / "every_eval_ever", sources=models, by=options.by, moment=moment,
        relation=options.relationship, checkpoints=_checkpoints(profile),
    )  # fmt: skip
    cards = model_cards.write(scores, options.folder / "model_cards")
    folder = options.folder / "tables"
    written = [name for kind in (paper_tables, efficiency_tables, method_tables) for name in kind.write(scores, folder)]
    tasks = paper_tables.meanings(every_eval_ever.scored(scores))
    more = tasks | method_tables.meanings(scores, tasks) | efficiency_tables.meanings(scores)
    written += [columns.write([folder / name for name in written if name.endswith(".csv")], more)]
    print(f"data_set: {count(sum(map(len, rows.values())), 'row')} of {', '.join(rows)}")
    print(f"every_eval_ever: {count(number, 'record')} of schema {every_eval_ever.SCHEMA}")
    hint = "compare task_id with the data set's eval.yaml" if cards else "none of the tasks is a data set of the hub"
    print(f"model_cards: {count(cards, 'file')} for .eval_results; {hint}")
    print(f"tables: {', '.join(written)}")
    print(f"written to {options.folder}; nothing was uploaded")
    return 0


def _checkpoints(profile: params.Profile) -> dict[tuple[str, str], str]:
    """What others have compressed, by model and variant."""
    return {
        (model, variant): external.at_commit(checkpoint, profile)
        for variant, compression in profile.compressions.items()
        for model in profile.models
        if (checkpoint := compression.checkpoint_of(model))
    }
