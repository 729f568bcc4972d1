"""How good the shipped models are: the figures of their cards.

Translation, sentence by sentence: BLEU and chrF with signatures, how often the fidelity checks
fail, and how many names are spelled as in the reference, of those that it spells by their sounds.
Summaries of the reference texts in each language: ROUGE with bootstrap intervals, beside the lead,
which is what a newsroom gets for free.

Run: python benchmarks/quality.py [--tsv FILE ...] [--translator NAME] [--summarizer NAME]
         [--no-names] [--shortlist FILE]

Without --tsv the translation set is the one that ships, `eval/data/articles.jsonl`. A TSV has
Arabic, a tab, English on each line.
"""

# The folders install under `khulasa.`, which a type checker reading the disk cannot follow.
# pyright: reportMissingImports=false

from __future__ import annotations

import argparse
import json
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

ARTICLES = Path(__file__).parent.parent / "eval" / "data" / "articles.jsonl"

Pair = tuple[str, str]


def articles() -> list[dict[str, Any]]:
    """Read the evaluation set that ships."""
    with ARTICLES.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def aligned(article: dict[str, Any]) -> list[Pair]:
    """Give the aligned sentences of an article: Arabic, English."""
    text, reference = article["text"], article["reference_translation"]
    return [(text[a:b], reference[c:d]) for a, b, c, d in article["alignment"]]


def read_tsv(path: Path) -> list[Pair]:
    """Read Arabic, tab, English lines."""
    with path.open(encoding="utf-8", newline="\n") as lines:
        pairs = [line.rstrip("\n").split("\t") for line in lines]
    return [(pair[0], pair[1]) for pair in pairs]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tsv", type=Path, nargs="*", default=[])
    parser.add_argument("--translator", default="khulasa-ar-en")
    parser.add_argument("--summarizer", default="khulasa-summary")
    parser.add_argument("--beam-size", type=int, default=4)
    parser.add_argument("--no-names", action="store_true", help="without the list of names")
    parser.add_argument("--shortlist", type=Path, help="also translate with this, and compare")
    options = parser.parse_args()
    sets = {str(path.name): read_tsv(path) for path in options.tsv}
    sets = sets or {"articles": [pair for article in articles() for pair in aligned(article)]}
    for name, pairs in sets.items():
        names = () if options.no_names else ("default",)
        plain = translation(name, pairs, options.translator, options.beam_size, names)
        if options.shortlist:
            listed = f"{name} with the shortlist"
            found = translation(
                listed, pairs, options.translator, options.beam_size, names, options.shortlist
            )
            changed = _share([a != b for a, b in zip(found, plain, strict=True)])
            print(f"{listed}: {changed} of the translations changed")
    if not options.tsv:
        for language in ("ar", "en"):
            summaries(language, options.summarizer)


