import re

import pytest

from unicomp_lib.evaluate.tasks import folder, items, paper
from unicomp_lib.figures import language_names
from unicomp_lib.study import params


@pytest.mark.parametrize("code", sorted({*folder.LANGUAGES, *items.LANGUAGES, *items.EXAMS, *paper.LANGUAGES}))
def test_every_language_of_the_tasks_has_a_name(code):
    assert language_names.name(code) != code


def test_so_has_every_language_of_a_profile_and_another_code_stands_for_itself():
    for name in params.own_profiles():
        text = params.profile_path(name).read_text(encoding="utf-8")
        for code in re.findall(r"\b(?:global_mmlu|mmlu|exams)_([a-z]{2})_", text):
            assert code in language_names.NAMES, name
    assert language_names.name("xx") == "xx"
