"""From scores to masks: the rule is separate from the criterion that scores."""

import re

import torch

VERSION = "2"

COMPARED = 8  # scores in a group up to which all pairs are compared


def mask(score: torch.Tensor, *, sparsity: float = 0.5, pattern: str = "", per_row: bool = True) -> torch.Tensor:
    """True where a weight remains, for scores of shape (outputs, inputs); the highest scores remain.

    With ``pattern`` empty the lowest ``sparsity`` share is removed, in each output row
    (``per_row``, Wanda's comparison group) or in the whole matrix. With ``pattern="n:m"`` the
    highest n of every m consecutive inputs remain, and ``sparsity`` must be 1 - n/m.
    """
    if pattern:
        return _n_of_m(score, *parse_pattern(pattern, sparsity))
    check_sparsity(sparsity)
    rows = score if per_row else score.reshape(1, -1)
    return _without_lowest(rows, round(sparsity * rows.shape[1])).view_as(score)


def _without_lowest(rows: torch.Tensor, removed: int) -> torch.Tensor:
    """False at the ``removed`` lowest scores of every row; of equal ones the first go.

    Found from the highest score that goes: sorting takes ten times as long.
    """
    if not removed:
        return torch.ones_like(rows, dtype=torch.bool)
    bound = rows.kthvalue(removed, dim=1, keepdim=True).values
    keep, equal = rows > bound, rows == bound
    left = removed - (rows < bound).sum(1, keepdim=True)  # equal scores that go
    return keep | (equal & (equal.cumsum(1) > left))


def check_sparsity(sparsity: float) -> None:
    """Raise a ``ValueError`` unless 0 <= sparsity < 1."""
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity={sparsity} is not allowed; give the share of weights to remove, from 0 to below 1")


def parse_pattern(pattern: str, sparsity: float) -> tuple[int, int]:
    """(n, m) of ``"n:m"``; a ``ValueError`` when it is malformed or contradicts ``sparsity``."""
    match = re.fullmatch(r"(\d+):(\d+)", pattern)
    if not match or not 0 < int(match[1]) < int(match[2]):
        raise ValueError(f"pattern={pattern!r} is not allowed; give n:m with 0 < n < m, such as 2:4, or leave it empty")
    n, m = int(match[1]), int(match[2])
    if abs(sparsity - (1 - n / m)) > 1e-9:
        raise ValueError(f"sparsity={sparsity} contradicts pattern={pattern!r}, which removes {1 - n / m:g}; give that")
    return n, m


def check_divides(pattern: str, m: int, inputs: int) -> None:
    """Raise a ``ValueError`` unless the groups of a pattern fill a matrix's ``inputs``."""
    if inputs % m:
        raise ValueError(f"pattern {pattern} needs inputs divisible by {m}, this matrix has {inputs}; choose another")


def _n_of_m(score: torch.Tensor, n: int, m: int) -> torch.Tensor:
    outputs, inputs = score.shape
    check_divides(f"{n}:{m}", m, inputs)
    groups = score.reshape(outputs, inputs // m, m)
    if m > COMPARED:
        keep = torch.zeros_like(groups, dtype=torch.bool)
        keep.scatter_(2, groups.argsort(dim=2, descending=True, stable=True)[..., :n], True)
        return keep.view_as(score)
    # Rank by comparing all pairs, which takes a fifth of the time of sorting groups of four.
    members = [groups[..., index].contiguous() for index in range(m)]
    higher = torch.zeros((m, *members[0].shape), dtype=torch.int8, device=score.device)
    for first in range(m):
        for second in range(first + 1, m):
            wins = members[first] >= members[second]  # of equal scores the first remains
            higher[second] += wins
            higher[first] += ~wins
    return (higher < n).movedim(0, -1).reshape(outputs, inputs)
