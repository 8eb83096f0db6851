import json
import os
import platform
import re
import shutil
import subprocess
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import nox.registry
import polars as pl
import pytest
import torch
from gguf_made import write_gguf

from unicomp_lib import hardware, paths
from unicomp_lib.checkpoints import int4, models, packed_integers, quantized_cache, quanto_form, saving
from unicomp_lib.compress import cache, quanto, rtn
from unicomp_lib.evaluate import arithmetic, efficiency
from unicomp_lib.exchange import gguf


@pytest.mark.slow
def test_both_models_are_measured_in_turn_and_their_files_are_read(tmp_path):
    model, tokenizer = models.load(models.TINY)
    saving.save(quanto.compress(model), tokenizer, tmp_path, write=quanto_form.save)
    rows = efficiency.compare(
        str(tmp_path), models.TINY, precision="float32", prompt=16, generate=4, batch=2, repeats=3
    )
    counts = dict(rows.group_by("metric").len().iter_rows())
    assert counts["decode"] == counts["decode_dense"] == counts["prefill"] == 3
    assert counts["peak_memory"] == counts["peak_memory_dense"] == counts["bandwidth"] == counts["read_dense"] == 1
    assert counts["token"] == counts["token_dense"] == 3 * 4
    assert counts["token_batch"] == counts["token_batch_dense"] == 3 * 2
    assert sorted(rows.filter(metric="token_batch")["doc_id"]) == list(range(3 * 2))
    assert counts["decode_batch"] == counts["decode_batch_dense"] == 3
    memory = {metric: value for metric, value in rows.select("metric", "value").iter_rows() if "memory" in metric}
    assert memory["load_memory"] <= memory["peak_memory"]
    assert (rows.filter(~pl.col("metric").str.starts_with("sparsity"))["value"] > 0).all()
    saved = dict(rows.select("metric", "value").iter_rows())
    assert saved["bytes_on_disk"] < saved["bytes_on_disk_dense"]
    assert saved["bits_per_weight_dense"] == 16


@pytest.mark.parametrize("kernels", [True, False])
def test_packed_integers_are_multiplied_as_they_are_or_expanded(tmp_path, monkeypatch, kernels):
    model, tokenizer = models.load(models.TINY, precision="float32", on="cpu")
    saving.save(rtn.compress(model, group_size=32), tokenizer, tmp_path, write=packed_integers.save)
    loaded = []
    monkeypatch.setattr(efficiency, "_measure", lambda model, *_: loaded.append(model) or {})
    pipe = _Pipe([(1, 4, 1)])
    with pytest.raises(EOFError):
        efficiency._serve(pipe, str(tmp_path), "float32", kernels)
    stays_packed = any(isinstance(part, int4.Int4Linear) for part in loaded[0].modules())
    assert stays_packed is (kernels and hardware.device().type == "cpu")


def test_the_prompts_of_a_batch_are_read_once_and_its_answers_are_the_same_in_every_repeat(monkeypatch):
    read, inputs, outputs = efficiency._read, [], []

    def noted(model, tokens, cache=None):
        inputs.append(tuple(tokens.shape))
        token, cache = read(model, tokens, cache)
        outputs.append(token.tolist())
        return token, cache

    monkeypatch.setattr(efficiency, "_read", noted)
    pipe = _Pipe([(2, 4, 3), (1, 6, 1), (2, 4, 3)])
    with pytest.raises(EOFError):
        efficiency._serve(pipe, models.TINY, "float32", kernels=True)
    assert inputs == [(2, 4), *[(2, 1)] * 3, (1, 6), (1, 1), *[(2, 1)] * 3]
    assert outputs[1:4] == outputs[-3:]
    assert [set(answer) for answer in pipe.answers] == [
        {"decode", "token"}, {"prefill", "first_token", "decode", "token"}, {"decode", "token"}
    ]  # fmt: skip


class _Pipe:
    """A connection that asks what it is given, then closes."""

    def __init__(self, asked):
        self.asked = asked
        self.answers = []

    def recv(self):
        if not self.asked:
            raise EOFError
        return self.asked.pop()

    def send(self, answer):
        self.answers.append(answer)


