"""Numbers that are not finite: where they arose first, by name."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

VERSION = "1"

ADVICE = "the network is damaged or its learning rate was too high: take another, or train it with a lower one"


class NotFinite(ValueError):
    """A loss, weight, gradient or activation is infinite or no number; the message names it."""


def are_finite(tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Whether all values of each tensor are finite: (tensors,) booleans; those of whole numbers always are."""
    # Both ends are NaN where a value is. An accelerator is not waited for.
    ends = [
        torch.stack(tensor.detach().aminmax()).isfinite().all()
        if tensor.is_floating_point() and tensor.numel()
        else torch.ones((), dtype=torch.bool, device=tensor.device)
        for tensor in tensors.values()
    ]
    return torch.stack(ends) if ends else torch.ones(0, dtype=torch.bool)


def check(tensors: Mapping[str, torch.Tensor], what: str, where: str) -> None:
    """Raise ``NotFinite`` that names the first of ``tensors`` with a value that is not finite.

    ``what`` they are, such as "gradient", and ``where`` in a training begin the sentence.
    """
    # A sum is not finite where a value is not, and costs a fraction of looking at each tensor by itself.
    sums = [tensor.detach().sum() for tensor in tensors.values() if tensor.is_floating_point()]
    if not sums or torch.stack(sums).isfinite().all():
        return
    bad = [name for name, fine in zip(tensors, are_finite(tensors).tolist(), strict=True) if not fine]
    if bad:
        more = f" and of {len(bad) - 1} more" if len(bad) > 1 else ""
        raise NotFinite(f"{where}: the {what} of {bad[0]}{more} is not finite; {ADVICE}")


def check_weights(model: nn.Module, where: str) -> None:
    """``check`` of all weights and of BatchNorm's statistics."""
    check(model.state_dict(), "weight or statistic", where)


def not_finite(model: nn.Module, images: torch.Tensor, where: str, what: str) -> NotFinite:
    """The error for ``what``, such as a loss, that is not finite: it names the first layer whose output is not."""
    with _outputs(model) as first, torch.no_grad():
        model(images)
    layer = first[0] if first else "none of the layers when computed again"
    return NotFinite(f"{where}: the {what} is not finite; the first activation that is not is of {layer}; {ADVICE}")


@contextmanager
def _outputs(model: nn.Module) -> Iterator[list[str]]:
    """A list that receives the names of the parts without parts whose output is not finite, in order."""
    bad: list[str] = []

    def look(name: str, out: torch.Tensor) -> None:
        if not out.isfinite().all():
            bad.append(name)

    handles = [
        part.register_forward_hook(lambda _, __, out, name=name: look(name, out))
        for name, part in model.named_modules()
        if not list(part.children())
    ]
    try:
        yield bad
    finally:
        for handle in handles:
            handle.remove()
