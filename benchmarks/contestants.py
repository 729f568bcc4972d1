"""The systems that the benchmark compares, each run in a process of its own by `bench.py`.

All translate the same documents with the same weights and beam 4, from text to text. A contestant
is made once, warmed up, and then timed as often as it is told to by a line on its stdin.
"""

# The folders install under `khulasa.`, which a type checker reading the disk cannot follow; and
# Argos Translate is installed for the benchmark alone.
# pyright: reportMissingImports=false

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

BEAM = 4

# A document is a list of paragraphs, which are lists of sentences.
Documents = list[list[list[str]]]
# Takes documents and gives what was measured besides the time.
Run = Callable[[Documents], dict[str, Any]]


def transformers_one(checkpoint: Path, converted: Path) -> Run:
    """Transformers in float32, one sentence at a time: the loop that everyone writes first."""
    generate = _transformers(checkpoint)

    def run(documents: Documents) -> dict[str, Any]:
        return {"tokens": sum(generate([sentence]) for sentence in _flat(documents))}

    return run


def transformers_sorted(checkpoint: Path, converted: Path) -> Run:
    """Transformers in float32, in batches of 16 sentences of about one length."""
    generate = _transformers(checkpoint)

    def run(documents: Documents) -> dict[str, Any]:
        sentences = sorted(_flat(documents), key=len, reverse=True)
        batches = (sentences[start : start + 16] for start in range(0, len(sentences), 16))
        return {"tokens": sum(map(generate, batches))}

    return run


def _transformers(checkpoint: Path) -> Callable[[list[str]], int]:
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
    from workload import cpus

    torch.set_num_threads(cpus())
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForSeq2SeqLM.from_pretrained(checkpoint, dtype=torch.float32).eval()

    def generate(sentences: list[str]) -> int:
        batch = tokenizer(sentences, return_tensors="pt", padding=True)
        output = model.generate(**batch, num_beams=BEAM)
        texts = tokenizer.batch_decode(output, skip_special_tokens=True)
        assert len(texts) == len(sentences)
        return int((output != tokenizer.pad_token_id).sum())

    return generate


def argos(checkpoint: Path, converted: Path) -> Run:
    """Argos Translate with its defaults, over a package of the converted model.

    Sentences are given to it rather than found by its own models, which takes from its time.
    """
    # What would find sentences is imported, and needs models that are not at hand.
    for name in ("stanza", "minisbd"):
        sys.modules[name] = ModuleType(name)
    sys.modules["minisbd"].SBDetect = None  # type: ignore[attr-defined]
    sys.modules["minisbd"].models = SimpleNamespace(  # type: ignore[attr-defined]
        cache_dir="", list_models=lambda: ["en"]
    )
    os.environ["HOME"] = str(converted.parent / "argos-home")
    sys.path.insert(0, os.environ["BENCH_PACKAGES"])
    from argostranslate.package import Package
    from argostranslate.translate import Language, PackageTranslation

    package = converted.parent / "argos-package"
    if not package.exists():
        shutil.copytree(converted, package / "model")
        config = json.loads((package / "model" / "config.json").read_text())
        (package / "model" / "config.json").write_text(
            json.dumps(config | {"add_source_eos": True})
        )
        shutil.copy(checkpoint / "source.spm", package / "sentencepiece.model")
        metadata = {"from_code": "ar", "from_name": "Arabic", "to_code": "en", "to_name": "English"}
        (package / "metadata.json").write_text(json.dumps(metadata))
    languages = Language("ar", "Arabic"), Language("en", "English")
    translation = PackageTranslation(*languages, Package(package))
    translation.sentencizer = SimpleNamespace(split_sentences=lambda text: text.split("\t"))

    def run(documents: Documents) -> dict[str, Any]:
        for document in documents:
            translation.translate("\n".join("\t".join(paragraph) for paragraph in document))
        return {}

    return run


def ctranslate2(checkpoint: Path, converted: Path) -> Run:
    """CTranslate2 alone, int8: all sentences in one call, with the fastest of a few settings."""
    import sentencepiece
    from ctranslate2 import Translator
    from workload import cpus

    source, target = (
        sentencepiece.SentencePieceProcessor(model_file=str(checkpoint / f"{side}.spm"))
        for side in ("source", "target")
    )
    translator = Translator(str(converted), inter_threads=cpus(), intra_threads=1)
    fastest: list[int] = []

    def translate(sentences: list[str], tokens: int) -> int:
        rows = [[*row, "</s>"] for row in source.encode(sentences, out_type=str)]
        results = translator.translate_batch(
            rows, beam_size=BEAM, max_batch_size=tokens, batch_type="tokens"
        )
        texts = [target.decode_pieces(result.hypotheses[0]) for result in results]
        assert len(texts) == len(sentences)
        return sum(len(result.hypotheses[0]) + 1 for result in results)

    def run(documents: Documents) -> dict[str, Any]:
        sentences = _flat(documents)
        if not fastest:
            times = {}
            for tokens in (256, 512, 1024, 2048, 4096):
                start = time.perf_counter()
                translate(sentences[::2], tokens)
                times[time.perf_counter() - start] = tokens
            fastest.append(times[min(times)])
        return {"tokens": translate(sentences, fastest[0]), "max_batch_size": fastest[0]}

    return run


