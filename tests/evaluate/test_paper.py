from importlib import resources

import hub_content
import pytest
import yaml
from jinja2 import Environment
from lm_eval.api.model import LM

from unicomp_lib.evaluate import harness, task
from unicomp_lib.evaluate.tasks import items, paper
from unicomp_lib.inputs import hub


@pytest.fixture(autouse=True)
def rows(monkeypatch):
    """The rows of the pretended hub, without the hub."""
    read = lambda name, config, split: hub_content.ROWS[name](config, split)  # noqa: E731
    monkeypatch.setattr(hub, "rows", read)
    items.items.cache_clear()
    yield
    items.items.cache_clear()


def rendered(template, doc):
    return Environment(keep_trailing_newline=True).from_string(template).render(**doc)


def shipped(name):
    """The YAML of one of lm-eval's tasks, without the functions that it names."""

    class Plain(yaml.SafeLoader):
        pass

    Plain.add_constructor("!function", lambda loader, node: node.value)
    return yaml.load((resources.files("lm_eval") / "tasks" / name).read_text(encoding="utf-8"), Loader=Plain)


@pytest.mark.parametrize("source", paper.SOURCES)
def test_a_set_reads_the_data_sets_it_names_and_its_golds_are_right(source, monkeypatch):
    read = []
    of_hub = hub.rows
    monkeypatch.setattr(hub, "rows", lambda *wanted: read.append(wanted[:2]) or of_hub(*wanted))
    for item in items.items(source):
        if "choices" in item or "contexts" in item:
            assert 0 <= item["gold"] < len(item.get("choices") or item["contexts"])
        else:
            assert item["answer"]
            assert item["solution"]
    if paper.SOURCES[source].examples:
        paper.SOURCES[source].examples()
    named = {
        (name, config)
        for name, configs in paper.SOURCES[source].reads.items()
        for config in configs or hub.catalogue()[name].configs
    }
    assert set(read) == named


def test_mmlu_is_asked_as_lm_eval_asks_it():
    template = shipped("mmlu/default/_default_template_yaml")
    intro = shipped("mmlu/default/mmlu_abstract_algebra.yaml")["description"]
    row = hub_content.ROWS["mmlu"]("all", "test")[0]
    [item] = [item for item in items.items("mmlu_full") if item["question"] == row["question"].strip()]
    ours = task.config("mmlu_full_letter")
    assert rendered(ours["doc_to_text"], item) == intro + rendered(template["doc_to_text"], row)
    assert ours["doc_to_choice"] == template["doc_to_choice"]


def test_a_translated_question_is_asked_as_lm_eval_asks_it():
    template = shipped("global_mmlu/full/en/_en_template_yaml")
    row = hub_content.ROWS["global-mmlu"]("en", "test")[0]
    [item] = [item for item in items.items("global_mmlu_en") if item["question"] == row["question"]]
    assert rendered(task.config("global_mmlu_en_letter")["doc_to_text"], item) == rendered(template["doc_to_text"], row)


def test_hellaswag_is_cleaned_as_lm_eval_cleans_it():
    from lm_eval.tasks.hellaswag import utils

    row = hub_content.ROWS["hellaswag"]("default", "validation")[0]
    [item] = [item for item in items.items("hellaswag") if "number 0" in item["prompt"]]
    context = f"{row['activity_label']}: {row['ctx_a']} {row['ctx_b'].capitalize()}"
    assert item["prompt"] == utils.preprocess(context)
    assert item["choices"] == [utils.preprocess(ending) for ending in row["endings"]]


def test_winogrande_ranks_the_same_rest_after_either_name():
    from lm_eval.tasks.winogrande import preprocess_winogrande as theirs

    row = hub_content.ROWS["winogrande"]("winogrande_xl", "validation")[0]
    [item] = [item for item in items.items("winogrande") if item["rest"] == theirs.doc_to_target(row)]
    assert item["contexts"] == theirs.doc_to_choice(row)
    assert item["gold"] == theirs.doc_to_text(row)


def test_truthfulqa_is_asked_as_lm_eval_asks_it():
    template = shipped("truthfulqa/truthfulqa_mc1.yaml")
    row = hub_content.ROWS["truthfulqa"]("multiple_choice", "validation")[0]
    [item] = [item for item in items.items("truthfulqa") if item["question"] == row["question"]]
    assert rendered(task.config("truthfulqa_cloze")["doc_to_text"], item) == rendered(template["doc_to_text"], row)
    assert item["choices"][item["gold"]] == row["mc1_targets"]["choices"][template["doc_to_target"]]


def test_no_example_is_an_item_that_is_asked():
    for source in ("math_500", "gpqa_diamond", "gsm8k_cot"):
        asked = {item["question"] for item in items.items(source)}
        examples = paper.SOURCES[source].examples()
        assert len(examples) >= 4
        assert not asked & {example["question"] for example in examples}
        assert all(example["solution"] for example in examples)


def test_examples_of_math_are_text_alone():
    assert not any("[asy]" in example["question"] for example in paper.SOURCES["math_500"].examples())


def test_options_of_gpqa_are_ordered_by_the_question_alone():
    first = {item["question"]: item for item in items.items("gpqa_diamond")}
    items.items.cache_clear()
    for item in items.items("gpqa_diamond"):
        assert item["choices"] == first[item["question"]]["choices"]
        number = item["question"].split()[-1].rstrip("?")
        assert item["choices"][item["gold"]] == f"particle {number}"
        assert item["solution"].endswith(f"The answer is ({'ABCD'[item['gold']]}).")
    assert len({item["gold"] for item in first.values()}) > 1


def test_a_changed_revision_is_another_task(monkeypatch):
    before = task.identity("hellaswag_cloze")
    pinned = hub.catalogue()
    other = pinned["hellaswag"].model_copy(update={"revision": "0" * 40})
    task.identity.cache_clear()
    monkeypatch.setattr(hub, "catalogue", lambda: {**pinned, "hellaswag": other})
    assert task.identity("hellaswag_cloze") != before
    task.identity.cache_clear()


class Listener(LM):
    """Keeps the prompts that it is asked to go on with, and says nothing."""

    tokenizer_name = "listener"

    def __init__(self):
        super().__init__()
        self.prompts = []

    def apply_chat_template(self, chat_history, add_generation_prompt=True):
        return "".join(f"<{turn['role']}>{turn['content']}\n" for turn in chat_history)

    def loglikelihood(self, requests, disable_tqdm=False):
        return [(0.0, False) for _ in requests]

    def loglikelihood_rolling(self, requests, disable_tqdm=False):
        raise NotImplementedError

    def generate_until(self, requests, disable_tqdm=False):
        self.prompts += [request.args[0] for request in requests]
        return ["" for _ in requests]


@pytest.mark.parametrize(("name", "shots"), [("gsm8k_cot", 4), ("math_500", 4), ("gpqa_diamond", 5)])
def test_examples_are_turns_of_the_conversation(name, shots):
    model = Listener()
    harness.rows(model, {f"{name}_generate": 2}, chat=True)
    examples = paper.SOURCES[name].examples()[:shots]
    for prompt in model.prompts[:2]:
        assert prompt.count("<user>") == shots + 1
        assert prompt.count("<assistant>") == shots
        assert all(example["solution"] in prompt for example in examples)
