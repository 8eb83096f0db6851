"""Small files of GGUF, for tests of what reads their tensors."""

import numpy as np
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFWriter, quantize


def write_gguf(file, kinds):
    """A file of GGUF with these tensors: matrices, and vectors of F32."""
    writer = GGUFWriter(file, "llama")
    for name, kind in kinds.items():
        values = np.zeros(64 if kind == "F32" else (2, 64), np.float32)
        writer.add_tensor(name, quantize(values, Kind[kind]), raw_dtype=Kind[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
