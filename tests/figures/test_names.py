"""No figure, table or page reads a number or a meaning out of a variant's name."""

import json
import re

import pytest

from unicomp_lib import paths

# Ways to take a string apart. What is left of each file's uses is named here, and is of something else.
APART = re.compile(r"\.(r?split|r?partition|removesuffix|removeprefix|str\.\w+)\(|\bre\.\w+\(")
OTHERS = {
    "export.py": {"re.compile(", "re.sub(", "removeprefix"},  # of a drawing in SVG, and of the end of a file's name
    "names.py": {"partition"},  # the end of a file's name
    "heat.py": {"split"},  # words of a capability, between which a title may break
    "units.py": {"re.fullmatch(", "re.sub(", "partition"},  # of metrics and columns
    "panels.py": {"removesuffix", "str.contains"},  # of a column, and of a metric
    "multilingual.ipynb": {"str.extract"},  # a language out of a task
    "scoring.py": {"str.replace", "str.extract"},  # a set and a language out of a task
    "results.ipynb": {"str.join"},
    "variants.py": {"split", "partition"},  # a pattern such as 2:4, and a revision: both are parameters
}
FILES = sorted(
    [
        *(paths.project() / "unicomp_lib" / "figures").glob("*.py"),
        *(paths.project() / "notebooks" / "figures").glob("*.ipynb"),
        *(paths.project() / name for name in (
            "unicomp_lib/evaluate/siblings.py", "unicomp_lib/evaluate/scoring.py", "unicomp_lib/vision/summary.py",
            "unicomp_lib/tables.py", "unicomp_lib/report/front.py", "unicomp_lib/inputs/published.py",
            "unicomp_lib/study/variants.py", "notebooks/explore/results.ipynb", "notebooks/evaluate/scores.ipynb",
            "notebooks/vision/scores.ipynb",
        )),
    ]
)  # fmt: skip


def code(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return text
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    return "\n".join("".join(cell["source"]) for cell in cells)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_name_is_taken_apart(path):
    ways = {match[1] or match[0] for match in APART.finditer(code(path))}
    assert ways <= OTHERS.get(path.name, set())
    assert not re.search(r"variant\"?\]?\)?\.(str\.(?!to_)|r?split|r?partition|remove|startswith|endswith)", code(path))
