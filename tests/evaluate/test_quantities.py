import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unicomp_lib.evaluate.tasks import quantities

# Texts, and the number that each states.
STATED = [
    ("23 (boys) + 12 (girls) =", None), ("100 + 36 + 120 = 100 + 36 + 120 = 100 + 36", None), ("22 + 23 + 25 +", None),
    ("5% of $140 is 0.05 * 140 = 0.05 * 140 =", None),
    ("#### -$5", "-5"), ("#### −3", "-3"), ("The answer is **15**. That is 3 more than 12.", "15"),
    ("The answer is \\boxed{15}. Check: 15-3=12", "15"), ("The answer is 3 * 5 = 15.", "15"),
    ("#### 5 + 10 = 15", "15"), ("#### **15** (3 each)", "15"),
    ("The answer: 15. It took 3 days.", "15"), ("That makes $29.00.", "29"),
    ("It is 72, in total, so she has that much.", "72"), ("#### $1,200", "1200"), ("#### -3", "-3"),
    ("#### ১২", "12"), (" 5 + 3 = 8", "8"), (" 8.0", "8"), (" 1,008", "1008"), ("eight", None),
    ("3*5=15\n#### 15", "15"), ("The answer is $15. That is 3 more.", "15"), ("#### 1,500", "1500"),
    ("It is 3 times 5, so 15", "15"), ("#### 15\n\nNext: 20", "15"),
    ("So there are 12 apples (3 more than 9).", "12"), ("… so 12 apples (3 more than 9)", "12"),
    ("So he has 12 apples, which is 3 more than 9.", "12"),
    ("So he has 12 apples, 3 more than before.", "12"),
    ("He has 12 apples because 3 + 9 = 12", "12"), ("The answer is .5", "0.5"), (".5", "0.5"),
    ("-.5", "-0.5"), ("0,5", "0.5"), ("3,5", "3.5"), ("1,234.5", "1234.5"), ("1.234,5", "1234.5"),
    ("1.234.567", "1234567"), ("1,234,567", "1234567"), ("1 234 567", "1234567"),
    ("1 234,5", "1234.5"), ("1 234", "1234"), ("1'234", "1234"), ("1’234", "1234"),
    ("1'234.5", "1234.5"), ("1,00,000", "100000"), ("1.234", "1.234"), ("1,234", "1234"),
    ("€50", "50"), ("50€", "50"), ("50 €", "50"), ("£50", "50"), ("¥50", "50"), ("₹50", "50"),
    ("US$50", "50"), ("R$ 50", "50"), ("USD 50", "50"), ("50 USD", "50"), ("50 dollars", "50"),
    ("$50", "50"), ("$ 50", "50"), ("-$50", "-50"), ("$-50", "-50"), ("−$50", "-50"),
    ("\\$50", "50"), ("$50.00", "50"), ("**15**", "15"), ("*15*", "15"), ("`15`", "15"),
    ('"15"', "15"), ("$15$", "15"), ("\\(15\\)", "15"), ("\\boxed{15}", "15"),
    ("$\\boxed{15}$", "15"), ("\\boxed{\\$15}", "15"), ("\\boxed{15\\%}", "15"),
    ("\\boxed{15 \\text{ apples}}", "15"), ("\\boxed{\\text{15}}", "15"),
    ("\\boxed{1,500}", "1500"), ("\\boxed{1{,}500}", "1500"), ("\\boxed{1\\,500}", "1500"),
    ("The answer is \\boxed{15}.", "15"), ("\\boxed{\\frac{1}{2}}", "0.5"), ("1/2", "0.5"),
    ("The answer is 3/4.", "0.75"), ("1 1/2", "1.5"), ("½", "0.5"), ("1½", "1.5"), ("50%", "50"),
    ("The answer is 50 percent.", "50"), ("50 %", "50"), ("1.5 million", "1500000"),
    ("2 billion", "2000000000"), ("3e6", "3000000"), ("3 × 10^6", "3000000"),
    ("3 × 10^{-3}", "0.003"), ("3e-3", "0.003"), ("1.2 \\times 10^5", "1.2e5"),
    ("Answer: 15", "15"), ("Answer: 15 apples", "15"), ("Answer = 15", "15"),
    ("**Answer:** 15", "15"), ("Answer: **15**", "15"), ("Final Answer: 15", "15"),
    ("The final answer is 15.", "15"), ("Final answer: \\boxed{15}. I hope it is correct.", "15"),
    ("Antwort: 15", "15"), ("Die Antwort lautet 15.", "15"), ("La respuesta es 15.", "15"),
    ("La réponse est 15.", "15"), ("La risposta è 15", "15"), ("A resposta é 15.", "15"),
    ("Ответ: 15", "15"), ("答案是15", "15"), ("答案：15。", "15"), ("答えは15です。", "15"), ("答えは１５です", "15"),
    ("คำตอบคือ 15", "15"), ("คำตอบคือ ๑๕", "15"), ("उत्तर १५ है", "15"), ("الإجابة هي ١٥", "15"),
    ("The answer is fifteen (15).", "15"), ("He has 15 apples left.", "15"),
    ("He has 15 apples left. ", "15"), ("5 apples + 10 apples = 15 apples", "15"), ("x = 15", "15"),
    ("So x = 15.", "15"), ("Total = 5 + 10 = 15", "15"), ("Total: 15", "15"),
    ("5 + 10 = <<5+10=15>>15", "15"), ("She pays 5 * 3 = $15.", "15"),
    ("She pays $5 x 3 = $15 per week", "15"), ("15 = 3 * 5", "15"), ("#### 15 = 3 * 5", "15"),
    ("#### 15 apples", "15"), ("####15", "15"), ("#### 15.", "15"), ("#### $15", "15"),
    ("#### **15**", "15"), ("####\n15", "15"),
    ("#### Step 1: add 5 and 10\n5 + 10 = 15\n#### Answer: 15", "15"),
    ("#### 1. Add\n5+10=15\n\nThe answer is 15.", "15"), ("The answer is 5 or 6", None),
    ("The answer is 5-10", None), ("The answer is 3 * 5", None), ("", None),
    ("no number here", None), ("inf", None), ("nan", None), ("The answer is Infinity", None),
    ("<think>maybe 20</think>15", "15"), ("<think>20</think>The answer is 15.", "15"),
    ("<think>The answer is 15", None), ("15<|im_end|>\nQuestion: 20", "15"), ("15</s>20", "15"),
    ("The answer is 15\n\nQuestion: what is 3 * 4?\nAnswer: 12", "15"),
    ("The answer to part one is 5. The answer is 15.", "15"), ("minus 15", "-15"),
    ("He has -15 points", "-15"), ("x = -15", "-15"), ("x = - 15", "-15"),
    ("15 apples - 5 apples = 10 apples", "10"), ("It is −5 °C", "-5"),
    ("the temperature is -5°C", "-5"), ("The answer is negative 15.", "-15"),
    ("The answer is −15.", "-15"), ("#### – 15", "-15"), ("15 - 5 = 10", "10"),
    ("15 minus 5 is 10", "10"), ("15-5=10", "10"), ("- 15 apples", "15"),
    ("1. He buys 5.\n2. He buys 10.\nHe has 15", "15"), ("H2O weighs 15", "15"),
    ("In version x2 there are 15", "15"), ("15cm", "15"), ("15th", "15"), ("15kg", "15"),
    ("15 km/h", "15"), ("15.", "15"), ("(15)", "15"), ("[15]", "15"),
    ("It costs 15 dollars and that is final.", "15"), ("The answer is 15 because 3 * 5 = 15", "15"),
    ("Therefore, the answer is 15 dollars per day.", "15"), ("Therefore she needs 15 more.", "15"),
    ("<answer>15</answer>", "15"), ("The answer is $\\mathbf{15}$.", "15"),
    ("The answer is $15.", "15"), ("The answer is 15.5 miles.", "15.5"),
    ("The answer is 15,5", "15.5"), ("1_000_000", "1000000"), ("THE ANSWER IS 15", "15"),
    ("the total is 15", "15"), ("  15  ", "15"), ("15!", "15"), ("~15", "15"), ("≈ 15", "15"),
    ("Let's compute. The answer is about 15.", "15"), ("So, the answer is: 15", "15"),
    ("The answer is: $15", "15"), ("The answer is\n\n15", "15"),
    ("The answer is:\n\\[ 15 \\]", "15"), ("The answer is: \\[ \\boxed{15} \\]", "15"),
    ("15/1", "15"), ("4/0", None), ("Answer:15", "15"), ("12:30", None), ("12/05/2020", None),
    ("She has 12 apples left over from 20.", "12"), ("Subtract 3 from 10 and get 7", "7"),
    ("5 less than 12 is 7", "7"), ("He earns 15 dollars in 3 days.", "15"),
    ("He earns $15 in 2020.", "15"), ("It takes 3 days.", "3"), ("in 3 days", "3"),
    ("She gives 5 apples to each of the 3 children.", "5"), ("#### 15. That is 3 more", "15"),
    ("5 + 10 = 15 apples in 3 days", "15"), ("There are 15 (5 + 10) apples", "15"),
    ("The total number of apples is 5 + 10 = 15 apples.", "15"), ("Answer: 5 + 10 = 15", "15"),
    ("Answer: He has 15 apples.", "15"),
    ("Answer: He bought 5 and then 10, so he has 15 apples.", "15"),
    ("The profit is $70,000.", "70000"), ("#### 70000", "70000"), ("20 cups", "20"),
    ("The answer is 20 cups.", "20"), ("0", "0"), ("#### 0", "0"), ("-0", "0"), ("5.00", "5"),
    ("5.0", "5"), ("$5.", "5"), ("5,-", "5"), ("The answer is 5, not 6.", "5"),
    ("The answer is 5 (not 6).", "5"), ("5.", "5"), ("Janet makes $18 per day.", "18"),
    ("She makes 9 * 2 = $<<9*2=18>>18 every day at the farmer's market.", "18"),
    ("She makes 9 * 2 = $18 every day at the farmer's market.\n#### 18", "18"),
    ("He runs 540 meters a week", "540"), ("3 * 2 = 6\nSo 366", "366"),
    ("**The answer is: 15**", "15"), ("***15***", "15"),
    ("The final answer is: $\\boxed{15}$", "15"), ("\\fbox{15}", "15"),
    ("\\[\n\\boxed{15}\n\\]", "15"), ("answer: \\text{15}", "15"), ("15 \\text{ apples}", "15"),
    ("15\\text{ cm}", "15"), ("$15\\,\\text{cm}$", "15"), ("\\boxed{-15}", "-15"),
    ("\\boxed{−15}", "-15"),
]  # fmt: skip

