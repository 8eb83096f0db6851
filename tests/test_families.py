"""The page on model families is what the code does: exact, or refused in one sentence, never another result."""

import families
import family_table
import pytest

from unicomp_lib.checkpoints import models
from unicomp_lib.compress import rotate


def test_a_cache_that_is_not_quantized_when_read_back_is_found(tiny, monkeypatch):
    for forms in family_table.CACHES.values():
        assert family_table._is_cached(families.build("llama"), tiny[1], forms)
    monkeypatch.setattr(models, "with_cache", lambda network: network)
    for forms in family_table.CACHES.values():
        assert not family_table._is_cached(families.build("llama"), tiny[1], forms)


def test_a_rotation_that_changes_the_outputs_or_none_at_all_is_found(monkeypatch):
    assert family_table._stays(families.build("llama"))
    monkeypatch.setattr(rotate, "TOLERANCE", float("inf"))
    assert not family_table._stays(families.build("gemma"))
    monkeypatch.setattr(rotate, "compress", lambda model: model)
    assert not family_table._stays(families.build("llama"))


@pytest.mark.slow
def test_the_page_of_families_is_what_the_code_does():
    rows = family_table.rows()
    assert not [row for row in rows if "WRONG" in row.values()]
    assert all(outcome == family_table.EXACT for outcome in list(rows[0].values())[1:])  # Llama, in every column
    assert family_table.PAGE.read_text(encoding="utf-8") == family_table.page(rows)
