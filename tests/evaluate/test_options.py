import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unicomp_lib.evaluate.tasks import options

CHOICES = ["a knife", "a pillow", "the cup", "dog"]
YES_NO = ["no", "yes"]
NUMBERS = ["12", "12.5", "-12", "120"]
CONTAINED = ["red", "dark red", "red wine", "blue"]
PLANETS = ["Venus", "Mars", "Saturn", "Neptune"]
ABOVE = ["All of the above", "None of the above", "gold", "silver"]
TRUE_FALSE = ["True", "False"]
CHINESE = ["苹果", "青苹果", "香蕉", "梨"]
NINE = [f"word{index}" for index in range(9)]
ARTICLES = ["A dog", "A cat", "I", "An apple"]
HINDI = ["कल", "कला", "काल", "कमल"]
GERMAN = ["der Hund", "die Katze", "das Haus", "nichts davon"]
SALARIES = ["less than $50,000", "$50,000 - $70,000", "more than $70,000"]

# What chooses option B of CHOICES.
SECOND = [
    "Answer: B", "**Answer: B**", "The answer is **B**.", "The Answer is B", "The correct answer is option B.",
    "Option B", "(b)", "\\boxed{B}", "\\text{(B)}", "$\\boxed{\\text{B}}$", "B because it is soft",
    "A. No wait, the answer is B.", "not A, so B", "A is wrong because it is sharp, the answer is B",
    "A is wrong. The answer is B.", " B", " B. a pillow", "B) a pillow", "B: a pillow", "B - a pillow",
    "B a pillow", "It is the pillow.", "The correct choice would be B", "Antwort: B", "Die richtige Antwort ist B.",
    "La respuesta correcta es la B", "La respuesta correcta es la opción B.", "La bonne réponse est B.",
    "La réponse correcte est la réponse B", "La risposta corretta è B.", "La risposta corretta è la B",
    "A resposta correta é a letra B", "A resposta é B.", "Ответ: B", "Правильный ответ: B", "Правильный ответ — B.",
    "答案是B", "答案：B",
    "正确答案是 B。", "答案为B", "选B", "我选择B", "答え：B", "正解はBです。", "答えはBです", "答えは（Ｂ）です",
    "คำตอบคือ B",
    "คำตอบที่ถูกต้องคือ B", "सही उत्तर B है", "उत्तर: B", "الإجابة هي B", "الإجابة الصحيحة هي B.", "Ｂ", "（Ｂ）", "Ⓑ",
    "B.", "B!", "b", "b)", '"B"', "'B'", "“B”", "`B`", "__B__", "*B*", "### Answer\nB", "## Answer: B",
    "Answer:\nB", "Answer:\n\n(B) a pillow", "Final answer: B", "**Final Answer:** B",
    "The final answer is $\\boxed{B}$.", "Final Answer: The final answer is (B). I hope it is correct.",
    "<answer>B</answer>", "<answer> (B) </answer>", "I would choose B.", "I'd go with B",
    "I'd pick option B, the pillow.", "My answer is B.", "I choose (B).", "I think it's B.",
    "I think the answer is B.", "I believe B is correct.", "B is correct.", "B is the correct answer.",
    "Option B is the best choice.", "(B) is the right answer", "It is B.", "It's B", "So the answer is B.",
    "Therefore, B.", "Thus, the correct option is (B).", "Hence, the answer is B.",
    "Let's think. A knife is sharp. A pillow is soft. So the answer is B.",
    "A is incorrect because it's sharp. C is wrong. D is wrong. The answer is B.", "The answer is not A but B.",
    "It isn't A, it's B.", "It's not A; it's B.", "The answer is B (not A).", "The answer is B, not A.", "B, not A",
    "B rather than A", "Not A. B.", "The best option is B, as A is sharp.",
    "A) a knife\nB) a pillow\nC) the cup\nD) dog\n\nAnswer: B",
    "A) a knife B) a pillow C) the cup D) dog. The answer is B", "~~A~~ B", "<think>It may be A or C.</think>B",
    "<think>A? no.</think>\n\nThe answer is B", "The answer is B.<|im_end|>\n<|im_start|>user\nThe answer is A",
    "B</s>", "B<|eot_id|>", "B<|endoftext|>A", "B<end_of_turn>", "[THINK]A[/THINK]B", "<thought>A</thought> B",
    "<reasoning>The answer is A</reasoning><answer>B</answer>",
    "<|channel|>analysis<|message|>A maybe<|end|><|start|>assistant<|channel|>final<|message|>B<|return|>",
    "The answer is A</think>The answer is B", "A pillow, because a knife is sharp",
    "a pillow is right, a knife is wrong", "It is not a knife. It is a pillow.", "Not a knife but a pillow",
    "The pillow", "pillow", "Sure! The answer is B.", "Sure, B", "Answer - B", "Answer = B", "Answer → B",
    "answer is (b)", "ANSWER: B", "THE ANSWER IS B", "the answer is b", "THE CORRECT ANSWER IS OPTION B.",
    "Correct answer: B", "Correct: B", "Solution: B", "The answer to this question is B.",
    'The answer to the question "what is soft?" is B', "Based on the above, the most suitable option is B.",
    "The option that fits best is B", "Among the options, B is the best.", "B is the answer",
    "B would be the most appropriate.", "B. A pillow is soft, so it's for sleeping", "B, the pillow",
    "B (a pillow)", "B (pillow), since it's soft", "Choice B", "choice (B)", "Letter B", "answer b",
    'The answer is "B".', "The answer is: B", "The answer is:\n\nB", "The answer is:\n**B. a pillow**", "[B]",
    "{B}", "<b>B</b>", "\\textbf{B}", "\\mathbf{B}", "\\(\\boxed{B}\\)", "\\[\\boxed{\\text{B}}\\]",
    "\\boxed{\\text{(B) a pillow}}", "\\boxed{b}", "$B$", "B) ", "- B", "> B", "B.a pillow", "B\na pillow",
    "B\n\nExplanation: A pillow is soft. A knife is sharp.", "B. a pillow\nExplanation: it is soft, and A is sharp",
    "👉 B", "✅ B", "The answer is B. Let me explain: A is a sharp object.", "Answer: B) a pillow",
    "Answer: (B) a pillow", "Answer: [B]", "Answer is B) a pillow.", "The answer choice is B", "Correct option: B",
    "Option (B) is correct", "option b is correct", "Richtig ist B.", "Ich wähle B", "Elijo la opción B",
    "Je choisis B.", "Scelgo la B.", "Escolho a B", "Я выбираю B", "B ist richtig.", "B est la bonne réponse",
    "B es la respuesta correcta.", "B è la risposta corretta.", "Bが正解です", "B是正确的", "B 是正确答案", "Cevap: B",
    "Doğru cevap B", "Đáp án: B", "Đáp án đúng là B", "Jibu ni B", "Jibu: B", "उत्तर B है।", "ข้อ B", "الجواب: B",
    "Die Antwort ist nicht A, sondern B.", "A. Actually, the answer is B", "Answer: A. No wait, the answer is B.",
    "D'accord, la réponse est B", "L'option B", "C'est B.", "C'est la B", "È la B", "Es la B.", "É a B", "La B",
    "la opción correcta es (B)", "Opción correcta: B", "Resposta: B", "Réponse : B", "Risposta: B", "Respuesta: B.",
    "Respuesta: B) a pillow", "la lettre B", "A resposta certa é a letra B.", "Alternativa B", "letra B",
    "ข้อ B ถูกต้อง", "คำตอบ: B", "ตอบ B", "答え B", "答えは「B」です。", "正解：B", "Bです", "B。", "الإجابة: B",
    "الجواب الصحيح هو B", "الخيار B", "Ответ B", "Верный ответ - B", "Я думаю, что правильный ответ B", "Вариант B",
    "не A, а B", "The best answer is B: a pillow.", "Answer:B", "answer:(b)", "Ans: B", "The right choice is B",
    "the correct letter is B", "The correct answer would be (B)", "The correct answer should be B.",
    "The answer must be B", "The answer could be B", "I'll choose B", "My final answer is B", "So I'd answer B",
    "We can eliminate A and C. So B.", "Eliminating A, C and D leaves B.",
    "A is out. C is out. D is out. The answer is B.", "Option A is incorrect. Option B is correct.",
    "A: wrong. B: correct. C: wrong. D: wrong.", "A is wrong, B is right", "B is the only correct option",
    "Therefore, option B is the correct answer.", "Step 1: think.\nStep 2: choose.\n\nAnswer: **B**",
    "The answer is B) a pillow because A) a knife is sharp.", "B (not A)", "B, although A is close", "B over A",
    "A B", "B B", "B\nB", "The answer is A. Wait, that's wrong. The answer is B.", "Grade: B",
]  # fmt: skip