FAKE_VLLM = """
import pathlib, psutil, statistics, subprocess, sys, time

print("a line that is no answer")
assert statistics.fmean([1, 2]) == 1.5  # Python's own
folder = pathlib.Path(__file__).parent
ENGINE = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1], f'engine-{os.getpid()}').touch(); time.sleep(60)"


class SamplingParams:
    def __init__(self, temperature, max_tokens, ignore_eos, detokenize):
        assert temperature == 0 and ignore_eos
        self.max_tokens = max_tokens


class LLM:
    def __init__(self, model, revision, dtype, enable_prefix_caching, max_model_len, max_logprobs):
        assert dtype == "float32" and revision is None and not enable_prefix_caching and max_model_len == 16 + 1 + 8
        for other in folder.glob("engine-*"):
            pid = int(other.name.partition("-")[2])
            assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        self.slow = 2 if "half" in model else 1
        # An engine in a process of its own, which holds the memory until it ends.
        engine = subprocess.Popen([sys.executable, "-c", ENGINE, str(folder)], start_new_session=True)
        while not (folder / f"engine-{engine.pid}").exists():
            time.sleep(0.01)

    def get_tokenizer(self):
        return range(100)

    def generate(self, prompts, settings, use_tqdm):
        print("noise")
        assert all(0 <= token < 100 for prompt in prompts for token in prompt["prompt_token_ids"])
        time.sleep(self.slow * (0.01 + 0.005 * settings.max_tokens))
"""


def test_on_an_accelerator_both_models_are_measured_in_vllm(tmp_path, monkeypatch):
    (tmp_path / "vllm.py").write_text(FAKE_VLLM)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(hardware, "device", lambda: torch.device("cuda"))
    half = shutil.copytree(models.checkpoint(models.TINY)[0], tmp_path / "half")
    rows = efficiency.compare(
        str(half), models.TINY, precision="float32", prompt=16, generate=8, repeats=3, engine="vllm",
        interpreter=sys.executable,
    )  # fmt: skip
    counts = dict(rows.group_by("metric").len().iter_rows())
    measured = {
        f"{metric}{role}" for metric in ("prefill", "decode", "first_token", "decode_batch") for role in ("", "_dense")
    }
    assert {name: counts.pop(name) for name in measured} == dict.fromkeys(measured, 3)
    sizes = {*efficiency.footprint(str(half), str(half), prompt=16)["metric"], "read", "read_dense"}
    assert set(counts) == sizes
    median = dict(rows.group_by("metric").agg(pl.col("value").median()).iter_rows())
    assert median["decode_dense"] == pytest.approx(8 / 0.04, rel=0.3)
    assert median["decode"] / median["decode_dense"] == pytest.approx(0.5, rel=0.3)


FAKE_LLAMA_CPP = """
import pathlib, statistics, time
from types import SimpleNamespace


def CommonParams():
    return SimpleNamespace(model=SimpleNamespace(), cpuparams=SimpleNamespace(), cpuparams_batch=SimpleNamespace())


class Server:
    def __init__(self, settings):
        print("a line that is no answer")
        assert statistics.fmean([1, 2]) == 1.5  # Python's own
        assert settings.cpuparams.n_threads == settings.cpuparams_batch.n_threads == 1
        assert pathlib.Path(settings.model.path).read_bytes().startswith(b"GGUF")
        self.slots, self.context = settings.n_parallel, settings.n_ctx

    def handle_completions(self, asked, callback):
        prompts = asked["prompt"] if isinstance(asked["prompt"][0], list) else [asked["prompt"]]
        assert len(prompts) <= self.slots
        assert sum(map(len, prompts)) + len(prompts) * asked["n_predict"] <= self.context
        assert all(0 <= token < {vocabulary} for prompt in prompts for token in prompt)
        callback(None)
        for number in range(asked["n_predict"] - {missing}):
            time.sleep(0.02 if number else 0.1)
            for index in range(len(prompts)):
                callback({{"choices": [{{"index": index, "text": "a", "finish_reason": None}}]}})
        for index in range(len(prompts)):
            callback({{"choices": [{{"index": index, "text": "", "finish_reason": "length"}}]}})
"""


