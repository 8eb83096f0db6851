import pytest

from unicomp_lib.report import site
from unicomp_lib.study import params
from unicomp_lib.study.plan import plan
from unicomp_lib.study.steps import keys


@pytest.mark.parametrize("name", ["tiny", "embedded"])
def test_the_chapters_have_keys_beside_the_steps_of_a_study(name):
    profile = params.load(name)
    steps = [*plan(profile), *site.teaching(profile, name)]
    found = keys(steps)
    assert len(set(found.values())) == len(steps) == len(found)
    assert sum(each.startswith("learn/") for each in found) == 7
