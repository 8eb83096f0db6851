"""Prune a trained network, at once or in steps, and retrain it."""

from typing import Any

from torch import nn

from unicomp_lib.vision import masks as masking
from unicomp_lib.vision import resume, training
from unicomp_lib.vision.images import Images

VERSION = "4"

SCHEDULES = ("one-shot", "iterative")


def prune(
    model: nn.Module,
    images: Images,
    *,
    method: str,
    rate: float,
    criterion: str = "l1",
    scope: str = "layerwise",
    schedule: str = "one-shot",
    steps: int = 2,
    epochs: int = 2,
    learning_rate: float = 0.02,
    recalibrate: bool = False,
    precision: str = "float32",
    seed: int = 0,
    state: resume.State | None = None,
) -> tuple[masking.Masks, list[dict[str, float]]]:
    """Prune ``model`` in place to ``rate`` and return the masks and the retraining's history.

    ``iterative`` reaches the rate in ``steps`` that prune the same share of what remains, and retrains after
    each for its part of the ``epochs``: unlike in the paper, both schedules retrain equally long, so that
    only the schedule differs. With ``recalibrate``, BatchNorm's statistics are estimated again after
    pruning; without epochs, that is the control for the effect of retraining. ``precision`` is that of
    ``training.train``, as is ``state``: an interrupted pruning goes on in the step in which it was.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule {schedule!r} is not known; allowed are {', '.join(SCHEDULES)}")
    steps = steps if schedule == "iterative" else 1
    if steps < 1 or epochs % steps:
        raise ValueError(f"epochs {epochs} cannot be divided equally among {steps} steps; give a multiple of the steps")
    given = {"method": method, "rate": rate, "criterion": criterion, "scope": scope, "seed": seed}
    trained: dict[str, Any] = {"epochs": epochs // steps, "rate": learning_rate, "precision": precision}
    masks, history, first = None, [], 1
    if state:
        # Both have a rate: of pruning, and of learning.
        pruned = {**given, "steps": steps, "again": recalibrate}
        versions = [VERSION, masking.VERSION, training.VERSION]
        state.begin(model, images, {"versions": versions, "pruning": pruned, "training": trained})
        if state.stored:
            first, history = state.stored[1]["stage"], state.stored[1]["earlier"]
            masks = resume.part(state.stored[0], "mask.")
    for step in range(first, steps + 1):
        if masks is None or step > first:
            share = masking.geometric(rate, step, steps)
            masks = masking.select(
                model, method=method, share=share, criterion=criterion, scope=scope, before=masks, seed=seed
            )
            masking.apply(model, masks)
            if recalibrate:
                training.recalibrate(model, images, seed=seed)
        if state:
            state.stage, state.earlier = step, history
        history = history + training.train(model, images, **trained, masks=masks, seed=seed + step, state=state)
    assert masks is not None
    if scope == "layerwise" and (spared := masking.spared(model, method, rate)):
        print(
            f"rate {rate} would leave nothing of {len(spared)} convolutions, such as {spared[0]}: one is kept in each"
        )
    return masks, history
