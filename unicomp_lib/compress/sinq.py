"""SINQ (Müller et al., 2025, arXiv 2509.22944): rows and columns of equal spread before rounding, without data."""

import torch
from transformers import PreTrainedModel

from unicomp_lib.checkpoints import decoder, grid, packed_integers
from unicomp_lib.compress import folds, layers

VERSION = "1"

# The authors' settings: rounds of the normalisation, and how far a round and the scales (their logarithms) may go.
ROUNDS = 16
SPREAD, FACTOR, SCALE = (1e-3, 1e3), (0.7, 2.0), (-0.3, 10.0)
PROBE = 16  # tokens, of any kind, to see which modules read which


@torch.no_grad()
def compress(
    model: PreTrainedModel, *, bits: int = 4, group_size: int = 64, symmetric: bool = False, scales: str = "bfloat16"
) -> PreTrainedModel:
    """Normalise and round the weights of every linear map of the decoder layers in place and return the model.

    ``scales`` is the type in which groups' scales are saved, see ``grid.SCALES``. A ``ValueError`` names bits, a
    group size or ``scales`` that are not allowed, a model without foldable norms, or what of it cannot be
    compressed (``decoder.compressible``).

    Deviation: the paper stores a second scale, one for each input, and multiplies the inputs by it. Here it is
    folded into the module before, as in the authors' "Pre-SINQ", so that the saved form is that of RTN: linear maps
    that read the same norm share it, and one that no module before can scale, such as the output of an attention
    whose query heads share values, has none. The scale of the rows becomes part of those of the groups.
    """
    known = decoder.linears(decoder.compressible(model))
    grid.check({name: linear.in_features for name, linear in known.items()}, bits, group_size, scales)
    find = folds.Finder()
    for _, layer, feed in layers.walk(model, torch.arange(PROBE)[None] + 1, changes=False):
        for fold in find(layer, feed):
            weight = torch.cat(folds.weights(layer, fold))
            folds.apply(layer, fold, 1 / input_scale(weight, group_size))
        for linear in decoder.linears(layer).values():
            fitted = grid.fit(linear.weight, bits=bits, group_size=group_size, symmetric=symmetric, scales=scales)
            packed_integers.assign(linear, grid.codes(linear.weight, fitted), fitted)
    return model


def input_scale(weight: torch.Tensor, group_size: int) -> torch.Tensor:
    """1 / t (inputs,), the paper's t: weights (outputs, inputs) are divided by it and rounded, group by group."""
    tiles = weight.float().view(len(weight), -1, group_size).transpose(0, 1)
    return normalise(tiles)[0].flatten()


def normalise(tiles: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scales of the columns (tiles, 1, columns) and rows (tiles, rows, 1) of matrices (tiles, rows, columns).

    Algorithm 1: the standard deviations of all rows and columns are moved towards the smallest of them, in turn;
    the scales kept are those with the least imbalance, the largest deviation of a row or column over the smallest.
    """
    columns, rows = torch.zeros_like(tiles[:, :1]), torch.zeros_like(tiles[..., :1])  # logarithms
    kept, least = (columns, rows), torch.full_like(tiles[:, :1, :1], float("inf"))
    squares = tiles.square()
    aim = torch.minimum(
        *(spread.clamp(*SPREAD).amin((1, 2), True) for spread in _spreads(tiles, squares, columns, rows))
    )
    for _ in range(ROUNDS + 1):
        spreads = _spreads(tiles, squares, columns, rows)
        largest = torch.maximum(*(spread.amax((1, 2), True) for spread in spreads))
        smallest = torch.minimum(*(spread.amin((1, 2), True) for spread in spreads))
        imbalance = largest / smallest.clamp(min=1e-12)
        better = imbalance < least
        kept = torch.where(better, columns, kept[0]), torch.where(better, rows, kept[1])
        least = torch.minimum(imbalance, least)
        moves = [(spread.clamp(*SPREAD) / (aim + 1e-6)).clamp(*FACTOR).log() for spread in spreads]
        columns, rows = (columns + moves[0]).clamp(*SCALE), (rows + moves[1]).clamp(*SCALE)
    return kept[0].exp(), kept[1].exp()


def _spreads(
    tiles: torch.Tensor, squares: torch.Tensor, columns: torch.Tensor, rows: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Standard deviations of the columns and of the rows of every tile divided by its scales (their logarithms).

    From the means of the numbers and of their ``squares``, so that no tile is ever divided: products with two vectors.
    """
    across, down = (-rows).exp().mT, (-columns).exp().mT
    of_columns = across.square() @ squares / len(rows[0]) - (across @ tiles / len(rows[0])).square()
    of_rows = squares @ down.square() / len(down[0]) - (tiles @ down / len(down[0])).square()
    return of_columns.clamp(min=0).sqrt() / columns.exp(), of_rows.clamp(min=0).sqrt() / rows.exp()
