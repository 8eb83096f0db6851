"""Labels and siblings follow from method and parameters, whatever a variant is called."""

import re

import pytest

from unicomp_lib.study import params, variants
from unicomp_lib.study.params import Compression, Evaluation, Profile, Pruning, Vision


def profile(compressions, **sections):
    """A profile of these compressions and dense; ``compressions`` holds the entries by variant, as in YAML."""
    entries = {"dense": {"method": "dense"}, **compressions}
    return Profile(
        name="mine",
        models={"m": "tiny-random-llama"},
        calibration={"calibration": "general", "samples": 32, "length": 256},
        compressions={name: Compression(**entry) for name, entry in entries.items()},
        **{"evaluations": {}, **sections},
    )


def labels(compressions):
    return {name: row["label"] for name, row in variants.facts(profile(compressions)).items() if name != "dense"}


@pytest.mark.parametrize(
    ("name", "entry", "label"),
    [
        ("gptq-4", {"method": "gptq", "bits": 4}, "GPTQ int4"),
        ("rtn-3", {"method": "rtn", "bits": 3}, "RTN int3"),
        ("rtn-int8", {"method": "rtn"}, "RTN int4"),  # the notebook's default
        ("foo", {"method": "wanda", "sparsity": 0.6}, "Wanda 60 %"),
        ("wanda-50", {"method": "wanda", "sparsity": 0.07}, "Wanda 7 %"),
        ("sparsegpt-50", {"method": "wanda", "pattern": "2:4"}, "Wanda 2:4"),
        ("wanda-50-reasoning", {"method": "wanda"}, "Wanda 50 %"),
        ("w", {"method": "wanda", "calibration": "reasoning"}, "Wanda 50 % reasoning"),
        ("w", {"method": "wanda", "calibration": "/data/c4-en.jsonl"}, "Wanda 50 % c4-en"),
        ("a", {"method": "smoothquant"}, "SmoothQuant W8A8"),
        ("a", {"method": "quanto", "weights": "int4"}, "quanto int4"),
        ("a", {"method": "quanto", "activations": "int8"}, "quanto int8, activations int8"),
        ("a", {"method": "cache"}, "Cache int8"),
        ("a", {"method": "quarot"}, "QuaRot W4A4KV4"),
        ("a", {"method": "cache", "keys": ""}, "Cache keys full, values int8"),
        ("minitron-width", {"method": "minitron"}, "Minitron depth"),
        ("a", {"method": "minitron", "layers": 0, "neurons": 1152}, "Minitron width"),
        ("a", {"method": "minitron", "layers": 20, "hidden": 486}, "Minitron depth and width"),
        ("a", {"method": "lrc", "hidden": 300}, "Low-Rank Clone 300"),
        ("a", {"method": "gptq", "label": "Ours"}, "Ours"),
    ],
)
def test_a_label_follows_from_method_and_parameters_alone(name, entry, label):
    assert labels({name: entry}) == {name: label}


def test_a_base_stands_before_what_is_done_to_it():
    entries = {
        "small": {"method": "minitron"},
        "both": {"method": "gptq", "base": "small"},
        "ours": {"method": "wanda", "label": "Ours"},
        "gptq+wanda": {"method": "rtn", "base": "ours"},
    }
    found = labels(entries)
    assert found["both"] == "Minitron depth + GPTQ int4"
    assert found["gptq+wanda"] == "Ours + RTN int4"


def test_a_method_that_no_figure_knows_is_called_by_its_own_name(copy, monkeypatch):
    source, target = (copy / "notebooks" / "compress" / f"{name}.ipynb" for name in ("magnitude", "chance"))
    target.write_text(source.read_text())
    monkeypatch.setattr(variants.notebooks.paths, "project", lambda: copy)
    assert labels({"magnitude-90": {"method": "chance", "sparsity": 0.3}}) == {"magnitude-90": "chance 30 %"}


