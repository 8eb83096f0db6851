"""What a step needs: memory, disk and time, as its last run took them, else roughly, from its model's shape."""

import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from unicomp_lib import hardware
from unicomp_lib.evaluate import task
from unicomp_lib.study import notebooks, progress, ready, sources
from unicomp_lib.study.params import DENSE, Profile
from unicomp_lib.study.plan import precision
from unicomp_lib.study.steps import Stage, Step

LIBRARIES, CONTEXT = 0.9e9, 1e9  # bytes of a process that has imported torch; of an accelerator's own kernels
START, COPY = 10.0, 0.5e9  # seconds until a notebook computes; bytes a second from and to a disk
REACHED = 0.4  # share of a large product's speed that a model reaches
# Forward passes over the calibration text that take as long as what a method does, as measured with 135M weights.
PASSES = {"wanda": 2, "smoothquant": 2, "sparsegpt": 8, "gptq": 9, "awq": 18}
LEARNING = 16  # the same for training: the student's pass, its gradients, the teacher's, and the optimizer
# Bytes a trained parameter: itself, its gradient and two moments in float32, and a copy in bfloat16 for products. Of
# these, itself and the moments are saved, from time to time, to go on from.
TRAINED, STATE = 18, 12
# Items of the sets whose number a profile gives as 0, all of them; of others a thousand are assumed.
SIZES = {
    "mmlu_full": 14042, "arc_challenge": 1172, "arc_easy": 2376, "hellaswag": 10042, "piqa_full": 1838,
    "winogrande": 1267, "gsm8k_cot": 1319, "math_500": 500, "gpqa_diamond": 198, "ifbench_full": 300, "truthfulqa": 817,
    "bbq": 1012, "strongreject": 313, "overrefusal": 150,
}  # fmt: skip
MULTILINGUAL = ("global_mmlu", 14042)
# Tokens of an item: read, and written one after another. Reasoning reads its examples and writes its steps.
TOKENS = {"cloze": (200, 0), "letter": (150, 0), "generate": (200, 128)}
REASONING = (1500, 500)
BATCH, LENGTH = 16, 512
NETWORK_FLOPS, IMAGES = 3e9, (1_281_167, 50_000)  # GoogLeNet on 224 x 224; ImageNet's train and validation sets
EMOJI = 3600


class Need(NamedTuple):
    """Seconds, and bytes of host memory, of an accelerator's and of disk. ``measured``: by the step's last run."""

    seconds: float
    host: float
    device: float
    disk: float
    measured: bool


class Shape(NamedTuple):
    """Weights, bytes that they take in bfloat16, decoder layers, and widths of a model, ``wide`` that of its heads."""

    weights: float
    size: float
    layers: float
    hidden: float
    inner: float
    keys: float
    vocabulary: float
    wide: float


class Speed(NamedTuple):
    """Operations, and bytes read from memory, a second."""

    operations: float
    bandwidth: float


def of(step: Step, profile: Profile, *, away: bool = False) -> Need | None:
    """What a step needs on this machine; None where neither a record nor a model's size says.

    ``away``: on another machine that has an accelerator, of whose speed nothing is known here.
    """
    if last := ready.last_record(step):
        return Need(last["seconds"], last["peak_memory"], _on_device(last), ready.written(last), measured=True)
    return of_shape(step, profile, device=away or bool(hardware.devices()))


def _on_device(last: dict[str, Any]) -> float:
    """Bytes that a compression took on an accelerator; 0 where there is none, and for other steps."""
    if not hardware.devices():
        return 0.0
    from unicomp_lib.checkpoints import saving  # heavy

    return saving.device_memory(Path(last["run"]) / "checkpoint")


def of_shape(step: Step, profile: Profile, *, device: bool) -> Need | None:
    """The same by the model's shape alone, with an accelerator or without; None where its size is not known.

    Estimates are of the right order of magnitude: they leave out what a method does besides products of matrices.
    """
    if not step.computes:
        return Need(2 * START, 1.5 * LIBRARIES, 0, ready.estimated(step, profile), measured=False)
    estimate = _network if step.stage == Stage.VISION else _COMPUTES[step.stage]
    return estimate(step, profile, device)


def shape(source: str, profile: Profile) -> Shape | None:
    """A model's shape, from its configuration where that is here, else as decoders of its size mostly have it."""
    size = ready.model_size(source, profile)
    if not size:
        return None
    given = ready.configuration(source, profile)
    weights = size / 2
    hidden = given.get("hidden_size") or (weights * 128 / 12) ** (1 / 3)
    heads = given.get("num_attention_heads") or hidden / 128
    keys = hidden * (given.get("num_key_value_heads") or heads / 4) / heads
    return Shape(
        weights, size, given.get("num_hidden_layers") or hidden / 128, hidden,
        given.get("intermediate_size") or 3.5 * hidden, keys, given.get("vocab_size") or 128_000, hidden,
    )  # fmt: skip


