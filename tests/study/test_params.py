import pytest
import yaml

from unicomp_lib import paths
from unicomp_lib.study import notebooks, params, plan
from unicomp_lib.study.steps import keys

FILES = (paths.project() / "params").glob("*.yaml")
PROFILES = [file.stem for file in FILES if file.stem not in params.NOT_PROFILES]


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_is_valid_and_gives_a_graph_with_keys(name):
    steps = plan.plan(params.load(name))
    found = keys(steps)
    assert len(set(found.values())) == len(steps)
    seen = set()
    for step in steps:
        assert set(step.parents) <= seen
        seen.add(step.name)


def test_the_paper_has_its_four_models_pinned_and_its_tasks():
    profile = params.load("paper")
    assert len(profile.models) == 4
    assert all(len(source.partition("@")[2]) == 40 for source in profile.models.values())
    tasks = profile.evaluations["performance"].parameters["tasks"]
    assert {"mmlu_full_letter", "gsm8k_cot_generate", "math_500_generate", "global_mmlu_sw_letter"} <= set(tasks)


def edited(tmp_path, edit):
    content = yaml.safe_load((paths.project() / "params" / "tiny.yaml").read_text())
    edit(content)
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return str(path)


def wanda(**values):
    return lambda content: content["compressions"]["wanda-2-4"].update(values)


TINY, MORE = "tiny-random-llama", {"method": "magnitude", "sparsity": 0.3}


