"""How good the summaries are, beside what people would otherwise use; and how fast they come.

A table for each set and language, at each length: ROUGE-1, -2 and -L and chrF with 95% bootstrap
intervals, for

- a model, faithful and free,
- the lead, which is what a newsroom gets for nothing,
- TextRank and LexRank as sumy has them, with our tokenizer,
- the oracle, which knows the reference: the most that choosing sentences can give.

The last column is the p-value of a paired bootstrap of the faithful model against the system in
ROUGE-2, with Holm's correction over the systems of the table.

Run: python benchmarks/summaries.py [--sets FILE ...] [--checkpoint NAME] [--write FILE]

It needs sumy, which `make build/bench` puts where this looks for it.

A set is a file of JSON lines: articles like those that ship (`eval/data/articles.jsonl`, the
default), or objects with `text`, `lang` and a list `summaries` of references. All systems get the
same sentences and the same length: 1, 2 and 3 sentences, or, where the references are much longer,
the words of the median reference. --speed measures the time of both decodings instead, and the
memory that a document of 20,000 words takes.
"""

# The folders install under `khulasa.`, which a type checker reading the disk cannot follow.
# pyright: reportMissingImports=false

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "build" / "bench"))

ARTICLES = ROOT / "eval" / "data" / "articles.jsonl"
METRICS = ("rouge1", "rouge2", "rougeL", "chrf")
TITLES = ("R-1", "R-2", "R-L", "chrF")
SEED = 1
# Where --write puts the tables in a file of its own text.
BEGIN, END = "<!-- tables: benchmarks/summaries.py -->", "<!-- end of tables -->"
# Words of a median reference from which on the length is a number of words.
_LONG = 100


@dataclass(frozen=True)
class Item:
    """A document in sentences, and its reference summaries."""

    sentences: list[str]
    references: list[str]


@dataclass(frozen=True)
class Set:
    """Documents of one language."""

    name: str
    language: Any
    items: list[Item]


@dataclass(frozen=True)
class Length:
    """So many sentences or, if `words`, at most so many words."""

    count: int
    words: bool = False

    def __str__(self) -> str:
        if self.words:
            return f"{self.count} words"
        return f"{self.count} sentence{'s' * (self.count > 1)}"

    def take(self, texts: Sequence[str]) -> list[str]:
        """The first of these texts, as many as fit; one at least."""
        if not self.words:
            return list(texts[: self.count])
        taken: list[str] = []
        for text in texts:
            if taken and len(" ".join([*taken, text]).split()) > self.count:
                break
            taken.append(text)
        return taken


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sets", type=Path, nargs="+", default=[ARTICLES], metavar="FILE")
    parser.add_argument("--checkpoint", default="khulasa-summary")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--compute-type", default="float32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--lengths", type=int, nargs="+", default=[1, 2, 3], metavar="SENTENCES")
    parser.add_argument("--limit", type=int, help="only the first documents of each set")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="keep what the model gave")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables into this file")
    parser.add_argument("--speed", action="store_true", help="measure time and memory instead")
    options = parser.parse_args()
    sets = [found for path in options.sets for found in read(path, options.limit)]
    model = Model(options)
    if options.speed:
        speed(model, sets)
        return
    figures: list[dict[str, Any]] = []
    text = "\n\n".join(tables(model, sets, options.lengths, figures))
    print(text)
    if options.json:
        options.json.write_text(json.dumps(figures, ensure_ascii=False, indent=1), "utf-8")
    if options.write:
        put(options.write, text)


# Sets


