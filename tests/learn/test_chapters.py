"""What the teaching notebooks write out by hand gives the library's numbers."""

import ast
import copy
import re
from itertools import pairwise
from math import comb

import nbformat
import numpy as np
import polars as pl
import pytest
import torch

from unicomp_lib import paths
from unicomp_lib.checkpoints import grid
from unicomp_lib.compress import awq, distill, gptq, hessian, magnitude, minitron, sparsegpt, wanda, weight_masks
from unicomp_lib.evaluate import agreement, design, statistics
from unicomp_lib.learn import one_layer
from unicomp_lib.vision import exemplars, googlenet, images, mis, network
from unicomp_lib.vision import masks as vision_masks

CHAPTERS = (
    "1_what_a_weight_is_worth", "2_rounding_well", "3_less_model_same_teacher", "4_measuring_damage",
    "5_judging_refusals", "6_why_not_smaller_or_faster", "7_what_pruning_does_to_a_neuron",
    "8_how_many_items",
)  # fmt: skip
FOLDER = paths.project() / "notebooks" / "learn"


def by_hand(chapter):
    """The functions that a chapter defines in its cells tagged ``by-hand``."""
    found = {"torch": torch, "np": np, "copy": copy, "pairwise": pairwise, "comb": comb}
    for cell in nbformat.read(FOLDER / f"{chapter}.ipynb", as_version=4).cells:
        if "by-hand" in cell.metadata.get("tags", []):
            exec(cell.source, found)
    return found


@pytest.fixture
def layer():
    """W (24, 128) and inputs (200, 128) of one linear map, in float64, some inputs loud and all related."""
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randn(128, 128, generator=generator, dtype=torch.float64) / 11
    inputs = torch.randn(200, 128, generator=generator, dtype=torch.float64) @ mixed
    inputs[:, ::17] *= 8
    return torch.randn(24, 128, generator=generator, dtype=torch.float64), inputs


def test_the_order_of_the_chapters_is_told_and_complete():
    text = (FOLDER / "README.md").read_text()
    assert [name for name in CHAPTERS if f"({name}.ipynb)" in text] == list(CHAPTERS)
    assert sorted(text.index(f"({name}.ipynb)") for name in CHAPTERS) == [
        text.index(f"({name}.ipynb)") for name in CHAPTERS
    ]
    assert {file.stem for file in FOLDER.glob("*.ipynb")} == set(CHAPTERS)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_exercises_have_folded_solutions(chapter):
    cells = nbformat.read(FOLDER / f"{chapter}.ipynb", as_version=4).cells
    exercises = [cell.source for cell in cells if "## Exercises" in cell.source]
    solutions = [cell for cell in cells if "solution" in cell.metadata.get("tags", [])]
    assert len(exercises) == 1
    assert len(solutions) == sum(line[:2] in ("1.", "2.", "3.") for line in exercises[0].splitlines()) >= 2
    assert all(cell.metadata["jupyter"] == {"source_hidden": True, "outputs_hidden": True} for cell in solutions)
    # JupyterLab opens the outputs of what it runs: these stay out of sight below a folded heading.
    place = cells.index(solutions[0])
    assert (cells[place - 1].source, dict(cells[place - 1].metadata)) == (
        "### Solutions", {"jp-MarkdownHeadingCollapsed": True}
    )  # fmt: skip
    assert cells[place : place + len(solutions)] == solutions
    assert cells[place + len(solutions)].source.startswith("## ")


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_solution_answers_in_a_sentence_with_what_it_computed(chapter):
    cells = nbformat.read(FOLDER / f"{chapter}.ipynb", as_version=4).cells
    solutions = [cell.source for cell in cells if "solution" in cell.metadata.get("tags", [])]
    for number, source in enumerate(solutions, start=1):
        calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
        printed = [call.args[0] for call in calls if ast.unparse(call.func) == "print"]
        assert printed, source
        for text in printed:
            assert isinstance(text, ast.JoinedStr)
            assert text.values[0].value.startswith(f"{number}. ")
            assert text.values[-1].value.endswith(".")
            assert any(isinstance(part, ast.FormattedValue) for part in text.values)