def translation(
    name: str,
    pairs: list[Pair],
    checkpoint: str,
    beam_size: int,
    names: Sequence[Literal["default"]],
    shortlist: Path | None = None,
) -> list[str]:
    """Translate the sources of `pairs` and print the scores; give the translations."""
    from khulasa.eval.fidelity import check_translation, latin_words, numbers
    from khulasa.eval.translation import score_translation
    from khulasa.models.engine import GenerationOptions
    from khulasa.models.names import NameList
    from khulasa.models.sounds import transliterations
    from khulasa.models.translator import Translator, TranslatorOptions
    from khulasa.pipeline.segment import split_to_fit

    generation = GenerationOptions(beam_size, max_new_tokens=400, length_factor=1.5)
    translator = Translator.from_checkpoint(
        checkpoint,
        compute_type="float32",
        lexical_shortlist=shortlist,
        options=TranslatorOptions(generation),
        splitter=split_to_fit,
        names=names,
    )
    results = translator.translate([source for source, _ in pairs])
    scores = score_translation([r.target for r in results], [target for _, target in pairs])
    for key in ("bleu", "chrf"):
        print(f"{name}: {key} {scores[key].value:.2f} ({scores[key].signature})")
    checks = [check_translation(r.source, r.target) for r in results]
    with_numbers = [c for c, (s, _) in zip(checks, pairs, strict=True) if numbers(s)]
    with_latin = [c for c, (s, _) in zip(checks, pairs, strict=True) if latin_words(s)]
    numbers_kept = _share([c["numbers_kept"] == 1 for c in with_numbers])
    latin_kept = _share([c["latin_words_kept"] == 1 for c in with_latin])
    print(
        f"{name}: {len(pairs)} sentences; all numbers kept in {numbers_kept} of "
        f"{len(with_numbers)} that have some, Latin words in {latin_kept} of {len(with_latin)}; "
        f"loops in {_share([bool(c['loop']) for c in checks])}, Arabic letters in "
        f"{_share([c['untranslated'] > 0 for c in checks])}"
    )
    names_kept = [
        english in result.target
        for result, pair in zip(results, pairs, strict=True)
        for _, english in transliterations(pair)
    ]
    print(
        f"{name}: {_share(names_kept)} of {len(names_kept)} names are spelled as in the reference"
    )
    if names:
        known = NameList.load(*names)
        changed = [known.repair(*pair) is not None for pair in pairs]
        print(f"{name}: the list of names would change {sum(changed)} of the references")
    print(f"{name}: flags {dict(Counter(flag for r in results for flag in r.flags))}")
    for word, doubted in (("uncertain", True), ("other", False)):
        chosen = [
            value
            for value, r in zip(scores["chrf"].per_item, results, strict=True)
            if ("uncertain" in r.flags) == doubted
        ]
        mean = f"{statistics.mean(chosen):.1f}" if chosen else "none"
        print(f"{name}: mean chrf of the {len(chosen)} {word} sentences {mean}")
    return [r.target for r in results]


def summaries(language: str, checkpoint: str) -> None:
    """Summarize the texts that ship and print ROUGE beside the lead's of the same length."""
    from khulasa.eval.significance import bootstrap_interval, mean_statistics, paired_bootstrap
    from khulasa.eval.summary import score_summaries
    from khulasa.models.summarizer import Summarizer, SummarizerOptions

    side = 0 if language == "ar" else 1
    texts = [[pair[side] for pair in aligned(article)] for article in articles()]
    references = [article[f"reference_summary_{language}"] for article in articles()]
    for length in (1, 2):
        systems = {"lead": [" ".join(text[:length]) for text in texts]}
        for decoding in ("faithful", "free"):
            if decoding == "free" and length == 1:
                continue
            options = SummarizerOptions(decoding=decoding, sentences=length)
            summarizer = Summarizer.from_checkpoint(
                checkpoint, compute_type="float32", options=options
            )
            systems[decoding] = [result.text for result in summarizer.summarize(texts)]
            summarizer.close()
        scored = {
            name: score_summaries(hypotheses, references, language)
            for name, hypotheses in systems.items()
        }
        for name, found in scored.items():
            figures = []
            for key in ("rouge1", "rouge2", "rougeL", "chrf"):
                interval = bootstrap_interval(found[key].per_item, seed=1)
                figures.append(
                    f"{key} {found[key].value:.1f} [{interval.low:.1f}, {interval.high:.1f}]"
                )
            print(f"summaries {language}, {length} sentences, {name}: {', '.join(figures)}")
        test = paired_bootstrap(
            mean_statistics(scored["lead"]["rouge2"].per_item),
            mean_statistics(scored["faithful"]["rouge2"].per_item),
            seed=1,
        )
        print(f"summaries {language}, {length} sentences, faithful over lead in ROUGE-2: {test}")
        if length == 1:
            print(f"summaries {language}: {scored['lead']['rouge2'].signature}")


def _share(hits: list[bool]) -> str:
    return f"{100 * sum(hits) / len(hits):.1f}%" if hits else "none"


if __name__ == "__main__":
    main()
