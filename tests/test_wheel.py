"""The wheel: built from the tree, installed by itself, run from another directory, offline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import PathDistribution, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    # A copy of what git tracks, so that nothing left over in the tree can hide a missing file.
    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout.split("\0")
    for name in filter(None, files):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation",
         "-w", str(folder), str(source)],
        check=True,
    )  # fmt: skip
    (built,) = folder.glob("khulasa-*.whl")
    return built


def test_the_wheel_has_the_configurations_the_models_and_the_types(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for name in (
        "khulasa/configs/default.yaml",
        "khulasa/configs/training/translator.yaml",
        "khulasa/models/shipped/khulasa-ar-en/model.safetensors",
        "khulasa/models/shipped/khulasa-ar-en/README.md",
        "khulasa/models/shipped/khulasa-summary/source.spm",
        "khulasa/pipeline/record.schema.json",
        "khulasa/pipeline/py.typed",
    ):
        assert name in names
    # The namespace has no file of its own, and nothing else lands in site-packages.
    assert "khulasa/__init__.py" not in names
    assert {name.split("/")[0] for name in names} == {
        "khulasa",
        f"khulasa-{version('khulasa')}.dist-info",
    }


def test_the_wheel_runs_the_main_job_in_an_environment_of_its_own(wheel, tmp_path):
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", environment / "bin/python", "install", "-q",
         "--no-deps", wheel],
        check=True,
    )  # fmt: skip
    (packages,) = environment.glob("lib/python*/site-packages")
    # Its dependencies are the ones installed here, by path: khulasa itself is not on that path,
    # because an editable install is found by a hook that plain path entries do not run.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    metadata = PathDistribution(next(packages.glob("khulasa-*.dist-info")))
    for line in metadata.requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            assert requirement.specifier.contains(version(requirement.name)), line

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a.txt").write_text("أعلنت الوزارة أن 3 مدارس جديدة ستفتح.", encoding="utf-8")
    run = subprocess.run(
        [environment / "bin/khulasa", "run", "a.txt"],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": "", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    record = json.loads(run.stdout)
    assert record["translation"]["sentences"][0]["target"]
    assert record["run"]["translator"].startswith("khulasa-ar-en@")
    where = subprocess.run(
        [environment / "bin/python", "-c", "import khulasa.pipeline as p; print(p.__file__)"],
        cwd=elsewhere, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert str(environment) in where.stdout