def renamed(section, old, new):
    return lambda content: content[section].update({new: content[section].pop(old)})


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (
            renamed("compressions", "magnitude-50", 50),
            "gives compressions the name 50, which YAML does not read as text; put it in quotes",
        ),
        (
            lambda content: content.update(vision={"prunings": {0.5: {"method": "filters"}}}),
            "gives vision.prunings the name 0.5, which YAML",
        ),
        (wanda(sparsty=0.5), "gives parameter 'sparsty', which compress/wanda.ipynb does not have; .* mean 'sparsity'"),
        (
            wanda(method="wonda"),
            "notebook 'compress/wonda' is not there; compress/ holds awq, .*dense, .*, sparsegpt, wanda",
        ),
        (wanda(sparsity=1.5), "compressions.wanda-2-4 of mine.yaml gives sparsity=1.5, .*less than 1"),
        (wanda(sparsity="half"), "gives sparsity='half'"),
        (wanda(sparsity=None), "compressions.wanda-2-4 of mine.yaml gives sparsity no value; give one, or remove it"),
        (wanda(method="../evaluate/fidelity"), "wanda-2-4.method .* give the name of a notebook in notebooks/compress"),
        (wanda(seeds=[True]), "valid integer"),
        (wanda(seeds=["1"]), "valid integer"),
        (
            lambda content: content["compressions"].update(dense={"method": "magnitude", "sparsity": 0.5}),
            "compressions.dense of mine.yaml has the method 'magnitude', but is what all others are compared with",
        ),
        (
            lambda content: content["compressions"].update({"x" * 300: {"method": "rtn"}}),
            "has a name of 300 letters, xxx.*: give one of at most 80",
        ),
        (wanda(pattern="two"), "gives pattern='two'"),
        (
            wanda(base="wanda-50"),
            "has base 'wanda-50', which is not above it; allowed are dense, magnitude-50; correct",
        ),
        (wanda(base="quanto-int8"), "has base .quanto-int8., which is not above it"),
        (wanda(seeds=[]), "compressions.wanda-2-4.seeds"),
        (wanda(calibration=3), "gives calibration=3, a int; compress/wanda.ipynb takes a str"),
        (lambda c: c["compressions"]["magnitude-50"].update(seeds=[1]), "gives seeds, but magnitude draws nothing"),
        (lambda c: c.update(modles={}), "unknown key 'modles'; allowed are calibration, cluster, compressions"),
        (lambda c: c.pop("models"), "lacks 'models'; add it"),
        (lambda c: c.pop("compressions"), "lacks 'compressions'; add it"),
        (lambda c: c.pop("evaluations"), "lacks 'evaluations'; add it"),
        (lambda c: c.update(models={}), "lacks 'models'; add it"),
        (lambda c: c.update(models={}, vision={}), "lacks 'models'; add it"),
        (lambda c: c["compressions"].pop("dense"), "has no compression 'dense'"),
        (lambda c: c["evaluations"]["performance"]["tasks"].update(piqa_close=3), "task 'piqa_close' is not known"),
        (lambda c: c["evaluations"]["performance"]["tasks"].update(bbq_cloze=3), "belongs to reliability; move it"),
        (lambda c: c["evaluations"]["performance"]["tasks"].update(piqa_cloze=-1), "tasks.piqa_cloze=-1"),
        (lambda c: c["evaluations"].pop("efficiency"), "figure 'size' .* needs evaluation 'efficiency'"),
        (lambda c: c.update(figures=["pie"]), "notebook 'figures/pie' is not there"),
        (lambda c: c["evaluations"]["fidelity"].update(seeds="some"), "evaluations.fidelity.seeds='some'"),
        (lambda c: c.update(precision="fp8"), "gives precision='fp8'"),
        (
            lambda c: c["evaluations"]["reliability"].update(judge={"judge_url": "https://me:secret@host/v1"}),
            "evaluations.reliability.judge of profile mine: judge_url contains a user, a password or a query",
        ),
        (
            renamed("compressions", "magnitude-50", "wanda/60"),
            "compressions of mine.yaml has the name 'wanda/60'; a name",
        ),
        (renamed("compressions", "magnitude-50", ".."), "compressions of mine.yaml has the name '..'"),
        (renamed("compressions", "magnitude-50", "50 %"), "compressions of mine.yaml has the name '50 %'"),
        (renamed("compressions", "magnitude-50", "a<b>"), "compressions of mine.yaml has the name 'a<b>'"),
        (
            renamed("compressions", "magnitude-50", "dense-rerun"),
            "'dense-rerun', which the study uses itself; change it",
        ),
        (renamed("models", "tiny", "../tiny"), "models of mine.yaml has the name '../tiny'"),
        (lambda c: c.update(name="../../precious"), "name of mine.yaml has the name '../../precious'"),
        (lambda c: c.update(figures=["../size"]), "figures of mine.yaml has the name '../size'"),
        (lambda c: c.update(vision={"prunings": {"dense": {}}}), "vision.prunings of mine.yaml has the name 'dense'"),
        (
            lambda c: c.update(vision={"train": {"seed": 1, "seeds": [1, 2]}}),
            "vision.train of profile mine gives both seed and seeds; remove seed",
        ),
        (
            lambda c: c.update(vision={"shared": {"seed": 3}}),
            "vision.shared of profile mine gives seed; give vision.train",
        ),
        (
            lambda c: c.update(vision={"prunings": {"half": {"seed": 5}}}),
            r"vision.prunings.half of profile mine gives seed; give seeds: \[5\]",
        ),
        (lambda c: c.update(vision={"train": {"seeds": [1, 1]}}), "gives seeds=.1, 1.; each seed may be there once"),
        (lambda c: c.update(vision={"train": {"seeds": [-1]}}), "vision.train.seeds.0=-1"),
        (
            lambda c: c.update(vision={"train": {"epoch": 3}}),
            "parameter 'epoch', which vision/train.ipynb .* mean 'epochs'",
        ),
        (
            lambda c: c.update(vision={"train": {"seeds": [0, 1]}, "prunings": {"half": {"seeds": [2]}}}),
            "vision.prunings.half of profile mine gives seeds, but vision.train has several",
        ),
        (
            lambda c: (
                c.update(models={"a": TINY, "a.b": TINY})
                or c["compressions"].update(c=MORE)
                or c["compressions"].update({"b.c": MORE | {"label": "B"}})
            ),
            "items/a.b.c.fidelity.parquet twice; give its models and variants other",
        ),
    ],
)
def test_every_mistake_is_one_clear_sentence(tmp_path, edit, says):
    with pytest.raises((params.ParamsError, notebooks.NotebookError, ValueError), match=says) as raised:
        plan.plan(params.load(edited(tmp_path, edit)))
    assert "\n" not in str(raised.value)


