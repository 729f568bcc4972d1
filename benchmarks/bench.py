"""How fast, and in how much memory: khulasa beside what else translates with the same weights.

Builds a MarianMT of opus-mt's shape (76.8 million parameters, random but for what makes every
output as long as its source) and Arabic-looking documents, and times in turns, each in a process of
its own: transformers a sentence at a time, transformers in sorted batches of 16, Argos Translate,
CTranslate2 at its best settings, and khulasa, also with a lexical shortlist. Then runs 1,000,
10,000 and 100,000 short documents through khulasa with a model that costs nothing, for its memory.

Run: make bench, or python benchmarks/bench.py [--quick] [--write]

Rates are of sentences of the documents' mean length, by tokens: the slower contestants have fewer.
"""

# The folders install under `khulasa.`, which a type checker reading the disk cannot follow.
# pyright: reportMissingImports=false

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
PLOT = ROOT / "docs" / "benchmarks.png"
MARKS = "<!-- figures -->", "<!-- end of figures -->"

NAMES = {
    "transformers_one": "transformers, one at a time",
    "transformers_sorted": "transformers, sorted batches of 16",
    "argos": "Argos Translate",
    "ctranslate2": "CTranslate2 at its best",
    "khulasa": "khulasa",
    "khulasa_shortlist": "khulasa with a lexical shortlist",
}
# How much of the documents each gets, so that each takes about as long.
SHARES = {"transformers_one": 1 / 32, "transformers_sorted": 1 / 6, "argos": 1 / 2}
GOALS = {"transformers_sorted": 5.0, "argos": 1.5, "ctranslate2": 0.95}


@dataclass
class Contestant:
    """A process at work, what it is given and what it took."""

    process: subprocess.Popen[str]
    tokens: int
    rates: list[float] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)

    def hear(self) -> dict[str, Any]:
        """Wait for a measurement."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args} ended with {self.process.wait()}")
        self.last = json.loads(line)
        return self.last

    def run(self, mean: float) -> None:
        """Have one more round timed: sentences of `mean` tokens a second."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        measured = self.hear()
        # Nobody may gain from shorter outputs. (Argos Translate does not tell.)
        assert measured.get("tokens", self.tokens) == self.tokens
        self.rates.append(self.tokens / mean / measured["seconds"])


def main() -> None:
    """Run the benchmark and print what came of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="under two minutes, to try it")
    parser.add_argument("--documents", type=int, help="[default: 20, quick: 4]")
    parser.add_argument("--rounds", type=int, help="[default: 5, quick: 2]")
    parser.add_argument("--only", nargs="*", choices=NAMES, default=list(NAMES))
    parser.add_argument("--sizes", type=int, nargs="*", help="of the corpora for memory")
    parser.add_argument("--packages", type=Path, default=ROOT / "build" / "bench")
    parser.add_argument("--write", action="store_true", help="put figures and plot into docs/")
    options = parser.parse_args()
    documents = options.documents or (4 if options.quick else 20)
    rounds = options.rounds or (2 if options.quick else 5)
    sizes = options.sizes
    if sizes is None:
        sizes = [200, 2000] if options.quick else [1000, 10_000, 100_000]
    with tempfile.TemporaryDirectory() as scratch:
        os.environ |= {
            "KHULASA_CACHE": f"{scratch}/cache",
            "TRANSFORMERS_VERBOSITY": "error",
            "HF_HUB_OFFLINE": "1",
            "BENCH_PACKAGES": str(options.packages),
        }
        lines, rates = compare(Path(scratch), options.only, documents, rounds, options.quick)
        lines += memory(Path(scratch), sizes)
    print("\n".join(lines))
    if options.write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(MARKS[0])
        after = rest.partition(MARKS[1])[2]
        text = "\n".join([before + MARKS[0], "", *lines, "", MARKS[1] + after])
        PAGE.write_text(text, encoding="utf-8")
        plot(rates)


def compare(
    scratch: Path, names: list[str], count: int, rounds: int, quick: bool
) -> tuple[list[str], dict[str, list[float]]]:
    """Time the contestants in turns; give the lines of the report, and each one's rates."""
    from workload import build_checkpoint, cpus, documents, write_shortlist

    from khulasa.models.checkpoint import resolve
    from khulasa.models.ctranslate2_engine import load_converted

    note("building the model and converting it")
    checkpoint = build_checkpoint(scratch / "opus-shaped")
    write_shortlist(checkpoint, scratch / "shortlist.txt")
    load_converted(resolve(str(checkpoint)), "int8", device="cpu")
    (converted,) = (scratch / "cache" / "ctranslate2").iterdir()
    work = list(documents(count))
    lengths = token_counts(checkpoint, work)
    mean = statistics.mean(lengths.values())

    contestants: dict[str, Contestant] = {}
    with ExitStack() as stack:
        for name in names:
            note(f"warming up: {NAMES[name]}")
            part = subset(work, SHARES.get(name, 1.0))
            file = scratch / f"{name}.json"
            file.write_text(json.dumps(part), encoding="utf-8")
            arguments = [name, str(checkpoint), str(converted), str(file)]
            tokens = sum(lengths[s] for d in part for p in d for s in p)
            contestants[name] = Contestant(stack.enter_context(started(arguments)), tokens)
            contestants[name].hear()
        for number in range(1, rounds + 1):
            for contestant in contestants.values():
                contestant.run(mean)
            shown = (f"{NAMES[n]} {c.rates[-1]:.2f}" for n, c in contestants.items())
            note(f"round {number}, sentences a second: {'; '.join(shown)}")
    lines = [
        f"{len(lengths)} sentences of {mean:.1f} tokens in the mean (longest "
        f"{max(lengths.values())}), beam 4, {rounds} rounds, {cpus()} CPUs, "
        f"{processor()}{', quick' if quick else ''}.",
        "",
        *table(contestants),
        "",
    ]
    for name, contestant in contestants.items():
        if name.startswith("khulasa"):
            lines += [stages(NAMES[name], contestant.last), ""]
    return lines, {name: contestant.rates for name, contestant in contestants.items()}


