"""What a step needs: as its last run took it, else from the shape of its model, in the right order of magnitude."""

import json

import pytest

from unicomp_lib import __main__ as command_line
from unicomp_lib.checkpoints import saving
from unicomp_lib.study import needs, params, ready, records
from unicomp_lib.study.needs import Need, Speed
from unicomp_lib.study.plan import plan

LLAMA = {
    "hidden_size": 4096, "num_hidden_layers": 32, "intermediate_size": 14336, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 128256,
}  # fmt: skip


@pytest.fixture(scope="module")
def paper():
    profile = params.load("paper")
    return profile, {step.name: step for step in plan(profile)}


@pytest.fixture(autouse=True)
def fixed(monkeypatch, tmp_path):
    """A machine that multiplies 100 T/s and reads 2 TB/s, on which nothing has run and no model is."""
    monkeypatch.setattr(needs, "speed", lambda numbers: Speed(1e14, 2e12))
    monkeypatch.setattr(records, "runs", lambda: tmp_path)
    monkeypatch.setattr(ready, "_checkpoints", lambda source, profile: [])


def need(paper, name, *, device=True):
    profile, steps = paper
    found = needs.of_shape(steps[name], profile, device=device)
    assert isinstance(found, Need)
    return found


def test_every_step_of_the_paper_has_an_estimate(paper):
    profile, steps = paper
    for step in steps.values():
        found = needs.of(step, profile)
        assert found is not None, step.name
        assert not found.measured
        assert min(found.seconds, found.host, found.disk) > 0
        assert 1e8 < found.host < 1e12, step.name
        assert (found.device > 0) == (step.computes and bool(needs.hardware.devices()))


def test_the_shape_is_the_configurations_where_it_is_here_and_near_it_where_not(paper, monkeypatch):
    profile, _ = paper
    source = profile.models["llama-3.1-8b"]
    guess = needs.shape(source, profile)
    monkeypatch.setattr(ready, "configuration", lambda *_: LLAMA)
    exact = needs.shape(source, profile)
    assert (exact.hidden, exact.layers, exact.inner, exact.keys, exact.vocabulary) == (4096, 32, 14336, 1024, 128256)
    for ours, theirs in zip(guess, exact, strict=True):
        assert ours == pytest.approx(theirs, rel=0.25)


def test_without_a_size_nothing_is_said():
    profile = params.load("tiny")
    steps = {step.name: step for step in plan(profile)}
    dense = steps["compress/tiny/dense"]
    assert needs.of(dense, profile) is None
    assert "~" not in needs.columns(None, dense, profile, None)
    assert needs.columns(None, dense, profile, 65.0).split() == ["1:05", "?", "?", "?"]


def test_weights_are_where_they_are_computed_with(paper):
    cell = "llama-3.1-8b/magnitude-50/fidelity"
    beside, alone = need(paper, f"evaluate/{cell}"), need(paper, f"evaluate/{cell}", device=False)
    assert beside.device > 16e9
    assert beside.host > 16e9  # they are read there
    assert alone.device == 0
    assert alone.host > beside.host
    assert need(paper, "evaluate/llama-3.1-8b/rtn-int4/fidelity").device < beside.device / 2


def test_larger_models_and_dearer_methods_need_more(paper):
    def seconds(name):
        return need(paper, name).seconds

    assert seconds("compress/llama-3.1-8b/wanda-50/seed-0") > seconds("compress/llama-3.2-3b/wanda-50/seed-0")
    assert seconds("compress/llama-3.1-8b/awq-int4/seed-0") > seconds("compress/llama-3.1-8b/gptq-int4/seed-0")
    assert seconds("compress/llama-3.1-8b/gptq-int4/seed-0") > seconds("compress/llama-3.1-8b/rtn-int4")
    assert seconds("evaluate/llama-3.1-8b/dense/performance") > seconds("evaluate/llama-3.1-8b/dense/fidelity")


def test_a_forward_pass_over_the_text_takes_two_operations_a_weight_and_token(paper):
    """Fidelity's 140 blocks of 2,048 tokens through 8 billion weights, by the variant and by dense."""
    found = need(paper, "evaluate/llama-3.1-8b/dense/fidelity")
    compute = 2 * 8e9 * 140 * 2048 * 2 / (needs.REACHED * 1e14)
    assert found.seconds == pytest.approx(compute + needs.START + 16e9 / needs.COPY, rel=0.01)


SMALL = {
    "llama-3.2-3b": {
        "hidden_size": 3072, "num_hidden_layers": 28, "intermediate_size": 8192, "num_attention_heads": 24,
        "num_key_value_heads": 8, "vocab_size": 128256,
    },
    "qwen2.5-3b": {
        "hidden_size": 2048, "num_hidden_layers": 36, "intermediate_size": 11008, "num_attention_heads": 16,
        "num_key_value_heads": 2, "vocab_size": 151936,
    },
}  # fmt: skip
WEIGHTS = {"llama-3.2-3b": 3_212_749_824, "qwen2.5-3b": 3_085_938_688}  # as their files have them


