"""Export a checkpoint to GGUF, the file format of llama.cpp, without loss: every code and every number as saved."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFReader, GGUFWriter, LlamaFileType
from tqdm.auto import tqdm

from unicomp_lib import files
from unicomp_lib.checkpoints import models
from unicomp_lib.exchange import gguf_blocks, gguf_families, gguf_tokenizer
from unicomp_lib.exchange.gguf_blocks import Coded
from unicomp_lib.exchange.gguf_source import Source

VERSION = "1"

SUFFIX = ".gguf"
ROPE_FACTORS = "rope_freqs.weight"
QUANTIZATION = 2  # version of the blocks' layouts, general.quantization_version
OF_FILE = {
    Kind.F32: LlamaFileType.ALL_F32, Kind.F16: LlamaFileType.MOSTLY_F16, Kind.BF16: LlamaFileType.MOSTLY_BF16,
    Kind.Q4_0: LlamaFileType.MOSTLY_Q4_0, Kind.Q4_1: LlamaFileType.MOSTLY_Q4_1, Kind.Q8_0: LlamaFileType.MOSTLY_Q8_0,
}  # fmt: skip


@dataclass(frozen=True)
class Exported:
    """What was written: its bytes, the number of tensors by type, and sentences on what engines do otherwise."""

    bytes_on_disk: int
    kinds: dict[str, int]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Tensor:
    """One tensor of the file: llama.cpp's name, type, shape, and where its rows come from."""

    name: str
    kind: Kind
    shape: tuple[int, ...]
    order: torch.Tensor | None
    given: str  # name in the checkpoint; empty for one that is computed


def export(folder: Path, file: Path, *, name: str = "", overwrite: bool = False) -> Exported:
    """Write the checkpoint in ``folder`` to ``file`` under a ``name`` for its header, and read it back.

    Symmetric 4-bit codes are stored as Q4_0, those with zero points as Q4_1, symmetric 8-bit codes as Q8_0, each with
    the saved scales; dense weights in the type they are saved in, BF16 for those of this study; norms and biases in
    F32. ``file`` appears whole or not at all, and an existing one is replaced only where ``overwrite``. A
    ``ValueError`` says in a sentence what cannot be exported without loss: a family, a form, a scale, a tokenizer.
    """
    if file.suffix != SUFFIX:
        raise ValueError(f"{file} does not end in {SUFFIX}, by which engines know the format; give such a name")
    if file.exists() and not overwrite:
        raise ValueError(f"{file} is there already; give another name, or --overwrite")
    source = Source(folder)
    family = gguf_families.family(source.config)
    tokenizer = models.load_tokenizer(str(folder))
    facts, notes = gguf_tokenizer.described(tokenizer, source.config)
    tensors = list(_tensors(source, family))

    def write(part: Path) -> None:
        writer = GGUFWriter(part, gguf.MODEL_ARCH_NAMES[family.architecture])
        _add_header(writer, source, tensors, name or folder.name)
        gguf_tokenizer.add(writer, facts, tokenizer.chat_template)
        _write_tensors(writer, source, tensors)
        _read_back(part, source, tensors)

    files.write_whole(file, write)
    kinds = [tensor.kind.name for tensor in tensors]
    return Exported(file.stat().st_size, {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}, tuple(notes))


def _tensors(source: Source, family: gguf_families.Family) -> Iterator[_Tensor]:
    for given, name in gguf_families.names(source.config, family, list(source.shapes)).items():
        shape = source.shapes[given]
        order = gguf_families.rows(source.config, family, given, shape[0])
        yield _Tensor(name, source.kind(given), shape, order, given)
    factors = gguf_families.rope_factors(source.config)
    if factors is not None:
        yield _Tensor(ROPE_FACTORS, Kind.F32, tuple(factors.shape), None, "")


def _add_header(writer: GGUFWriter, source: Source, tensors: list[_Tensor], name: str) -> None:
    matrices = [tensor.kind for tensor in tensors if len(tensor.shape) > 1]
    coded = [kind for kind in matrices if kind in gguf_blocks.CODED.values()]
    writer.add_type("model")
    writer.add_name(name)
    writer.add_file_type(OF_FILE[(coded or matrices)[0]])
    if coded:
        writer.add_quantization_version(QUANTIZATION)
    gguf_families.add_facts(writer, source.config)


def _write_tensors(writer: GGUFWriter, source: Source, tensors: list[_Tensor]) -> None:
    """Write one tensor after another: a model need not fit into memory."""
    for tensor in tensors:
        shape = gguf_blocks.bytes_of(tensor.kind, tensor.shape)
        writer.add_tensor_info(tensor.name, shape, np.dtype(np.uint8), int(np.prod(shape)), tensor.kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    try:
        for tensor in tqdm(tensors, desc="writing", unit="tensor"):
            writer.write_tensor_data(_packed(source, tensor))
    finally:
        writer.close()


def _packed(source: Source, tensor: _Tensor) -> np.ndarray:
    stored = _stored(source, tensor)
    try:
        packed = gguf_blocks.pack(stored, tensor.kind) if isinstance(stored, Coded) else gguf_blocks.dense(stored)
    except ValueError as error:
        raise ValueError(f"{tensor.given} of {source.folder} cannot be exported without loss: {error}") from error
    return packed if tensor.order is None else packed[tensor.order.numpy()]


def _stored(source: Source, tensor: _Tensor) -> torch.Tensor | Coded:
    if tensor.given:
        return source.read(tensor.given)
    factors = gguf_families.rope_factors(source.config)
    assert factors is not None
    return factors


def _read_back(file: Path, source: Source, tensors: list[_Tensor]) -> None:
    """Raise a ``ValueError`` unless what ``gguf`` reads from a file are the very numbers of the checkpoint."""
    found: dict[str, Any] = {tensor.name: tensor for tensor in GGUFReader(file).tensors}
    for tensor in tqdm(tensors, desc="reading back", unit="tensor"):
        stored = _stored(source, tensor)
        expected = (stored.values() if isinstance(stored, Coded) else stored.float()).numpy()
        expected = expected if tensor.order is None else expected[tensor.order.numpy()]
        read = gguf.dequantize(found[tensor.name].data, tensor.kind)
        if found[tensor.name].tensor_type != tensor.kind or not np.array_equal(read, expected):
            raise ValueError(f"{tensor.name} of the written file is not {tensor.given} of {source.folder}; report this")
