"""One linear map of a model with its inputs: all that a compression method looks at."""

import torch
from transformers import PreTrainedModel

from unicomp_lib.checkpoints import decoder

VERSION = "1"


@torch.no_grad()
def weight_and_inputs(
    model: PreTrainedModel, tokens: torch.Tensor, layer: int, name: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """W (outputs, inputs) of a linear map and its inputs X (tokens, inputs), both in float64.

    ``tokens`` (samples, length) is calibration text. A ``ValueError`` lists the layer's maps.
    """
    stack = decoder.layers(model)
    if not 0 <= layer < len(stack):
        raise ValueError(f"layer={layer} is not allowed; give a number from 0 to {len(stack) - 1}")
    known = decoder.linears(stack[layer])
    if name not in known:
        raise ValueError(f"layer {layer} has no {name!r}; it has {', '.join(known)}")
    inputs: list[torch.Tensor] = []
    handle = known[name].register_forward_pre_hook(lambda _, args: inputs.append(args[0].double().flatten(0, 1)))
    try:
        model(input_ids=tokens.to(model.device), use_cache=False, logits_to_keep=1)
    finally:
        handle.remove()
    return known[name].weight.double().cpu(), torch.cat(inputs).cpu()
