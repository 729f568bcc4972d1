"""Devices are chosen by trying them, and running out of memory is told from other errors."""

from __future__ import annotations

import logging

import pytest
import torch

from khulasa.models.device import (
    choose_device,
    cpu_count,
    is_device_failure,
    is_out_of_memory,
    probe,
)
from khulasa.models.errors import ConfigError, DeviceError


def warnings_in(caplog) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def absent(device):
    return f"there is no {device}"


def broken(device):
    raise RuntimeError("CUDA driver version is insufficient\nfor CUDA runtime version")


def working(device):
    return None


def test_auto_takes_cuda_when_it_works():
    assert choose_device("auto", working).device == "cuda"


def test_auto_takes_the_cpu_in_silence_where_there_is_nothing_else(caplog):
    choice = choose_device("auto", absent)
    assert choice.device == "cpu"
    assert choice.tried == (("cuda", "there is no cuda"),)
    assert warnings_in(caplog) == []


def test_auto_passes_over_a_broken_cuda_with_one_warning(caplog):
    choice = choose_device("auto", broken)
    assert choice.device == "cpu"
    assert choice.tried == (("cuda", "CUDA driver version is insufficient"),)
    (message,) = warnings_in(caplog)
    assert "driver version is insufficient" in message


def test_auto_takes_mps_only_with_leave(monkeypatch):
    def only_mps(device):
        return None if device == "mps" else "absent"

    assert choose_device("auto", only_mps).device == "cpu"
    monkeypatch.setenv("KHULASA_MPS", "1")
    assert choose_device("auto", only_mps).device == "mps"


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps"])
@pytest.mark.parametrize("probe", [absent, broken])
def test_a_device_asked_for_by_name_must_work(name, probe):
    with pytest.raises(DeviceError, match=f"{name} cannot be used: .*(there is no|insufficient)"):
        choose_device(name, probe)
    assert choose_device(name, working).device == name


@pytest.mark.parametrize("name", ["gpu", "", "cuda:", "cuda:x", "CPU"])
def test_an_unknown_device_is_a_config_error(name):
    with pytest.raises(ConfigError, match="device"):
        choose_device(name, working)


def test_the_probe_computes_on_the_cpu_and_says_what_is_absent(monkeypatch):
    assert probe("cpu") is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "no CUDA" in (probe("cuda") or "")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB"),
        RuntimeError("CUDA failed with error out of memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
    ],
)
def test_out_of_memory_is_known_in_every_wording(error):
    assert is_out_of_memory(error)
    assert is_device_failure(error)


@pytest.mark.parametrize(
    "error", [ValueError("out of memory"), RuntimeError("no kernel image"), KeyError("memory")]
)
def test_other_errors_are_not_out_of_memory(error):
    assert not is_out_of_memory(error)


def test_an_error_of_ours_is_no_device_failure():
    assert is_device_failure(RuntimeError("CUDA error: no kernel image is available"))
    assert not is_device_failure(ConfigError("beam_size"))


def test_cpus_are_counted_within_a_containers_quota(tmp_path):
    everything = cpu_count(tmp_path)
    assert everything >= 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert cpu_count(tmp_path) == everything
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert cpu_count(tmp_path) == 1
    (tmp_path / "cpu.max").unlink()
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("-1")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000")
    assert cpu_count(tmp_path) == everything
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("100000")
    assert cpu_count(tmp_path) == 1
