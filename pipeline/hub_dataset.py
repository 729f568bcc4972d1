"""Hugging Face datasets as inputs: `hf://NAME[@REVISION][:CONFIG]:SPLIT`, streamed.

NAME is a dataset of the hub, such as `owner/news`, or a local folder of data files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..models.errors import InputError

PREFIX = "hf://"
_FORM = "hf://NAME[@REVISION][:CONFIG]:SPLIT, such as hf://owner/news:train"


@dataclass(frozen=True, slots=True)
class HubDataset:
    """One split of a dataset, and which version of it."""

    path: str
    split: str
    config: str | None = None
    revision: str | None = None

    @classmethod
    def parse(cls, name: str) -> HubDataset:
        """Take an input's name apart. Raises InputError."""
        rest = name.removeprefix(PREFIX).removeprefix("datasets/")
        path, *parts = rest.split(":")
        revision = None
        if not Path(path).is_dir() and "@" in path:
            path, revision = path.split("@", 1)
        if not path or not 1 <= len(parts) <= 2 or not all(parts):
            raise InputError(f"{name}: not the name of a dataset's split: write {_FORM}.")
        return cls(path, parts[-1], parts[0] if len(parts) == 2 else None, revision)

    @property
    def stem(self) -> str:
        """What ids are made from."""
        return Path(self.path).name

    def open(self) -> tuple[list[str] | None, Iterator[Any]]:
        """The names of the columns, where they are known, and the Arrow batches of rows."""
        stream: Any = self._load()[1]
        tables = stream.with_format("arrow").iter(batch_size=256)
        return stream.column_names, (batch for table in tables for batch in table.to_batches())

    def fingerprint(self) -> dict[str, Any]:
        """What tells this version of the data from another."""
        builder = self._load()[0]
        return {"dataset": str(builder.hash), "version": str(builder.config.version)}

    def total(self) -> int | None:
        """The number of rows, where the dataset says it."""
        splits = self._load()[0].info.splits
        return splits[self.split].num_examples if splits and self.split in splits else None

    def _load(self) -> tuple[Any, Any]:
        import datasets

        try:
            builder = datasets.load_dataset_builder(self.path, self.config, revision=self.revision)
            return builder, builder.as_streaming_dataset(split=self.split)
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{PREFIX}{self.path}: cannot be opened as a dataset: "
                f"{str(error).splitlines()[0] if str(error) else type(error).__name__}. "
                "Without a network, give a local folder or downloaded files."
            ) from error