# What chooses none of them, or more than one.
NONE = [
    "A, B and C", "A) or B)", "The answer is (A) a knife or (B) a pillow", "A. No, wait, B", "A. No, wait.",
    "B is wrong", "a knife or a pillow", "E. something else", "", "I do not know",
    "A) a knife B) a pillow C) the cup D) dog", "A. a knife\nB. a pillow\nC. the cup\nD. dog",
    "The answer is A or B.", "The answer is A and B.", "Both A and B are correct.", "Either A or B", "A/B", "A & B",
    "The answer is A. The answer is B.", "The answer is A. \\boxed{B}", "A. B.", "B is not correct.",
    "B isn't right.", "The answer is not B.", "The answer isn't B", "I don't think it's B.", "It can't be B.",
    "Not B.", "not B", "It could be A or B", "I am not sure.", "Is it B?", "If the answer is B, then",
    "All of them", "None of the above.", "I like vitamin C", "Hepatitis B", "I", "I think", "A good question",
    "~~B~~", "<think>The answer is B", "<|channel|>analysis<|message|>The answer is B", "B. a knife", "pillows",
    "not a pillow", "It isn't the pillow", "答案不是B", "Die Antwort ist nicht B.", "La respuesta no es B",
    "La réponse n'est pas B", "B ist falsch", "A oder B", "A o B", "A ou B", "A и B", "A或B",
    "A. Actually, it might be wrong", "Answer: A. Wait, no.", "B. Scratch that.",
    "The answer cannot be determined.", "None", "N/A", "A/B testing", "C'est la vie", "D'accord", "B > A",
    "I'm torn between A and B", "A? B?", "A or maybe B", "A, or B", "A; B", "A\nB", "AB", "It's either A or B.",
    "Answer: A, B", "Answer: A and B", "Answer: A/B", "Answers: A, C", "The answer is A... no, B", "A -- sorry, B",
    "A, I mean B", "I would not choose B", "I'd never pick B", "B is false", "B can't be right",
    "B isn't the answer", "B is not the right answer", "Option B is incorrect", "(B) is wrong", "B doesn't fit",
    "B would be wrong", "B: incorrect", "Choose wisely", "be careful", "B+", "B12 is a vitamin",
    "vitamin B", "C major", "Plan B", "Class A", "U.S.A.", "a.m.", "e.g.", "D-Day", "A+ work",
]  # fmt: skip

