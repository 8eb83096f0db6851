import json
import re
import warnings
from types import SimpleNamespace

import pytest
import torch

from unicomp_lib import hardware


def test_steps_at_once_are_bounded_by_memory_and_accelerators(monkeypatch):
    monkeypatch.setattr(hardware, "cores", lambda: 64)
    monkeypatch.setattr(hardware, "devices", list)
    monkeypatch.setattr(hardware.psutil, "virtual_memory", lambda: type("M", (), {"total": 16e9})())
    assert hardware.workers() == 2
    monkeypatch.setattr(hardware.psutil, "virtual_memory", lambda: type("M", (), {"total": 2e9})())
    assert hardware.workers() == 1
    monkeypatch.setattr(hardware, "devices", lambda: ["0", "1"])
    assert hardware.workers() == 2
    assert hardware.workers(per_device=3) == 6


@pytest.fixture
def driver(monkeypatch, tmp_path):
    """A machine with files of a driver, and a function that lets torch say what it is given."""
    (tmp_path / "driver").touch()
    monkeypatch.setattr(hardware, "SIGNS", (str(tmp_path / "driver"),))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    hardware.accelerators.cache_clear()
    yield lambda *said: monkeypatch.setattr(hardware, "accelerators", lambda: hardware.Accelerators(*said))
    monkeypatch.undo()
    hardware.accelerators.cache_clear()
    hardware.native_precision.cache_clear()


@pytest.mark.parametrize("hidden", ["", "-1", " "])
def test_hidden_accelerators_are_not_used_and_not_spoken_of(driver, monkeypatch, hidden):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert (hardware.accelerator(), hardware.devices(), hardware.unused()) == ("cpu", [], "")


def test_torch_itself_is_asked_where_a_driver_is(driver):
    # Of this machine's torch, which can use no accelerator here, it is a sentence; without a driver it is none.
    if torch.cuda.is_available():
        assert len(hardware.devices()) == torch.cuda.device_count()
        assert hardware.unused() == ""
    else:
        assert hardware.devices() == []
        said = r"a GPU seems to be here, but torch (\S+ is built without .*|cannot use it \(.*\)); the CPU computes"
        assert re.fullmatch(said, hardware.unused())
        (note,) = hardware.notes(1e9)
        assert note == hardware.unused()
        assert "one thread of the CPU" in hardware.notes(16e9)[1]


@pytest.mark.parametrize(
    ("says", "number", "capability", "expected"),
    [
        ("", 2, (9, 0), [2, True, "", 79e9]),
        ("", 1, (7, 5), [1, False, "", 80e9]),  # a card from before bfloat16
        ("The driver is too old\nmore", 0, (), "torch cannot use it (The driver is too old)"),
        ("", 0, (), "torch cannot use it (it finds none)"),
    ],
)  # fmt: skip
def test_what_torch_says_is_told_as_it_is(monkeypatch, capsys, says, number, capability, expected):
    def available():
        if says:
            warnings.warn(says, stacklevel=1)
        return number > 0

    monkeypatch.setattr(torch.cuda, "is_available", available)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: number)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capability)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda index: SimpleNamespace(total_memory=80e9 - 1e9 * index)
    )
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    hardware.tell()
    told = json.loads(capsys.readouterr().out)
    assert told == (expected if number else [0, False, expected, 0])
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    hardware.tell()
    told = json.loads(capsys.readouterr().out)
    assert number or "is built without support for it" in told[2]


def test_accelerators_are_named_as_their_variable_names_them(driver, monkeypatch):
    driver(2, True, "")
    assert hardware.devices() == ["0", "1"]
    for variable, named in (("CUDA_VISIBLE_DEVICES", "MIG-a,MIG-b"), ("HIP_VISIBLE_DEVICES", "2,3")):
        monkeypatch.setenv(variable, named)
        assert (hardware.visible(), hardware.devices()) == (variable, named.split(","))
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "0,7")  # torch sees those that are there
    driver(1, True, "")
    assert hardware.devices() == ["0"]


def test_precision_and_threads_follow_the_accelerators(driver, monkeypatch):
    monkeypatch.setattr(hardware, "cores", lambda: 24)
    for said, precision, threads in (((2, True, ""), "bfloat16", "12"), ((1, False, ""), "float32", "24")):
        driver(*said)
        hardware.native_precision.cache_clear()
        assert hardware.native_precision() == precision
        assert hardware.workers() == said[0]
        assert set(hardware.threads().values()) == {threads}
        assert set(hardware.threads(per_device=4).values()) == {str(int(threads) // 4)}
    assert set(hardware.threads(per_device=100).values()) == {"1"}
    driver(0, False, "")
    hardware.native_precision.cache_clear()
    assert hardware.threads() == {}


def test_apples_gpu_is_not_used_and_that_is_said(monkeypatch):
    monkeypatch.setattr(hardware.sys, "platform", "darwin")
    monkeypatch.setattr(hardware.platform, "machine", lambda: "arm64")
    assert hardware.unused().startswith("Apple's GPU is not used")


def test_this_machine_has_a_name_and_a_core():
    assert hardware.cores() >= 1
    assert hardware.processor()
    assert hardware.native_precision() in ("bfloat16", "float32")


def test_energy_is_that_of_the_packages_or_none(tmp_path):
    assert hardware.joules(tmp_path) is None
    for name, value in (("intel-rapl:0", "3000000"), ("intel-rapl:1", "500000"), ("intel-rapl:0:0", "999999")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(value + "\n")
    assert hardware.joules(tmp_path) == 3.5
    (tmp_path / "intel-rapl:1" / "energy_uj").unlink()
    assert hardware.joules(tmp_path) is None


def test_convolutions_on_an_accelerator_are_exact_and_repeatable(monkeypatch):
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.conv.fp32_precision
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    try:
        cudnn.deterministic, cudnn.conv.fp32_precision = False, "tf32"
        assert hardware.device().type == "cuda"
        assert (cudnn.deterministic, cudnn.conv.fp32_precision) == (True, "ieee")
    finally:
        cudnn.deterministic, cudnn.conv.fp32_precision = before
