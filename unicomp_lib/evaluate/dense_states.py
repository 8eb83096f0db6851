"""A dense model's logits from its last hidden states, which are computed once for all that are compared with it.

Of the dense model only the head is then read: a fifth of SmolLM2's weights, and of its arithmetic.
"""

import hashlib
import importlib.metadata
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.modeling_outputs import MoeModelOutputWithPast

from unicomp_lib import files, hardware, locks, paths
from unicomp_lib.checkpoints import models

VERSION = "1"

PACKAGES = ("torch", "transformers")
LOGITS = "logits"  # name in the file's metadata: SHA-256 of the first block's logits


class _Known(nn.Module):
    """In place of a model's layers: the hidden states of known blocks of tokens, whatever else is asked for."""

    def __init__(self, tokens: torch.Tensor, states: Any) -> None:
        super().__init__()
        self.places = {_bytes(block): place for place, block in enumerate(tokens)}
        self.states = states  # (blocks, length, width), read when it is needed

    def forward(self, input_ids: torch.Tensor, **_: Any) -> MoeModelOutputWithPast:
        """Of one block (1, length): its states (1, length, width)."""
        place = self.places.get(_bytes(input_ids[0]))
        if place is None or len(input_ids) > 1:
            raise ValueError("only the blocks whose hidden states are known can be read here, one at a time")
        states = self.states[place : place + 1].to(input_ids.device, copy=True)
        return MoeModelOutputWithPast(last_hidden_state=states)


@torch.no_grad()
def load(model: str, tokens: torch.Tensor, *, precision: str) -> PreTrainedModel:
    """The dense ``model``, to read the blocks of ``tokens`` (blocks, length) one at a time, and nothing else.

    Its logits are those of the whole model, bit for bit: what is kept is the input of its own head, which scales
    and caps as it does. Where the first block's logits are others, as on another machine, where the model is no
    folder in transformers' own format, or where its family's logits do not follow from the last hidden state alone,
    it is the whole model. The states are kept in the cache, named after what they were made from.
    """
    source, revision = models.checkpoint(model)
    if revision or models.own_reader(Path(source)):
        return models.load(model, precision=precision)[0]
    file = paths.home() / "states" / f"{_made_from(Path(source), tokens, precision)}.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    whole = None
    with locks.held(file.with_suffix(".lock")):
        if not _is_sound(file):
            whole = models.load(model, precision=precision)[0]
            _keep(whole, tokens, file)
    headed = _headed(Path(source), tokens, hardware.dtype(precision), file) if file.is_file() else None
    return headed or whole or models.load(model, precision=precision)[0]


def _made_from(folder: Path, tokens: torch.Tensor, precision: str) -> str:
    """Name of what the states are made from: weights by their files' sizes and times, text, packages and machine."""
    weights = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(folder.iterdir())]
    packages = [importlib.metadata.version(name) for name in PACKAGES]
    machine = [hardware.processor(), str(hardware.device()), torch.get_num_threads()]
    facts = [VERSION, models.VERSION, str(folder), weights, list(tokens.shape), packages, machine, precision]
    return hashlib.sha256(json.dumps(facts).encode() + _bytes(tokens)).hexdigest()[:24]


def _is_sound(file: Path) -> bool:
    """Whether states were kept there, and the file is whole."""
    try:
        return file.is_file() and LOGITS in (safe_open(file, framework="pt").metadata() or {})
    except SafetensorError:
        return False


def _keep(whole: PreTrainedModel, tokens: torch.Tensor, file: Path) -> None:
    """Write the states of all blocks, where the model has a part that gives them, its ``base_model``."""
    states: list[torch.Tensor] = []
    first = ""
    for place, block in enumerate(tokens):
        with _last(whole) as last:
            logits = whole(block[None].to(whole.device), use_cache=False).logits
        if whole.base_model is whole or len(last) != 1:  # the head reads a part of that part
            return
        states += last
        first = first if place else _digest(logits)
    kept = torch.cat(states).cpu()
    files.write_whole(file, lambda part: save_file({"states": kept}, part, metadata={LOGITS: first}))


@contextmanager
def _last(whole: PreTrainedModel) -> Iterator[list[torch.Tensor]]:
    """Collects the last hidden states of what is read meanwhile."""
    found: list[torch.Tensor] = []
    hook = whole.base_model.register_forward_hook(lambda _, __, output: found.append(output[0]))
    try:
        yield found
    finally:
        hook.remove()


def _headed(folder: Path, tokens: torch.Tensor, dtype: torch.dtype, file: Path) -> PreTrainedModel | None:
    """A model of the head alone over known states; None where its first logits are not those of the whole model."""
    try:
        stored = safe_open(file, framework="pt")
        expected = stored.metadata()[LOGITS]
        network = _head(folder, dtype)
        if network is None:
            return None
        setattr(network, network.base_model_prefix, _Known(tokens, stored.get_slice("states")))
        network.to(hardware.device()).eval()  # type: ignore[arg-type]
        logits = network(tokens[:1].to(network.device), use_cache=False).logits
    except (SafetensorError, AttributeError, KeyError, NotImplementedError):  # damaged, or of another kind of family
        return None
    return network if _digest(logits) == expected else None


def _head(folder: Path, dtype: torch.dtype) -> PreTrainedModel | None:
    """A folder's model without its layers: what stands beside them is read, under the name it is tied to if it is."""
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=dtype)
    where: dict[str, Any] = {}
    for shard in paths.shards(folder):
        tensors = safe_open(shard, framework="pt")
        where |= dict.fromkeys(tensors.keys(), tensors)
    for name, part in network.named_children():
        if part is network.base_model:
            continue
        wanted = {key: network.all_tied_weights_keys.get(f"{name}.{key}", f"{name}.{key}") for key in part.state_dict()}
        if network.base_model is network or not set(wanted.values()) <= set(where):
            return None
        read = {key: where[source].get_tensor(source).to(dtype, copy=True) for key, source in wanted.items()}
        part.load_state_dict(read, assign=True)
    return network


def _bytes(tokens: torch.Tensor) -> bytes:
    return tokens.cpu().contiguous().numpy().tobytes()


def _digest(logits: torch.Tensor) -> str:
    return hashlib.sha256(logits.cpu().contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()
