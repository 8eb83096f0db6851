"""Sources of texts: the user's own files, and mixtures that name them."""

import json

import pytest

from unicomp_lib.inputs import texts


def test_lines_and_rows_of_a_users_file(tmp_path):
    lines, rows = tmp_path / "mine.txt", tmp_path / "mine.jsonl"
    lines.write_bytes("one\r\n\r\n  two \nthree\u2028still three".encode())
    assert texts.texts(str(lines)) == ["one", "  two ", "three\u2028still three"]
    entries = [{"text": "plain"}, {"question": "why?", "answer": "so"}]
    rows.write_text("\ufeff" + "\n".join(map(json.dumps, entries)), encoding="utf-8")
    assert texts.texts(str(rows)) == ["plain", ["why?", "so"]]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 2 of .* is no valid JSON"),
        ('{"txt": 1}', "line 2 of .* has txt; each needs a text, or a question and an answer"),
        ("[1]", "line 2 of .* has a list"),
        ('"alone"', "line 2 of .* has a str"),
        ('{"text": null}', "line 2 of .* gives null as text; give a text there"),
        ('{"question": "why?", "answer": ["so"]}', "line 2 of .* as answer; give a text there"),
    ],
)
def test_a_row_that_is_none_is_named_with_its_line(tmp_path, line, says):
    path = tmp_path / "mine.jsonl"
    path.write_text(f'{{"text": "a"}}\n{line}\n')
    with pytest.raises(ValueError, match=says):
        texts.check(str(path))


def test_of_a_long_file_the_check_reads_the_beginning(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"text": "a"}\n' * 1000 + "{\n")
    texts.check(f"general+{path}")
    with pytest.raises(ValueError, match="line 1001"):
        texts.texts(str(path))


def test_the_files_of_a_mixture_are_found_by_their_names(tmp_path):
    odd = tmp_path / "c++" / "mine.txt"
    odd.parent.mkdir()
    odd.write_text("text")
    find = {"mine.txt": odd, "plain.txt": tmp_path / "plain.txt"}.get
    assert texts.located("general+reasoning", find) == "general+reasoning"
    assert texts.located("0.25*plain.txt+ general", find) == f"0.25*{tmp_path / 'plain.txt'}+general"
    assert texts.located("mine.txt", find) == str(odd)
    assert texts.parts(str(odd)) == [(str(odd), 1.0)]
    with pytest.raises(ValueError, match="holds a \\+ or \\*, which join a mixture"):
        texts.located("mine.txt+general", find)


def test_a_name_that_is_nearly_right_is_asked_about():
    with pytest.raises(ValueError, match="'genral' is not known; did you mean 'general'"):
        texts.check("0.5*genral+0.5*reasoning")
