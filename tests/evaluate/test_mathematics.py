import threading
import time

import pytest

from unicomp_lib.evaluate.tasks import extract, mathematics

EQUAL = [
    (r"\frac{1}{2}", "0.5"), (r"\frac{1}{2}", "1/2"), (r"\frac{1}{2}", r"\dfrac12"), (r"\frac{1}{2}", r"\frac12"),
    (r"\left( 3, \frac{\pi}{2} \right)", r"(3, \pi/2)"), (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\frac{\pi}{2})"),
    ("p - q", "-q+p"), (r"\frac{14}{3}", r"4\frac{2}{3}"), ("9", "9"), ("9", "9.0"), (r"\text{Evelyn}", "Evelyn"),
    (r"\text{Evelyn}", r"\text{Evelyn}"), ("42", "42"), ("27", "x=27"), (r"90^\circ", "90"), ("90", r"90^\circ"),
    (r"3\sqrt{13}", r"\sqrt{117}"), ("4", r"\boxed{4}"), ("2220", "2,220"), (r"\frac{3}{56}", "3/56"), ("284", "284"),
    ("5", "5"), (r"\sqrt{51}", r"\sqrt{51}"), ("6 - 5i", "6-5i"), ("-50", "-50"), (r"\pi", r"\pi"), ("28", "28"),
    ("3", "3.0"), ("6+9i", "9i+6"), ("13535", "13535"), ("5", "x = 5"), ("x=5", "5"), ("10", "10"), ("1,-2", "-2, 1"),
    ("1,-2", "1, -2"), ("(-2,1)", "(-2, 1)"), ("52_8", "52_8"), (r"11\sqrt2", r"11\sqrt{2}"), ("720", "720"),
    (r"\frac{243}{625}", r"\frac{243}{625}"), ("-125", "-125"), ("3, 5, 7", "3,5,7"), ("x^3 + 3x - 6", "x^3+3x-6"),
    ("x^3 + 3x - 6", "3x + x^3 - 6"), (r"70 \sqrt{2}", r"70\sqrt2"), ("1.25", r"\frac{5}{4}"), (r"10\%", "10%"),
    (r"10\%", "10"), (r"\$32,348", "32348"), (r"\$32,348", r"\$32348"), ("32,348", "32348"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"), ("(6,31,-1)", "(6, 31, -1)"),
    ("[2,5)", "[2,5)"), (r"\text{(C)}", "(C)"), (r"\text{(C)}", "C"), (r"2.5 \text{ inches}", "2.5"),
    ("(x-3)(x+2)", "x^2 - x - 6"), ("2k+2", "2(k+1)"), (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}"),
]  # fmt: skip
DIFFERENT = [
    (r"\frac{1}{2}", "0.6"), (r"\frac{1}{2}", r"\frac{1}{3}"), ("42", "43"), ("(1,2)", "(2,1)"),
    (r"\text{Evelyn}", "Joyce"), ("x^2", "x^3"), ("p-q", "q-p"), ("[2,5)", "[2,5]"), ("-3", "3"), ("27", "2.7"),
    ("10", r"11\%"), ("1,-2", "1,2"),
]  # fmt: skip


@pytest.mark.parametrize(("right", "answer"), EQUAL)
def test_equal_expressions_are_found_equal(right, answer):
    assert mathematics.equal(right, answer) is True


@pytest.mark.parametrize(("right", "answer"), DIFFERENT)
def test_different_expressions_are_not(right, answer):
    assert mathematics.equal(right, answer) is False


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        (r"Thus $x=\boxed{\frac{1}{2}}$.", r"\frac{1}{2}"),
        (r"First \boxed{3}, then \boxed{\text{a {b}}}", r"\text{a {b}}"),
        (r"The answer is $\frac{1}{2}$. Check: $x = 3$.", r"\frac{1}{2}"),
        ("The final answer is 5.", "5"),
        ("The answer is 1/2.", "1/2"),
        ("**Answer:** $7$", "7"),
        (r"\boxed 7", "7"),
        ("So x is 5", "5"),
        ("Hence $a+b=5$ and $c=7$.", "c=7"),
        (r"<think>\boxed{3}</think>\boxed{4}<|im_end|>\boxed{5}", "4"),
        (r"The answer is $4$." + "\n\nProblem: what?\nAnswer: $5$", "4"),
        (r"<think>\boxed{3}", None),
        ("", None),
        ("I cannot say it at all, since this is a hard and long question.", None),
    ],
)
def test_the_stated_expression_is_read(text, expression):
    assert mathematics.stated(text) == expression


def test_an_answer_is_scored_and_none_has_failed():
    doc = {"answer": r"\frac{1}{2}"}
    assert extract.mathematics(doc, [r"It is $\boxed{0.5}$."]) == {"exact_match": 1.0, "failed": 0.0}
    assert extract.mathematics(doc, ["The answer is $2$."]) == {"exact_match": 0.0, "failed": 0.0}
    assert extract.mathematics(doc, [""]) == {"exact_match": 0.0, "failed": 1.0}


@pytest.mark.parametrize("shape", ["{}", r"\text{{{}}}", r"\operatorname{{{}}}(1)", "x_{{{}}}", "{}(1)", "1+{}"])
def test_no_text_is_executed(shape, tmp_path):
    answer = shape.format(f"__import__('pathlib').Path('{tmp_path}/seen').touch()")
    mathematics.equal("1", answer)
    assert not list(tmp_path.iterdir())


def test_what_takes_too_long_is_given_up_and_the_next_answer_is_compared():
    start = time.monotonic()
    assert mathematics.equal("5", r"\binom{10^9}{5 \cdot 10^8}") is None
    assert time.monotonic() - start < 60
    assert mathematics.equal("0.5", r"\frac12") is True


@pytest.mark.parametrize(
    "answer", ["9^{9^{9^{9}}}", "99999999!", "2^{999999999}", "{" * 900, "1" * 5000, "\\sqrt{" * 300 + "2" + "}" * 300]
)
def test_what_no_machine_holds_is_not_equal(answer):
    assert not mathematics.equal("5", answer)


def test_other_threads_may_compare():
    found = []
    thread = threading.Thread(target=lambda: found.append(mathematics.equal("x+1", "1+x")))
    thread.start()
    thread.join()
    assert found == [True]


@pytest.mark.parametrize("piece", ["$", "\\boxed{", "the answer is ", "{", "x"])
def test_long_texts_are_read_in_bounded_time(piece):
    start = time.process_time()
    mathematics.stated(piece * (200_000 // len(piece)))
    assert time.process_time() - start < 5