def test_equal_labels_are_told_apart_by_what_differs():
    entries = {
        "a": {"method": "gptq", "group_size": 64},
        "b": {"method": "gptq", "group_size": 128, "act_order": False},
        "c": {"method": "gptq", "group_size": 128, "act_order": False, "calibration": "reasoning"},
        "d": {"method": "rtn"},
    }
    assert labels(entries) == {
        "a": "GPTQ int4, group size 64, act order",
        "b": "GPTQ int4, group size 128, no act order",
        "c": "GPTQ int4, group size 128, no act order, reasoning",
        "d": "RTN int4",
    }


@pytest.mark.parametrize(
    ("entries", "label"),
    [
        ({"a": {"method": "gptq"}, "b": {"method": "gptq", "seeds": [1]}}, "GPTQ int4"),
        ({"a": {"method": "gptq", "label": "RTN int4"}, "b": {"method": "rtn"}}, "RTN int4"),
        ({"a": {"method": "gptq", "label": "x"}, "b": {"method": "rtn", "label": "x"}}, "x"),
    ],
)
def test_labels_that_stay_equal_are_refused(entries, label):
    sentence = f"compressions of mine: a and b would both be called '{label}' in figures; give one of them a label"
    with pytest.raises(params.ParamsError, match=re.escape(sentence)):
        variants.facts(profile(entries))


def siblings(compressions):
    return {name: row["sibling"] for name, row in variants.facts(profile(compressions)).items() if row["sibling"]}


def test_the_sibling_differs_in_the_calibration_alone_whatever_the_names_say():
    entries = {
        "wanda-50-reasoning": {"method": "wanda"},
        "x": {"method": "wanda", "calibration": "reasoning", "seeds": [3]},
        "y": {"method": "wanda", "calibration": "general+reasoning"},
        "wanda-50": {"method": "wanda", "sparsity": 0.6, "calibration": "reasoning"},
        "s": {"method": "sparsegpt", "calibration": "reasoning"},
        "small": {"method": "minitron"},
        "z": {"method": "wanda", "base": "small", "calibration": "reasoning"},
    }
    assert siblings(entries) == {"x": "wanda-50-reasoning", "y": "wanda-50-reasoning"}


def test_a_given_sibling_wins():
    entries = {
        "a": {"method": "wanda"},
        "b": {"method": "wanda", "sparsity": 0.6},
        "c": {"method": "wanda", "calibration": "reasoning", "sibling": "b"},
    }
    assert siblings(entries) == {"c": "b"}


@pytest.mark.parametrize(
    ("sibling", "sentence"),
    [
        ("wanda-5", "has sibling 'wanda-5', which is no variant of it; did you mean 'wanda-50'?"),
        ("rtn", "has sibling 'rtn', which is not another variant of method wanda; allowed are wanda-50; correct"),
        ("mine", "has sibling 'mine', which is not another variant of method wanda; allowed are wanda-50; correct"),
    ],
)
def test_a_sibling_that_is_none_is_refused(sibling, sentence):
    entries = {
        "wanda-50": {"method": "wanda"}, "rtn": {"method": "rtn"},
        "mine": {"method": "wanda", "sparsity": 0.6, "sibling": sibling},
    }  # fmt: skip
    with pytest.raises(params.ParamsError, match=re.escape(f"compressions.mine of profile mine {sentence}")):
        variants.facts(profile(entries))


def test_the_rate_is_the_share_that_is_pruned_and_the_rerun_is_a_control():
    entries = {
        "a": {"method": "wanda", "sparsity": 0.6},
        "b": {"method": "wanda", "pattern": "1:4"},
        "c": {"method": "rtn"},
    }
    evaluations = {"fidelity": Evaluation(rerun={"batch_size": 3})}
    facts = variants.facts(profile(entries, evaluations=evaluations))
    assert {name: row["rate"] for name, row in facts.items()} == {
        "dense": None, "a": 0.6, "b": 0.75, "c": None, "dense-rerun": None
    }  # fmt: skip
    assert facts["dense-rerun"] == {
        "label": "Dense, rerun", "sibling": "", "rate": None, "schedule": "", "control": "rerun"
    }  # fmt: skip
    assert {row["control"] for name, row in facts.items() if name != "dense-rerun"} == {""}
    assert "dense-rerun" not in variants.facts(profile(entries))


