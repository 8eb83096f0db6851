import hub_content
import pytest

from unicomp_lib.inputs import hub, texts
from unicomp_lib.inputs.corpora import SOURCES


@pytest.fixture
def read(monkeypatch):
    """The rows of the pretended hub, and which data sets and configs were read."""
    asked = set()

    def rows(name, config, split, *, first=None):
        asked.add((name, config))
        return hub_content.ROWS[name](config, split)[:first]

    monkeypatch.setattr(hub, "rows", rows)
    return asked


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_reads_the_data_sets_it_names(source, read):
    assert all(text.strip() for text in texts.texts(source))
    named = {
        (name, config)
        for name, configs in texts.reads(source).items()
        for config in configs or hub.catalogue()[name].configs
    }
    assert read == named


def test_questions_come_without_their_answers(read):
    for source in ("arc-easy", "gsm8k", "math"):
        assert not any("boxed" in text or "####" in text or "thing 0-B" in text for text in texts.texts(source))


def test_wikitext_is_one_text_in_its_order(read):
    [text] = texts.texts("wikitext2")
    assert text.startswith("\n\n = Title = \n")


def test_a_mixture_of_the_hub_has_an_identity_of_its_revisions(monkeypatch):
    mixture = "arc-easy+gsm8k+math"
    texts.check(mixture)
    assert texts.needed(mixture) == set()
    before = texts.identity(mixture)
    pinned = hub.catalogue()
    other = {**pinned, "math": pinned["math"].model_copy(update={"revision": "0" * 40})}
    monkeypatch.setattr(hub, "catalogue", lambda: other)
    assert texts.identity(mixture) != before