@cache
def speed(numbers: str) -> Speed:
    """How fast this machine multiplies matrices of this precision, and reads memory, with a step's share of it."""
    import torch

    device, kind = hardware.device(), hardware.dtype(numbers)
    on_cpu = device.type == "cpu"
    before = torch.get_num_threads()
    torch.set_num_threads(1 if on_cpu else before)
    try:
        width = 1024 if on_cpu else 8192
        matrix = torch.ones(width, width, dtype=kind, device=device)
        large = torch.ones(2**26 if on_cpu else 2**30, dtype=torch.uint8, device=device)
        clock = time.process_time if on_cpu else time.perf_counter  # other work on the cores does not count
        operations = 2 * width**3 / _fastest(lambda: float((matrix @ matrix)[0, 0]), clock)
        return Speed(operations, 2 * large.numel() / _fastest(lambda: int(large.clone()[0]), clock))
    finally:
        torch.set_num_threads(before)


def _fastest(compute: Callable[[], Any], clock: Callable[[], float]) -> float:
    taken = []
    for _ in range(4):
        start = clock()
        compute()
        taken.append(clock() - start)
    return min(taken)


def _compress(step: Step, profile: Profile, device: bool) -> Need | None:
    known = _shape(step, profile)
    if known is None or step.cell is None:
        return None
    given = notebooks.defaults(step.notebook) | step.parameters
    disk, saved = ready.estimated(step, profile), 0.0
    length = given.get("length", 0)
    tokens = float(given.get("samples", 0) * length)
    learned = float((given.get("training_samples", 0) + given.get("correction_samples", 0)) * length)
    passes = tokens * PASSES.get(step.cell.method, 1) + LEARNING * learned
    seconds = START + (known.size + disk) / COPY + 2 * known.weights * passes / _rate(profile)
    # Text before and after a layer, what its widest map gives, its weights and the Hessian of its widest inputs.
    layer = 2 * tokens * (2 * known.hidden + known.inner) + 3 * known.size / known.layers + 8 * known.inner**2
    work = layer if tokens else 0.0
    if learned:
        trained, held = _training(known, step.cell.method, given)
        work = max(work, held)
        # The last state stays until the next is written; both are gone once the checkpoint is.
        saved = STATE * trained
        disk = max(disk, 2 * saved)
    host = LIBRARIES + 1.3 * known.size + (saved if device else work)
    return Need(seconds, host, CONTEXT + work if device and work else 0.0, disk, measured=False)


def _training(known: Shape, method: str, given: dict[str, Any]) -> tuple[float, float]:
    """Parameters that a distillation trains, and the bytes that it holds."""
    student = _student(known, given)
    weights = _weights(student)
    tokens = given.get("batch_size", 1) * given.get("length", 0)
    # What gradients need of each layer: float32 states and their norms, and what the maps take and give in bfloat16.
    # arXiv 2205.05198 counts 34 bytes a token and channel where all is bfloat16.
    layers = student.layers * (46 * student.hidden + 8 * student.inner)
    logits = 16 * student.vocabulary
    if method != "lrc":
        # The model that is cut and the teacher are two; a correction trains the teacher as well.
        trained = known.weights if given.get("correction_samples") else weights
        copies = 2 * known.size if "teacher" in given else 0.0
        return trained, copies + TRAINED * trained + tokens * (layers + logits)
    trained = known.hidden * student.hidden * (7 * known.layers + 1)
    # The teacher in float32 and a copy for products; the student as made, as computed, and its gradients, in bfloat16.
    held = 6 * known.weights + 6 * weights + TRAINED * trained
    outputs = known.layers * (3 * known.hidden + 2 * known.keys + 2 * known.inner)  # of the maps that are compared
    return trained, held + tokens * (layers + logits + 6 * outputs)


def _student(known: Shape, given: dict[str, Any]) -> Shape:
    """The shape of a student that is cut out of a model of this one."""
    sizes = {"layers": "layers", "hidden": "hidden", "inner": "neurons"}
    return known._replace(**{field: float(given.get(name) or getattr(known, field)) for field, name in sizes.items()})


def _weights(known: Shape) -> float:
    """Weights of a decoder, its embeddings counted once; its heads are as wide together as the model was at first."""
    heads = 2 * known.wide + 2 * known.keys
    return known.hidden * (known.layers * (3 * known.inner + heads) + known.vocabulary)