def networks(prunings):
    vision = Vision(prunings={name: Pruning(**entry) for name, entry in prunings.items()})
    return variants.vision_facts(profile({}, vision=vision))


def test_networks_have_their_rate_schedule_and_control_from_their_parameters():
    facts = networks(
        {
            "unstructured-50": {"method": "filters", "rate": 0.9, "schedule": "iterative"},
            "filters-90-iterative": {"method": "connections", "rate": 0.3},
            "x-90-as-pruned": {"rate": 0.9, "epochs": 0, "recalibrate": True},
            "y-10": {"rate": 0.9, "epochs": 0, "criterion": "random"},
            "z": {"rate": 0.9, "label": "Ours"},
        }
    )
    assert {name: tuple(row.values()) for name, row in facts.items()} == {
        "dense": ("Dense", "", None, "", ""),
        "untrained": ("Random weights", "", None, "", ""),
        "unstructured-50": ("Filters 90 % iterative", "", 0.9, "iterative", ""),
        "filters-90-iterative": ("Connections 30 %", "", 0.3, "one-shot", ""),
        "x-90-as-pruned": ("Unstructured 90 % recalibrated", "", 0.9, "one-shot", "recalibrated"),
        "y-10": ("Unstructured 90 % random as pruned", "", 0.9, "one-shot", "random as pruned"),
        "z": ("Ours", "", 0.9, "one-shot", ""),
    }
    assert variants.vision_facts(profile({})) == {}


def test_equal_networks_are_told_apart_or_refused():
    both = {"a": {"scope": "global"}, "b": {"scope": "layerwise"}}
    found = networks(both)
    assert [found[name]["label"] for name in both] == [
        "Unstructured 50 %, scope global",
        "Unstructured 50 %, scope layerwise",
    ]
    assert [found[name]["control"] for name in both] == ["", "scope layerwise"]
    with pytest.raises(params.ParamsError, match="prunings of mine: a and b would both be called 'Unstructured 50 %'"):
        networks({"a": {}, "b": {"seeds": [1]}})


def test_the_default_profile_says_what_its_figures_always_said():
    embedded = params.load("embedded")
    facts, vision = variants.facts(embedded), variants.vision_facts(embedded)
    expected = {
        "dense": "Dense", "magnitude-50": "Magnitude 50 %", "magnitude-2-4": "Magnitude 2:4", "wanda-50": "Wanda 50 %",
        "wanda-2-4": "Wanda 2:4", "sparsegpt-50": "SparseGPT 50 %", "sparsegpt-2-4": "SparseGPT 2:4",
        "rtn-int4": "RTN int4", "gptq-int4": "GPTQ int4", "awq-int4": "AWQ int4",
        "smoothquant-w8a8": "SmoothQuant W8A8", "quanto-int8": "quanto int8",
        "wanda-50-reasoning": "Wanda 50 % reasoning", "sparsegpt-50-reasoning": "SparseGPT 50 % reasoning",
        "awq-int4-reasoning": "AWQ int4 reasoning", "minitron-depth": "Minitron depth",
        "minitron-width": "Minitron width", "lrc-450": "Low-Rank Clone 450",
        "minitron-depth+gptq-int4": "Minitron depth + GPTQ int4",
        "sparsegpt-50+gptq-int4": "SparseGPT 50 % + GPTQ int4", "dense-rerun": "Dense, rerun",
    }  # fmt: skip
    assert {name: row["label"] for name, row in facts.items()} == expected
    assert {name: row["sibling"] for name, row in facts.items() if row["sibling"]} == {
        "wanda-50-reasoning": "wanda-50", "sparsegpt-50-reasoning": "sparsegpt-50", "awq-int4-reasoning": "awq-int4"
    }  # fmt: skip
    assert vision["filters-90-iterative"]["label"] == "Filters 90 % iterative"
    assert vision["unstructured-90-as-pruned"]["label"] == "Unstructured 90 % as pruned"
    assert {row["control"] for row in vision.values()} == {"", "as pruned", "recalibrated", "random"}
