import pytest

from unicomp_lib.report import markup

READ = pytest.importorskip("markdown_it").MarkdownIt("commonmark").enable("table")
NAMES = [
    "a <b>x</b>",
    "<script>1</script>",
    "*a* _b_ **c**",
    "a | b",
    "[a](b)",
    "`a`",
    "``a` b",
    "a\\b",
    "&amp;",
    "`",
    "$x$",
]


def cells(text):
    """The texts of the tokens in the cell of a table, by kind."""
    (inline,) = [token for token in READ.parse(f"| {text} |\n|---|") if token.type == "inline"]
    return [(token.type, token.content) for token in inline.children]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_text_is_shown_as_it_is(name):
    tokens = cells(markup.plain(name))
    assert {kind for kind, _ in tokens} <= {"text", "text_special"}
    assert "".join(content for _, content in tokens) == name


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_code_is_shown_as_it_is(name):
    assert cells(markup.code(name)) == [("code_inline", name)]


def test_text_stays_on_its_line():
    assert markup.plain("a\n\n# b") == "a # b"
    assert markup.code("a\n\nb") == "`a b`"


def test_a_commit_is_short_and_says_whether_it_had_changes():
    assert markup.commit("0ce762e29f63595beac79e1f9ed9ecd398743e86+changes") == "`0ce762e29f63+changes`"
    assert markup.commit("0ce762e29f63595beac79e1f9ed9ecd398743e86") == "`0ce762e29f63`"
    assert markup.commit(None) == markup.commit("") == "not recorded"