def read(path: Path, limit: int | None) -> list[Set]:
    """Read the sets in a file: one for each language."""
    with path.open(encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    if "alignment" in records[0]:
        sets = [
            Set(path.stem, language, [_article(record, language) for record in records])
            for language in ("ar", "en")
        ]
    else:
        sets = [
            Set(path.stem, language, [_text(r) for r in records if r["lang"] == language])
            for language in sorted({record["lang"] for record in records})
        ]
    return [Set(each.name, each.language, each.items[:limit]) for each in sets]


def _article(record: dict[str, Any], language: str) -> Item:
    text = record["text" if language == "ar" else "reference_translation"]
    first = 0 if language == "ar" else 2
    sentences = [text[span[first] : span[first + 1]] for span in record["alignment"]]
    return Item(sentences, [record[f"reference_summary_{language}"]])


def _text(record: dict[str, Any]) -> Item:
    from khulasa.pipeline.segment import split_sentences

    # Not a paragraph each, but no sentence goes over the end of a line.
    lines = [line for line in record["text"].split("\n") if line.strip()]
    sentences = [s for line in lines for s in split_sentences(line, record["lang"])]
    return Item(sentences, record["summaries"])


def lengths_of(items: Sequence[Item], sentences: Sequence[int]) -> list[Length]:
    """The lengths at which to compare."""
    words = statistics.median(len(text.split()) for item in items for text in item.references)
    if words >= _LONG:
        return [Length(round(words), words=True)]
    return [Length(count) for count in sentences]


# Systems


class Remembering:
    """An engine that runs nothing twice: not for another length, nor, with a file, in another run.

    What the file holds stays true whatever becomes of the code that chooses by it.
    """

    def __init__(self, engine: Any, file: Path | None) -> None:
        self._engine = engine
        self._file = file
        self._known: dict[str, Any] = {}
        if file and file.is_file():
            with file.open(encoding="utf-8") as lines:
                self._known = dict(map(json.loads, lines))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def score(self, sources: Sequence[Any], targets: Sequence[Any]) -> list[list[float]]:
        """As the engine's."""
        pairs = [(list(s), list(t)) for s, t in zip(sources, targets, strict=True)]
        run = self._engine.score
        return self._recall("score", pairs, lambda rows: run(*zip(*rows, strict=True)))

    def generate(self, batch: Sequence[Any], options: Any) -> list[Any]:
        """As the engine's."""
        from khulasa.models.engine import Generation

        def run(rows: list[Any]) -> list[Any]:
            return [asdict(found) for found in self._engine.generate(rows, options)]

        found = self._recall(repr(options), [list(source) for source in batch], run)
        return [Generation(**each) for each in found]

    def _recall(self, kind: str, rows: list[Any], run: Callable[[list[Any]], list[Any]]) -> Any:
        keys = [hashlib.sha256(repr((kind, row)).encode()).hexdigest() for row in rows]
        new = {key: row for key, row in zip(keys, rows, strict=True) if key not in self._known}
        if new:
            found = dict(zip(new, run(list(new.values())), strict=True))
            self._known |= found
            if self._file:
                with self._file.open("a", encoding="utf-8") as file:
                    file.writelines(f"{json.dumps(pair)}\n" for pair in found.items())
        return [self._known[key] for key in keys]


class Model:
    """The model under test. What its engine gave is kept in the folder `--cache`, if any."""

    def __init__(self, options: argparse.Namespace) -> None:
        from khulasa.models.checkpoint import resolve, weight_files
        from khulasa.models.engine import load_engine

        self.checkpoint = resolve(options.checkpoint)
        self.engine: Any = load_engine(
            self.checkpoint, options.engine, "cpu", options.threads, options.compute_type
        )
        if options.speed:
            return
        file = None
        if options.cache:
            # Settings may change, and the model is still the same.
            weights = hashlib.sha256(f"{self.engine.name} {options.compute_type}".encode())
            for name in weight_files(self.checkpoint.path):
                weights.update((self.checkpoint.path / name).read_bytes())
            options.cache.mkdir(parents=True, exist_ok=True)
            file = options.cache / f"{weights.hexdigest()}.jsonl"
        self.engine = Remembering(self.engine, file)

    def __call__(self, decoding: Any, length: Length, given: Set) -> list[str]:
        """Summarize all documents of a set."""
        summarizer = self.summarizer(decoding, length, given.language)
        documents = [item.sentences for item in given.items]
        return [result.text for result in summarizer.summarize(documents)]

    def summarizer(self, decoding: Any, length: Length, language: Any) -> Any:
        """A summarizer with the default options at this length."""
        from functools import partial

        from khulasa.models.summarizer import Summarizer, SummarizerOptions
        from khulasa.pipeline.segment import split_sentences

        count = {"sentences": None, "words": length.count} if length.words else {}
        options = SummarizerOptions(decoding, **(count or {"sentences": length.count}))
        return Summarizer(self.engine, options, partial(split_sentences, language=language))


def lead(item: Item, length: Length, language: Any) -> str:
    """The first sentences."""
    return " ".join(length.take(item.sentences))


def oracle(item: Item, length: Length, language: Any) -> str:
    """The sentences that share most with the references."""
    from khulasa.models.training.corpus import oracle as choose

    sentences, references = item.sentences, "\n".join(item.references)
    chosen: list[int] = []
    for most in range(1, len(sentences) + 1 if length.words else length.count + 1):
        more = choose(sentences, references, most)
        if len(more) == len(chosen) or len(length.take([sentences[i] for i in more])) < len(more):
            break
        chosen = more
    return " ".join(sentences[i] for i in chosen or [0])


def graph(name: str) -> Callable[[Item, Length, Any], str]:
    """TextRank or LexRank."""
    from importlib import import_module

    from khulasa.eval.tokenize import RougeTokenizer

    try:
        module = import_module(f"sumy.summarizers.{name.lower().replace('rank', '_rank')}")
        from sumy.models.dom import ObjectDocumentModel, Paragraph, Sentence  # type: ignore
    except ImportError as error:
        raise SystemExit(f"{error}: run `make build/bench`") from None
    rank = getattr(module, f"{name}Summarizer")()

    class Words:
        """Our tokenizer, by the name that sumy calls."""

        def __init__(self, language: Any) -> None:
            self.to_words = RougeTokenizer(language)

    def choose(item: Item, length: Length, language: Any) -> str:
        words = Words(language)
        sentences = [Sentence(text, words) for text in item.sentences if words.to_words(text)]

        def most(ranked: Sequence[Any]) -> Sequence[Any]:
            return ranked[: len(length.take([str(each.sentence) for each in ranked]))]

        document = ObjectDocumentModel([Paragraph(sentences)])
        return " ".join(map(str, rank(document, most)))

    return choose


# Tables


def tables(
    model: Model, sets: Sequence[Set], lengths: Sequence[int], figures: list[dict[str, Any]]
) -> Iterator[str]:
    """Give the tables as Markdown, and append what is in them to `figures`."""
    simple = {
        "lead": lead,
        "TextRank": graph("TextRank"),
        "LexRank": graph("LexRank"),
        "oracle": oracle,
    }
    signatures: dict[str, str] = {}
    for given in sets:
        for length in lengths_of(given.items, lengths):
            outputs = {name: model(name, length, given) for name in ("faithful", "free")}
            outputs |= {
                name: [choose(item, length, given.language) for item in given.items]
                for name, choose in simple.items()
            }
            found = compare(given, outputs)
            for row in found:
                signatures |= row.pop("signatures")
                figures.append({"set": given.name, "language": given.language} | row)
                figures[-1]["length"] = str(length)
            yield _table(given, length, found)
    made_by = f"{model.checkpoint.name}@{model.checkpoint.digest[:12]} on {model.engine.name}"
    yield "\n".join(
        [
            f"Model: {made_by}, options at their defaults. Bootstrap: 1,000 samples, seed {SEED}.",
            "Signatures:",
            "",
            *(f"- {name}: `{signature}`" for name, signature in sorted(signatures.items())),
        ]
    )


def compare(given: Set, outputs: dict[str, list[str]]) -> list[dict[str, Any]]:
    """Score the outputs of each system and test them against the faithful model's."""
    from khulasa.eval.metrics import Items, measure
    from khulasa.eval.significance import (
        SegmentStatistics,
        bootstrap_interval,
        compare_systems,
    )

    references = [text for item in given.items for text in item.references]
    counts = [len(item.references) for item in given.items]
    starts = np.cumsum([0, *counts[:-1]])
    rows: dict[str, dict[str, Any]] = {}
    counted: dict[str, dict[str, SegmentStatistics]] = {}
    for name, texts in outputs.items():
        # A summary with several references counts as one segment: it is drawn with all of them.
        repeated = [text for text, n in zip(texts, counts, strict=True) for _ in range(n)]
        scored = measure(METRICS, Items(repeated, given.language, references))
        counted[name] = {
            each.metric.name: SegmentStatistics(
                each.metric.name,
                np.add.reduceat(each.statistics.rows, starts, axis=0),
                each.statistics.combine,
            )
            for each in scored
        }
        rows[name] = {
            "system": name,
            "documents": len(texts),
            "words": round(statistics.mean(len(text.split()) for text in texts), 1),
            "signatures": {f"{e.metric.name} {given.language}": e.score.signature for e in scored},
            "p": {},
        }
        for metric, found in counted[name].items():
            interval = bootstrap_interval(found, seed=SEED)
            rows[name][metric] = [found.value, interval.low, interval.high]
    rivals = [name for name in outputs if name not in ("faithful", "oracle")]
    for metric in METRICS:
        tests = compare_systems(
            counted["faithful"][metric],
            {name: counted[name][metric] for name in rivals},
            seed=SEED,
        )
        for name, test in tests.items():
            rows[name]["p"][metric] = asdict(test) | {"interval": None}
    return list(rows.values())


def _table(given: Set, length: Length, rows: Sequence[dict[str, Any]]) -> str:
    language = {"ar": "Arabic", "en": "English"}[given.language]
    lines = [
        f"**{given.name}, {language}, {length}** ({len(given.items)} documents)",
        "",
        f"| system | words | {' | '.join(TITLES)} | p |",
        "|---" * (len(TITLES) + 3) + "|",
    ]
    for row in rows:
        cells = ["{:.1f} [{:.1f}, {:.1f}]".format(*row[metric]) for metric in METRICS]
        tested = row["p"].get("rouge2")
        p = f"{tested['adjusted_p']:.3f}" if tested else ""
        lines.append(f"| {row['system']} | {row['words']:.0f} | {' | '.join(cells)} | {p} |")
    return "\n".join(lines)


def put(path: Path, text: str) -> None:
    """Put the tables into a file, between the marks."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"{path}: no place for the tables; mark it by {BEGIN} and {END}")
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


# Speed


def speed(model: Model, sets: Sequence[Set]) -> None:
    """Print the processor time of both decodings at their defaults, and of a long document."""
    for given in sets:
        documents = [item.sentences for item in given.items]
        for length in (Length(2), Length(3)):
            taken = {}
            for decoding in ("free", "faithful"):
                summarizer = model.summarizer(decoding, length, given.language)
                summarizer.summarize(documents[:2])
                start = time.process_time()
                summarizer.summarize(documents)
                taken[decoding] = (time.process_time() - start) / len(documents)
            print(
                f"{given.name} {given.language}, {length}, {model.engine.name}: free "
                f"{1000 * taken['free']:.0f} ms a document, faithful "
                f"{1000 * taken['faithful']:.0f} ms, {taken['faithful'] / taken['free']:.2f} times"
            )
    sentences = [s for given in sets for item in given.items for s in item.sentences]
    long: list[str] = []
    words = 0
    for number in range(100_000):
        # No sentence a second time, or it would be no candidate.
        text = sentences[number % len(sentences)]
        if number >= len(sentences):
            text = f"({number}) {text}"
        long.append(text)
        words += len(text.split())
        if words >= 20_000:
            break
    for decoding in ("free", "faithful"):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.process_time()
        (result,) = model.summarizer(decoding, Length(3), sets[0].language).summarize([long])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(
            f"{words:,} words, {decoding}: {time.process_time() - start:.1f} s, sentences "
            f"{[i for s in result.sentences for i in s.source]} of {len(long)}, flags "
            f"{list(result.flags)}; peak memory {peak / 1024:,.0f} MB, "
            f"{(peak - before) / 1024:,.0f} MB more than before"
        )


if __name__ == "__main__":
    main()
