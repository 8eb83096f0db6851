"""Whether options packed into one row get the log-likelihoods of separate sequences: known of the model, and tried."""

import inspect

import torch
from transformers import PreTrainedModel

VERSION = "1"

# Kinds of layers whose attention is all that a mask says; a window or chunk is no obstacle to rows within it.
ATTENTION = ("full_attention", "sliding_attention", "chunked_attention")
TOLERANCE = {torch.float32: 1e-3}  # nats; in half precision the order of sums alone moves a likelihood further
COARSE = 0.2


def obstacle(model: PreTrainedModel) -> str:
    """Why a model cannot rank packed rows, in a few words; empty where it can.

    A row is packed by positions and a mask. So positions must be an argument, not counted from the row as ALiBi
    does, and nothing but attention may carry information from one token to the next.
    """
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ATTENTION)
    if "position_ids" not in inspect.signature(model.forward).parameters or getattr(config, "alibi", False):
        return "its positions are counted from the row"
    if getattr(model, "_is_stateful", False) or not kinds <= set(ATTENTION):
        return "not all of its layers attend"
    try:
        error = _try(model)
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as problem:
        return f"it takes no mask of a packed row ({str(problem).splitlines()[0][:80]})"
    allowed = TOLERANCE.get(model.dtype, COARSE)
    return "" if error < allowed else f"packed options were off by {error:.2g} nats"


def longest(model: PreTrainedModel) -> int:
    """Tokens of a prompt and one option up to which a packed row is exact: the smallest window of the layers."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or [])
    sizes = []
    if "sliding_attention" in kinds or (not kinds and getattr(config, "use_sliding_window", True)):
        sizes.append(getattr(config, "sliding_window", None))
    if "chunked_attention" in kinds:
        sizes.append(getattr(config, "attention_chunk_size", None))
    return min((size for size in sizes if size), default=2**31)


@torch.no_grad()
def _try(model: PreTrainedModel) -> float:
    """The largest difference in nats between packed and separate log-likelihoods of two short options."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, model.config.get_text_config().vocab_size, (10,), generator=generator).tolist()
    prompt, options = tokens[:4], [tokens[4:7], tokens[7:]]
    separate = [_sum(model(input_ids=_row(model, prompt + option[:-1])).logits, option, 3) for option in options]
    row, positions = prompt + options[0][:-1] + options[1][:-1], [*range(4), 4, 5, 4, 5]
    visible = torch.ones(8, 8, dtype=torch.bool).tril()
    visible[6:, 4:6] = False  # the second option does not see the first
    bias = torch.zeros(1, 1, 8, 8, dtype=model.dtype).masked_fill(~visible, torch.finfo(model.dtype).min)
    logits = model(
        input_ids=_row(model, row), attention_mask=bias.to(model.device), position_ids=_row(model, positions)
    ).logits
    second = torch.cat([logits[:, 3:4], logits[:, 6:]], dim=1)
    packed = [_sum(logits, options[0], 3), _sum(second, options[1], 0)]
    return max(abs(one - other) for one, other in zip(separate, packed, strict=True))


def _row(model: PreTrainedModel, tokens: list[int]) -> torch.Tensor:
    return torch.tensor([tokens], device=model.device)


def _sum(logits: torch.Tensor, option: list[int], first: int) -> float:
    """Log-likelihood of an option whose first token is predicted at position ``first``."""
    chosen = logits[0, first : first + len(option)].float().log_softmax(-1)
    return float(chosen.gather(-1, torch.tensor(option, device=chosen.device)[:, None]).sum())
