"""README's findings are what the claims say of the committed scores."""

import re
import shutil

import polars as pl
import pytest

from unicomp_lib import paths
from unicomp_lib.figures import verdicts
from unicomp_lib.report import readme

HINT = "README.md does not say what the committed scores say; write it again with: nox -s claims"


@pytest.fixture(scope="module")
def found():
    return readme.judged()


@pytest.fixture(scope="module")
def text():
    return (paths.project() / "README.md").read_text(encoding="utf-8")


def test_readme_says_what_the_committed_scores_say(found, text):
    assert readme.replaced(text, readme.section(found)) == text, HINT


def test_the_committed_figure_shows_the_same_verdicts(found):
    drawn = pl.read_csv(paths.project() / "figures" / "embedded" / "claims.csv")
    now = verdicts.table(found)
    for column in ("claim", "sentence", "source", "outcome", "numbers", "interval"):
        assert drawn[column].fill_null("").to_list() == now[column].fill_null("").to_list(), column


def test_variants_that_answered_the_same_items_are_compared_on_these(found):
    pairs = [(each, verdict) for verdict in found for each in verdict.comparisons if each.other]
    apart = {verdict.claim.rule.score.dimension for each, verdict in pairs if not each.interval.startswith("paired, ")}
    assert apart <= {"efficiency"}
    assert {verdict.claim.rule.score.dimension for _, verdict in pairs} >= {"fidelity", "performance", "vision"}


@pytest.mark.parametrize(
    ("pattern", "other"),
    [
        (r"\*\*Undecided:\*\*", "**Held:**"),
        (r"\*\*Undecided:\*\* ", ""),
        (r"(\d)\.(\d) \[", r"\1.\g<2>1 ["),
        (r"more than 90 %", "more than 95 %"),
        (r"\n- [^\n]+(\n  [^\n]+)*", ""),
        (r"contradict (\d+)", r"contradict 9\1"),
    ],
)
def test_a_readme_that_says_otherwise_is_refused(found, text, pattern, other):
    _, begin, rest = text.partition(readme.BEGIN)
    said, end, _ = rest.partition(readme.END)
    changed = re.sub(pattern, other, said, count=1)
    assert changed != said
    other_text = text.replace(f"{begin}{said}{end}", f"{begin}{changed}{end}")
    assert readme.replaced(other_text, readme.section(found)) != other_text


@pytest.fixture
def project(tmp_path, monkeypatch):
    """What the command reads and writes, elsewhere."""
    for name in ("README.md", "params/claims.yaml", "results/embedded/scores.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(paths.project() / name, tmp_path / name)
    for name in ("items", "judged.reliability.parquet"):
        (tmp_path / "results" / "embedded" / name).symlink_to(paths.project() / "results" / "embedded" / name)
    monkeypatch.setattr(paths, "project", lambda: tmp_path)
    return tmp_path


def test_the_command_writes_the_section_and_nothing_else(project, text, capsys):
    (project / "README.md").write_text(text.replace("**Undecided:**", "**Held:**"), encoding="utf-8")
    assert readme.main() == 0
    assert (project / "README.md").read_text(encoding="utf-8") == text
    assert "held: eight-bit-is-nearest; the least clear of 2 comparisons" in capsys.readouterr().out


def test_what_the_command_cannot_do_is_said(project, capsys):
    file = project / "params" / "claims.yaml"
    good = file.read_text()
    file.write_text(good.replace("above: 0.9\n", "above: 0.9\n    above: 0.8\n", 1))
    assert readme.main() == 2
    assert "gives 'above' a second time; remove one" in capsys.readouterr().err
    file.write_text(good.replace("\n  readme: true", "\n  readme: maybe", 1))
    assert readme.main() == 2
    assert "claim eight-bit-is-nearest of claims.yaml gives readme='maybe'" in capsys.readouterr().err
    file.write_text(good)
    (project / "README.md").write_text("# No markers\n")
    assert readme.main() == 2
    assert "README.md lacks the lines" in capsys.readouterr().err
    assert (project / "README.md").read_text() == "# No markers\n"
