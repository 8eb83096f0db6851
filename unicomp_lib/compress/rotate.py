"""Rotation of the hidden states, folded into the weights: the offline part of QuaRot (Ashkboos et al., 2404.00456)."""

import torch
from torch import nn
from transformers import PreTrainedModel

from unicomp_lib.checkpoints import decoder
from unicomp_lib.compress import students

VERSION = "1"

# Norms of the Llama form, and the linear maps that read them. The last norm is read by the head.
READERS = {
    "input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj"),
}
HIDDEN = "hidden"
BIASES = ("self_attn.o_proj.bias", "mlp.down_proj.bias")  # as long as a norm, and rotated like their maps
TOLERANCE = 1e-3  # of the logits, relative to the largest, by which a rotated model may differ
PROBE = 16  # tokens, of any kind, on which that is measured


@torch.no_grad()
def compress(model: PreTrainedModel, *, seed: int = 0) -> PreTrainedModel:
    """Rotate the hidden states of a model by a random orthogonal matrix, in place, and return the model.

    What it computes stays the same: it is no compression by itself, but a start for others, without channels that
    are outliers. The weights of all norms are folded into the linear maps behind them first, since only
    a norm without weights lets a rotation through; so the head cannot share its matrix with the embeddings, and
    gets its own. ``seed`` draws the rotation. A ``ValueError`` names a parameter of a family of another form than
    Llama's, or a model whose outputs a rotation would change; that one is left as it was.

    What QuaRot rotates beside the hidden states: see ``quarot`` and ``quantized_cache``.
    """
    _check_form(model)
    original = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    tied, head = model.config.tie_word_embeddings, model.get_output_embeddings()
    probe = torch.arange(PROBE, device=model.device)[None] + 1
    students.cast(model, torch.float32)
    before = model(probe, use_cache=False).logits
    head.weight = nn.Parameter(head.weight.detach().clone())
    model.config.tie_word_embeddings = False
    _fold_norms(model, head)
    _rotate(model, rotation(model.config.hidden_size, seed).to(model.device))
    error = float((model(probe, use_cache=False).logits - before).abs().max() / before.abs().max())
    if not error < TOLERANCE:
        for name, parameter in model.named_parameters():
            parameter.data = original.get(name, parameter.data)
        model.config.tie_word_embeddings = tied
        model.tie_weights()
        raise ValueError(
            f"a rotation would change the outputs of {type(model).__name__} by {error:.1%}; choose a model whose norms "
            "are those of Llama, such as Qwen2 or Mistral"
        )
    return students.cast(model, next(iter(original.values())).dtype)


def _check_form(model: PreTrainedModel) -> None:
    """Raise a ``ValueError`` unless a model has the parameters and norms of the Llama form, and no others."""
    family, stack = type(model).__name__, decoder.compressible(model)
    for name in model.state_dict():
        try:
            students.axes(name)
        except ValueError as error:  # which speaks of students
            raise ValueError(
                f"a rotation needs a model of Llama's form, and {family} has {name}, which is of another; choose a "
                "model such as Qwen2 or Mistral"
            ) from error
    for layer in stack:
        norms = {
            name.removesuffix(".weight") for name, part in layer.named_parameters() if students.axes(name) == (HIDDEN,)
        }
        if norms - set(BIASES) != set(READERS):
            raise ValueError(
                f"the layers of {family} have the norms {', '.join(sorted(norms))}, and a rotation needs "
                f"{' and '.join(READERS)}; choose a model of Llama's form, such as Qwen2 or Mistral"
            )


def rotation(size: int, seed: int = 0) -> torch.Tensor:
    """A random orthogonal matrix (size, size), float64: Q, a Hadamard matrix after random signs.

    Where ``size`` is a power of two, it is Sylvester's, divided by the root of its size. Elsewhere it is the
    Kronecker product of the largest of these that divides it and of a random orthogonal matrix of the rest, which
    mixes the channels as evenly: 576 is 64 times 9.
    """
    generator = torch.Generator().manual_seed(seed)
    power = size & -size
    found = torch.ones(1, 1, dtype=torch.float64)
    while len(found) < power:
        found = torch.cat([torch.cat([found, found], 1), torch.cat([found, -found], 1)])
    rest = torch.linalg.qr(
        torch.randn(size // power, size // power, dtype=torch.float64, generator=generator)
    ).Q.contiguous()
    signs = torch.randint(0, 2, (size,), generator=generator) * 2 - 1
    return torch.kron(found / power**0.5, rest) * signs


def _fold_norms(model: PreTrainedModel, head: nn.Module) -> None:
    """Multiply the columns of all readers of a norm by its weight, which becomes 1."""
    for layer in decoder.layers(model):
        for norm, readers in READERS.items():
            for reader in readers:
                layer.get_parameter(f"{reader}.weight").mul_(layer.get_parameter(f"{norm}.weight"))
            layer.get_parameter(f"{norm}.weight").fill_(1)
    last = model.base_model.get_parameter("norm.weight")
    head.weight.mul_(last)  # type: ignore[operator]
    last.fill_(1)


def _rotate(model: PreTrainedModel, matrix: torch.Tensor) -> None:
    """Multiply each parameter along its axis of hidden channels, by the matrix or its transpose."""
    for name, parameter in model.named_parameters():
        axes = students.axes(name)
        if HIDDEN in axes and "norm" not in name:
            wide = parameter.double()
            parameter.copy_(wide @ matrix if axes[-1] == HIDDEN else matrix.T @ wide)
