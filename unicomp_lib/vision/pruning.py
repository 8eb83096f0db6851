"""Prune a trained network, at once or in steps, and retrain it."""

from torch import nn

from unicomp_lib.vision import masks as masking
from unicomp_lib.vision import training
from unicomp_lib.vision.images import Images

VERSION = "2"

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
) -> tuple[masking.Masks, list[dict[str, float]]]:
    """Prune ``model`` in place to ``rate`` and return the masks and the retraining's history.

    ``iterative`` reaches the rate in ``steps`` that prune the same share of what remains, and retrains after
    each for its part of the ``epochs``: unlike in the paper, both schedules retrain equally long, so that
    only the schedule differs. With ``recalibrate``, BatchNorm's statistics are estimated again after
    pruning; without epochs, that is the control for the effect of retraining. ``precision`` is that of
    ``training.train``.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule {schedule!r} is not known; allowed are {', '.join(SCHEDULES)}")
    steps = steps if schedule == "iterative" else 1
    if steps < 1 or epochs % steps:
        raise ValueError(f"epochs {epochs} cannot be divided equally among {steps} steps; give a multiple of the steps")
    masks: masking.Masks | None = None
    history: list[dict[str, float]] = []
    for step in range(1, steps + 1):
        share = masking.geometric(rate, step, steps)
        masks = masking.select(
            model, method=method, share=share, criterion=criterion, scope=scope, before=masks, seed=seed
        )
        masking.apply(model, masks)
        if recalibrate:
            training.recalibrate(model, images, seed=seed)
        history += training.train(
            model, images, epochs=epochs // steps, rate=learning_rate, masks=masks, precision=precision,
            seed=seed + step,
        )  # fmt: skip
    assert masks is not None
    return masks, history
