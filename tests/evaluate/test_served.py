import json
import os
import sys
import warnings

import families
import polars as pl
import pytest
import tokenizers_made
import torch
from gguf_made import write_gguf

from unicomp_lib.checkpoints import models, saving
from unicomp_lib.evaluate import fidelity, served
from unicomp_lib.exchange import gguf, gguf_families

ROLES = ("nll", "nll_here", "nll_engine", "kl_here", "kl_engine", "kl_dense", "kl_dense_engine")


def distributions(vocabulary, number=5):
    return torch.randn(number, vocabulary, generator=torch.Generator().manual_seed(0)).double().log_softmax(-1)


def test_the_divergence_is_that_of_all_tokens_and_smaller_where_some_count_as_one():
    exact, other = distributions(50), distributions(50).flip(0)
    every = (exact.exp() * (exact - other)).sum(-1)
    torch.testing.assert_close(served.divergence(exact, other), every)
    few = [(part[:, :10], part[:, 10:].logsumexp(-1, keepdim=True)) for part in (exact, other)]
    (exact_few, exact_rest), (other_few, other_rest) = few
    parted = (exact_few.exp() * (exact_few - other_few)).sum(-1) + (exact_rest.exp() * (exact_rest - other_rest))[:, 0]
    found = served.divergence(exact_few, other_few)
    torch.testing.assert_close(found, parted)
    others = [0, 1, 3, 4]  # the middle one is compared with itself
    assert (found[others] < every[others]).all()


@pytest.fixture(scope="module")
def tiny():
    """The tiny model with sharper distributions, the folder of its checkpoint, and tokens for it to read."""
    model, tokenizer = models.load(models.TINY, precision="float32", on="cpu")
    for part in model.parameters():
        part.data.mul_(3)
    tokens = torch.randint(3, len(tokenizer), (3, 8), generator=torch.Generator().manual_seed(0))
    return model, tokenizer, tokens


