import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unicomp_lib.evaluate.tasks import replies

THOUGHTS = [
    "<think>{}</think>", "<THINK>{}</THINK>", "<thinking>{}</thinking>", "<thought>{}</thought>",
    "<reasoning>{}</reasoning>", "[THINK]{}[/THINK]",
    "<|begin_of_thought|>{}<|end_of_thought|>", "<|START_THINKING|>{}<|END_THINKING|>",
    "◁think▷{}◁/think▷", "<seed:think>{}</seed:think>", "{}</think>", "<think>a<think>{}</think>b</think>",
    "<|channel|>analysis<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>", "analysis{}assistantfinal",
]  # fmt: skip
ENDS = [
    "<|im_end|>", "</s>", "<|eot_id|>", "<|endoftext|>", "<end_of_turn>", "<|end|>", "<|eom_id|>", "<|end_of_text"
    "|>", "<|return|>",
    "<eos>", "<｜end▁of▁sentence｜>", "<|END_OF_TURN_TOKEN|>", "<|user|>", "<|im_start"
    "|>user", "[INST]", "<start_of_turn>user",
]  # fmt: skip


@pytest.mark.parametrize("thought", THOUGHTS)
def test_thoughts_are_cut(thought):
    assert replies.final(thought.format("\n\nIt may be A.\n") + "\n\nB") == "B"


@pytest.mark.parametrize(
    "thought",
    ["<think>", "[THINK]", "<|begin_of_thought|>", "<|channel|>analysis<|message|>", "<think>a</think><think>"],
)
def test_a_thought_that_never_closes_is_no_answer(thought):
    assert replies.final(f"{thought}It is B") == ""


def test_what_precedes_an_unclosed_thought_stands():
    assert replies.final("It is B. <think>Let me check: A") == "It is B."


@pytest.mark.parametrize("end", ENDS)
def test_nothing_after_the_end_of_the_turn_is_read(end):
    assert replies.final(f"B{end}\nA") == "B"
    assert replies.final(f"<think>A</think>B{end}<think>C</think>A") == "B"


@pytest.mark.parametrize(
    "start",
    ["<s>", "<|im_start|>assistant\n", "<|start_header_id|>assistant<|end_header_id|>\n\n", "<start_of_turn>model\n"],
)
def test_the_start_of_the_turn_is_no_part_of_it(start):
    assert replies.final(f"{start}B") == "B"


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("**B.** _a  pillow_", "B. a pillow"), ("`B`", "B"), ("\u201cB\u201d", "B"), ("\u300cB\u300d", "B"),
        ("’Tis B’s", "Tis B's"),
        ("（Ｂ）", "(B)"), (r"$\boxed{\text{B}}$", "answer: B"), (r"\textbf{B}", "B"), ("~~A~~ B", "B"),
        ("### B\n> C", "B\nC"),
        ("<answer>B</answer>", "answer: B"), ("<b>B</b>", "B"), ("a\n\n\nb", "a\nb"),
        ("it isn’t snake_case", "it isn't snake_case"),
    ],
)  # fmt: skip
def test_markup_is_no_part_of_the_words(text, plain):
    assert replies.plain(text) == plain


@settings(derandomize=True, max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text(max_size=10), st.sampled_from(["<think>", "</think>", "</s>", "\\boxed{", "}", "*", "'", "~~"])
        ),
        max_size=8,
    ).map("".join)
)
def test_a_reply_is_cut_once(text):
    assert replies.final(replies.final(text)) == replies.final(text)
    assert len(replies.plain(text)) <= 20 * len(text) + 20
