import re

import pytest

from unicomp_lib import paths
from unicomp_lib.evaluate.tasks import folder, items, paper
from unicomp_lib.figures import language_names


@pytest.mark.parametrize("code", sorted({*folder.LANGUAGES, *items.LANGUAGES, *items.EXAMS, *paper.LANGUAGES}))
def test_every_language_of_the_tasks_has_a_name(code):
    assert language_names.name(code) != code


def test_so_has_every_language_of_a_profile_and_another_code_stands_for_itself():
    for profile in (paths.project() / "params").glob("*.yaml"):
        for code in re.findall(r"\b(?:global_mmlu|mmlu|exams)_([a-z]{2})_", profile.read_text(encoding="utf-8")):
            assert code in language_names.NAMES, profile.name
    assert language_names.name("xx") == "xx"
