"""The architecture: imports between folders run one way, and help loads no model library."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "cli": {"pipeline", "eval", "models"},
    "pipeline": {"eval", "models"},
    "eval": set(),
    "models": set(),
}


def folders_imported(path: Path, folder: str) -> set[str]:
    """The folders, beside its own, that a module imports from at any depth."""
    depth = len(path.relative_to(ROOT / folder).parts)
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            if node.level == depth + 1:
                names = [node.module] if node.module else [alias.name for alias in node.names]
            elif node.level == 0 and (node.module or "").startswith("khulasa."):
                names = [(node.module or "").removeprefix("khulasa.")]
            else:
                continue
            found |= {name.split(".")[0] for name in names if name}
    return found - {folder}


@pytest.mark.parametrize("folder", ALLOWED)
def test_imports_between_folders_run_one_way(folder):
    modules = list((ROOT / folder).rglob("*.py"))
    assert modules
    for path in modules:
        assert folders_imported(path, folder) <= ALLOWED[folder], path


@pytest.mark.parametrize(
    "statement",
    [
        "from khulasa.cli.main import cli; cli.main(['--help'], standalone_mode=False)",
        "import khulasa.pipeline.clean, khulasa.pipeline.segment, khulasa.pipeline.readers",
        "import khulasa.eval.summary, khulasa.eval.fidelity",
        "import khulasa.pipeline.config, khulasa.models.engine",
    ],
)
def test_heavy_libraries_are_loaded_late(statement):
    check = (
        "import sys; print([m for m in ('torch', 'transformers', 'datasets') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", f"{statement}\n{check}"], capture_output=True, text=True, check=True
    )
    assert run.stdout.splitlines()[-1] == "[]"
