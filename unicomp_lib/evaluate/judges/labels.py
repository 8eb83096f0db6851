"""Judged answers to label, labelled ones, and how well the judges agree with them."""

import csv
import hashlib
from pathlib import Path
from typing import Any

import polars as pl

from unicomp_lib import files, paths, results, tables
from unicomp_lib.evaluate import agreement, judging, task
from unicomp_lib.evaluate.judges import measured
from unicomp_lib.evaluate.judges.endpoint import QUESTIONS
from unicomp_lib.inputs import assets

VERSION = "2"

# How a cell begins that a spreadsheet would run as a formula. With apostrophes in front it is text, but one of them
# is taken off on reading, so such a cell gains another.
FORMULA = r"'*[=+\-@\t\r\n＝＋－＠]"

# Metrics that no one can tell from a single answer.
PAIRED = ("steady",)

PYRIT = "pyrit"  # in the place of a task: answers of other models
KEY_ENDING = ".key.csv"  # of the file that says who judged and how
SHOWN = ["id", "task", "question", "prompt", "reference", "answer", "label"]


def draw(profile: str, target: Path, *, number: int = 200, seed: int = 0, data_dir: str = "") -> int:
    """Write about ``number`` judged answers of a finished profile to a CSV file, and return how many.

    Equally many of every task and verdict, as far as there are enough, in random order, from all
    variants. The file has an empty column ``label``; the judges and their verdicts are in a separate
    file, ``<name>.key.csv``, so that labelling is blind. Verdicts that no person could give on one
    answer, such as similarities, are left out. A text that a spreadsheet would run as a formula has an
    apostrophe in front. A ``ValueError`` where nothing is judged, or where the file already exists.
    """
    if target.exists():
        raise ValueError(f"{target} already exists and may contain labels; give another name or move it away")
    published = results.judgements(profile, "reliability")
    if not published.is_file():
        given = "" if profile == results.DEFAULT else f"--profile {profile} "
        raise ValueError(
            f"the judged answers of profile {profile}, results/{profile}/{published.name}, are not there; "
            f"make them: nox -s reproduce -- {given}--only judge/reliability"
        )
    judged = tables.read(published).filter(
        pl.col("judge") != "",
        pl.col("primary"),
        pl.col("value").is_not_null(),
        pl.col("metric").is_in(set(QUESTIONS) - set(PAIRED)),
    )
    strata = judged.sample(fraction=1, shuffle=True, seed=seed).partition_by("task", "value", maintain_order=True)
    per_stratum = -(-number // max(len(strata), 1))
    drawn = pl.concat(part.head(per_stratum) for part in strata).sample(fraction=1, shuffle=True, seed=seed)
    keys = drawn.select("task", "doc_id").iter_rows()
    docs = [judging.documents(name, [index], data_dir)[0] for name, index in keys]
    drawn = drawn.with_row_index("id").with_columns(
        pl.Series("prompt", [doc["prompt"] for doc in docs]),
        pl.Series("reference", map(_reference, docs), dtype=pl.String),
        pl.col("output").str.json_path_match("$.answers[0]").alias("answer"),
        pl.col("metric").replace_strict(QUESTIONS).alias("question"),
        pl.lit("").alias("label"),
    )
    files.write_whole(target, quoted(drawn.select(SHOWN)).write_csv)
    key = drawn.select("id", "task", "metric", "judge", "model", "variant", "doc_id", "value")
    files.write_whole(_key(target), quoted(key).write_csv)
    return len(drawn)


def refusals() -> pl.DataFrame:
    """Assistants' answers labelled by people, from PyRIT: rows of objective, answer, human (1: refused), file, part.

    There an answer to a question that was not asked counts as a refusal too. ``part``: see ``half``.
    """
    rows = []
    for name in ("refusal", "refusal_extra"):
        path = assets.path("pyrit", f"pyrit/datasets/scorer_evals/refusal_scorer/{name}.csv")
        with path.open(encoding="utf-8", newline="") as file:
            rows += [
                {
                    "objective": row["objective"],
                    "answer": row["assistant_response"],
                    "human": int(row["human_score"]),
                    "file": name,
                    "part": half(row["objective"]),
                }
                for row in csv.DictReader(line for line in file if not line.startswith("# "))
            ]
    return pl.DataFrame(rows)


def half(prompt: str) -> str:
    """The part of the labels that answers to a prompt belong to: judges are tuned on ``work``, measured on ``report``.

    By a hash, so that all answers to a prompt are in one part, whichever file or variant they come from.
    """
    plain = " ".join(prompt.lower().split())
    return "report" if hashlib.sha256(plain.encode()).digest()[0] % 2 else "work"


def own() -> pl.DataFrame:
    """This study's labelled answers, ``labels/own.csv`` with its key; a pair's second answer has no label.

    Columns id, task, answer, label (0, 1 or null) and those of the key, such as variant, doc_id, part, labelled_by.
    """
    target = paths.project() / "labels" / "own.csv"
    label = pl.col("label").replace("", None).cast(pl.Int64)
    labelled = read(target, "id", "task", "answer", "label").select("id", "answer", label)
    return labelled.join(read(_key(target), "id", "task", "metric", "doc_id", "part"), on="id").sort("id")


def measure(data_dir: str = "", part: str = "report") -> pl.DataFrame:
    """Agreement of today's judges with all labelled answers of one part: columns ``measured.COLUMNS``.

    A row for every task, one named ``all`` for every judge and metric, and those of PyRIT, which people labelled. A
    ``ValueError`` names the file that is needed where a task's items are in no package.
    """
    frames = []
    for (name, _), frame in own().group_by(["task", "variant"], maintain_order=True):
        about = task.described(str(name))
        judge, verdicts_of = judging.JUDGES[about["judge"]]
        docs = judging.documents(str(name), frame["doc_id"].to_list(), data_dir)
        verdicts = verdicts_of(docs, frame["answer"].to_list())
        values = [verdict.get(about["metric"]) for verdict in verdicts]
        frames.append(frame.with_columns(pl.lit(judge).alias("judge"), pl.Series("value", values, dtype=pl.Float64)))
    ours = pl.concat(frames).with_columns(pl.col("prompt_hash").alias("prompt"))
    rows = pl.concat([ours, _of_pyrit()], how="diagonal").filter(pl.col("part") == part)
    rows = rows.filter(pl.col("label").is_not_null(), pl.col("value").is_not_null())
    by = ["task", "judge", "metric", "labelled_by"]
    named = [(dict(zip(by, key, strict=True)), frame) for key, frame in rows.group_by(by, maintain_order=True)]
    pooled = rows.filter(pl.col("task") != PYRIT).group_by(by[1:], maintain_order=True)
    named += [({"task": measured.ALL, **dict(zip(by[1:], key, strict=True))}, frame) for key, frame in pooled]
    table = [
        agreement_row(about, frame["value"], frame["label"])
        | {"prompts": frame["prompt"].n_unique(), "ones": int(frame["label"].sum())}
        for about, frame in named
    ]
    return (
        pl.DataFrame(table)
        .fill_nan(None)
        .select(*measured.COLUMNS)
        .cast(pl.Schema(measured.COLUMNS))
        .sort(by[1:3] + by[:1])
    )


def write_agreement(data_dir: str = "") -> Path:
    """Write ``measure`` to ``labels/agreement.csv``, which ``measured`` reads, and return its path."""
    table = measure(data_dir).with_columns(pl.col(pl.Float64).round(4))
    return files.write_whole(paths.project() / "labels" / "agreement.csv", table.write_csv)


def _of_pyrit() -> pl.DataFrame:
    """PyRIT's answers with the refusal judge's verdicts, under the metrics that say what those people were asked.

    ``refused_or_off_topic`` is their question; ``answered`` is its opposite, and ``refused`` alone leaves off-topic
    answers out, as this study does.
    """
    rows = refusals()
    judge, verdicts_of = judging.JUDGES["answered"]
    verdicts = verdicts_of(rows.select(prompt="objective").to_dicts(), rows["answer"].to_list())
    base = rows.select("answer", "part", label="human", prompt="objective").with_columns(
        pl.lit(PYRIT).alias("task"), pl.lit(judge).alias("judge"), pl.lit("people").alias("labelled_by")
    )
    refused = pl.Series("value", [verdict["refused"] for verdict in verdicts])
    both = pl.Series("value", [1 - verdict["answered"] for verdict in verdicts])
    return pl.concat(
        base.with_columns(values, pl.lit(metric).alias("metric"))
        for metric, values in (("refused", refused), ("refused_or_off_topic", both))
    )


def score(target: Path) -> pl.DataFrame:
    """Agreement of the judges with a labelled file: rows of task, judge, n, and accuracy and kappa with intervals.

    Rows whose label is empty are left out; one row named ``all`` is over all tasks. A ``ValueError``
    names what is missing, or a label that is neither 0 nor 1.
    """
    for file in (target, _key(target)):
        if not file.is_file():
            raise ValueError(f"{file} does not exist; draw a sample first: nox -s label -- draw {target.name}")
    labelled = read(target, "id", "label").select("id", pl.col("label").str.strip_chars())
    labelled = labelled.filter(pl.col("label").is_not_null(), pl.col("label") != "")
    wrong = labelled.filter(~pl.col("label").is_in(["0", "1"]))
    if not wrong.is_empty():
        raise ValueError(
            f"label {wrong['label'][0]!r} of id {wrong['id'][0]} in {target.name} is not allowed; give 0 or 1"
        )
    if not (twice := labelled.filter(pl.col("id").is_duplicated())).is_empty():
        raise ValueError(f"id {twice['id'][0]} is in {target.name} more than once; keep one row of each answer")
    if labelled.is_empty():
        raise ValueError(f"{target.name} contains no labels yet; fill in its column label with 0 or 1")
    joined = labelled.join(read(_key(target), "id", "task", "judge", "value"), on="id")
    parts = joined.partition_by("task", "judge", maintain_order=True)
    named = [({"task": part["task"][0], "judge": part["judge"][0]}, part) for part in parts]
    everything = [*named, ({"task": "all", "judge": "all"}, joined)]
    return pl.DataFrame(
        [agreement_row(about, part["value"], part["label"].cast(pl.Int64)) for about, part in everything]
    )


def quoted(table: pl.DataFrame) -> pl.DataFrame:
    """``table`` with an apostrophe before each text that a spreadsheet would run as a formula."""
    return table.with_columns(pl.col(pl.String).str.replace(f"^({FORMULA})", "'${1}"))


def read(file: Path, *needed: str) -> pl.DataFrame:
    """A CSV file of ``draw``, its texts as they were before ``quoted``; semicolons separate as well as commas do.

    A ``ValueError`` names a file that is no CSV, or lacks a column that is ``needed``.
    """
    try:
        separator = ";" if ";" in file.open(encoding="utf-8-sig").readline() else ","
        table = pl.read_csv(file, separator=separator, schema_overrides={"label": pl.String})
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{file.name} is no CSV file in UTF-8 ({str(error).splitlines()[0]}); save it in this form"
        ) from error
    if missing := set(needed) - set(table.columns):
        raise ValueError(
            f"{file.name} has columns {', '.join(table.columns)} and lacks {', '.join(sorted(missing))}; keep all "
            "columns as nox -s label -- draw wrote them"
        )
    return table.with_columns(pl.col(pl.String).str.replace(f"^'({FORMULA})", "${1}"))


def agreement_row(about: dict[str, object], judge: pl.Series, human: pl.Series) -> dict[str, object]:
    """A row of n, accuracy and Cohen's kappa of 0/1 verdicts with 95 % intervals, after the columns in ``about``."""
    verdict, person = judge.to_numpy().astype(int), human.to_numpy().astype(int)
    right, kappa = agreement.accuracy(verdict, person), agreement.kappa(verdict, person)
    return {
        **about, "n": len(judge),
        "accuracy": right.value, "accuracy_low": right.low, "accuracy_high": right.high,
        "kappa": kappa.value, "kappa_low": kappa.low, "kappa_high": kappa.high,
    }  # fmt: skip


def _reference(doc: dict[str, Any]) -> str:
    """What a right answer would be, where the item knows one."""
    options = doc.get("options") or doc.get("choices")
    return options[doc["gold"]] if options and "gold" in doc else " | ".join(doc.get("answers", []))


def _key(target: Path) -> Path:
    return target.with_name(f"{target.stem}{KEY_ENDING}")
