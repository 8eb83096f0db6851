import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from unicomp_lib.evaluate import agreement


@pytest.mark.parametrize("seed", range(5))
def test_kappa_is_that_of_sklearn(seed):
    rng = np.random.default_rng(seed)
    human = (rng.random(80) < 0.4).astype(int)
    judge = np.where(rng.random(80) < 0.8, human, 1 - human)
    kappa = agreement.kappa(judge, human)
    assert kappa.value == pytest.approx(cohen_kappa_score(judge, human))
    assert kappa.low < kappa.value < kappa.high
    assert agreement.accuracy(judge, human).value == (judge == human).mean()


@pytest.mark.slow
def test_the_interval_of_kappa_covers():
    def sample(rng, n):
        human = (rng.random(n) < 0.4).astype(int)
        return np.where(rng.random(n) < 0.85, human, 1 - human), human

    truth = cohen_kappa_score(*sample(np.random.default_rng(99), 1_000_000))
    intervals = [agreement.kappa(*sample(np.random.default_rng(seed), 150)) for seed in range(500)]
    assert 0.92 <= np.mean([interval.low <= truth <= interval.high for interval in intervals]) <= 0.975


def test_one_verdict_throughout_leaves_kappa_undefined():
    same = np.ones(20, dtype=int)
    assert np.isnan(agreement.kappa(same, same).value)
    few = agreement.kappa(np.array([1, 0, 1]), np.array([1, 0, 0]))
    assert (np.isnan(few.low), few.reason) == (True, "fewer than 5 answers")
    assert agreement.accuracy(same, same).value == 1
