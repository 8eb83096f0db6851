from unicomp_lib import hardware


def test_steps_at_once_are_bounded_by_memory_and_accelerators(monkeypatch):
    monkeypatch.setattr(hardware, "cores", lambda: 64)
    monkeypatch.setattr(hardware.psutil, "virtual_memory", lambda: type("M", (), {"total": 16e9})())
    assert hardware.workers() == 2
    monkeypatch.setattr(hardware.psutil, "virtual_memory", lambda: type("M", (), {"total": 2e9})())
    assert hardware.workers() == 1
    monkeypatch.setattr(hardware, "devices", lambda: ["0", "1"])
    assert hardware.workers() == 2


def test_hidden_accelerators_are_not_used(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    hardware.accelerator.cache_clear()
    hardware.devices.cache_clear()
    assert hardware.accelerator() == "cpu"
    assert hardware.devices() == []
    hardware.accelerator.cache_clear()
    hardware.devices.cache_clear()


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