@pytest.mark.parametrize("model", SMALL)
@pytest.mark.parametrize("variant", ["minitron-depth", "minitron-width", "lrc"])
def test_a_distillation_fits_one_card_of_80_gb(paper, monkeypatch, model, variant):
    profile, steps = paper
    source = profile.models[model]
    monkeypatch.setattr(ready, "configuration", lambda *_: SMALL[model])
    monkeypatch.setattr(ready, "model_size", lambda *_: 2.0 * WEIGHTS[model])
    assert needs._weights(needs.shape(source, profile)) == pytest.approx(WEIGHTS[model], rel=1e-3)
    step = steps[f"compress/{model}/{variant}"]
    assert step.parameters.get("hidden", 0) % SMALL[model]["num_attention_heads"] == 0  # else no such model
    trained, held = needs._training(needs.shape(source, profile), step.cell.method, step.parameters | {"teacher": ""})
    found, alone = need(paper, step.name), need(paper, step.name, device=False)
    assert 16 * trained < held < found.device < 75e9
    assert found.disk == pytest.approx(2 * 12 * trained)  # the last state stays until the next one is there
    assert found.host > 12 * trained
    assert alone.device == 0
    assert alone.host > held
    larger = needs._training(
        needs.shape(source, profile), step.cell.method, step.parameters | {"teacher": "", "batch_size": 8}
    )
    assert larger[0] == trained
    assert larger[1] > 100e9


def test_what_was_measured_stands_for_an_estimate(paper, monkeypatch):
    profile, steps = paper
    step = steps["compress/llama-3.2-3b/wanda-50/seed-0"]
    run = records.folder(step.name, "0" * 12)
    run.mkdir()
    facts = {
        "seconds": 61.0,
        "peak_memory": 2 * 10**9,
        "files": {"a": {"size": 5}},
        "dropped": {"b": {"size": 7 * 10**9}},
    }
    (run / records.RECORD).write_text(json.dumps(facts))
    assert needs.of(step, profile) == Need(61.0, 2e9, 0.0, 7e9 + 5, measured=True)
    time, memory, memory_unit, device, *disk = needs.columns(needs.of(step, profile), step, profile, None).split()
    assert (time, memory, memory_unit, disk[-2:]) == ("1:01", "2.0", "GB", ["7.0", "GB"])
    assert device.startswith("~")
    (run / "checkpoint").mkdir()
    (run / "checkpoint" / saving.DEVICE_MEMORY).write_text("9e9")
    (run / records.RECORD).write_text(json.dumps({**facts, "run": str(run)}))
    monkeypatch.setattr(needs.hardware, "devices", lambda: ["0"])
    assert needs.of(step, profile) == Need(61.0, 2e9, 9e9, 7e9 + 5, measured=True)
    (run / records.RECORD).write_text(json.dumps({**facts, "files": {"a": None}}))
    assert not needs.of(step, profile).measured


def test_checkpoints_that_go_count_as_many_as_there_are_at_once(paper, monkeypatch):
    profile, steps = paper
    made = [step for name, step in steps.items() if name.startswith("compress/llama-3.1-8b/")]
    passing = [step for step in made if not step.keeps]
    assert len(passing) == len(made) - 1  # dense alone stays
    one, three = (ready.disk(made, profile, workers) for workers in (1, 3))
    assert 32e9 < one < 33e9
    assert three == pytest.approx(one + 32e9, rel=0.01)


PLAIN = """
models: {ours: ours/model-135M@main}
compressions: {dense: {method: dense}}
evaluations: {fidelity: {samples: 4, length: 64}}
cluster: {gpus: 1}
figures: []
"""


@pytest.mark.parametrize(("gpus", "away"), [(1, True), (0, False)])
def test_the_time_of_a_clusters_accelerators_is_not_estimated(tmp_path, monkeypatch, capsys, gpus, away):
    monkeypatch.setattr(needs.hardware, "devices", list)
    (tmp_path / "mine.yaml").write_text(PLAIN.replace("gpus: 1", f"gpus: {gpus}"))
    command = ["reproduce", "--profile", str(tmp_path / "mine.yaml"), "--dry-run"]
    assert command_line.main([*command, "--cluster", "slurm"]) == 0
    said = capsys.readouterr().out
    (fidelity,) = (line.split() for line in said.splitlines() if "evaluate/ours/dense/fidelity" in line)
    assert (fidelity[2] == "?") == away
    assert (f"note: {needs.AWAY}\n" in said) == away
    assert ("very roughly" in said) != away
    assert command_line.main(command) == 0
    here = capsys.readouterr().out
    assert needs.AWAY not in here
    assert "very roughly" in here


def test_on_a_cluster_weights_are_on_its_accelerator_and_what_was_measured_has_its_time(paper, monkeypatch):
    monkeypatch.setattr(needs.hardware, "devices", list)
    profile, steps = paper
    step = steps["evaluate/llama-3.1-8b/magnitude-50/fidelity"]
    found = needs.of(step, profile, away=True)
    assert found.device > 16e9 > needs.of(step, profile).device
    assert needs.columns(found, step, profile, None, away=True).split()[0] == "?"
    assert needs.columns(found._replace(measured=True, seconds=61.0), step, profile, None, away=True).startswith(
        f"{'1:01':>10} "
    )
    assert needs.columns(found, step, profile, 65.0, away=True).split()[0] == "1:05"
