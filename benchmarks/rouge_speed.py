"""How fast `khulasa.eval.summary` computes ROUGE, next to the `rouge-score` package.

Both score the same made-up English summaries, one thread each, in turns; each round gives one
ratio, of processor time. The first pairs are compared number for number, so a fast wrong answer
cannot win.

Run: python benchmarks/rouge_speed.py [--pairs 10000] [--rounds 3]
"""

# The folders install under `khulasa.`, which a type checker reading the disk cannot follow.
# pyright: reportMissingImports=false

from __future__ import annotations

import argparse
import random
import statistics
import time

from rouge_score.rouge_scorer import RougeScorer

from khulasa.eval.summary import ROUGE_TYPES, rouge
from khulasa.eval.tokenize import RougeTokenizer


def make_pairs(count: int, seed: int = 7) -> list[tuple[str, str]]:
    """Make (hypothesis, reference) summaries: two to four sentences of 8 to 24 words each.

    Word frequencies follow Zipf's law, and the hypothesis shares about half of its stretches with
    the reference, as the summaries of a fair system do.
    """
    rng = random.Random(seed)
    words = [f"word{rank}" for rank in range(5000)]
    weights = [1 / (rank + 3) for rank in range(5000)]
    pairs: list[tuple[str, str]] = []
    for _ in range(count):
        reference = [
            rng.choices(words, weights, k=rng.randint(8, 24)) for _ in range(rng.randint(2, 4))
        ]
        hypothesis: list[list[str]] = []
        for sentence in rng.sample(reference, len(reference)):
            new = list(sentence)
            start = rng.randrange(len(new))
            stop = rng.randint(start, len(new))
            new[start:stop] = rng.choices(words, weights, k=stop - start)
            hypothesis.append(new)
        pairs.append((_text(hypothesis), _text(reference)))
    return pairs


def main() -> None:
    """Time both and print the ratio of the times: minimum, median and maximum over the rounds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    pairs = make_pairs(options.pairs)
    scorer = RougeScorer(list(ROUGE_TYPES))
    tokenizer = RougeTokenizer("en")
    for hypothesis, reference in pairs[:200]:
        expected = scorer.score(reference, hypothesis)
        for name, score in rouge(hypothesis, reference, tokenizer).items():
            if abs(score.f - expected[name].fmeasure) > 1e-9:
                raise SystemExit(f"{name} differs: {score.f} against {expected[name].fmeasure}")

    ratios: list[float] = []
    for number in range(1, options.rounds + 1):
        start = time.process_time()
        for hypothesis, reference in pairs:
            rouge(hypothesis, reference, tokenizer)
        middle = time.process_time()
        for hypothesis, reference in pairs:
            scorer.score(reference, hypothesis)
        end = time.process_time()
        ours, theirs = middle - start, end - middle
        ratios.append(theirs / ours)
        print(
            f"round {number}: khulasa {ours:.2f} s, rouge-score {theirs:.2f} s, "
            f"{ratios[-1]:.1f} times as fast"
        )
    print(
        f"{options.pairs} pairs, {options.rounds} rounds: min {min(ratios):.1f}, "
        f"median {statistics.median(ratios):.1f}, max {max(ratios):.1f}"
    )


def _text(sentences: list[list[str]]) -> str:
    return "\n".join(" ".join(sentence) + "." for sentence in sentences)


if __name__ == "__main__":
    main()
