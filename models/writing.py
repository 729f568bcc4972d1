"""Free decoding: the model's own words, by beam search."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence

from .batching import make_batches
from .engine import Engine, Generation, GenerationOptions
from .guards import has_content, is_finished
from .sections import Section
from .summary_options import CheckpointDefaults, SummarizerOptions

# Generous: Arabic in a vocabulary of 8,000 pieces takes about two tokens a word.
_TOKENS_PER_WORD = 3


class Writer:
    """Writes summaries of sections. `own` is how the checkpoint's authors decode with it."""

    def __init__(
        self,
        engine: Engine,
        options: SummarizerOptions,
        own: CheckpointDefaults,
        split: Callable[[str], list[str]],
    ) -> None:
        self._engine = engine
        self._options = options
        self._own = own
        self._split = split

    def write(self, sections: Sequence[Section]) -> None:
        """Fill `written` and `unfinished` in each section."""
        options = [self._generation(section) for section in sections]
        outputs = self._generate([section.source for section in sections], options)
        for section, output in zip(sections, outputs, strict=True):
            written = [part.strip() for part in self._split(output.text) if has_content(part)]
            section.unfinished = output.truncated
            if output.truncated and len(written) > 1 and not is_finished(written[-1]):
                written.pop()
            section.written = written

    def _generation(self, section: Section) -> GenerationOptions:
        options, own = self._options, self._own
        limit = options.max_new_tokens
        if limit is None:
            limit = own.max_new_tokens
            if not options.sentences:
                # Rounded, for sections of about one length to be decoded together.
                limit = math.ceil((_TOKENS_PER_WORD * section.budget + 16) / 32) * 32
        if not section.is_whole:
            # Else the next round would have as much to read.
            limit = min(limit, max(1, self._engine.max_source_tokens // 2))
        least = own.min_new_tokens if options.min_new_tokens is None else options.min_new_tokens
        penalty = options.length_penalty
        return GenerationOptions(
            beam_size=options.beam_size or own.beam_size,
            max_new_tokens=limit,
            min_new_tokens=max(1, min(least, limit // 2)),
            length_factor=None,
            length_penalty=own.length_penalty if penalty is None else penalty,
            no_repeat_ngram_size=options.no_repeat_ngram_size,
        )

    def _generate(
        self, sources: list[list[int]], options: list[GenerationOptions]
    ) -> list[Generation]:
        groups: dict[GenerationOptions, list[int]] = defaultdict(list)
        for i, each in enumerate(options):
            groups[each].append(i)
        results: dict[int, Generation] = {}
        for each, rows in groups.items():
            for batch in make_batches([len(sources[i]) for i in rows], self._options.batch_tokens):
                own = [rows[i] for i in batch]
                found = self._engine.generate([sources[i] for i in own], each)
                results.update(zip(own, found, strict=True))
        return [results[i] for i in range(len(sources))]
