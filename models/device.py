"""Devices: which one to compute on, and how to tell that one has given out."""

from __future__ import annotations

import gc
import logging
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .errors import ConfigError, DeviceError

logger = logging.getLogger(__name__)

# Beam search on MPS has given wrong results in some PyTorch versions, so `auto` needs leave.
ALLOW_MPS = "KHULASA_MPS"

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "_alloc_failed")

Probe = Callable[[str], "str | None"]


@dataclass(frozen=True, slots=True)
class DeviceChoice:
    """The device to use (`cpu`, `cuda`, `cuda:1`, `mps`), and those passed over with reasons."""

    device: str
    tried: tuple[tuple[str, str], ...] = ()


def probe(device: str) -> str | None:
    """Compute something small on `device`.

    Returns None if that worked and a reason if the machine has no such device. A device that is
    there but broken raises whatever PyTorch raises.
    """
    import torch

    if device.startswith("cuda") and not torch.cuda.is_available():
        return "PyTorch sees no CUDA device"
    if device == "mps" and not torch.backends.mps.is_available():
        return "PyTorch sees no MPS device"
    ones = torch.ones(8, 8, device=device)
    if (ones @ ones).sum().item() != 8**3:
        raise RuntimeError("a matrix product came out wrong")
    return None


def choose_device(requested: str = "auto", probe: Probe = probe) -> DeviceChoice:
    """Choose the device to compute on.

    `auto` takes the first of CUDA, MPS (only if KHULASA_MPS=1) and the CPU that passes `probe`; a
    device that is present but broken is passed over with a warning. A device asked for by name
    must work, or DeviceError says why it does not. An unknown name is a ConfigError.
    """
    if not _DEVICE.fullmatch(requested):
        raise ConfigError(f"device: {requested!r} is none of auto, cpu, cuda, cuda:N, mps")
    if requested == "cpu":
        return DeviceChoice("cpu")
    if requested != "auto":
        if reason := _problem(requested, probe)[0]:
            raise DeviceError(f"{requested} cannot be used: {reason}. Try device: auto or cpu.")
        return DeviceChoice(requested)

    tried: list[tuple[str, str]] = []
    for device in ("cuda", "mps") if os.environ.get(ALLOW_MPS) == "1" else ("cuda",):
        reason, broken = _problem(device, probe)
        if reason is None:
            return DeviceChoice(device, tuple(tried))
        tried.append((device, reason))
        if broken:
            logger.warning("%s is present but broken, so it is passed over: %s", device, reason)
    return DeviceChoice("cpu", tuple(tried))


def _problem(device: str, probe: Probe) -> tuple[str | None, bool]:
    """Say why `device` cannot be used, if so, and whether it is there but broken."""
    try:
        return probe(device), False
    except Exception as error:  # drivers fail in many ways
        return first_line(error), True


def first_line(error: BaseException) -> str:
    """Shorten an error to the first line of its message: those of CUDA have many."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory has run out: PyTorch's own error, or what CTranslate2 and MPS say of it."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    message = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in message for sign in _OUT_OF_MEMORY)


def is_device_failure(error: BaseException) -> bool:
    """Whether an accelerator may be to blame for `error`.

    Every RuntimeError may be: drivers have no error class of their own. An error of another cause
    comes back when the work is done again on the CPU, so that nothing is hidden.
    """
    return is_out_of_memory(error) or isinstance(error, RuntimeError)


def free_memory() -> None:
    """Give back the GPU memory that PyTorch keeps for no live object."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()  # models and tracebacks hold each other in cycles
        torch.cuda.empty_cache()


def cpu_count(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Count the CPUs that this process may use: by affinity, and by its container's quota."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    quota = _cgroup_quota(cgroup)
    return max(1, min(count, int(quota))) if quota else count


def _cgroup_quota(cgroup: Path) -> float | None:
    """CPUs granted by a cgroup (version 2, else version 1), or None if there is no limit."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu/cpu.cfs_quota_us").read_text()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text()
        except OSError:
            return None
    try:
        return int(quota) / int(period) if int(quota) > 0 else None
    except (ValueError, ZeroDivisionError):
        return None  # "max": no limit