def test_an_unknown_profile_and_broken_yaml_are_clear(tmp_path):
    with pytest.raises(
        params.ParamsError,
        match="profile 'huge' is not there; allowed are embedded, engines, formats, gpu, openvino, paper, tiny, vision"
        ", vllm",
    ):
        params.load("huge")
    (tmp_path / "mine.yaml").write_text("models: [")
    with pytest.raises(params.ParamsError, match=r"mine.yaml is no valid YAML"):
        params.load(str(tmp_path / "mine.yaml"))


def test_only_takes_what_a_step_reads_along():
    steps = plan.plan(params.load("tiny"))
    names = [step.name for step in plan.select(steps, ["evaluate/*/wanda*/fidelity"])]
    assert names == ["compress/tiny/dense", "compress/tiny/wanda-2-4/seed-0", "evaluate/tiny/wanda-2-4/seed-0/fidelity"]
    with pytest.raises(params.ParamsError, match="no step matches 'vision/\\*'"):
        plan.select(steps, ["vision/*"])


def test_a_profile_of_vision_alone_has_no_models(tmp_path):
    def edit(content):
        vision = {"train": {"seeds": [4, 5]}, "prunings": {"half": {}}}
        content.clear()
        content.update(vision=vision, figures=["vision"])

    steps = {step.name: step for step in plan.plan(params.load(edited(tmp_path, edit)))}
    assert {step.stage.value for step in steps.values()} == {"vision", "scores", "figures"}
    pruned = steps["vision/half/seed-5/prune"]
    assert pruned.parameters["seed"] == 5
    assert pruned.reads["checkpoint"].step == "vision/dense/seed-5/train"
    explained = steps["vision/half/seed-5/interpretability"]
    assert explained.reads["dense"].step == "vision/dense/seed-5/train"
    assert steps["vision/untrained/seed-4/train"].parameters["epochs"] == 0


def test_an_evaluation_on_the_first_seed_alone_spares_the_others(tmp_path):
    def edit(content):
        content["compressions"]["wanda-2-4"]["seeds"] = [3, 4]
        content["evaluations"]["performance"]["seeds"] = "first"

    names = {step.name for step in plan.plan(params.load(edited(tmp_path, edit)))}
    assert {f"evaluate/tiny/wanda-2-4/seed-{seed}/fidelity" for seed in (3, 4)} <= names
    assert "evaluate/tiny/wanda-2-4/seed-3/performance" in names
    assert "evaluate/tiny/wanda-2-4/seed-4/performance" not in names


def test_a_combination_reads_its_base_and_a_student_its_teacher(tmp_path):
    def edit(content):
        more = {
            "student": {"method": "minitron", "base": "wanda-2-4", "layers": 1},
            "student+gptq": {"method": "gptq", "base": "student", "group_size": 32, "seeds": [5]},
        }
        content["compressions"]["wanda-2-4"]["seeds"] = [3, 4]
        content["compressions"] |= more

    steps = {step.name: step for step in plan.plan(params.load(edited(tmp_path, edit)))}
    assert steps["compress/tiny/student"].parents == ["compress/tiny/wanda-2-4/seed-3", "compress/tiny/dense"]
    assert steps["compress/tiny/student+gptq/seed-5"].parents == ["compress/tiny/student"]
    assert steps["evaluate/tiny/student+gptq/seed-5/fidelity"].reads["dense"].step == "compress/tiny/dense"


def test_dense_may_be_asked_more_items_than_its_variants(tmp_path):
    def edit(content):
        tasks = {"piqa_cloze": 6, "openbookqa_cloze": 4}
        content["evaluations"]["performance"] |= {
            "tasks": tasks,
            "dense": {"piqa_cloze": 0},
            "rerun": {"batch_size": 2},
        }

    by_name = {step.name: step for step in plan.plan(params.load(edited(tmp_path, edit)))}
    asked = {
        variant: by_name[f"evaluate/tiny/{variant}/performance"].parameters["tasks"]
        for variant in ("dense", "dense-rerun", "quanto-int8")
    }
    assert asked["dense"] == {"piqa_cloze": 0, "openbookqa_cloze": 4}
    assert asked["dense-rerun"] == asked["quanto-int8"] == {"piqa_cloze": 6, "openbookqa_cloze": 4}