def pretended_llama_cpp(folder, monkeypatch, missing=0):
    vocabulary = len(models.load_tokenizer(models.TINY))
    (folder / "xllamacpp.py").write_text(FAKE_LLAMA_CPP.format(vocabulary=vocabulary, missing=missing))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    written = []

    def export(source, file):
        assert (source / "config.json").is_file()
        write_gguf(file, {"token_embd.weight": "BF16", "output.weight": "BF16", "blk.0.ffn_up.weight": "Q4_0"})
        written.append(file)

    given = {
        "precision": "float32",
        "prompt": 16,
        "generate": 4,
        "batch": 2,
        "repeats": 2,
        "interpreter": sys.executable,
    }
    return given | {"engine": "llama.cpp", "export": export}, written


FAKE_OPENVINO = """
import numpy, pathlib, statistics, time
from types import SimpleNamespace


def SchedulerConfig():
    return SimpleNamespace(enable_prefix_caching=True, max_num_batched_tokens=256, max_num_seqs=256)


GenerationConfig = SimpleNamespace


class ContinuousBatchingPipeline:
    def __init__(self, file, plan, device, settings):
        print("a line that is no answer")
        assert statistics.fmean([1, 2]) == 1.5  # Python's own
        assert pathlib.Path(file).is_file() and device == "CPU" and not plan.enable_prefix_caching
        assert settings == {{"INFERENCE_NUM_THREADS": 1, "KV_CACHE_PRECISION": "f16"}}
        self.plan, self.prompts = plan, []

    def add_request(self, number, prompt, config):
        assert prompt.dtype == numpy.int64 and prompt.shape[0] == 1 and prompt.max() < {vocabulary}
        assert config.ignore_eos and not config.do_sample
        self.prompts.append(prompt.size)
        assert len(self.prompts) <= self.plan.max_num_seqs and sum(self.prompts) <= self.plan.max_num_batched_tokens
        self.done, self.tokens = 0, config.max_new_tokens - {missing}
        read = lambda: {{number: SimpleNamespace(generated_ids=[7])}}
        return SimpleNamespace(read=read, can_read=lambda: self.done != {silent})

    def has_non_finished_requests(self):
        if self.done == self.tokens:
            self.prompts = []
        return bool(self.prompts)

    def step(self):
        time.sleep(0.02 if self.done else 0.1)
        self.done += 1
"""


def pretended_openvino(folder, monkeypatch, missing=0, silent=0):
    vocabulary = len(models.load_tokenizer(models.TINY))
    facts = {"vocabulary": vocabulary, "missing": missing, "silent": silent}
    (folder / "openvino_genai.py").write_text(FAKE_OPENVINO.format(**facts))
    (folder / "openvino.py").write_text("def Tensor(array):\n    return array\n")
    given, written = pretended_llama_cpp(folder, monkeypatch)

    def export(_, file):
        write_gguf(file, {"token_embd.weight": "BF16", "blk.0.ffn_up.weight": "Q4_0", "blk.1.ffn_up.weight": "Q8_0"})
        written.append(file)

    return given | {"engine": "openvino", "export": export}, written


FAULTS = [{"missing": 1}, {"silent": 2}]
FAKE_VLLM_ON_A_CPU = """
import os, statistics, sys, time, types
from types import SimpleNamespace

sys.modules["vllm.sampling_params"] = types.ModuleType("vllm.sampling_params")
sys.modules["vllm.sampling_params"].RequestOutputKind = SimpleNamespace(DELTA="delta")
SamplingParams = SimpleNamespace
assert os.environ["OMP_NUM_THREADS"] == "1" and os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"


class LLM:
    def __init__(self, model, dtype, enable_prefix_caching, max_num_seqs, max_num_batched_tokens, **_):
        print("a line that is no answer")
        assert statistics.fmean([1, 2]) == 1.5  # Python's own
        assert os.path.isfile(model + "/config.json") and dtype == "float32" and not enable_prefix_caching
        self.slots, self.context, self.prompts, self.llm_engine = max_num_seqs, max_num_batched_tokens, [], self

    def get_tokenizer(self):
        return range({vocabulary})

    def add_request(self, name, prompt, asked):
        assert asked.temperature == 0 and asked.ignore_eos and asked.output_kind == "delta"
        assert max(prompt["prompt_token_ids"]) < {vocabulary}
        self.prompts.append(len(prompt["prompt_token_ids"]))
        assert len(self.prompts) <= self.slots and sum(self.prompts) <= self.context
        self.done, self.tokens = 0, asked.max_tokens - {missing}

    def has_unfinished_requests(self):
        if self.done == self.tokens:
            self.prompts = []
        return bool(self.prompts)

    def step(self):
        time.sleep(0.02 if self.done else 0.1)
        self.done += 1
        answering = self.prompts[: 0 if self.done == {silent} else None]
        return [SimpleNamespace(outputs=[SimpleNamespace(token_ids=[7])]) for _ in answering]
"""


