"""Exported files in llama.cpp: it cuts texts into this study's tokens, and gives each the log-likelihood given here.

llama.cpp runs in a Python of its own with the package xllamacpp, which UNICOMP_LLAMACPP_PYTHON names.
"""

import json
import os
import subprocess

import families
import pytest
import tokenizers_made
import torch

from unicomp_lib.checkpoints import models, packed_integers, saving
from unicomp_lib.compress import rtn
from unicomp_lib.exchange import gguf
from unicomp_lib.inputs import calibration

INTERPRETER = os.environ.get("UNICOMP_LLAMACPP_PYTHON", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not INTERPRETER, reason="UNICOMP_LLAMACPP_PYTHON names no Python interpreter with xllamacpp"),
]

# The file of a model, and one for the answer. Standard input: texts to cut, and rows of tokens to score. The server
# scores no prompt: each token's log-likelihood is asked for as that of the first one after those before it. It tells
# none where what it writes is half a character, so it is made to write a letter, which leaves the answer as it is.
SCORE = """
import json, sys, urllib.request
import xllamacpp

asked = json.load(sys.stdin)
settings = xllamacpp.CommonParams()
settings.model.path, settings.n_ctx, settings.n_parallel, settings.warmup = sys.argv[1], 512, 1, False
settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(settings)

def cut(text):
    body = json.dumps({"content": text, "add_special": True, "parse_special": True}).encode()
    request = urllib.request.Request(server.listening_address + "/tokenize", body, {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request))["tokens"]

letter = cut("a")[-1]

def score(row, place):
    answer = server.handle_completions({
        "prompt": row[:place], "n_predict": 1, "n_probs": asked["vocabulary"], "temperature": 0,
        "logit_bias": [[letter, 1000.0]],
    })
    (token,) = answer["choices"][0]["logprobs"]["content"]
    return {each["id"]: each["logprob"] for each in token["top_logprobs"]}[row[place]]

done = {"texts": [cut(text) for text in asked["texts"]],
        "rows": [[score(row, place) for place in range(1, len(row))] for row in asked["rows"]]}
with open(sys.argv[2], "w") as file:
    json.dump(done, file)
"""

TEXTS = [
    *tokenizers_made.TEXT[:3],
    " leading and  double   spaces\n \n  12 3",
    "a\u00a0b\u3000c\t\td  \r\n",
    "I'M YOU'RE she'll",
    "x²+½=٣४, ⅷ Ⅻ",
    "日本語テキスト、한국어",
    "🤖👩‍👩‍👧",
    f"{tokenizers_made.END}after it",
    "e\u0301 combining",
]


def in_llama_cpp(file, texts, rows, vocabulary):
    """Tokens of ``texts``, and the log-likelihood of each token but the first of ``rows``, by llama.cpp."""
    script, answer = file.with_suffix(".py"), file.with_suffix(".json")
    script.write_text(SCORE)
    asked = json.dumps({"texts": texts, "rows": rows.tolist(), "vocabulary": vocabulary})
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [INTERPRETER, str(script), str(file), str(answer)]
    done = subprocess.run(command, input=asked, text=True, capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(answer.read_text())
    return found["texts"], torch.tensor(found["rows"])


@torch.no_grad()
def log_likelihoods(model, tokens):
    """Log-likelihood of each token but the first of each row of ``tokens``, in nats."""
    logits = model(tokens).logits[:, :-1].float().log_softmax(-1)
    return logits.gather(-1, tokens[:, 1:, None])[..., 0]


def exported(folder, model, tokenizer, form=None):
    if form:
        rtn.compress(model, group_size=32, **form)
    saving.save(model, tokenizer, folder, **({"write": packed_integers.save} if form else {}))
    gguf.export(folder, folder.with_suffix(".gguf"))
    return folder.with_suffix(".gguf")


LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 1e4, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip
MODELS = {
    "llama": ("llama", {}),
    "llama with biases and a head": (
        "llama", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False}
    ),
    "llama with wide heads": ("llama", {"head_dim": 32}),
    "llama 3": ("llama", {"rope_parameters": LLAMA3_ROPE}),
    "qwen2": ("qwen2", {"use_sliding_window": False}),
    "qwen3": ("qwen3", {}),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_llama_cpp_computes_the_model(name, tmp_path):
    """In float32, with dense weights, so that nothing but the order of summation and its 16-bit cache differs."""
    family, extra = MODELS[name]
    model = families.build(family, **{"vocab_size": 320, "tie_word_embeddings": True} | extra)
    file = exported(tmp_path / "given", model, tokenizers_made.made())
    tokens = torch.randint(2, 290, (2, 24), generator=torch.Generator().manual_seed(0))
    _, theirs = in_llama_cpp(file, [], tokens, 320)
    ours = log_likelihoods(models.load(str(tmp_path / "given"), precision="float32", on="cpu")[0], tokens)
    assert ours.std() > 0.3  # the model says something
    torch.testing.assert_close(theirs, ours, rtol=0, atol=0.02)


@pytest.mark.parametrize("pre", tokenizers_made.CUTS)
def test_llama_cpp_cuts_texts_into_the_same_tokens(pre, tmp_path):
    tokenizer = tokenizers_made.made(pre, merges=100)
    model = families.build("llama", layers=1, vocab_size=400)
    file = exported(tmp_path / "given", model, tokenizer)
    texts = [text for text in TEXTS if pre != "qwen2" or "combining" not in text]  # it does not normalize
    theirs, _ = in_llama_cpp(file, texts, torch.empty(0, 0), 0)
    assert theirs == [tokenizer(text)["input_ids"] for text in texts]


FORMS = {
    "dense": None,
    "Q4_0": {"bits": 4, "symmetric": True},
    "Q4_1": {"bits": 4, "symmetric": False},
    "Q8_0": {"bits": 8, "symmetric": True},
}


@pytest.mark.parametrize("form", FORMS)
def test_llama_cpp_serves_the_real_model_as_it_was_measured(form, tmp_path):
    """llama.cpp rounds inputs to 8 bits in blocks of 32 before it multiplies coded weights; dense ones it does not."""
    model, tokenizer = models.load("smollm2-135m-instruct", precision="bfloat16", on="cpu")
    tokens = calibration.blocks(tokenizer, "held-out", samples=2, length=24)
    file = exported(tmp_path / "given", model, tokenizer, FORMS[form])
    texts = [text for text in TEXTS if tokenizer.unk_token_id not in tokenizer(text)["input_ids"]]
    cut, theirs = in_llama_cpp(file, texts, tokens, len(tokenizer))
    assert cut == [tokenizer(text)["input_ids"] for text in texts]
    ours = log_likelihoods(models.load(str(tmp_path / "given"), precision="float32", on="cpu")[0], tokens)
    assert (theirs - ours).abs().mean() < 0.05
    assert (theirs - ours).mean().abs() < 0.02
