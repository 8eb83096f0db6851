"""The page on model families is what the code does: exact, or refused in one sentence, never another result."""

import family_table
import pytest


@pytest.mark.slow
def test_the_page_of_families_is_what_the_code_does():
    rows = family_table.rows()
    assert not [row for row in rows if "WRONG" in row.values()]
    assert all(outcome == family_table.EXACT for outcome in list(rows[0].values())[1:])  # Llama, in every column
    assert family_table.PAGE.read_text(encoding="utf-8") == family_table.page(rows)