def pretended_vllm(folder, monkeypatch, missing=0, silent=0):
    facts = {"vocabulary": len(models.load_tokenizer(models.TINY)), "missing": missing, "silent": silent}
    (folder / "vllm.py").write_text(FAKE_VLLM_ON_A_CPU.format(**facts))
    given, _ = pretended_llama_cpp(folder, monkeypatch)
    return given | {"engine": "vllm", "export": None}, []


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["llama.cpp", "openvino", "vllm"])
def test_an_engine_is_measured_in_turn_with_dense_here(tmp_path, monkeypatch, engine):
    pretended = {"llama.cpp": pretended_llama_cpp, "openvino": pretended_openvino, "vllm": pretended_vllm}[engine]
    given, written = pretended(tmp_path, monkeypatch)
    rows = efficiency.compare(models.TINY, models.TINY, **given)
    counts = dict(rows.group_by("metric").len().iter_rows())
    of_both = {"prefill": 2, "decode": 2, "first_token": 2, "token": 8, "decode_batch": 2, "token_batch": 4}
    assert {name: counts[name] for name in of_both} == {name: counts[f"{name}_dense"] for name in of_both} == of_both
    median = dict(rows.group_by("metric").agg(pl.col("value").median()).iter_rows())
    # The pretended engine sleeps 0.1 s and then 0.02 s a step, and a sleep may be longer, not shorter.
    assert 0 < median["prefill"] <= 16 / 0.1
    assert 0 < median["decode"] <= 1 / 0.02
    assert 0 < median["decode_batch"] <= 2 / 0.02
    assert median["first_token"] >= 0.1
    assert median["token"] >= 0.02
    # Of 2 x 64 weights, 256 bytes of BF16, 4 blocks of 18 bytes of Q4_0 and 4 of 34 of Q8_0; an embedding beside an
    # output layer is not read.
    weights = models.load(models.TINY, precision="float32", on="cpu")[0].num_parameters()
    of_file = {"llama.cpp": 256 + 4 * 18, "openvino": 256 + 4 * 18 + 4 * 34, "vllm": 2 * weights}
    assert median["read"] == of_file[engine]
    if sys.platform == "linux":
        assert 0 < median["load_memory"] <= median["peak_memory"]
    assert len(written) == (engine in efficiency.EXPORTED)
    assert not any(file.exists() for file in written)


@pytest.mark.parametrize(
    ("pretended", "fault"),
    [
        (pretended_llama_cpp, {"missing": 1}),
        *((pretended, fault) for pretended in (pretended_openvino, pretended_vllm) for fault in FAULTS),
    ],
)
def test_tokens_that_an_engine_does_not_report_end_the_measurement(tmp_path, monkeypatch, pretended, fault):
    given, _ = pretended(tmp_path, monkeypatch, **fault)
    with pytest.raises(RuntimeError, match="ended early"):
        efficiency.compare(models.TINY, models.TINY, **given)


@pytest.mark.parametrize(
    ("kinds", "says"),
    [
        (
            {"blk.0.ffn_up.weight": "BF16"},
            "its blk.0.ffn_up.weight is exported as BF16, and OpenVINO GenAI reads Q4_0, Q4",
        ),
        (
            {"blk.0.ffn_up.weight": "Q4_0", "blk.0.ffn_down.weight": "F16"},
            "its blk.0.ffn_down.weight is exported as F16",
        ),
        ({"blk.0.ffn_up.weight": "Q4_1", "output.weight": "BF16"}, "its output.weight is exported as BF16"),
        ({"blk.0.ffn_up.weight": "Q8_0", "rope_freqs.weight": "F32"}, "its rotary frequencies have factors, which"),
    ],
)
def test_what_openvino_does_not_serve_is_refused_before_a_process_starts(tmp_path, monkeypatch, kinds, says):
    monkeypatch.setattr(efficiency, "engine_process", lambda *_: pytest.fail("a process was started"))
    monkeypatch.setattr(efficiency.multiprocessing, "get_context", lambda *_: pytest.fail("a process was started"))
    with pytest.raises(
        ValueError, match=f"engine 'openvino' does not serve {models.TINY}: {says}.* engine 'llama.cpp'"
    ):
        efficiency.compare(
            models.TINY, models.TINY, precision="float32", engine="openvino", interpreter=sys.executable,
            export=lambda _, file: write_gguf(file, {"token_embd.weight": "BF16"} | kinds),
        )  # fmt: skip