WRAPPINGS = ["{}", " {} ", "\t{}  ", "**{}**", "`{}`", '"{}"', "\u201c{}\u201d", "${}$", "\\boxed{{{}}}", "({})"]
FRAMES = ["{}", "#### {}", "Answer: {}", "The answer is {}.", "So there are {} apples (3 more than 9).", "5 + 10 = {}"]


@pytest.mark.parametrize(("text", "value"), STATED)
def test_the_stated_number_is_read(text, value):
    assert quantities.number(text) == (None if value is None else Fraction(value))


@pytest.mark.parametrize(
    ("text", "whole", "value"),
    [("1.234", False, "1.234"), ("1.234", True, "1234"), ("12.000", True, "12000"), ("1.234.567", False, "1234567"),
     ("1.5", True, "1.5"), ("1,234", False, "1234"), ("0.500", True, "0.5")],
)  # fmt: skip
def test_a_point_before_three_digits_separates_thousands_only_in_whole_numbers(text, whole, value):
    assert quantities.number(text, whole=whole) == Fraction(value)


@pytest.mark.parametrize(
    "text",
    ["1" * 5000, "1e999999999", "9" * 100_000, "1/" + "0" * 5000, "1e-999999999", "inf", "NaN", "1e400000000000"],
)
def test_what_no_machine_holds_is_no_number(text):
    assert quantities.number(text) is None