def test_one_notation_in_chapters_and_methods():
    notebooks = [*FOLDER.glob("*.ipynb"), *(FOLDER.parent / "compress").glob("*.ipynb")]
    prose = {
        file.stem: "\n".join(
            cell.source for cell in nbformat.read(file, as_version=4).cells if cell.cell_type != "code"
        )
        for file in notebooks
    }
    defined = {name: re.findall(r"\$H = ([^$]*)\$", text) for name, text in prose.items()}
    assert {name for name, found in defined.items() if found} >= {
        "1_what_a_weight_is_worth", "2_rounding_well", "sparsegpt", "gptq"
    }  # fmt: skip
    assert {each for found in defined.values() for each in found} == {r"\frac1n X^\top X"}
    influence = [re.search(r"\\mathrm\{BI\}_l = ([^$]*?),?\$", prose[name])[1] for name in (CHAPTERS[2], "minitron")]
    assert influence[0] == influence[1].strip()
    symbols = (FOLDER / "README.md").read_text()
    assert r"| $H = \frac1n X^\top X$ |" in symbols
    first = re.findall(r"^\| (\$.*?) \|", symbols, flags=re.MULTILINE)
    plain = re.sub(r"\\mathrm\{\w+\}|_\{\w+\}|_\w| = [^$]*", "", " ".join(first))
    listed = [each for each in re.findall(r"\$([^$]*)\$", plain) if each and each != "X"]
    assert len(listed) == len(set(listed)), listed  # one letter a meaning
    assert {"q", r"\hat p"} <= set(listed)
    for name in CHAPTERS:  # q is an integer of a grid
        bare = prose[name].replace("$q$ in the papers", "")
        assert name.startswith("2_") or not re.search(r"\$[^$]*(?<![A-Za-z\\])q(?![A-Za-z])[^$]*\$", bare), name
    for name, text in prose.items():
        assert r"X X^\top" not in text, name
        assert not re.search(r"\\mathrm\{diag\}\(s\)", text), name  # s is the scale of a grid, t that of an input