OTHERS = [
    ("(C)", 2), ("**D**", 3), ("The answer is C, since", 2), ("A dog is what I would take.", 3), ("a knife", 0),
    ("A knife", 0), ("Knife", 0), ("A", 0), ("a", 0), ("A.", 0), ("A: a knife", 0), ("The answer is A", 0),
    ("The answer is a", 0), ("The answer is a knife", 0), ("The answer is a dog", 3), ("Answer: A dog", 3),
    ("answer: a", 0), ("A because it cuts", 0),
]  # fmt: skip

SETS = [
    ("I do not know", YES_NO, None), ("no", YES_NO, 0), ("Yes", YES_NO, 1), ("No.", YES_NO, 0),
    ("A. No", YES_NO, 0), ("B. Yes", YES_NO, 1), ("B. yes, it does", YES_NO, 1), ("A. no, it doesn't", YES_NO, 0),
    ("12", NUMBERS, 0), ("12.5", NUMBERS, 1), ("-12", NUMBERS, 2), ("120", NUMBERS, 3),
    ("The answer is 12.5", NUMBERS, 1), ("The answer is -12.", NUMBERS, 2), ("D. 120", NUMBERS, 3),
    ("A. 12", NUMBERS, 0), ("A) 12", NUMBERS, 0), ("B) 12.5", NUMBERS, 1), ("It is 12, not 120", NUMBERS, 0),
    ("red", CONTAINED, 0), ("dark red", CONTAINED, 1), ("It is dark red", CONTAINED, 1), ("red wine", CONTAINED, 2),
    ("predator", CONTAINED, None), ("The answer is dark red.", CONTAINED, 1), ("reddish", CONTAINED, None),
    ("dark red or blue", CONTAINED, None), ("dark red, not red", CONTAINED, 1), ("B. Mars", PLANETS, 1),
    ("Mars", PLANETS, 1), ("B. Venus", PLANETS, None), ("It's Mars, the red planet.", PLANETS, 1),
    ("Mars and Venus", PLANETS, None), ("Venus is not red. Mars is red.", PLANETS, 1),
    ("Not Venus, not Saturn, but Mars", PLANETS, 1), ("The planet is Mars.", PLANETS, 1), ("(B) Mars", PLANETS, 1),
    ("B Mars", PLANETS, 1), ("A Venus", PLANETS, 0), ("a venus", PLANETS, 0), ("The Answer: Mars", PLANETS, 1),
    ("I think it is Mars rather than Venus", PLANETS, 1), ("Unlike Venus, Mars is red", PLANETS, 1),
    ("Mars instead of Venus", PLANETS, 1), ("Answer: B. Mars is red, Venus is yellow", PLANETS, 1),
    ("All of the above", ABOVE, 0), ("A. All of the above", ABOVE, 0), ("None of the above", ABOVE, 1),
    ("The answer is none of the above.", ABOVE, 1), ("gold and silver", ABOVE, None),
    ("B. None of the above", ABOVE, 1), ("B", ABOVE, 1), ("True", TRUE_FALSE, 0), ("False", TRUE_FALSE, 1),
    ("It is true.", TRUE_FALSE, 0), ("B. False", TRUE_FALSE, 1), ("The statement is false.", TRUE_FALSE, 1),
    ("A. True", TRUE_FALSE, 0), ("true or false", TRUE_FALSE, None), ("苹果", CHINESE, 0), ("青苹果", CHINESE, 1),
    ("答案是青苹果", CHINESE, 1), ("答案是苹果。", CHINESE, 0), ("我选香蕉", CHINESE, 2), ("B. 青苹果", CHINESE, 1),
    ("不是苹果，是香蕉", CHINESE, 2), ("A和B", CHINESE, None), ("答案：Ｃ", CHINESE, 2), ("选项C", CHINESE, 2),
    ("C选项", CHINESE, 2), ("C是对的", CHINESE, 2), ("C、香蕉", CHINESE, 2), ("正确选项是C", CHINESE, 2),
    ("因此答案为C。", CHINESE, 2), ("故选C", CHINESE, 2), ("应该选择C。", CHINESE, 2), ("I", NINE, 8), ("I.", NINE, 8),
    ("I think so", NINE, None), ("I am not sure", NINE, None), ("I believe it is C", NINE, 2), ("(I)", NINE, 8),
    ("The answer is I.", NINE, 8), ("H", NINE, 7), ("E", NINE, 4), ("I would say E.", NINE, 4),
    ("A dog", ARTICLES, 0), ("A cat", ARTICLES, 1), ("I", ARTICLES, 2), ("An apple", ARTICLES, 3),
    ("It is a cat", ARTICLES, 1), ("B. A cat", ARTICLES, 1), ("The answer is a dog", ARTICLES, 0),
    ("कला", HINDI, 1), ("कल", HINDI, 0), ("उत्तर: कल", HINDI, 0), ("सही उत्तर C है", HINDI, 2),
    ("C सही है", HINDI, 2), ("उत्तर C", HINDI, 2), ("die Katze", GERMAN, 1),
    ("Die Antwort ist die Katze.", GERMAN, 1), ("Es ist B.", GERMAN, 1), ("nichts davon", GERMAN, 3),
    ("Die richtige Antwort lautet: B) die Katze", GERMAN, 1), ("Nicht A, sondern B", GERMAN, 1),
    ("Lösung: B", GERMAN, 1), ("Richtige Antwort: B", GERMAN, 1), ("Option B ist richtig", GERMAN, 1),
    ("B, weil sie miaut", GERMAN, 1), ("B ist nicht richtig", GERMAN, None), ("Ich denke, es ist B.", GERMAN, 1),
    ("less than $50,000", SALARIES, 0), ("$50,000 - $70,000", SALARIES, 1), ("more than $70,000", SALARIES, 2),
    ("B. $50,000 - $70,000", SALARIES, 1), ("A. less than $50,000", SALARIES, 0), ("C", SALARIES, 2),
    ("$70,000", SALARIES, None),
]  # fmt: skip