def test_what_is_not_exported_is_refused_with_its_reason(tmp_path):
    model, tokenizer = models.load(models.TINY, precision="float32", on="cpu")
    saving.save(quanto.compress(model, weights="int4"), tokenizer, tmp_path, write=quanto_form.save)
    with pytest.raises(ValueError, match="is not exported to GGUF: its weights are not quanto's integers of 8 bits"):
        efficiency.compare(
            str(tmp_path), models.TINY, precision="float32", engine="llama.cpp", interpreter=sys.executable,
            export=gguf.export,
        )  # fmt: skip


@pytest.fixture
def quantized(tmp_path):
    """A folder of the tiny model with a cache of 4-bit keys and values."""
    model, tokenizer = models.load(models.TINY, precision="float32", on="cpu")
    cache.compress(model, keys="int4", values="int4", group_size=16)
    saving.save(model, tokenizer, tmp_path / "cache", write=partial(quantized_cache.save, source=models.TINY))
    return str(tmp_path / "cache")


def test_the_bytes_of_a_cache_are_measured_where_one_is_quantized(quantized, monkeypatch):
    monkeypatch.setattr(arithmetic, "bandwidth", lambda *_: 1.0)
    pipes = _Pipe([None]), _Pipe([None])
    for pipe, checkpoint in zip(pipes, (quantized, models.TINY), strict=True):
        with pytest.raises(EOFError):
            efficiency._serve(pipe, checkpoint, "bfloat16", kernels=True)
    bytes_of = [pipe.answers[0]["cache"] for pipe in pipes]
    assert bytes_of == [2 * 2 * 2 * (8 + 4), 2 * 2 * 2 * 2 * 16]  # layers, heads, keys and values; bytes of 16 channels
    monkeypatch.setattr(efficiency, "_process", lambda *_: nullcontext())
    rows = [{"doc_id": 0, "metric": name, "value": 1.0} for name in ("cache", "cache_dense", "read")]
    monkeypatch.setattr(efficiency, "_measurements", lambda *_: rows)
    for checkpoint, expected in ((quantized, {"cache", "cache_dense", "read"}), (models.TINY, {"read"})):
        found = set(efficiency.compare(checkpoint, models.TINY, precision="bfloat16")["metric"])
        assert found & {"cache", "cache_dense", "read"} == expected


@pytest.mark.parametrize(
    ("engine", "says"),
    [
        ("vllm", "in a form that vLLM does not read"),
        ("llama.cpp", "not exported to GGUF: its cache is quantized"),
        ("openvino", "not exported to GGUF: its cache is quantized"),
    ],
)
def test_an_engine_that_would_drop_a_quantized_cache_is_refused(quantized, engine, says):
    with pytest.raises(ValueError, match=says):
        efficiency.compare(
            quantized, models.TINY, precision="float32", engine=engine, interpreter=sys.executable, export=gguf.export
        )


def interpreter_of(engine, variable):
    """The Python that an environment variable names; its test is skipped where there is none."""
    given = os.environ.get(variable, "")
    skipped = pytest.mark.skipif(not given, reason=f"{variable} names no Python that has {efficiency.ENGINES[engine]}")
    return pytest.param(engine, given, marks=skipped)