def table(contestants: dict[str, Contestant]) -> list[str]:
    """Lay out rates, ratios and memory as Markdown."""
    lines = [
        "| | sentences a second | khulasa is so many times as fast | goal | with a shortlist "
        "| peak memory |",
        "|---|---|---|---|---|---|",
    ]

    def ratio(ours: str, theirs: str) -> str:
        if ours not in contestants or theirs in (ours, "khulasa_shortlist"):
            return ""
        pairs = zip(contestants[ours].rates, contestants[theirs].rates, strict=True)
        return spread([a / b for a, b in pairs])

    for name, contestant in contestants.items():
        goal = f"{GOALS[name]:g}" if name in GOALS else ""
        peak = f"{contestant.last['peak_bytes'] / 1e6:,.0f} MB"
        ratios = ratio("khulasa", name), goal, ratio("khulasa_shortlist", name)
        cells = " | ".join((NAMES[name], spread(contestant.rates), *ratios, peak))
        lines.append(f"| {cells} |")
    lines += ["", "Median, and minimum to maximum over the rounds."]
    return lines


def spread(values: list[float]) -> str:
    """Median, and in brackets minimum to maximum."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def stages(name: str, last: dict[str, Any]) -> str:
    """Say what the last round of a pipeline was spent on."""
    spent = ", ".join(f"{name} {seconds:.2f}" for name, seconds in last["stages"].items())
    return (
        f"{name} by stage, seconds: {spent} of {last['seconds']:.2f}, with batches of "
        f"{last['token_budget']} tokens. The model was idle for {last['besides_model']:.1%} of "
        "the time: that is what all else costs."
    )


def memory(scratch: Path, sizes: list[int]) -> list[str]:
    """Run corpora of these sizes and give the peaks."""
    from workload import write_corpus

    peaks = []
    lines = ["| short documents | peak memory |", "|---|---|"]
    for size in sizes:
        note(f"memory for {size:,} documents")
        corpus, output = scratch / "corpus.jsonl", scratch / "output.jsonl"
        write_corpus(corpus, size)
        with started(["memory", str(corpus), str(output)]) as process:
            peaks.append(Contestant(process, 0).hear()["peak_bytes"])
        with output.open("rb") as file:
            assert sum(1 for _ in file) == size
        lines.append(f"| {size:,} | {peaks[-1] / 1e6:,.0f} MB |")
    if len(peaks) > 1:
        lines += ["", f"The last is {peaks[-1] / peaks[0]:.3f} of the first (goal: 1.1)."]
    return lines if peaks else []


def subset(work: list[Any], share: float) -> list[Any]:
    """Draw documents evenly, at least one."""
    count = max(1, round(len(work) * share))
    return [work[i] for i in sorted(random.Random(0).sample(range(len(work)), count))]


def token_counts(checkpoint: Path, work: list[Any]) -> dict[str, int]:
    """Count the tokens of each sentence, the end included."""
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(model_file=str(checkpoint / "source.spm"))
    sentences = [sentence for d in work for paragraph in d for sentence in paragraph]
    return {s: len(model.encode(s)) + 1 for s in sentences}


@contextmanager
def started(arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Start a contestant; ask it to end afterwards, and wait."""
    command = [sys.executable, str(Path(__file__).parent / "contestants.py"), *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        except BaseException:
            process.terminate()
            raise


def processor() -> str:
    """Name the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def plot(rates: dict[str, list[float]]) -> None:
    """Draw the medians with their spread."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    names = list(rates)
    medians = [statistics.median(rates[name]) for name in names]
    errors = [
        [m - min(rates[n]) for m, n in zip(medians, names, strict=True)],
        [max(rates[n]) - m for m, n in zip(medians, names, strict=True)],
    ]
    figure, axes = pyplot.subplots(figsize=(7, 3), layout="constrained")
    colors = ["#1f6f6b" if name.startswith("khulasa") else "#b8bec8" for name in names]
    axes.barh([NAMES[n] for n in names], medians, xerr=errors, color=colors, capsize=3)
    axes.invert_yaxis()
    axes.set_xlabel("sentences a second")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(PLOT, dpi=150)
    pyplot.close(figure)


def note(text: str) -> None:
    """Say on stderr what goes on."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
