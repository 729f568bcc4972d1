"""Metrics from outside: any program that reads JSON lines and writes a score for each.

COMET and other learned metrics need libraries that cannot live beside ours; they run in an
environment of their own, behind a command. It reads one object a line on its standard input,
`{"id": ..., "source": ..., "hypothesis": ..., "reference": ...}` (`source` and `reference` only
where there are any), and writes one a line, in the same order: `{"score": 83.1}`.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from .metrics import Better, Items, Metric, Need
from .scores import Score, ScoreError

_TAIL = 400


@dataclass(frozen=True, slots=True)
class ExternalScorer:
    """A scorer behind a command (a list of arguments; no shell sees it).

    Call it with items. Raises ScoreError if the command cannot be run, fails, takes longer than
    `timeout` seconds, or does not write exactly one finite score per segment.
    """

    name: str
    command: tuple[str, ...]
    better: Better = "higher"
    needs: Need = "reference"
    timeout: float = 3600

    @property
    def metric(self) -> Metric:
        """The metric that this scorer computes."""
        return Metric(self.name, self.better, self.needs)

    def __call__(self, items: Items) -> Score:
        try:
            result = subprocess.run(
                self.command,
                input="".join(line + "\n" for line in _requests(items)),
                capture_output=True,
                text=True,
                encoding="utf-8",
                timeout=self.timeout,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ScoreError(f"{self.name}: the command cannot be run: {error}") from error
        if result.returncode != 0:
            raise ScoreError(
                f"{self.name}: the command ended with {result.returncode}: "
                f"{result.stderr.strip()[-_TAIL:] or 'it said nothing on stderr'}"
            )
        values = self._values(result.stdout, len(items.hypotheses))
        mean = sum(values) / len(values)
        signature = f"metric:{self.name}|avg:mean|command:{' '.join(self.command)}"
        return Score(self.name, mean, signature, tuple(values), self.better != "lower")

    def _values(self, output: str, expected: int) -> Sequence[float]:
        lines = [line for line in output.split("\n") if line.strip()]
        if len(lines) != expected:
            raise ScoreError(
                f"{self.name}: the command was given {expected} segments and wrote {len(lines)} "
                "lines; it must write one for each, and nothing else, on stdout"
            )
        values = []
        for number, line in enumerate(lines):
            try:
                values.append(float(json.loads(line)["score"]))
            except (ValueError, KeyError, TypeError):
                raise ScoreError(
                    f"{self.name}: line {number + 1} of the command's output has no score: "
                    f"{line[:_TAIL]!r}"
                ) from None
        return values


def _requests(items: Items) -> list[str]:
    lines = []
    for index, hypothesis in enumerate(items.hypotheses):
        request = {"id": items.ids[index] if items.ids else str(index), "hypothesis": hypothesis}
        if items.sources is not None:
            request["source"] = items.sources[index]
        if items.references is not None:
            request["reference"] = items.references[index]
        lines.append(json.dumps(request, ensure_ascii=False))
    return lines