def packed(folder, bits):
    model, tokenizer = models.load(models.TINY, precision="float32", on="cpu")
    saving.save(rtn.compress(model, bits=bits, group_size=32), tokenizer, folder, write=packed_integers.save)
    return str(folder)


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_what_vllm_has_no_kernel_for_on_a_cpu_is_refused_before_a_process_starts(tmp_path, monkeypatch, bits):
    monkeypatch.setattr(efficiency, "engine_process", lambda *_: pytest.fail("a process was started"))
    monkeypatch.setattr(efficiency.multiprocessing, "get_context", lambda *_: pytest.fail("a process was started"))
    says = f"'vllm' has no kernel on a CPU for {tmp_path}: its form is pack-quantized with {bits} bits, and vLLM reads"
    with pytest.raises(ValueError, match=f"{says} pack-quantized with 4, int-quantized with 8, .* leave engine empty"):
        efficiency.compare(
            packed(tmp_path, bits), models.TINY, precision="float32", engine="vllm", interpreter=sys.executable
        )


def test_the_forms_that_vllm_reads_on_a_cpu_are_given_to_it(tmp_path, monkeypatch):
    monkeypatch.setattr(efficiency, "engine_process", lambda *given, read: nullcontext((read, *given)))
    for checkpoint in (models.TINY, packed(tmp_path, 4)):
        with efficiency.vllm_process("python", checkpoint, "float32", 40, 2) as started:
            assert started[-3:] == ("float32", 40, 2)
    with efficiency.vllm_process("python", packed(tmp_path / "8", 8), "float32", 40) as started:  # on an accelerator
        assert started[-2:] == ("float32", 40)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "interpreter"),
    [
        interpreter_of("llama.cpp", "UNICOMP_LLAMACPP_PYTHON"),
        interpreter_of("openvino", "UNICOMP_OPENVINO_PYTHON"),
    ],
)
def test_four_bits_in_an_engine_decode_faster_than_bfloat16_here(tmp_path, engine, interpreter):
    """In the interpreter that an environment variable names."""
    name = "smollm2-135m-instruct"
    model, tokenizer = models.load(name, precision="bfloat16", on="cpu")
    saving.save(rtn.compress(model, group_size=32), tokenizer, tmp_path, write=packed_integers.save)
    rows = efficiency.compare(
        str(tmp_path), name, precision="bfloat16", prompt=64, generate=8, batch=4, repeats=3, engine=engine,
        interpreter=interpreter, export=gguf.export,
    )  # fmt: skip
    median = dict(rows.group_by("metric").agg(pl.col("value").median()).iter_rows())
    assert median["decode"] > 2 * median["decode_dense"]
    assert median["decode_batch"] > median["decode"]
    assert median["bytes_on_disk"] < median["peak_memory"] < median["peak_memory_dense"]


@pytest.mark.parametrize(
    ("engine", "package"), [("vllm", "vLLM"), ("llama.cpp", "xllamacpp"), ("openvino", "openvino-genai")]
)
def test_an_interpreter_that_does_not_start_or_has_no_engine_is_reported(engine, package):
    given = {"precision": "float32", "engine": engine, "export": lambda folder, file: write_gguf(file, {})}
    with pytest.raises(ValueError, match=f"interpreter '/no/python' does not start .* a Python that has {package}"):
        efficiency.compare(models.TINY, models.TINY, interpreter="/no/python", **given)
    with pytest.raises(RuntimeError, match="ended early"):
        efficiency.compare(models.TINY, models.TINY, interpreter=sys.executable, **given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"engine": "ollama", "interpreter": "python"},
            "engine 'ollama' is not known; allowed are 'vllm', 'llama.cpp' and 'openvi",
        ),
        (
            {"engine": "llama.cpp"},
            "engine 'llama.cpp': run nox -s engine, or give interpreter, the path of .* xllamacpp",
        ),
        (
            {"engine": "openvino"},
            "engine 'openvino': run nox -s engine -- openvino, or give interpreter, the path of .* openvino-genai",
        ),
        ({"engine": "vllm"}, "engine 'vllm': run nox -s engine -- vllm, or give interpreter, the path of .* vLLM"),
        ({"interpreter": "python"}, "interpreter 'python' is given but no engine"),
        ({"engine": "llama.cpp", "interpreter": "python"}, "engine 'llama.cpp' needs export"),
        ({"engine": "openvino", "interpreter": "python"}, "engine 'openvino' needs export"),
    ],
)
def test_an_engine_and_its_interpreter_are_given_together(tmp_path, monkeypatch, given, said):
    monkeypatch.setattr(efficiency.paths, "project", lambda: tmp_path)  # where no engine has been installed
    with pytest.raises(ValueError, match=said):
        efficiency.compare(models.TINY, models.TINY, precision="float32", **given)