@pytest.fixture(scope="module")
def checkpoint(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    saving.save(tiny[0], tiny[1], folder)
    return str(folder)


def means(rows):
    return dict(rows.group_by("metric").agg(pl.col("value").mean()).iter_rows())


def test_without_an_engine_it_is_the_model_here_as_fidelity_measures_it(tiny, checkpoint):
    *_, tokens = tiny
    rows = served.compare(checkpoint, models.TINY, tokens, precision="bfloat16")
    found = means(rows)
    assert rows.group_by("metric").len().filter(pl.col("metric") != "kl_limit")["len"].to_list() == [3] * 9
    assert found["nll_engine"] == found["nll_here"]
    assert found["kl_engine"] == found["kl_here"] > 0
    assert found["nll_change"] == pytest.approx(found["nll_engine"] - found["nll"])
    here, exact, dense = (
        models.load(name, precision=precision, on="cpu")[0]
        for name, precision in ((checkpoint, "bfloat16"), (checkpoint, "float32"), (models.TINY, "float32"))
    )
    expected = means(fidelity.compare(here, dense, tokens))
    assert (found["nll_here"], found["kl_dense"]) == pytest.approx((expected["nll"], expected["kl"]), abs=1e-5)
    expected = means(fidelity.compare(here, exact, tokens))
    assert (found["nll"], found["kl_here"]) == pytest.approx((expected["nll_dense"], expected["kl"]), abs=1e-5)
    assert found["agreement"] == pytest.approx(expected["agreement"])


FAKE_LLAMA_CPP = """
import json, pathlib
from types import SimpleNamespace


def CommonParams():
    return SimpleNamespace(model=SimpleNamespace(), cpuparams=SimpleNamespace(), cpuparams_batch=SimpleNamespace())


class Server:
    def __init__(self, settings):
        self.known = json.loads(pathlib.Path(settings.model.path).with_name("known.json").read_text())
        self.context = settings.n_ctx

    def handle_completions(self, asked):
        assert len(asked["prompt"]) + asked["n_predict"] <= self.context and not asked["post_sampling_probs"]
        scores = self.known[str(asked["prompt"])]
        ((token, bias),) = asked["logit_bias"]
        if isinstance(token, int) and token % 2:  # as of half a character
            return {"choices": [{"text": "", "logprobs": None}]}
        likely = sorted(range(len(scores)), key=lambda each: -scores[each])[: asked["n_probs"]]
        told = {"top_logprobs": [{"id": each, "logprob": scores[each]} for each in likely]}
        if isinstance(token, int):
            told |= {"id": token, "logprob": scores[token]}
        return {"choices": [{"text": "a", "logprobs": {"content": [told]}}]}
"""


FAKE_VLLM = """
import json, pathlib
from types import SimpleNamespace

SamplingParams = SimpleNamespace
KNOWN = json.loads(pathlib.Path(__file__).with_name("known.json").read_text())


class LLM:
    def __init__(self, max_logprobs, max_model_len, **_):
        assert max_logprobs == -1
        self.context = max_model_len

    def generate(self, prompts, asked, use_tqdm):
        ((_, row),) = prompts[0].items()
        assert len(row) + asked.max_tokens <= self.context
        places = [None]
        for place, token in enumerate(row[1:], 1):
            scores = KNOWN[str(row[:place])]
            likely = sorted(range(len(scores)), key=lambda each: -scores[each])[: asked.prompt_logprobs]
            # The token that is there comes first, whatever its rank.
            places.append({each: SimpleNamespace(logprob=scores[each]) for each in [token, *likely]})
        return [SimpleNamespace(prompt_logprobs=places)]
"""


FAKE_OPENVINO = """
import json, pathlib
from types import SimpleNamespace

GenerationConfig = SchedulerConfig = SimpleNamespace


class ContinuousBatchingPipeline:
    def __init__(self, file, plan, device, settings):
        self.known = json.loads(pathlib.Path(file).with_name("known.json").read_text())
        self.context, self.rows = plan.max_num_batched_tokens, []

    def add_request(self, number, prompt, config):
        assert (config.max_new_tokens, config.echo, config.logprobs) == (0, True, 1)
        (row,) = prompt.tolist()
        assert len(row) <= self.context and not self.rows
        self.rows.append(row)
        right = [self.known[str(row[:place])][token] for place, token in enumerate(row[1:], 1)]
        told = SimpleNamespace(generated_ids=row[{lost}:], generated_log_probs=[1.0, *right])
        return SimpleNamespace(read_all=lambda: [told])

    def has_non_finished_requests(self):
        return bool(self.rows)

    def step(self):
        self.rows.clear()
"""


def exporting(model, tokens):
    """An export, and beside it what the pretended engine reads: the distributions of ``model`` after every start."""

    @torch.no_grad()
    def export(source, file):
        write_gguf(file, {"token_embd.weight": "BF16", "blk.0.ffn_up.weight": "Q4_0"})
        scores = model(tokens).logits.log_softmax(-1)
        after = {
            str(block[: place + 1].tolist()): scores[number, place].tolist()
            for number, block in enumerate(tokens)
            for place in range(tokens.shape[1] - 1)
        }
        file.with_name("known.json").write_text(json.dumps(after))

    return export


def in_engine(tiny, checkpoint, model, folder, monkeypatch, engine="llama.cpp", lost=0):
    (folder / "xllamacpp.py").write_text(FAKE_LLAMA_CPP)
    (folder / "vllm.py").write_text(FAKE_VLLM)
    (folder / "openvino_genai.py").write_text(FAKE_OPENVINO.format(lost=lost))
    (folder / "openvino.py").write_text("def Tensor(array):\n    return array\n")
    exporting(model, tiny[2])(None, folder / "model.gguf")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return means(
        served.compare(
            checkpoint, models.TINY, tiny[2], precision="bfloat16", engine=engine, interpreter=sys.executable,
            export=exporting(model, tiny[2]),
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("engine", "top"), [("llama.cpp", served.TOP), ("llama.cpp", 20), ("vllm", 20), ("openvino", 20)]
)
def test_an_engine_that_computes_the_same_has_the_same_log_likelihoods(
    tiny, checkpoint, tmp_path, monkeypatch, engine, top
):
    monkeypatch.setattr(served, "TOP", top)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        found = in_engine(tiny, checkpoint, tiny[0], tmp_path, monkeypatch, engine)
    assert found["nll_engine"] == pytest.approx(found["nll"], abs=1e-5)
    assert found["nll_change"] == pytest.approx(0, abs=1e-5)
    assert found["kl_engine"] == pytest.approx(0, abs=1e-5)
    assert found.get("agreement", 1) == 1


def test_an_engine_that_tells_of_the_right_token_alone_is_compared_by_its_probability(
    tiny, checkpoint, tmp_path, monkeypatch
):
    found = in_engine(tiny, checkpoint, tiny[0], tmp_path, monkeypatch, "openvino")
    assert "agreement" not in found
    (right, right_dense) = (
        torch.cat([scores.gather(-1, block[1:, None]) for scores, block in zip(each, tiny[2], strict=True)])[:, 0].exp()
        for each in (
            served._distributions(tiny[0], tiny[2]),
            served._distributions(models.load(models.TINY, precision="float32", on="cpu")[0], tiny[2]),
        )
    )
    expected = right_dense * (right_dense / right).log() + (1 - right_dense) * ((1 - right_dense) / (1 - right)).log()
    assert found["kl_dense_engine"] == pytest.approx(expected.mean().item(), abs=1e-5)


def test_tokens_that_openvino_does_not_tell_of_end_the_comparison(tiny, checkpoint, tmp_path, monkeypatch):
    with pytest.raises(RuntimeError, match="ended early"):
        in_engine(tiny, checkpoint, tiny[0], tmp_path, monkeypatch, "openvino", lost=1)


def swap(matrix, one=3, other=40):
    """Two rows of a matrix change places."""
    matrix.data[[one, other]] = matrix.data[[other, one]]


def unpermute(model):
    """Queries and keys in the order that llama.cpp would take them for."""
    for layer in model.model.layers:
        for linear in (layer.self_attn.q_proj, layer.self_attn.k_proj):
            heads = linear.weight.shape[0] // layer.self_attn.head_dim
            pairs = linear.weight.data.view(heads, -1, 2, linear.weight.shape[1])
            linear.weight.data = pairs.transpose(1, 2).reshape(linear.weight.shape)


WRONG = {
    "rows of the embeddings": lambda model, tokens: swap(model.model.embed_tokens.weight, *tokens[0, 1:3].tolist()),
    "rows of a matrix": lambda model, _: swap(model.model.layers[0].mlp.down_proj.weight),
    "order of queries and keys": lambda model, _: unpermute(model),
    "a scale": lambda model, _: model.model.layers[1].mlp.down_proj.weight.data.mul_(2),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_export_is_said(tiny, checkpoint, tmp_path, monkeypatch, fault):
    wrong, _ = models.load(checkpoint, precision="float32", on="cpu")
    WRONG[fault](wrong, tiny[2])
    with pytest.warns(UserWarning, match=r"llama.cpp does not serve .* nats a token away .* check the export, and do"):
        found = in_engine(tiny, checkpoint, wrong, tmp_path, monkeypatch)
    assert found["kl_engine"] > found["kl_limit"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"engine": "ollama", "interpreter": "python"},
            "engine 'ollama' is not known; allowed are 'vllm', 'llama.cpp'",
        ),
        ({"engine": "openvino", "interpreter": "python"}, "engine 'openvino' needs export"),
        ({"engine": "llama.cpp", "interpreter": "python"}, "engine 'llama.cpp' needs export"),
        ({"interpreter": "python"}, "is given but no engine"),
    ],
)
def test_what_cannot_be_read_is_refused(given, says):
    with pytest.raises(ValueError, match=says):
        served.compare(models.TINY, models.TINY, torch.zeros(1, 4, dtype=torch.long), precision="float32", **given)


