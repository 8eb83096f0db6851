"""The comparison as text: for the terminal, as CSV and as LaTeX."""

from pathlib import Path

import numpy as np
import polars as pl

from unicomp_lib import files
from unicomp_lib.compare.measure import Line, bracket, number, signed
from unicomp_lib.compare.pair import Pair
from unicomp_lib.evaluate.statistics import Estimate

HEADER = (
    "task", "metric", "items", "A", "B", "B − A", "95 % interval", "lost", "gained", "p exact", "p mid", "p Holm",
    "detectable", "rerun",
)  # fmt: skip
TEXTS = (0, 1)  # columns that begin at the left


def cells(line: Line) -> list[str]:
    """A line in the columns of ``HEADER``."""
    flips = [str(line.lost), str(line.gained)] if line.test else ["", ""]
    rerun = f"{signed(line.noise.value, line)} ({line.rerun_flips} of {line.rerun_n})" if line.noise else ""
    return [
        line.task, line.metric, str(line.n), number(line.a.value, line), number(line.b.value, line),
        signed(line.difference.value, line), bracket(line.difference, line), *flips,
        probability(line.exact) or (f"t: {probability(line.p)}" if np.isfinite(line.p) else ""), probability(line.mid),
        probability(line.holm), _detectable(line), rerun,
    ]  # fmt: skip


def _detectable(line: Line) -> str:
    """No share differs by more than 100 points."""
    return "none" if line.points and line.detectable > 1 else number(line.detectable, line) if line.test else ""


def probability(p: float) -> str:
    """A p-value with three decimals; empty where there is none."""
    if not np.isfinite(p):
        return ""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def columns(of_lines: list[Line]) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of a table, without columns that are empty throughout."""
    rows = [cells(line) for line in of_lines]
    used = [place for place in range(len(HEADER)) if any(row[place] for row in rows)]
    return [HEADER[place] for place in used], [[row[place] for place in used] for row in rows]


def terminal(of_lines: list[Line]) -> str:
    """An aligned table."""
    header, rows = columns(of_lines)
    table = [header, *rows]
    widths = [max(len(row[place]) for row in table) for place in range(len(header))]
    left = [HEADER.index(name) in TEXTS for name in header]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if begins else cell.rjust(width)
            for cell, width, begins in zip(row, widths, left, strict=True)
        ).rstrip()
        for row in table
    )


def frame(of_lines: list[Line], a: str, b: str) -> pl.DataFrame:
    """All numbers in full: shares as shares, with what they are in the names of the columns."""
    rows = [
        {
            "task": line.task, "metric": line.metric, "higher_is_better": line.higher, "items": line.n,
            "left_out": line.left_out, "model_a": a, "model_b": b, **_three("a", line.a), **_three("b", line.b),
            **_three("difference", line.difference), "lost": line.lost if line.test else None,
            "gained": line.gained if line.test else None, "test": line.test, "p": line.p, "mcnemar_exact_p": line.exact,
            "mcnemar_mid_p": line.mid, "holm_p": line.holm, "detectable": line.detectable,
            **_three("rerun_difference", line.noise),
            "rerun_flips": line.rerun_flips if line.noise else None,
            "rerun_items": line.rerun_n if line.noise else None,
            "verdict": line.verdict if line.test else "", "no_interval": line.difference.reason,
        }
        for line in of_lines
    ]  # fmt: skip
    return pl.DataFrame(rows, infer_schema_length=None).fill_nan(None)


def _three(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    return {
        key: None if estimate is None else float(getattr(estimate, part))
        for key, part in ((name, "value"), (f"{name}_low", "low"), (f"{name}_high", "high"))
    }


def flipped(pairs: list[Pair]) -> pl.DataFrame:
    """The items whose value is not the same on both sides, those that B lost first."""
    parts = []
    for pair in pairs:
        sign = 1.0 if pair.higher else -1.0
        change = (pl.col("b") - pl.col("a")) * sign
        rows = pair.items.filter(pl.col("a") != pl.col("b")).sort(change, maintain_order=True)
        parts.append(
            rows.select(
                pl.lit(pair.task).alias("task"), pl.lit(pair.metric).alias("metric"), "doc_id",
                pl.when(change < 0).then(pl.lit("lost")).otherwise(pl.lit("gained")).alias("flip"),
                "a", "b", "question", "target", "answer_a", "answer_b",
            )
        )  # fmt: skip
    return pl.concat(parts)


def latex(of_lines: list[Line], a: str, b: str) -> str:
    """A table for a paper, with the commands of the package booktabs; its note says what each column is."""
    header, rows = columns(of_lines)
    align = "".join("l" if HEADER.index(name) in TEXTS else "r" for name in header)
    body = [" & ".join(map(escaped, row)) + r" \\" for row in rows]
    return "\n".join(
        [
            f"% A: {escaped(a)}; B: {escaped(b)}. Shares in points; 95 % intervals of paired differences.",
            rf"\begin{{tabular}}{{{align}}}", r"\toprule", " & ".join(map(escaped, header)) + r" \\", r"\midrule",
            *body, r"\bottomrule", r"\end{tabular}", "",
        ]
    )  # fmt: skip


def escaped(text: str) -> str:
    """Text in LaTeX: signs that mean something to it, and minus."""
    known = {
        "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$",
        "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "−": "$-$", "–": "--", "<": "$<$", ">": "$>$",
    }  # fmt: skip
    return "".join(known.get(sign, sign) for sign in text)


def write(folder: Path, of_lines: list[Line], pairs: list[Pair], a: str, b: str) -> None:
    """``tasks.csv``, ``items.csv`` and ``table.tex``."""
    files.write_whole(folder / "tasks.csv", frame(of_lines, a, b).write_csv)
    files.write_whole(folder / "items.csv", flipped(pairs).write_csv)
    files.write_text(folder / "table.tex", latex(of_lines, a, b))