@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.9])
def test_pruning_by_hand_is_the_librarys(layer, tiny, sparsity):
    hand, (weight, inputs) = by_hand("1_what_a_weight_is_worth"), layer
    model = tiny[0]
    first = model.model.layers[0].self_attn.q_proj
    before = first.weight.detach().clone()
    magnitude.compress(model, sparsity=sparsity)
    assert torch.equal(hand["magnitude"](before, sparsity), first.weight)
    keep = weight_masks.mask(wanda.score(weight, inputs.square().sum(0)), sparsity=sparsity)
    assert torch.equal(hand["wanda"](weight, inputs, sparsity), weight * keep)
    factor = hessian.inverse_factor(inputs.T @ inputs / len(inputs))
    theirs = sparsegpt.prune(weight, factor, sparsity=sparsity)
    torch.testing.assert_close(hand["sparsegpt"](weight, inputs, sparsity), theirs, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_rounding_by_hand_is_the_librarys(layer, bits):
    hand, (weight, inputs) = by_hand("2_rounding_well"), layer
    options = {"bits": bits, "group_size": 32, "symmetric": True}
    fitted, covariance = grid.fit(weight, **options), inputs.T @ inputs / len(inputs)
    assert torch.equal(hand["rtn"](weight, bits, 32), grid.values(grid.codes(weight, fitted), fitted).double())
    codes, used = gptq.quantize(weight, covariance, fitted)
    assert torch.equal(hand["gptq"](weight, inputs, bits, 32), grid.values(codes, used).double())
    scale, _ = hand["awq"](weight, inputs, bits, 32)
    theirs = awq.search([weight], covariance, inputs.abs().mean(0), **options)
    assert not torch.allclose(scale, torch.ones_like(scale))
    torch.testing.assert_close(scale, theirs.double())


def test_cutting_and_teaching_by_hand_are_the_librarys(tiny):
    hand, (model, _) = by_hand("3_less_model_same_teacher"), tiny
    tokens = torch.randint(0, 200, (4, 32), generator=torch.Generator().manual_seed(0))
    states = model(input_ids=tokens, output_hidden_states=True).hidden_states
    influence = minitron.block_influence(model, tokens)
    # The last of transformers' states is behind the norm: only the first layer's pair is plain.
    torch.testing.assert_close(hand["block_influence"](states[:2]), influence[:1])
    kept = minitron.largest(influence, 1).tolist()
    ours, theirs = hand["cut"](model, kept), minitron.depth(model, tokens, keep=1)
    assert torch.equal(ours(input_ids=tokens).logits, theirs(input_ids=tokens).logits)
    assert ours.config.num_hidden_layers == 1
    expected = torch.stack([model(input_ids=row[None], labels=row[None]).loss for row in tokens])
    torch.testing.assert_close(hand["losses"](model, tokens), expected)
    one, other = torch.randn(2, 3, 7, 50, generator=torch.Generator().manual_seed(1)).unbind()
    for temperature in (1.0, 2.5):
        torch.testing.assert_close(
            hand["divergence"](one, other, temperature), distill.divergence(one, other, temperature=temperature)
        )


def test_measuring_by_hand_is_the_librarys():
    hand = by_hand("4_measuring_damage")
    values = np.random.default_rng(1).normal(size=40)
    ours, theirs = hand["bootstrap"](values), statistics.resampled_means(values[:, None], np.arange(40))[:, 0]
    assert np.allclose(ours, theirs, atol=1e-6)
    for lost, gained in [(0, 0), (1, 0), (3, 10), (10, 3), (7, 7), (40, 12)]:
        assert hand["mcnemar"](lost, gained) == pytest.approx(statistics.mcnemar(lost, gained))
    dense, pruned, names = np.repeat([1.0, 0.0], [80, 20]), np.repeat([1.0, 0.0], [60, 40]), np.arange(100).astype(str)
    judge, human = np.random.default_rng(2).integers(0, 2, size=(2, 60))
    assert by_hand("5_judging_refusals")["kappa"](judge, human) == pytest.approx(agreement.kappa(judge, human).value)
    (part,) = [statistics.Part(pruned, dense, names, 0.25)]
    assert hand["retention"](0.6, 0.8, 0.25) == pytest.approx(statistics.retention([part]).value)


def test_a_unit_by_hand_is_the_librarys(image_folder):
    hand = by_hand("7_what_pruning_does_to_a_neuron")
    shown, model = images.load(str(image_folder), "train", size=32), network.new(3)
    name = "inception3a.branch1.conv"
    activations = hand["activations"](model, shown, name)
    found, _ = exemplars.extremes(model, shown, 12)
    features = torch.nn.functional.normalize(torch.randn(len(shown), 8, generator=torch.Generator().manual_seed(0)))
    for channel in (0, 5):
        place = exemplars.units(model).index((name, channel))
        most, least = hand["exemplars"](activations[:, channel], 12)
        assert torch.equal(found.places["top"][place], most)
        assert torch.equal(found.places["bottom"][place], least)
        theirs = mis.score(most[None], least[None], features, alpha=5.0, tasks=4).mis.item()
        assert hand["mis"](most, least, features, 4, 5.0) == pytest.approx(theirs, abs=1e-6)
    kept = vision_masks.select(model, method="unstructured", share=0.7)
    weight = googlenet.convolutions(model)[name].weight.detach()
    assert torch.equal(hand["prune"](weight, 0.7), weight * kept[name])


def test_one_layer_gives_what_the_map_was_given(tiny):
    model, _ = tiny
    tokens = torch.randint(0, 200, (2, 8))
    weight, inputs = one_layer.weight_and_inputs(model, tokens, 0, "self_attn.v_proj")
    states = model.model.layers[0].input_layernorm(model.model.embed_tokens(tokens))
    torch.testing.assert_close(inputs, states.double().flatten(0, 1))
    assert torch.equal(weight, model.model.layers[0].self_attn.v_proj.weight.double())
    with pytest.raises(ValueError, match="layer 0 has no 'mlp'; it has self_attn"):
        one_layer.weight_and_inputs(model, tokens, 0, "mlp")
    with pytest.raises(ValueError, match="layer=2 is not allowed; give a number from 0 to 1"):
        one_layer.weight_and_inputs(model, tokens, 2, "mlp.up_proj")


def test_the_plan_of_items_is_the_librarys():
    own = by_hand("8_how_many_items")
    rng = np.random.default_rng(0)
    above, sigma, seconds = rng.uniform(0.05, 0.3, 4), rng.uniform(0.2, 1, 4), rng.uniform(0.01, 0.5, 4)
    known = [
        design.Known(str(task), "a", *facts, 10**9)
        for task, facts in enumerate(zip(above, sigma, seconds, strict=True))
    ]
    numbers = own["neyman"](sigma, seconds, 1e5)
    theirs = design.allocate(known, 1e5)
    assert [theirs[str(task)] for task in range(4)] == pytest.approx(numbers, abs=1)
    width = design.half_widths(known, dict(zip("0123", numbers, strict=True)))["a"]
    assert own["half_width"](above, sigma, numbers) == pytest.approx(width, rel=1e-4)
    dense, ours = rng.random(50), rng.random(20)
    part = statistics.Part(ours, dense[:20], np.arange(20), 0.0, dense[20:], np.arange(20, 50))
    assert own["regression"](ours, dense[:20], dense) == pytest.approx(statistics.supported(part).value)


def source(chapter, start):
    """The code of the one cell of a chapter that contains ``start``."""
    cells = nbformat.read(FOLDER / f"{chapter}.ipynb", as_version=4).cells
    (found,) = [cell.source for cell in cells if cell.cell_type == "code" and start in cell.source]
    return found


def test_the_intervals_that_chapter_4_calls_the_same_are_the_same(capsys):
    hand, name = by_hand("4_measuring_damage"), "4_measuring_damage"
    dense, pruned = np.random.default_rng(0).integers(0, 2, size=(2, 60)).astype(float)
    hand |= {"statistics": statistics, "dense": dense, "pruned": pruned, "paired": hand["bootstrap"](pruned - dense)}
    hand["counts"] = pl.DataFrame({"a": ["t"], "b": [1], "c": [10], "d": [3], "e": [1], "f": [0.5]})
    exec(source(name, "statistics.bootstrap(change"), hand)
    lines = dict(line.split(": ") for line in capsys.readouterr().out.splitlines())
    for label in ("resamples", "stretched", "McNemar"):
        ours, theirs = lines[label].split(" and ")
        assert ours == theirs, label
    text = (FOLDER / f"{name}.ipynb").read_text()
    assert "Newcombe's hybrid" in text
    assert "only added noise" not in text


def test_noise_takes_more_right_answers_than_it_gives():
    random = np.random.default_rng(0)
    right, noisy = random.random((2, 100_000)) < [[0.66], [0.25]]
    after = np.where(random.random(100_000) < 0.3, noisy, right)
    lost, gained = (right & ~after).sum(), (~right & after).sum()
    assert statistics.mcnemar(int(lost), int(gained)) < 1e-6


def test_no_effect_is_called_detectable_that_exceeds_the_share_of_flips():
    import matplotlib.pyplot as plt

    from unicomp_lib.figures import panels, style

    shown = type("sliders", (), {"show": staticmethod(lambda draw, flips: None)})
    space = {"np": np, "plt": plt, "panels": panels, "style": style, "sliders": shown}
    exec(source("4_measuring_damage", "def draw(flips)"), space)
    for flips in (0.02, 0.4):
        (axes,) = space["draw"](flips).axes
        assert max(line.get_ydata().max() for line in axes.lines) <= 100 * flips + 1e-9
        plt.close(axes.figure)


@pytest.mark.parametrize("kind", ["equal noise", "extremes first", "extremes last"])
def test_exemplars_are_compared_with_what_the_correlation_explains(kind, capsys):
    name = "7_what_pruning_does_to_a_neuron"
    space, random = by_hand(name), torch.Generator().manual_seed(1)
    before, noise = torch.randn(2, 400, 80, generator=random, dtype=torch.double)
    now = 0.9 * before + (1 - 0.9**2) ** 0.5 * noise
    high = before > 1.5
    now = {
        "equal noise": now,
        "extremes first": torch.where(high, 1.5 + noise.abs(), before),
        "extremes last": torch.where(high, before + 3, now),
    }[kind]
    exec(source(name, "torch.sin"), space | {"before": before, "after": {0.5: now}})
    text = capsys.readouterr().out
    word = {"equal noise": "neither clearly more nor less", "extremes first": "more", "extremes last": "less"}[kind]
    assert f"So the exemplars change {word} than" in text
    if kind == "equal noise":
        assert 57 <= int(re.search(r"correlation, (\d+) %", text)[1]) <= 63


def test_the_scatter_of_chapter_8_is_the_librarys_residual():
    random = np.random.default_rng(0)
    dense = random.integers(0, 2, 200).astype(float)
    ours = np.where(random.random(200) < 0.7, dense, random.integers(0, 2, 200))
    part = statistics.Part(ours, dense, np.arange(200), 0.0)
    theirs = design._known("t", "a", [part], 1.0, 200).sigma
    found = by_hand("8_how_many_items")["residual"]
    assert found(dense.mean(), (ours - dense).mean(), ((dense == 1) & (ours == 0)).mean(), 200) == pytest.approx(theirs)


def test_tasks_of_which_dense_was_asked_more_are_planned_too():
    rows = [("dense", 0.6, 600), ("difference", 0.0, 120), ("flips_lost", 0.1, 120)]
    scores = pl.DataFrame(
        [
            {"variant": "v", "seed": None, "capability": "c", "task": "t", "format": "cloze", "chance": 0.5,
             "metric": metric, "value": value, "n": n}
            for metric, value, n in rows
        ],
        schema_overrides={"seed": pl.Int64},
    )  # fmt: skip
    given = type("results", (), {"scores": staticmethod(lambda path, dimension: scores)})
    space = by_hand("8_how_many_items") | {
        "pl": pl, "results": given, "performance_scores": "", "variant": "v", "capability": "c",
        "seconds": {"cloze": 0.1},
    }  # fmt: skip
    setup = source("8_how_many_items", "facts = scores.filter")
    exec(setup[setup.index("scores = ") :], space)
    exec(source("8_how_many_items", "table = facts.select"), space)
    assert space["table"]["task"].to_list() == ["t"]
    assert space["table"]["sigma"][0] == pytest.approx(2 * (0.24 - 0.14**2 / 0.24) ** 0.5 * (120 / 118) ** 0.5)


def test_twice_the_weight_halves_the_largest_error(layer):
    rtn, (weight, _) = by_hand("2_rounding_well")["rtn"], layer
    weight[:, 0] = 20.0  # sets the scale, and is not multiplied
    factor = torch.ones(128, dtype=weight.dtype)
    factor[1:] = 2.0
    errors = [(rtn(weight * each, 4, 128) / each - weight)[:, 1:].abs().max() for each in (1, factor)]
    assert errors[1] <= 0.25 * (40 / 15) * 1.01 < errors[0]
    assert "has half the error" not in (FOLDER / "2_rounding_well.ipynb").read_text()