WRAPPINGS = ["{}", " {} ", "\n\n{}\n", "**{}**", "*{}*", "_{}_", "`{}`", '"{}"', "'{}'", "\u201c{}\u201d",
    "\u300c{}\u300d", "<b>{}</b>",
             "<think>A, C or D?</think>{}", "{}<|im_end|>", "{}</s>", "> {}"]  # fmt: skip
FRAMES = [
    "{}",
    "Answer: {}",
    "The answer is {}.",
    "It is {}",
    "option {}",
    "({})",
    "I choose {}",
    "So, the answer is ({})",
]


@pytest.mark.parametrize("text", SECOND)
def test_the_chosen_option_is_read(text):
    assert options.option(text, CHOICES) == 1


@pytest.mark.parametrize("text", NONE)
def test_no_option_is_read_where_none_or_several_are_named(text):
    assert options.option(text, CHOICES) is None


@pytest.mark.parametrize(("text", "index"), OTHERS)
def test_an_article_is_no_letter(text, index):
    assert options.option(text, CHOICES) == index


@pytest.mark.parametrize(("text", "choices", "index"), SETS)
def test_words_count_whole_and_the_longer_option_first(text, choices, index):
    assert options.option(text, choices) == index


@settings(derandomize=True, max_examples=150, deadline=None)
@given(
    st.sampled_from(FRAMES),
    st.sampled_from(WRAPPINGS),
    st.sampled_from("ABCD"),
    st.sampled_from([str, str.upper, str.lower]),
)
def test_case_blanks_quotes_and_markdown_change_nothing(frame, wrapping, letter, case):
    assert options.option(case(frame.format(wrapping.format(letter))), CHOICES) == "ABCD".index(letter)
    assert options.option(wrapping.format(case(frame.format(letter))), CHOICES) == "ABCD".index(letter)


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.sampled_from(SECOND + NONE), st.sampled_from(WRAPPINGS[:3]))
def test_blanks_around_a_whole_answer_change_nothing(text, wrapping):
    assert options.option(wrapping.format(text), CHOICES) == options.option(text, CHOICES)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(
    st.one_of(
        st.text(max_size=80),
        st.lists(st.sampled_from([*SECOND, *NONE, "A", "(", "not ", r"\boxed{", "<think>"]), max_size=4).map(" ".join),
    ),
    st.lists(st.text(max_size=12), min_size=1, max_size=5),
)
def test_any_text_is_read_without_an_error(text, choices):
    assert options.option(text, choices) in (None, *range(len(choices)))


@pytest.mark.parametrize(
    "piece",
    [
        "A ",
        "the answer is ",
        " ",
        "\n",
        "(",
        "not ",
        "a knife or ",
        r"\boxed{",
        "<think>",
        "*",
        "~~",
        "B, ",
        "pillow pillow ",
        "'",
        "$",
    ],
)
def test_long_texts_take_no_longer_than_short_ones(piece):
    start = time.process_time()
    options.option(piece * (200_000 // len(piece)), CHOICES)
    assert time.process_time() - start < 5