@settings(derandomize=True, max_examples=200, deadline=None)
@given(
    st.integers(-10**9, 10**9), st.sampled_from(["{}", "{:,}", "{:_}"]), st.sampled_from(WRAPPINGS),
    st.sampled_from(FRAMES),
    st.sampled_from([str, str.upper, str.lower]),
)  # fmt: skip
def test_separators_case_blanks_quotes_and_markdown_change_nothing(value, form, wrapping, frame, case):
    written = form.format(value).replace("-", "\u2212")
    assert quantities.number(case(frame).format(wrapping.format(written))) == value


@settings(derandomize=True, max_examples=300, deadline=None)
@given(
    st.one_of(
        st.text(max_size=120),
        st.lists(st.sampled_from([*"0123456789.,-/= $%'#(e", "####", "answer is ", "\\boxed{"]), max_size=40).map(
            "".join
        ),
    )
)
def test_any_text_is_read_without_an_error(text):
    assert isinstance(quantities.number(text), Fraction | None)


@pytest.mark.parametrize(
    "piece", ["1", "1,", "1 ", "1.", "-", "####", "the answer is ", "\\boxed{", "(", "= ", "1/", " ", "\n", "because "]
)
def test_long_texts_take_no_longer_than_short_ones(piece):
    start = time.process_time()
    quantities.number(piece * (200_000 // len(piece)))
    assert time.process_time() - start < 5