def khulasa(checkpoint: Path, converted: Path) -> Run:
    """Khulasa's pipeline from raw text to records: cleaning, sentences, translation, checks."""
    return _khulasa(checkpoint, None)


def khulasa_shortlist(checkpoint: Path, converted: Path) -> Run:
    """The same with the lexical shortlist that `bench.py` left beside the checkpoint."""
    return _khulasa(checkpoint, checkpoint.parent / "shortlist.txt")


def _khulasa(checkpoint: Path, shortlist: Path | None) -> Run:
    from workload import text_of

    from khulasa.pipeline.config import load_config
    from khulasa.pipeline.document import Document
    from khulasa.pipeline.pipeline import Pipeline

    options = {"generation": {"beam_size": BEAM, "max_new_tokens": 512, "length_factor": 1.5}}
    # Random words look like loops, and would all be decoded twice.
    options |= {"retry": False, "token_budget": os.environ.get("BENCH_TOKENS") or "auto"}
    config = load_config(
        "default",
        {
            "engine": "ctranslate2",
            "device": "cpu",
            "compute_type": "int8",
            "window": 256,
            "translate.checkpoint": str(checkpoint),
            "translate.lexical_shortlist": shortlist,
            "translate.options": options,
        },
        {},
    )
    pipeline = Pipeline(config, ("clean", "translate", "score"))
    busy = Busy()
    decoded: list[int] = []
    (translate,) = (s for s in pipeline.stages if hasattr(s, "translator"))
    engine = translate.translator.engine
    generate = engine.generate

    def watched(*arguments: Any) -> Any:
        with busy.working():
            results = generate(*arguments)
        decoded.append(sum(len(result.tokens) for result in results))
        return results

    engine.generate = watched

    def run(documents: Documents) -> dict[str, Any]:
        pipeline.timings.clear()
        decoded.clear()
        before = busy.seconds
        start = time.perf_counter()
        items = (Document(id=str(n), text=text_of(d)) for n, d in enumerate(documents))
        results = [json.dumps(d.to_record(), ensure_ascii=False) for d in pipeline.map(items)]
        wall = time.perf_counter() - start
        found = [len(json.loads(record)["translation"]["sentences"]) for record in results]
        expected = [sum(map(len, document)) for document in documents]
        assert found == expected, "sentences were found elsewhere than where they are"
        return {
            "tokens": sum(decoded),
            "stages": dict(pipeline.timings),
            "besides_model": 1 - (busy.seconds - before) / wall,
            "token_budget": pipeline.token_budget,
        }

    return run


class Busy:
    """The time during which at least one call was at work."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._calls = 0
        self._since = 0.0
        self._lock = threading.Lock()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count the time inside."""
        with self._lock:
            if not self._calls:
                self._since = time.perf_counter()
            self._calls += 1
        try:
            yield
        finally:
            with self._lock:
                self._calls -= 1
                if not self._calls:
                    self.seconds += time.perf_counter() - self._since


def memory(corpus: Path, output: Path) -> None:
    """Do a batch run of a file with an engine that costs nothing."""
    from collections import deque

    import tiny
    from khulasa.pipeline import pipeline as module
    from khulasa.pipeline.batch import Batch, run_batch
    from khulasa.pipeline.config import load_config
    from khulasa.pipeline.readers import Source

    engine = tiny.FakeEngine(lambda text, _: "The same words for each.", max_source_tokens=10**6)
    engine.batches = deque(maxlen=1)  # type: ignore[assignment]
    module.load_engine = lambda *_: engine  # type: ignore[assignment]
    config = load_config("default", {"translate.options.max_source_tokens": 10**6}, {})
    run_batch(Batch(Source([str(corpus)]), config, str(output), ("clean", "translate")))


def _flat(documents: Documents) -> list[str]:
    return [sentence for document in documents for paragraph in document for sentence in paragraph]


CONTESTANTS = {
    run.__name__: run
    for run in (
        transformers_one,
        transformers_sorted,
        argos,
        ctranslate2,
        khulasa,
        khulasa_shortlist,
    )
}


def peak_bytes() -> int:
    """Give the largest resident set that this process had."""
    try:
        # Linux lets `ru_maxrss` begin with what the process that started this one had.
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        (peak,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
        return int(peak) * 1024
    except (OSError, ValueError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Serve `bench.py`: a job on argv, then a line with a measurement for each line of stdin."""
    # Libraries write to stdout as they like: measurements go out by another way.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import workload  # noqa: F401 (puts what it needs in reach)

    name, *paths = sys.argv[1:]

    def say(measured: dict[str, Any]) -> None:
        print(json.dumps(measured | {"peak_bytes": peak_bytes()}), file=out, flush=True)

    if name == "memory":
        memory(Path(paths[0]), Path(paths[1]))
        say({})
        return
    documents: Documents = json.loads(Path(paths[2]).read_text(encoding="utf-8"))
    run = CONTESTANTS[name](Path(paths[0]), Path(paths[1]))
    say(run(documents))  # warm-up
    for _ in sys.stdin:
        start = time.perf_counter()
        measured = run(documents)
        say(measured | {"seconds": time.perf_counter() - start})


if __name__ == "__main__":
    main()
