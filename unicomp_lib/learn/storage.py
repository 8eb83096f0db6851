"""One weight matrix stored in several ways, each with the product that this machine offers for it."""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.functional import linear

from unicomp_lib.checkpoints import grid, int4, int8
from unicomp_lib.compress import weight_masks

VERSION = "2"

FEWEST = 5  # repeats of a product, however slow it is


@dataclass(frozen=True)
class Way:
    """Bytes that are stored and read, and the product: outputs (tokens, outputs) of inputs (tokens, inputs)."""

    bytes: int
    multiply: Callable[[torch.Tensor], torch.Tensor]


def ways(weight: torch.Tensor, *, dtype: torch.dtype, sparsity: float, group_size: int) -> dict[str, Way]:
    """A matrix (outputs, inputs) as it is, with zeros, and as integers; only on a CPU.

    The smallest weights of every output become zero. A ``ValueError`` says which shapes and group
    sizes torch's 4-bit kernel supports.
    """
    outputs, inputs = weight.shape
    if group_size not in int4.GROUPS or inputs % group_size or outputs % int4.ROWS:
        raise ValueError(
            f"a {outputs} x {inputs} matrix in groups of {group_size} has no 4-bit kernel; allowed are groups of "
            f"{', '.join(map(str, int4.GROUPS))} that divide the inputs, and outputs divisible by {int4.ROWS}"
        )
    dense = weight.to(dtype)
    pruned = torch.where(weight_masks.mask(weight.abs(), sparsity=sparsity), dense, 0)
    four, eight = _int4(weight, dtype, group_size), _int8(weight, dtype)
    return {
        "full": Way(dense.nbytes, lambda inputs: linear(inputs, dense)),
        "zeros, stored": Way(pruned.nbytes, lambda inputs: linear(inputs, pruned)),
        "zeros, positions stored": _with_positions(pruned),
        "int8, inputs too": Way(eight.weight.nbytes + eight.weight_scale.nbytes, eight),
        "int4, expanded first": Way(four.packed.nbytes + four.scales.nbytes, _expanding(weight, dtype, group_size)),
        "int4, multiplied": Way(four.packed.nbytes + four.scales.nbytes, four),
    }


def timed(products: dict[str, Callable[[], torch.Tensor]], seconds: float) -> dict[str, list[float]]:
    """Seconds of each product, repeated in turn after one warm-up, for about ``seconds`` per product.

    In turn, so that a change of the machine's speed affects all of them.
    """
    timings: dict[str, list[float]] = {name: [] for name in products}
    limit = time.perf_counter() + seconds * len(products)
    repeat = -1
    while repeat < FEWEST or time.perf_counter() < limit:
        for name, product in products.items():
            start = time.perf_counter()
            product()
            if repeat >= 0:
                timings[name].append(time.perf_counter() - start)
        repeat += 1
    return timings


def _with_positions(pruned: torch.Tensor) -> Way:
    """The weights that are not zero, in their own type, and their positions (compressed sparse rows)."""
    sparse = _sparse(lambda: pruned.float().to_sparse_csr())
    rows, columns = sparse.crow_indices().int(), sparse.col_indices().int()
    values = sparse.values().to(pruned.dtype)

    def multiply(inputs: torch.Tensor) -> torch.Tensor:
        # torch's product on a CPU takes float32 alone, so what is stored in fewer bits is expanded first.
        expanded = _sparse(lambda: torch.sparse_csr_tensor(rows, columns, values.float(), pruned.shape))
        return (expanded @ inputs.float().T).T.to(pruned.dtype)

    return Way(values.nbytes + rows.nbytes + columns.nbytes, multiply)


def _sparse(make: Callable[[], torch.Tensor]) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse")  # torch calls it beta, and tells that it does not check
        return make()


def _int4(weight: torch.Tensor, dtype: torch.dtype, group_size: int) -> int4.Int4Linear:
    outputs, inputs = weight.shape
    fitted = grid.fit(weight, bits=4, group_size=group_size, symmetric=True)
    quantized = int4.Int4Linear(inputs, outputs, False, dtype, group_size=group_size)
    packed, scales = int4.to_kernel_layout(grid.codes(weight, fitted), fitted.scale, fitted.zero)
    quantized.packed, quantized.scales = packed, scales.to(dtype)
    return quantized


def _expanding(weight: torch.Tensor, dtype: torch.dtype, group_size: int) -> Callable[[torch.Tensor], torch.Tensor]:
    fitted = grid.fit(weight, bits=4, group_size=group_size, symmetric=True)
    codes = grid.codes(weight, fitted)
    return lambda inputs: linear(inputs, grid.values(codes, fitted).to(dtype))


def _int8(weight: torch.Tensor, dtype: torch.dtype) -> int8.Int8Linear:
    outputs, inputs = weight.shape
    quantized = int8.Int8Linear(inputs, outputs, False, dtype)
    codes, scale = int8.quantize_rows(weight.float())
    quantized.weight, quantized.weight_scale = codes, scale.to(dtype)
    return quantized
