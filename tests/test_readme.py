"""What the README says works: its Python example, as it stands, on the shipped models."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_example_runs(tmp_path):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    run = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert re.search("[a-z]", run.stdout)
    assert re.search("[ء-ي]", run.stdout)


def test_every_file_that_the_documents_link_to_is_there():
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
            if "://" not in link:
                assert (path.parent / link).exists(), f"{path.name}: {link}"


def test_the_commands_and_options_in_the_readme_exist():
    from click.testing import CliRunner

    from khulasa.cli.main import cli

    for command in set(re.findall(r"khulasa (\w+) ", README)) - {"reads"}:
        assert CliRunner().invoke(cli, [command, "--help"]).exit_code == 0, command
    shown = CliRunner().invoke(cli, ["run", "--help"]).output
    for option in set(re.findall(r"khulasa run .*? (--[a-z][a-z-]*)", README)):
        assert option in shown, option
