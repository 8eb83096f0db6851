"""README's findings, written from the claims and the committed scores: ``nox -s claims``."""

import sys
import textwrap
from pathlib import Path

from unicomp_lib import files, paths, results, tables
from unicomp_lib.figures import claims, verdicts
from unicomp_lib.figures.claims import Outcome, Verdict
from unicomp_lib.study import strict_yaml

BEGIN = "<!-- Written by nox -s claims from params/claims.yaml; edit that instead. -->"
END = "<!-- End of what nox -s claims writes. -->"
STUDY = "this study"
WIDTH = 110
PAPERS = "What the two papers say of larger models, on these data:"
SUMMARY = (
    "Of {number} claims of this study and of the two papers in [`params/claims.yaml`](params/claims.yaml), these data "
    "support {held}, contradict {contradicted} and leave {undecided} undecided ([all of "
    "them](figures/embedded/claims.csv), [drawn](figures/embedded/claims.png)). The sentences above are written from "
    "[the committed scores](results/embedded/scores.parquet), and a test compares them. A claim is held, or "
    "contradicted, only where its 95 % interval lies wholly on one side, after Holm's correction for all claims: "
    "without it, up to one claim in twenty would be decided by chance. Two variants that answered the same items are "
    "compared on these. Brackets are 95 % intervals; those of a speed are Student's t of its repeats, which takes the "
    "repeats in one process for independent and normal. Please [read the numbers](docs/reading_the_numbers.md) with "
    "their limits."
)


def main() -> int:
    """Write README's section and print all verdicts; 0 when that is done, 2 on bad input."""
    try:
        found = judged()
        readme = paths.project() / "README.md"
        files.write_text(readme, replaced(readme.read_text(encoding="utf-8"), section(found)))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for verdict in found:
        why = f" ({verdict.reason})" if verdict.reason else ""
        print(f"{verdict.outcome}{why}: {verdict.claim.name}; {verdicts.numbers(verdict)}")
    return 0


def judged(profile: str = results.DEFAULT, path: Path | None = None) -> list[Verdict]:
    """The verdicts on the claims of ``params/claims.yaml`` by a profile's published scores."""
    listed = claims.parse(strict_yaml.read(path or paths.project() / "params" / "claims.yaml"))
    scores = results.folder(profile) / "scores.parquet"
    items = claims.item_rows({}, dict.fromkeys(claims.ITEMS, str(scores)))
    return claims.judge(listed, tables.read(scores), items)


def section(found: list[Verdict]) -> str:
    """What README says: the claims that are marked for it with verdicts and numbers, and how many there are."""
    told = [verdict for verdict in found if verdict.claim.readme]
    own = [_bullet(verdict) for verdict in told if verdict.claim.source == STUDY]
    others = [_bullet(verdict) for verdict in told if verdict.claim.source != STUDY]
    counts = {outcome.name.lower(): sum(verdict.outcome == outcome for verdict in found) for outcome in Outcome}
    summary = _wrapped(SUMMARY.format(number=len(found), **counts))
    return "\n\n".join(["\n".join(own), PAPERS, "\n".join(others), summary])


def replaced(text: str, new: str) -> str:
    """README's ``text`` with the section between its two markers made ``new``."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(
            f"README.md lacks the lines {BEGIN!r} and {END!r}, between which findings are written; add them"
        )
    return f"{before}{BEGIN}\n\n{new}\n\n{END}{after}"


def _bullet(verdict: Verdict) -> str:
    """A claim in a list: its verdict where that is not to be taken for granted, its source, its numbers."""
    own = verdict.claim.source == STUDY
    outcome = "" if own and verdict.outcome == Outcome.HELD else f"**{str(verdict.outcome).capitalize()}:** "
    source = "" if own else f" ({verdict.claim.source})"
    told = [verdicts.numbers(verdict), verdict.reason]
    detail = "; ".join(filter(None, told))
    detail = f" *{detail[0].upper()}{detail[1:]}.*" if detail else ""
    return _wrapped(f"- {outcome}{verdict.claim.sentence.removesuffix('.')}{source}.{detail}", indent="  ")


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    sys.exit(main())
