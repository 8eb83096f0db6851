import copy
import json

import polars as pl
import pytest
import torch

from unicomp_lib.compress import magnitude
from unicomp_lib.evaluate import fidelity


def means(rows):
    return dict(rows.group_by("metric").agg(pl.col("value").mean()).iter_rows())


def test_a_model_is_faithful_to_itself_and_its_loss_is_that_of_transformers(tiny):
    model, tokenizer = tiny
    tokens = torch.randint(len(tokenizer), (3, 50))
    values = means(fidelity.compare(model, model, tokens))
    assert (values["kl"], values["agreement"]) == (pytest.approx(0, abs=1e-6), 1)
    with torch.no_grad():
        assert values["nll"] == pytest.approx(model(tokens, labels=tokens).loss.item(), abs=1e-4)


@torch.no_grad()
def test_divergence_is_that_of_its_definition(tiny):
    dense, tokenizer = tiny
    model = magnitude.compress(copy.deepcopy(dense), sparsity=0.8)
    tokens = torch.randint(len(tokenizer), (1, 30))
    p, q = (network(tokens).logits[0, :-1].double().softmax(-1) for network in (dense, model))
    expected = (p * (p / q).log()).sum(-1).mean().item()
    assert means(fidelity.compare(model, dense, tokens))["kl"] == pytest.approx(expected, rel=1e-3)
    assert expected > 0


@torch.no_grad()
def test_what_changes_at_every_token_is_kept(tiny):
    dense, tokenizer = tiny
    model = magnitude.compress(copy.deepcopy(dense), sparsity=0.8)
    block = torch.randint(len(tokenizer), (1, 30))
    rows = fidelity.compare(model, dense, block)
    for metric in ("kl", "p_change"):
        (row,) = rows.filter(metric=metric).iter_rows(named=True)
        kept = json.loads(row["output"])
        assert (len(kept), sum(kept) / 29) == (29, pytest.approx(row["value"], rel=1e-2))
    p, q = (network(block).logits[0, :-1].softmax(-1).gather(-1, block[0, 1:, None]) for network in (dense, model))
    assert kept == pytest.approx((q - p)[:, 0].tolist(), rel=1e-2, abs=1e-9)
    assert rows.filter(pl.col("metric").is_in(["nll", "agreement"]))["output"].is_null().all()