def test_llama_cpp_is_found_where_the_session_installs_it(tmp_path, monkeypatch):
    monkeypatch.setattr(efficiency.paths, "project", lambda: tmp_path)
    (tmp_path / ".nox/llama-cpp/bin").mkdir(parents=True)
    (tmp_path / ".nox/llama-cpp/bin/python").symlink_to(sys.executable)  # which has no xllamacpp
    export = lambda _, file: write_gguf(file, {"token_embd.weight": "BF16"})  # noqa: E731
    with pytest.raises(RuntimeError, match="the measuring process ended early"):
        efficiency.compare(models.TINY, models.TINY, precision="float32", engine="llama.cpp", export=export)


class _Session:
    """Stands for nox's, and installs nothing."""

    def __init__(self, *given):
        self.posargs = list(given)

    def run(self, *command):
        if "venv" in command:
            python = Path(command[-1], "bin", "python")
            python.parent.mkdir(parents=True, exist_ok=True)
            python.touch()

    def log(self, text):
        pass

    def error(self, text):
        raise ValueError(text)


@pytest.fixture
def session(tmp_path, monkeypatch):
    """The session ``engine`` of a copy of the noxfile with the locks of engines, which is the project."""
    files = ("noxfile.py", "pyproject.toml", "bench/llama-cpp.txt", "bench/openvino.txt", "bench/vllm.txt")
    (tmp_path / "bench").mkdir()
    for file in files:
        shutil.copy(paths.project() / file, tmp_path / file)
    monkeypatch.setattr(efficiency.paths, "project", lambda: tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(nox.registry, "_REGISTRY", {})  # it warns of a session that is registered twice
    known = {"__file__": str(tmp_path / "noxfile.py"), "__name__": "noxfile"}
    exec(compile((tmp_path / "noxfile.py").read_text(), "noxfile.py", "exec"), known)
    return known["engine"].func


@pytest.mark.parametrize(
    ("engine", "given", "folder", "again"),
    [
        ("llama.cpp", [], "llama-cpp", "nox -s engine"),
        ("llama.cpp", ["llama.cpp"], "llama-cpp", "nox -s engine"),
        ("openvino", ["openvino"], "openvino", "nox -s engine -- openvino"),
        ("vllm", ["vllm"], "vllm", "nox -s engine -- vllm"),
    ],
)
def test_an_engine_that_was_installed_from_another_lock_is_not_measured(
    tmp_path, session, monkeypatch, engine, given, folder, again
):
    on_linux(monkeypatch)
    session(_Session(*given))
    made = str(tmp_path / ".nox" / folder / "bin" / "python")
    assert efficiency.python_of(engine, "") == made
    assert [each.name for each in (tmp_path / ".nox").iterdir()] == [folder]
    lock = tmp_path / "bench" / f"{folder}.txt"
    lock.write_text(lock.read_text() + "other==1\n")
    with pytest.raises(ValueError, match=f"bench/{folder}.txt pins other versions than are installed; run {again}$"):
        efficiency.python_of(engine, "")
    assert efficiency.python_of(engine, "mine") == "mine"
    session(_Session(*given))
    assert efficiency.python_of(engine, "") == made


def on_linux(monkeypatch, machine="x86_64"):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "machine", lambda: machine)


def test_the_lock_of_vllm_is_not_installed_where_it_does_not_hold(session, monkeypatch):
    on_linux(monkeypatch, "riscv64")
    with pytest.raises(ValueError, match="is for Linux on x86_64 and not for linux on riscv64; install vLLM yourself"):
        session(_Session("vllm"))


def test_another_torch_than_was_installed_for_vllm_is_told_from_its_lock(tmp_path, session, monkeypatch):
    on_linux(monkeypatch)
    session(_Session("vllm"))
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["torch==1.0"]\n')
    with pytest.raises(ValueError, match="pins other versions than are installed; run nox -s engine -- vllm"):
        efficiency.python_of("vllm", "")