def _evaluate(step: Step, profile: Profile, device: bool) -> Need | None:
    known = _shape(step, profile)
    if known is None or step.cell is None:
        return None
    form = _form(step, profile, known)
    given = notebooks.defaults(step.notebook) | step.parameters
    if step.topic == "efficiency":
        batch, length = given.get("batch", 1), given["prompt"] + given["generate"]
        runs = 2.0 * given["repeats"]
        read, written = runs * given["prompt"] * (1 + batch), runs * 2 * given["generate"]
    elif tasks := given.get("tasks"):
        batch, length = given.get("batch_size", BATCH), LENGTH
        each = [(number or _size(name), *_tokens(name)) for name, number in tasks.items()]
        length = max([length, *(sum(tokens) for _, *tokens in each)])
        read = float(sum(number * tokens for number, tokens, _ in each))
        written = sum(-(-number // batch) * tokens for number, _, tokens in each)
    else:
        batch, length = 1, given["length"]
        read, written = 2.0 * given["samples"] * length, 0.0
    rate = speed(precision(profile))
    seconds = START + form / COPY + 2 * known.weights * read / _rate(profile) + written * form / rate.bandwidth
    cache_of_keys = 4 * batch * length * known.layers * known.keys
    work = form + cache_of_keys + _activations(known, batch * length)
    host = LIBRARIES + form + (0 if device else work - form)
    return Need(seconds, host, CONTEXT + work if device else 0.0, ready.TABLES, measured=False)


def _network(step: Step, profile: Profile, device: bool) -> Need:
    """GoogLeNet: images forwards, and forwards and backwards in training."""
    given = notebooks.defaults(step.notebook) | step.parameters
    train, val = (0.9 * EMOJI, 0.1 * EMOJI) if given.get("data") == sources.IMAGES else IMAGES
    passes = 3 * given.get("epochs", 0) * train + 2 * val
    work = NETWORK_FLOPS * (given.get("size", 224) / 224) ** 2 * passes
    memory = 1e9 * (given.get("size", 224) / 224) ** 2
    disk = ready.estimated(step, profile)
    return Need(
        START + work / _rate(profile), LIBRARIES + (0 if device else memory), CONTEXT + memory if device else 0.0, disk,
        measured=False,
    )  # fmt: skip


_COMPUTES: dict[Stage, Callable[[Step, Profile, bool], Need | None]] = {
    Stage.COMPRESS: _compress,
    Stage.EVALUATE: _evaluate,
}


def _rate(profile: Profile) -> float:
    return REACHED * speed(precision(profile)).operations


def _activations(known: Shape, tokens: float) -> float:
    """Bytes of one layer's widest values and of the logits, which are float32."""
    return tokens * (4 * (known.hidden + 2 * known.inner) + 4 * known.vocabulary)


def _shape(step: Step, profile: Profile) -> Shape | None:
    return shape(profile.models[step.cell.model], profile) if step.cell else None


def _form(step: Step, profile: Profile, known: Shape) -> float:
    """Bytes of the weights of the variant that is evaluated."""
    assert step.cell is not None
    entry = profile.compressions.get(step.cell.variant, profile.compressions[DENSE])
    given = notebooks.defaults(entry.notebook) | entry.parameters_of(step.cell.model)
    return known.size * ready.share(entry.method, given)


def _size(name: str) -> int:
    source = task.source(name) if task.is_own(name) else name
    return MULTILINGUAL[1] if source.startswith(MULTILINGUAL[0]) else SIZES.get(source, 1000)


def _tokens(name: str) -> tuple[int, int]:
    about = task.described(name)
    form = str(about["format"]) if about.get("format") in TOKENS else "generate"
    return REASONING if form == "generate" and about["capability"] == "reasoning" else TOKENS[form]


AWAY = (
    "no time is estimated for steps that have not run yet: they are to run on the cluster's accelerators, and an "
    "estimate would be for this machine"
)
HEADER = f"{'time':>10} {'memory':>9} {'device':>9} {'disk':>9}"


def columns(need: Need | None, step: Step, profile: Profile, seconds: float | None, *, away: bool = False) -> str:
    """The columns of ``HEADER`` for a step that is to run, ``~`` before estimates; ``seconds``: as it took before.

    ``device`` is what it would hold on an accelerator, where there is one or not. A step that runs ``away`` has no
    estimate of its time: it would be this machine's.
    """
    if need is None:
        clock = progress.clock(seconds) if seconds is not None else "?"
        return f"{clock:>10} {'?':>9} {'?':>9} {'?':>9}"
    device = need.device or (there.device if step.computes and (there := of_shape(step, profile, device=True)) else 0)
    about = "" if need.measured else "~"
    estimate = "?" if away and not need.measured else f"{about}{progress.clock(need.seconds)}"
    clock = progress.clock(seconds) if seconds is not None else estimate
    guess = "" if need.device and need.measured else "~"
    return f"{clock:>10} {_shown(need.host, about):>9} {_shown(device, guess):>9} {_shown(need.disk, about):>9}"


def _shown(size: float, about: str) -> str:
    """Bytes, such as ``1.5 GB`` and ``20 MB``; a dash for none."""
    return "-" if not size else about + (f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB")
