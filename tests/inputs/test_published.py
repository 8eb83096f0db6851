import pytest

from unicomp_lib import paths
from unicomp_lib.inputs import published
from unicomp_lib.study import params, variants


def test_every_figure_stands_beside_a_variant_of_the_study_and_names_its_source():
    profile = params.load("embedded")
    facts = variants.facts(profile)
    known = {(profile.compressions[name].method, facts[name]["label"]) for name in profile.compressions}
    for metric in ("perplexity", "plain_retention", "acc"):
        for row in published.figures(metric).iter_rows(named=True):
            assert (row["method"], row["label"]) in known
            assert row["source"]


def test_ratios_are_to_dense_of_the_same_table():
    found = dict(published.perplexity_ratios().select("label", "value").iter_rows())
    assert found["Wanda 50 %"] == pytest.approx(7.26 / 5.68)
    assert found["AWQ int4"] == pytest.approx(5.60 / 5.47)
    assert "Dense" not in found


def test_what_is_wrong_is_said(copy, monkeypatch):
    monkeypatch.setattr(paths, "project", lambda: copy)
    with pytest.raises(ValueError, match=r"published.yaml has no 'kl'; it has acc, perplexity, plain_retention"):
        published.figures("kl")
    file = copy / "params" / "published.yaml"
    file.write_text(file.read_text().replace("value: 7.22", "value: about seven"))
    with pytest.raises(ValueError, match=r"entry 2 of published.yaml, value: .*; correct it"):
        published.figures("perplexity")