@pytest.mark.parametrize("given", [["ollama"], ["llama-cpp"], ["llama.cpp", "openvino"]])
def test_an_engine_that_nox_does_not_install_is_refused(session, given):
    says = f"cannot install '{' '.join(given)}'; name one engine: nox -s engine -- llama.cpp|openvino|vllm"
    with pytest.raises(ValueError, match=f"^{re.escape(says)}$"):
        session(_Session(*given))


def test_vllm_for_a_cpu_is_not_taken_for_an_accelerator(monkeypatch):
    monkeypatch.setattr(hardware, "device", lambda: torch.device("cuda"))
    with pytest.raises(ValueError, match=r"installs vLLM for a CPU; give interpreter, .* hide it: CUDA_VISIBLE_"):
        efficiency.compare(models.TINY, models.TINY, precision="float32", engine="vllm")


@pytest.mark.parametrize("engine", efficiency.EXPORTED)
def test_an_engine_on_the_cpu_is_not_compared_with_an_accelerator(monkeypatch, engine):
    monkeypatch.setattr(hardware, "device", lambda: torch.device("cuda"))
    with pytest.raises(ValueError, match="dense would be on the accelerator; hide it: CUDA_VISIBLE_DEVICES=''"):
        efficiency.compare(
            models.TINY, models.TINY, precision="float32", engine=engine, interpreter="python", export=gguf.export
        )


def test_peak_memory_is_this_process_own():
    # In a fresh process: this one may have had a higher peak before, in another test.
    code = (
        "from unicomp_lib.evaluate import efficiency; before = efficiency.peak_memory();"
        "block = bytearray(200_000_000); block[::4096] = b'x' * len(block[::4096]);"
        "print(before, efficiency.peak_memory())"
    )
    parent = bytearray(600_000_000)
    parent[::4096] = b"x" * len(parent[::4096])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after - before > 150_000_000


@pytest.mark.slow
def test_a_process_that_dies_is_an_error_not_a_wait():
    with pytest.raises(RuntimeError, match="ended early"):
        efficiency.compare(models.TINY, models.TINY, precision="float16", prompt=4, generate=1, repeats=2)


def test_cost_is_summed_over_the_steps_back_to_dense(tmp_path):
    def step(name, seconds, **parameters):
        folder = tmp_path / name
        folder.mkdir()
        values = {
            "seconds": seconds, "cpu_seconds": seconds / 2, "peak_memory": 10 * seconds, "joules": 7 * seconds,
            "notebook": f"compress/{name}", "parameters": parameters,
        }  # fmt: skip
        (folder / "record.json").write_text(json.dumps(values))
        return str(folder / "checkpoint")

    dense = step("dense", 5, model="m")
    pruned = step("minitron", 30, checkpoint=dense, samples=4, length=10, training_samples=6)
    both = step("magnitude", 20, checkpoint=pruned)
    costs = dict(efficiency.cost(both).select("metric", "value").iter_rows())
    expected = {
        "cost_seconds": 50, "cost_cpu_seconds": 25, "cost_peak_memory": 300, "cost_tokens": 100, "cost_joules": 350
    }  # fmt: skip
    assert costs == expected
    # Of a step that was forked, with what was imported before.
    file = tmp_path / "magnitude" / "record.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps(record | {"preloaded": {"seconds": 4, "cpu_seconds": 3}}))
    costs = dict(efficiency.cost(both).select("metric", "value").iter_rows())
    assert costs == expected | {"cost_seconds": 54, "cost_cpu_seconds": 28}
    for damaged in ({"seconds": "4"}, [4], 4):
        file.write_text(json.dumps(record | {"preloaded": damaged}))
        assert efficiency.cost(both).is_empty()
    assert efficiency.cost(dense).is_empty()
    assert efficiency.cost(str(tmp_path / "elsewhere" / "checkpoint")).is_empty()


def test_an_unknown_model_is_one_clear_sentence():
    with pytest.raises(ValueError, match="model 'no-such-model' is not known"):
        efficiency.compare("no-such-model", models.TINY, precision="float32")


def test_a_prompt_longer_than_the_model_reads_is_one_clear_sentence():
    with pytest.raises(ValueError, match="prompt=4096 and generate=8 need 4105 tokens, and tiny-random-llama reads 40"):
        efficiency.compare(models.TINY, models.TINY, precision="float32", prompt=4096, generate=8)
