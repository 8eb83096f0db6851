"""The pretended accelerator refuses what CUDA refuses: else the tests on it would show nothing."""

import copy

import pytest
import torch


@pytest.fixture
def x(accelerator):
    return torch.arange(12.0).view(3, 4).to(accelerator)


def test_what_mixes_devices_is_refused(accelerator, x):
    cpu = torch.ones(4, 3)
    for mixed in (
        lambda: x @ cpu,
        lambda: x + cpu.T,
        lambda: x.add_(cpu.T),
        lambda: torch.cat([x, cpu.T]),
        lambda: torch.nn.functional.embedding(torch.tensor([1]), x),
        lambda: x.index_put_((torch.tensor([0]),), torch.ones(4)),
        lambda: cpu[torch.tensor([0], device=accelerator)],
        lambda: torch.tensor(0.0).add_(x.sum()),
        lambda: torch.where(x > 0, x, cpu.T),
        lambda: torch.randn(3, device=accelerator, generator=torch.Generator()),
        lambda: torch.multinomial(x, 1, generator=torch.Generator()),
    ):
        with pytest.raises(RuntimeError, match=r"same device|generator|indices"):
            mixed()
    with pytest.raises(TypeError, match="to numpy"):
        x.numpy()


def test_what_cuda_takes_of_the_cpu_is_taken(x):
    assert (x + torch.tensor(1.0)).device.type == x.device.type
    assert x[torch.tensor([2, 0])].cpu().tolist() == [[8, 9, 10, 11], [0, 1, 2, 3]]
    assert x.sum().item() == 66


def test_views_copies_and_moves_are_those_of_a_device(accelerator, x):
    x[1].zero_()
    x.T[0, 2:] = 7
    assert x.cpu().tolist() == [[0, 1, 2, 3], [0] * 4, [7, 9, 10, 11]]
    assert copy.deepcopy(x).data_ptr() != x.data_ptr()
    assert torch.empty(0, device=accelerator).resize_(5).shape == (5,)
    one, other = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
    other.weight = one.weight
    both = torch.nn.Sequential(one, other).to(accelerator)
    both(x).sum().backward()
    assert one.weight is other.weight
    assert one.weight.grad.device.type == x.device.type
    kernel = torch.nn.Conv2d(3, 2, 3).to(accelerator)
    image = torch.randn(1, 3, 8, 8)
    assert torch.equal(kernel(image.to(accelerator)).cpu(), kernel.to("cpu")(image))
