"""Everything that is measured, on an accelerator: it gives what the CPU gives, and keeps its tensors apart."""

import pytest
import torch

from unicomp_lib.checkpoints import models, packed_integers, saving
from unicomp_lib.compress import rtn
from unicomp_lib.evaluate import dense_states, efficiency, fidelity, harness
from unicomp_lib.explore import chat
from unicomp_lib.inputs.calibration import blocks
from unicomp_lib.learn import one_layer

TASKS = {
    "piqa_cloze": 4, "openbookqa_letter": 3, "openbookqa_generate": 2, "asdiv_generate": 2, "sycophancy_letter": 2,
    "strongreject_generate": 2,
}  # fmt: skip


@pytest.fixture
def packed(accelerator, tmp_path):
    """The folder of a packed checkpoint, which is expanded where it is read."""
    model, tokenizer = models.load(models.TINY, on="cpu")
    saving.save(rtn.compress(model), tokenizer, tmp_path / "packed", write=packed_integers.save)
    return str(tmp_path / "packed")


def test_ranked_and_generated_answers_are_those_of_the_cpu(packed):
    there, tokenizer = models.load(packed, precision="float32")
    here, _ = models.load(packed, precision="float32", on="cpu")
    rows, expected = (harness.run(model, tokenizer, TASKS, batch_size=3) for model in (there, here))
    both = rows.join(expected, on=["task", "doc_id", "metric"], suffix="_cpu")
    assert len(both) == len(rows) == len(expected)
    assert set(rows["task"]) == set(TASKS)
    for value, reference in both.select("value", "value_cpu").iter_rows():
        assert value == pytest.approx(reference, abs=1e-3, nan_ok=True)


def test_fidelity_and_its_kept_states_are_those_of_the_cpu(packed, accelerator, home):
    tokens = blocks(models.load_tokenizer(models.TINY), samples=2, length=24)
    there = models.load(packed, precision="float32")[0]
    head = dense_states.load(models.TINY, tokens, precision="float32")
    again = dense_states.load(models.TINY, tokens, precision="float32")
    assert {head.device.type, again.device.type} == {accelerator.type}
    here = [models.load(name, precision="float32", on="cpu")[0] for name in (packed, models.TINY)]
    expected = fidelity.compare(*here, tokens)["value"]
    for dense in (head, again):
        assert fidelity.compare(there, dense, tokens)["value"].to_list() == pytest.approx(expected.to_list(), abs=1e-4)
    assert fidelity.losses(there, tokens) == pytest.approx(fidelity.losses(here[0], tokens), abs=1e-4)


def test_speed_memory_and_bandwidth_are_those_of_the_accelerator(packed, monkeypatch):
    where, answers = [], []
    measure, bandwidth = efficiency._measure, efficiency.hardware
    monkeypatch.setattr(
        efficiency, "_measure", lambda model, *given: where.append(model.device.type) or measure(model, *given)
    )
    asked = [None, (1, 4, 2)]

    class Pipe:
        def recv(self):
            if not asked:
                raise EOFError
            return asked.pop()

        send = staticmethod(answers.append)

    with pytest.raises(EOFError):
        efficiency._serve(Pipe(), packed, "bfloat16", True)
    speed, once = answers
    assert where == [bandwidth.device().type]
    assert speed["decode"] > 0
    assert 0 < once["device_memory"] <= bandwidth.device_memory()
    assert once["bandwidth"] > 0


def test_a_conversation_and_a_layer_are_computed_on_it(packed):
    model, tokenizer = models.load(packed)
    assert isinstance(chat.answer(model, tokenizer, [{"role": "user", "content": "hi"}], limit=4), str)
    tokens = torch.arange(8).view(1, 8)
    weight, inputs = one_layer.weight_and_inputs(model, tokens, 0, "self_attn.q_proj")
    assert weight.device.type == inputs.device.type == "cpu"
