import subprocess
import sys

import pytest

from unicomp_lib.figures import palette
from unicomp_lib.study import params


@pytest.mark.parametrize("looks", [palette.METHODS, palette.NETWORKS])
def test_every_method_has_a_look_of_its_own(looks):
    colours, markers = ({look[part] for look in looks.values()} for part in (1, 2))
    assert len(colours) == len(markers) == len(looks)


def test_the_methods_of_all_profiles_have_one():
    for name in ("embedded", "engines", "formats", "gpu", "openvino", "paper", "tiny", "vision", "vllm"):
        profile = params.load(name)
        assert {entry.method for entry in profile.compressions.values()} <= set(palette.METHODS)
        prunings = profile.vision.prunings.values() if profile.vision else ()
        assert {entry.parameters["method"] for entry in prunings if "method" in entry.parameters} <= set(
            palette.NETWORKS
        )


def test_a_method_without_one_is_called_what_profiles_call_it():
    assert [palette.method_name(method) for method in ("rtn", "filters", "mine")] == ["RTN", "Filters", "mine"]


def test_names_and_colours_are_had_without_the_drawing():
    code = (
        "import sys; from unicomp_lib.figures import palette; from unicomp_lib.study import variants; "
        "print([name for name in ('matplotlib', 'polars', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_methods_without_an_entry_have_looks_that_their_names_decide():
    looks = {palette.look(f"own-{number}") for number in range(40)}
    assert looks == set(palette.SPARE)
    assert palette.look("own-1") == palette.look("own-1")
    assert palette.look("wanda") == palette.METHODS["wanda"][1:]
    assert palette.look("filters") == palette.NETWORKS["filters"][1:]
    assert not {look[0] for look in palette.SPARE} & {look[1] for look in palette.METHODS.values()}