def test_an_evaluation_leaves_out_the_variants_it_is_told_to(tmp_path):
    def edit(content, dimension, values):
        content["evaluations"][dimension].update(values)

    def cells(without, dimension="performance", **values):
        given = {"without": without} | values
        steps = plan.plan(params.load(edited(tmp_path, lambda content: edit(content, dimension, given))))
        return {(step.topic, step.cell.variant) for step in steps if step.stage == "evaluate"}

    assert cells([]) - cells(["quanto-int8"]) == {("performance", "quanto-int8")}
    for name, says in (
        ("quanto-int", "did you mean 'quanto-int8'"),
        ("dense", "lists 'dense'; allowed are magnitude-50"),
    ):
        with pytest.raises(params.ParamsError, match=f"evaluations.performance.without of profile mine .*{says}"):
            cells([name])
    # Every cell of efficiency measures dense too, so that its own may be left out, unless it is to be measured again.
    assert cells([]) - cells(["dense"], "efficiency") == {("efficiency", "dense")}
    with pytest.raises(params.ParamsError, match=r"efficiency.without of profile mine lists 'dense'; allowed are magn"):
        cells(["dense"], "efficiency", rerun={"repeats": 2})


@pytest.mark.parametrize(
    ("dense", "message"),
    [
        ({"piqa_cloz": 9}, "lists 'piqa_cloz'; allowed are those of its tasks: .*did you mean 'piqa_cloze'"),
        ({"piqa_cloze": 5}, "gives piqa_cloze 5 items, but its variants are asked 6 items"),
        ({"siqa_cloze": 5}, "gives siqa_cloze 5 items, but its variants are asked all items"),
        ({"hellaswag": 9}, "lists 'hellaswag', whose items lm-eval gives in the order of a file"),
        ({"piqa_cloze": -1}, "greater than or equal to 0"),
        ({"piqa_cloze": "9"}, "valid integer"),
    ],
)
def test_items_for_dense_alone_that_would_not_do_are_refused(tmp_path, dense, message):
    def edit(content):
        tasks = {"piqa_cloze": 6, "siqa_cloze": 0, "hellaswag": 3}
        content["evaluations"]["performance"] |= {"tasks": tasks, "dense": dense}

    with pytest.raises(params.ParamsError, match=message):
        plan.plan(params.load(edited(tmp_path, edit)))


def test_the_noise_floor_is_dense_a_second_time_with_other_parameters(tmp_path):
    edit = yaml.safe_load((paths.project() / "params" / "tiny.yaml").read_text(encoding="utf-8"))
    edit["evaluations"]["performance"]["rerun"] = {"batch_size": 3}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(edit))
    by_name = {step.name: step for step in plan.plan(params.load(str(path)))}
    first, rerun = (by_name[f"evaluate/tiny/{name}/performance"] for name in ("dense", "dense-rerun"))
    assert rerun.parameters["cell"]["variant"] == "dense-rerun"
    assert rerun.parameters["batch_size"] == 3
    assert first.reads == rerun.reads
    assert "evaluate/tiny/dense-rerun/performance" in by_name["scores/performance"].parents
    assert "evaluate/tiny/dense-rerun/fidelity" not in by_name


def test_a_seed_of_the_calibration_is_that_of_all_that_gives_none(tmp_path):
    content = yaml.safe_load((paths.project() / "params" / "tiny.yaml").read_text(encoding="utf-8"))
    content["calibration"]["seed"] = 3
    content["compressions"]["wanda-2-4"] = {"method": "wanda", "pattern": "2:4"}
    content["compressions"]["gptq"] = {"method": "gptq", "group_size": 32, "seeds": [7]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    made = {
        step.cell.variant: step
        for step in plan.plan(params.load(str(tmp_path / "mine.yaml")))
        if step.stage == "compress"
    }
    found = {name: (step.parameters.get("seed"), step.cell.seed) for name, step in made.items()}
    assert found["wanda-2-4"] == (3, 3)
    assert found["gptq"] == (7, 7)