INTERPRETER = os.environ.get("UNICOMP_LLAMACPP_PYTHON", "")


@pytest.mark.slow
@pytest.mark.skipif(not INTERPRETER, reason="UNICOMP_LLAMACPP_PYTHON names no Python interpreter with xllamacpp")
@pytest.mark.parametrize("right", [True, False])
def test_llama_cpp_serves_what_was_exported_and_a_wrong_order_of_rows_shows(tmp_path, monkeypatch, right):
    model, tokenizer = families.build("llama", vocab_size=320), tokenizers_made.made()
    for layer in model.model.layers:  # attention that is not the same everywhere
        layer.self_attn.q_proj.weight.data.mul_(10)
        layer.self_attn.v_proj.weight.data.mul_(10)
    saving.save(model, tokenizer, tmp_path / "given")
    tokens = torch.randint(2, 290, (4, 24), generator=torch.Generator().manual_seed(0))
    if not right:
        monkeypatch.setattr(gguf_families, "rows", lambda *_: None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rows = served.compare(
            str(tmp_path / "given"), str(tmp_path / "given"), tokens, precision="bfloat16", engine="llama.cpp",
            interpreter=INTERPRETER, export=gguf.export,
        )  # fmt: skip
    assert any("does not serve" in str(each.message) for each in caught) is not right
    found = means(rows)
    assert (found["kl_engine"] < found["kl_limit"]) is right
