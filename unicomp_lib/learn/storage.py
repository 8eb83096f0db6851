"""One weight matrix stored in several ways, each with the product that this machine has for it."""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.functional import linear

from unicomp_lib.checkpoints import grid, int4, int8
from unicomp_lib.compress import weight_masks

VERSION = "1"

FEWEST = 5  # repeats of a product, however slow


@dataclass(frozen=True)
class Way:
    """Bytes that are stored and read, and outputs (tokens, outputs) of inputs (tokens, inputs)."""

    bytes: int
    multiply: Callable[[torch.Tensor], torch.Tensor]


def ways(weight: torch.Tensor, *, dtype: torch.dtype, sparsity: float, group_size: int) -> dict[str, Way]:
    """A matrix (outputs, inputs) as it is, with zeros, and as integers; on a processor alone.

    Zeros fall on the smallest weights of every output. A ``ValueError`` says which shapes and group
    sizes torch's 4-bit kernel knows.
    """
    outputs, inputs = weight.shape
    if group_size not in int4.GROUPS or inputs % group_size or outputs % int4.ROWS:
        raise ValueError(
            f"a {outputs} x {inputs} matrix in groups of {group_size} has no 4-bit kernel; allowed are groups of "
            f"{', '.join(map(str, int4.GROUPS))} that divide the inputs, and outputs in steps of {int4.ROWS}"
        )
    dense = weight.to(dtype)
    pruned = torch.where(weight_masks.mask(weight.abs(), sparsity=sparsity), dense, 0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR")  # torch calls it beta
        places = pruned.float().to_sparse_csr()
    stored = [places.values(), places.col_indices().int(), places.crow_indices().int()]
    four, eight = _four(weight, dtype, group_size), _eight(weight, dtype)
    return {
        "full": Way(dense.nbytes, lambda given: linear(given, dense)),
        "zeros, stored": Way(pruned.nbytes, lambda given: linear(given, pruned)),
        "zeros, places stored": Way(
            sum(part.nbytes for part in stored), lambda given: (places @ given.float().T).T.to(dtype)
        ),
        "int8, inputs too": Way(eight.weight.nbytes + eight.weight_scale.nbytes, eight),
        "int4, expanded first": Way(four.packed.nbytes + four.scales.nbytes, _expanding(weight, dtype, group_size)),
        "int4, multiplied": Way(four.packed.nbytes + four.scales.nbytes, four),
    }


def timed(products: dict[str, Callable[[], torch.Tensor]], seconds: float) -> dict[str, list[float]]:
    """Seconds of each product, repeated in turn, after one to warm up, for about ``seconds`` a product.

    In turn, so that a change of the machine's speed meets all of them.
    """
    spent: dict[str, list[float]] = {name: [] for name in products}
    limit = time.perf_counter() + seconds * len(products)
    repeat = -1
    while repeat < FEWEST or time.perf_counter() < limit:
        for name, product in products.items():
            start = time.perf_counter()
            product()
            if repeat >= 0:
                spent[name].append(time.perf_counter() - start)
        repeat += 1
    return spent


def _four(weight: torch.Tensor, dtype: torch.dtype, group_size: int) -> int4.Int4Linear:
    outputs, inputs = weight.shape
    fitted = grid.fit(weight, bits=4, group_size=group_size, symmetric=True)
    found = int4.Int4Linear(inputs, outputs, False, dtype, group_size=group_size)
    found.packed, found.scales = int4.arranged(grid.codes(weight, fitted), fitted.scale, fitted.zero)
    found.scales = found.scales.to(dtype)
    return found


def _expanding(weight: torch.Tensor, dtype: torch.dtype, group_size: int) -> Callable[[torch.Tensor], torch.Tensor]:
    fitted = grid.fit(weight, bits=4, group_size=group_size, symmetric=True)
    codes = grid.codes(weight, fitted)
    return lambda given: linear(given, grid.values(codes, fitted).to(dtype))


def _eight(weight: torch.Tensor, dtype: torch.dtype) -> int8.Int8Linear:
    outputs, inputs = weight.shape
    found = int8.Int8Linear(inputs, outputs, False, dtype)
    codes, scale = int8.rounded(weight.float())
    found.weight, found.weight_scale = codes, scale.to(dtype)
    return found
