"""Minitron (Muralidharan et al., 2024, arXiv 2407.14679; Sreenivas et al., 2024, arXiv 2408.11796).

Cut the least active layers or channels out of a model; distilling it (``distill``) is the second half.
"""

from dataclasses import replace

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from unicomp_lib.checkpoints import decoder
from unicomp_lib.compress import students

VERSION = "1"
BATCH = 8  # calibration samples in one forward pass


@torch.no_grad()
def depth(
    model: PreTrainedModel, tokens: torch.Tensor, *, keep: int, influence: torch.Tensor | None = None
) -> PreTrainedModel:
    """A student with the ``keep`` layers of largest block influence, measured on ``tokens`` (samples, length).

    ``influence`` is that of ``block_influence``, where it is known.
    """
    influence = block_influence(model, tokens) if influence is None else influence
    check_size("layers", keep, len(influence))
    return students.cut(model, replace(students.whole(model), layers=largest(influence, keep)))


@torch.no_grad()
def width(
    model: PreTrainedModel, tokens: torch.Tensor, *, hidden: int = 0, neurons: int = 0, groups: int = 0,
    active: dict[str, list[torch.Tensor]] | None = None,
) -> PreTrainedModel:  # fmt: skip
    """A student with the most active hidden channels, MLP neurons and key-value groups; 0 keeps all.

    Activity (section 2.2) is measured on ``tokens`` (samples, length): the mean absolute output of
    the norms for hidden channels, the mean absolute activation for neurons, and the mean norm of
    the heads' outputs for groups. Neurons and groups are chosen in each layer, hidden channels once.
    Deviations: means over samples and tokens throughout, where the paper tries several aggregations; and whole
    key-value groups are cut, never single query heads, since no attention here has groups of unequal size.
    ``active`` is that of ``activity``, where it is known.
    """
    whole = students.whole(model)
    sizes = {"hidden": len(whole.hidden), "neurons": len(whole.neurons[0]), "groups": len(whole.groups[0])}
    wanted = {"hidden": hidden, "neurons": neurons, "groups": groups}
    for name, size in sizes.items():
        wanted[name] = wanted[name] or size
        check_size(name, wanted[name], size)
    active = activity(model, tokens) if active is None else active
    return students.cut(
        model,
        replace(
            whole,
            hidden=largest(active["hidden"][0], wanted["hidden"]),
            neurons=[largest(scores, wanted["neurons"]) for scores in active["neurons"]],
            groups=[largest(scores, wanted["groups"]) for scores in active["groups"]],
        ),
    )


@torch.no_grad()
def measure(model: PreTrainedModel, tokens: torch.Tensor) -> tuple[torch.Tensor, dict[str, list[torch.Tensor]]]:
    """``block_influence`` and ``activity``, in one forward pass for both."""
    sums, of_channels = _watch_channels(model)
    influences, of_blocks = _watch_blocks(model)
    _forward(model, tokens, of_channels + of_blocks)
    return _means(influences), sums


@torch.no_grad()
def block_influence(model: PreTrainedModel, tokens: torch.Tensor) -> torch.Tensor:
    """BI_l of every layer l (layers,): 1 minus the mean cosine between a token's states before and after it."""
    influences, handles = _watch_blocks(model)
    _forward(model, tokens, handles)
    return _means(influences)


def _means(values: list[list[torch.Tensor]]) -> torch.Tensor:
    return torch.stack([torch.stack(of_layer).mean() for of_layer in values]).cpu()


def _watch_blocks(model: PreTrainedModel) -> tuple[list[list[torch.Tensor]], list[RemovableHandle]]:
    """Influences by layer and batch, which forward passes will fill, and the hooks that do."""
    influences: list[list[torch.Tensor]] = [[] for _ in decoder.layers(model)]

    def watch(index: int):  # type: ignore[no-untyped-def]
        def hook(_: nn.Module, args, kwargs, output) -> None:  # type: ignore[no-untyped-def]
            before = args[0] if args else kwargs["hidden_states"]
            after = output[0] if isinstance(output, tuple) else output
            influences[index].append(1 - torch.cosine_similarity(before.float(), after.float(), dim=-1).mean())

        return hook

    return influences, [
        layer.register_forward_hook(watch(index), with_kwargs=True) for index, layer in enumerate(decoder.layers(model))
    ]


@torch.no_grad()
def activity(model: PreTrainedModel, tokens: torch.Tensor) -> dict[str, list[torch.Tensor]]:
    """Activity by role: ``hidden`` one tensor (hidden,), ``neurons`` and ``groups`` one per layer.

    Means over tokens, summed over batches (and norms): only their order matters, so a factor cancels.
    """
    sums, handles = _watch_channels(model)
    _forward(model, tokens, handles)
    return sums


def _watch_channels(model: PreTrainedModel) -> tuple[dict[str, list[torch.Tensor]], list[RemovableHandle]]:
    """Activity by role, to which forward passes will add, and the hooks that do."""
    count = len(decoder.layers(model))
    sums: dict[str, list[torch.Tensor]] = {
        "hidden": [torch.zeros(())],
        "neurons": [torch.zeros(())] * count,
        "groups": [torch.zeros(())] * count,
    }
    groups, head = students.groups(model), students.head_width(model)

    def add(role: str, index: int, values: torch.Tensor) -> None:
        sums[role][index] = sums[role][index] + values.cpu()

    def neurons(index: int):  # type: ignore[no-untyped-def]
        return lambda _, inputs: add("neurons", index, inputs[0].float().abs().mean(dim=(0, 1)))

    def heads(index: int):  # type: ignore[no-untyped-def]
        def hook(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            norms = inputs[0].float().unflatten(-1, (groups, -1, head)).norm(dim=-1)
            add("groups", index, norms.mean(dim=(0, 1)).sum(-1))

        return hook

    def hidden(_: nn.Module, __: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        add("hidden", 0, output.float().abs().mean(dim=(0, 1)))

    handles = []
    for index, layer in enumerate(decoder.layers(model)):
        parts = dict(layer.named_modules())
        for name, hook in (("mlp.down_proj", neurons(index)), ("self_attn.o_proj", heads(index))):
            if name not in parts:
                raise ValueError(f"{type(layer).__name__} has no {name}, which width pruning measures; prune by depth")
            handles.append(parts[name].register_forward_pre_hook(hook))
        norms = [part for name, part in parts.items() if name.endswith("norm") and "self_attn" not in name]
        handles += [norm.register_forward_hook(hidden) for norm in norms]
    return sums, handles


def _forward(model: PreTrainedModel, tokens: torch.Tensor, handles: list[RemovableHandle]) -> None:
    try:
        for batch in tokens.to(model.device).split(BATCH):
            model(input_ids=batch, use_cache=False, logits_to_keep=1)
    finally:
        for handle in handles:
            handle.remove()


def largest(score: torch.Tensor, keep: int) -> torch.Tensor:
    """Indices of the ``keep`` largest scores, in increasing order."""
    return score.argsort(descending=True, stable=True)[:keep].sort().values


def check_size(name: str, keep: int, size: int) -> None:
    """Raise a ``ValueError`` unless 1 <= keep <= size."""
    if not 1 <= keep <= size:
        raise ValueError(f"{name}={keep} is not allowed; give how many to keep, from 1 to the {size} there are")
