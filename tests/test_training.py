"""The training recipes: material, alignments, exact resume, and a checkpoint both engines load."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import kl_div

from khulasa.models.checkpoint import resolve
from khulasa.models.engine import GenerationOptions, load_engine
from khulasa.models.errors import CheckpointError, ConfigError, InputError
from khulasa.models.summary_options import read_defaults
from khulasa.models.training.alignment import copy_alignment, soft_alignment, train_ibm1
from khulasa.models.training.batches import BatchStream, Position
from khulasa.models.training.config import (
    FilterConfig,
    ModelConfig,
    OptimizationConfig,
    RankingConfig,
    SourceConfig,
    TrainingConfig,
    load_training_config,
)
from khulasa.models.training.corpus import article_choices, load_corpus, oracle, rejection
from khulasa.models.training.initialization import (
    build_marian,
    continued_model,
    transferred_embeddings,
)
from khulasa.models.training.noise import UNKNOWN_ID, Noise
from khulasa.models.training.ranking import Ranking, pack, thin
from khulasa.models.training.recipe import (
    IMPOSSIBLE,
    encode,
    export,
    reference_loss,
    train,
    vocabulary_pieces,
)
from khulasa.models.training.trainer import Trainer, collate, divergence

WORDS = {
    "كتاب": "book", "بيت": "house", "ولد": "boy", "مدينة": "city", "ماء": "water",
    "كبير": "big", "صغير": "small", "جديد": "new", "رأى": "saw", "اشترى": "bought",
}  # fmt: skip


@pytest.fixture(scope="module")
def material(tmp_path_factory) -> Path:
    """Three hundred pairs of word-by-word translation."""
    random = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("material") / "pairs.tsv"
    lines = []
    for _ in range(300):
        words = random.choice(list(WORDS), size=random.integers(3, 7))
        lines.append(f"{' '.join(words)} .\t{' '.join(WORDS[word] for word in words)} .")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def configuration(material: Path, **optimization) -> TrainingConfig:
    return TrainingConfig.model_validate(
        {
            "threads": 1,
            "sources": {"pairs": {"path": str(material)}},
            "filters": {"duplicates": False},
            "vocabulary": {"size": 300},
            "model": {"d_model": 32, "feed_forward": 64, "heads": 2, "encoder_layers": 1,
                      "decoder_layers": 1, "embedding_start": "alignment", "outputs": "targets"},
            "alignment": {"pairs": 300, "iterations": 3, "weight": 0.3},
            "optimization": {"total_updates": 20, "warmup_updates": 5, "cooldown_updates": 5,
                             "learning_rate": 5e-3, "batch_tokens": 200, "precision": "float32",
                             **optimization},
            "validation": {"path": str(material), "format": "tsv", "examples": 8, "every": 10},
            "checkpoints": {"every": 10, "keep": 3, "average": 2},
        }
    )  # fmt: skip


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "state.pt", weights_only=True)["model"]


@pytest.fixture(scope="module")
def finished(material, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(configuration(material), folder)
    return folder


def train_until_killed(config: TrainingConfig, folder: Path, update: int) -> None:
    """Train, and die after the log line of that update and before its save."""

    class KilledError(Exception):
        pass

    def kill(updates: int, _figures: object) -> None:
        if updates == update:
            raise KilledError

    with pytest.raises(KilledError):
        train(config, folder, kill)


def test_a_run_that_was_killed_and_resumed_ends_in_the_same_weights(material, finished, tmp_path):
    # Killed before its first save: nothing is there to go on from.
    train_until_killed(configuration(material), tmp_path, 10)
    train(configuration(material), tmp_path, lambda *_: None)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["updates"] == 20
    for name, weight in weights(finished).items():
        assert torch.equal(weight, weights(tmp_path)[name]), name


def test_a_run_resumed_from_its_saved_state_ends_in_the_same_weights(material, finished, tmp_path):
    train_until_killed(configuration(material), tmp_path, 20)
    assert torch.load(tmp_path / "state.pt", weights_only=True)["updates"] == 10
    train(configuration(material), tmp_path)
    for name, weight in weights(finished).items():
        assert torch.equal(weight, weights(tmp_path)[name]), name


def noisy(material: Path, **options: float) -> TrainingConfig:
    values = configuration(material, total_updates=4, cooldown_updates=0).model_dump()
    values["noise"] = {"segmentation": 0.2, "source_masking": 0.2, "target_masking": 0.2} | options
    values["checkpoints"]["every"] = 2
    return TrainingConfig.model_validate(values)


def test_a_noisy_run_ends_in_the_same_weights_when_it_is_resumed(material, tmp_path):
    train(noisy(material), tmp_path / "whole")
    train_until_killed(noisy(material), tmp_path / "resumed", 4)
    train(noisy(material), tmp_path / "resumed")
    train(noisy(material, source_masking=0.0), tmp_path / "other")
    whole, resumed, other = (weights(tmp_path / name) for name in ("whole", "resumed", "other"))
    assert all(torch.equal(weight, resumed[name]) for name, weight in whole.items())
    assert not all(torch.equal(weight, other[name]) for name, weight in whole.items())


def test_noise_hides_what_is_read_and_never_what_is_to_be_written(material, finished):
    found = {}

    class Spy(Noise):
        def segment(self, example, random):
            found["examples"] = found.get("examples", 0) + 1
            return super().segment(example, random)

    config = noisy(material, segmentation=0.0)
    pieces = vocabulary_pieces(finished / "tokenizer")
    corpus = load_corpus("pairs", config.sources["pairs"], config.filters, "translator")
    examples = encode(corpus.pairs[:40], finished / "tokenizer", 512)
    model, pad = small_model(finished)
    spy = Spy(config.noise, pieces, np.arange(pad), 512)
    trainer = Trainer(
        config, model, examples, [40], [1.0], finished / "nothing", np.arange(pad), noise=spy
    )
    batch = trainer._batch()
    assert found["examples"] == len(batch.target)
    unknown = UNKNOWN_ID
    assert (batch.source == unknown).any() and (batch.target_input == unknown).any()
    assert not (batch.target == unknown).any()
    assert (batch.target_input[:, 0] == pad).all()
    shown = batch.target_input[:, 1:] != unknown
    assert torch.equal(batch.target_input[:, 1:][shown], batch.target[:, :-1][shown])


def consistent(
    material: Path, consistency: float, dropout: float, updates: int = 4
) -> TrainingConfig:
    values = configuration(material, total_updates=updates, cooldown_updates=0).model_dump()
    values["optimization"] |= {"consistency": consistency, "precision": "float32"}
    values["model"]["dropout"] = dropout
    values["checkpoints"]["every"] = 2
    return TrainingConfig.model_validate(values)


def test_a_consistent_run_ends_in_the_same_weights_when_it_is_resumed(material, tmp_path):
    config = consistent(material, 2.0, 0.3)
    train(config, tmp_path / "whole")
    train_until_killed(config, tmp_path / "resumed", 4)
    train(config, tmp_path / "resumed")
    for name, weight in weights(tmp_path / "whole").items():
        assert torch.equal(weight, weights(tmp_path / "resumed")[name]), name


def test_without_dropout_consistency_changes_nothing(material, tmp_path):
    for consistency in (0.0, 5.0):
        train(consistent(material, consistency, 0.0), tmp_path / str(consistency))
    plain, other = (
        torch.load(tmp_path / str(consistency) / "state.pt", weights_only=True)
        for consistency in (0.0, 5.0)
    )
    assert plain["tokens"] == other["tokens"]
    for name, weight in plain["model"].items():
        # AdamW makes much of the smallest gradients, so rounding does not vanish.
        assert torch.allclose(weight, other["model"][name], atol=1e-3), name


def test_consistent_predictions_differ_less(material, tmp_path):
    config = configuration(material)

    def differ(consistency: float) -> float:
        folder = tmp_path / str(consistency)
        train(consistent(material, consistency, 0.3, updates=30), folder)
        model = build_marian(config.model.model_copy(update={"dropout": 0.3}), 300)
        model.load_state_dict(weights(folder), strict=False)
        examples = encode(list(zip(WORDS, WORDS.values(), strict=True)), folder / "tokenizer", 100)
        batch = collate(examples, model.config.pad_token_id, None)
        torch.manual_seed(1)
        model.train()
        left, right = (
            model(input_ids=batch.source, decoder_input_ids=batch.target_input).logits
            for _ in range(2)
        )
        return divergence(left[batch.target_mask], right[batch.target_mask]).item()

    assert differ(20.0) < 0.8 * differ(1e-9)


def test_the_divergence_is_the_mean_of_both_directions():
    left, right = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(1))
    expected = [
        kl_div(a.log_softmax(-1), b.log_softmax(-1), reduction="batchmean", log_target=True)
        for a, b in ((left, right), (right, left))
    ]
    assert float(divergence(left, right)) == pytest.approx(float(sum(expected)) / 2)
    assert float(divergence(left, left)) == 0


def test_noise_and_joined_pairs_are_for_translators(articles):
    values = ranking_configuration(articles).model_dump()
    with pytest.raises(ValidationError, match="noise: is for translators"):
        TrainingConfig.model_validate(values | {"noise": {"segmentation": 0.1}})
    (source,) = values["sources"].values()
    with pytest.raises(ValidationError, match="join: is for translators"):
        TrainingConfig.model_validate(values | {"sources": {"some": source | {"join": 2}}})


def test_what_is_wrong_with_a_configuration_is_said_plainly(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("task: summarizer\nsources: {}\nnoise: {segmentation: 0.1}", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_training_config(path)
    assert str(caught.value).startswith(f"{path}: noise: is for translators")
    with pytest.raises(ConfigError, match=r"yaml: noise\.typo: "):
        load_training_config(path, ("task=translator", "noise.typo=1"))


@pytest.fixture(scope="module")
def articles(tmp_path_factory) -> Path:
    """Forty texts of four sentences, of which the one about a city is the summary."""
    random = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("articles") / "articles.jsonl"
    others = [word for word in WORDS if word != "مدينة"]
    records = []
    for _ in range(40):
        texts = [list(random.choice(others, size=4)) for _ in range(4)]
        best = texts[random.integers(4)]
        best[random.integers(4)] = "مدينة"
        pairs = [
            {"ar": f"{' '.join(t)} .", "en": f"{' '.join(WORDS[w] for w in t)} ."} for t in texts
        ]
        records.append({"paragraphs": [pairs], "summary": pairs[texts.index(best)]})
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def ranking_configuration(articles: Path, **optimization) -> TrainingConfig:
    values = configuration(articles, cooldown_updates=0, **optimization).model_dump()
    values["task"], values["validation"] = "summarizer", None
    values["sources"] = {"articles": {"path": str(articles), "format": "articles"}}
    values["ranking"] = {"weight": 1.0, "dropout": 0.2, "gain_temperature": 0.2}
    values["model"] |= {"embedding_start": "random", "dropout": 0.1}
    return TrainingConfig.model_validate(values)


@pytest.fixture(scope="module")
def ranked(articles, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ranked")
    train(ranking_configuration(articles, total_updates=4), folder)
    return folder


def test_a_run_that_ranks_ends_in_the_same_weights_when_it_is_resumed(articles, ranked, tmp_path):
    for updates in (2, 4):
        train(ranking_configuration(articles, total_updates=updates), tmp_path)
    for name, weight in weights(ranked).items():
        assert torch.equal(weight, weights(tmp_path)[name]), name


def encoded(articles: Path, run: Path):
    source = SourceConfig(path=str(articles), format="articles")
    corpus = load_corpus("articles", source, FilterConfig(), "summarizer")
    return encode(corpus.pairs, run / "tokenizer", 512, article_choices(source))


def test_an_exported_ranker_says_how_its_scores_are_to_be_used(ranked, tmp_path):
    export(ranked, tmp_path / "model", average=1)
    assert read_defaults(resolve(str(tmp_path / "model"))).calibration == 0.0


def small_model(run: Path):
    size = len(vocabulary_pieces(run / "tokenizer"))
    shape = ModelConfig(d_model=32, feed_forward=64, heads=2, encoder_layers=1, decoder_layers=1)
    torch.manual_seed(0)
    return build_marian(shape, size).eval(), size - 1


def test_ranking_teaches_to_score_the_best_sentence_highest(articles, ranked):
    examples = encoded(articles, ranked)[:4]
    model, pad = small_model(ranked)
    options = RankingConfig(context=0)
    lists = pack(examples, pad, options, np.random.default_rng(0))
    assert lists is not None
    batch = collate(examples, pad, None)
    ranking = Ranking(model, torch.arange(pad), options)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    def memory() -> torch.Tensor:
        return model.get_encoder()(batch.source, batch.source_mask).last_hidden_state

    losses = []
    for _ in range(15):
        loss = ranking.loss(lists, memory(), batch.source_mask)
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0]
    scores = ranking.scores(lists, memory(), batch.source_mask)
    assert scores.argmax(1).tolist() == lists.gains.argmax(1).tolist()


def test_packed_candidates_score_as_each_does_by_itself(articles, ranked):
    examples = encoded(articles, ranked)[:3]
    model, pad = small_model(ranked)
    options = RankingConfig(context=0.8, calibration=0.5, gain_temperature=1.0)
    lists = pack(examples, pad, options, np.random.default_rng(3))
    assert lists is not None
    batch = collate(examples, pad, None)

    def log_probability(source: torch.Tensor, context: list[int], text: list[int]) -> float:
        row = torch.tensor([[pad, *context, *text]])
        with torch.inference_mode():
            logits = model(input_ids=source[None], decoder_input_ids=row[:, :-1]).logits[0, :, :pad]
        found = logits.log_softmax(-1)[range(len(text) + len(context)), row[0, 1:]]
        return float(found[len(context) :].mean())

    with torch.inference_mode():
        memory = model.get_encoder()(batch.source, batch.source_mask).last_hidden_state
        ranking = Ranking(model, torch.arange(pad), options)
        scores = ranking.scores(lists, memory, batch.source_mask)
    contexts = []
    for row, example in enumerate(examples):
        owner, wanted = lists.owner[row], lists.wanted[row]
        before = int((owner == -2).sum())
        numbers = owner[owner >= 0].unique().tolist()
        first = int((owner == numbers[0]).nonzero()[0])
        context = [*lists.inputs[row, 1:before].tolist(), int(lists.inputs[row, first])][-before:]
        contexts.append(before)
        for column, number in enumerate(numbers):
            text = wanted[owner == number].tolist()
            source = torch.from_numpy(example.source).long()
            with_text = log_probability(source, context if before else [], text)
            without = log_probability(torch.tensor([0]), context if before else [], text)
            assert float(scores[row, column]) == pytest.approx(with_text - 0.5 * without, abs=1e-4)
    assert len(set(contexts)) > 1  # some after others, some not


def test_what_a_candidate_is_worth_is_what_it_adds_to_those_chosen(articles, ranked):
    examples = encoded(articles, ranked)[:1]
    lists = pack(examples, 299, RankingConfig(context=0), np.random.default_rng(0))
    assert lists is not None
    assert lists.gains[0].argmax() == next(iter(examples[0].candidates.in_target))
    assert lists.gains[0].max() == 2


def test_a_thinned_text_keeps_what_its_target_is_made_of(articles, ranked):
    random = np.random.default_rng(0)
    sizes = set()
    for example in encoded(articles, ranked):
        thinned = thin(example, 0.5, random)
        texts = [thinned.source[a:b].tolist() for a, b in thinned.candidates.bounds]
        assert [token for text in texts for token in text] == thinned.source[:-1].tolist()
        assert [texts[i] for i in thinned.candidates.in_target] == [thinned.target[:-1].tolist()]
        best = thinned.candidates.overlap
        assert max(range(len(texts)), key=lambda i: best.value([i])) in thinned.candidates.in_target
        sizes.add(len(texts))
    assert sizes == {2, 3, 4}


def test_the_log_tells_loss_speed_and_the_signs_of_a_collapsed_encoder(finished):
    header, *rows = (finished / "log.csv").read_text(encoding="utf-8").splitlines()
    row = dict(zip(header.split(","), rows[-1].split(","), strict=True))
    assert row["updates"] == "20"
    for name in ("loss", "shuffled_cross_entropy", "encoder_deviation", "chrf", "bleu"):
        assert float(row[name]) >= 0
    assert 0 < float(row["dev_cross_entropy"]) < 10
    assert float(row["tokens_per_second"]) > 0


def test_the_loss_of_references_is_that_of_their_tokens_which_can_be_written(finished):
    model, pad = small_model(finished)
    example = encode([("رأى ولد بيت .", "saw boy house .")], finished / "tokenizer", 512)[0]
    source, target = (
        torch.from_numpy(ids).long()[None] for ids in (example.source, example.target)
    )
    inputs = torch.cat([torch.tensor([[pad]]), target[:, :-1]], 1)
    with torch.no_grad():
        logits = model(input_ids=source, decoder_input_ids=inputs).logits[0]
    losses = torch.nn.functional.cross_entropy(logits, target[0], reduction="none")
    longer = encode([("رأى", "saw saw saw saw saw saw")], finished / "tokenizer", 512)[0]
    assert reference_loss(model, [example]) == pytest.approx(float(losses.mean()), rel=1e-4)
    together = reference_loss(model, [example, longer])
    parts = [(reference_loss(model, [e]), len(e.target)) for e in (example, longer)]
    assert together == pytest.approx(
        sum(loss * n for loss, n in parts) / sum(n for _, n in parts), rel=1e-4
    )
    first = target[0, 0]
    impossible = target[0] == first
    with torch.no_grad():
        model.final_logits_bias[0, first] = IMPOSSIBLE
    without = reference_loss(model, [example])
    with torch.no_grad():
        masked = model(input_ids=source, decoder_input_ids=inputs).logits[0]
    losses = torch.nn.functional.cross_entropy(masked, target[0], reduction="none")
    assert without == pytest.approx(float(losses[~impossible].mean()), rel=1e-4)


def test_an_exported_model_decodes_alike_in_both_engines(finished, tmp_path, monkeypatch):
    monkeypatch.setenv("KHULASA_CACHE", str(tmp_path / "cache"))
    export(finished, tmp_path / "model", average=2)
    checkpoint = resolve(str(tmp_path / "model"))
    texts = ["رأى ولد بيت كبير .", "اشترى كتاب جديد .", "مدينة"]
    outputs = []
    for name in ("transformers", "ctranslate2"):
        engine = load_engine(checkpoint, name, "cpu", 1, "float32")
        options = GenerationOptions(beam_size=1, max_new_tokens=20)
        outputs.append([g.tokens for g in engine.generate(engine.tokenize(texts), options)])
        engine.close()
    assert outputs[0] == outputs[1]
    half = sum(file.stat().st_size for file in (tmp_path / "model").glob("*.safetensors"))
    assert half < 2.5 * sum(weight.numel() for weight in weights(finished).values())


@pytest.mark.parametrize("quoted", [False, True])
def test_arabic_pieces_cannot_be_written(finished, tmp_path, quoted):
    from transformers import MarianMTModel

    run = finished
    if quoted:  # as if there were targets that quote Arabic, in whole pieces and in bytes
        run = shutil.copytree(finished, tmp_path / "run")
        np.save(run / "outputs.npy", np.arange(len(vocabulary_pieces(run / "tokenizer")) - 1))
    export(run, tmp_path / "model", average=1)
    model = MarianMTModel.from_pretrained(tmp_path / "model", dtype=torch.float32)
    pieces = vocabulary_pieces(tmp_path / "model")
    ids = torch.tensor([[5, 6, 7, 0]])
    start = torch.tensor([[len(pieces) - 1]])
    logits = model(input_ids=ids, decoder_input_ids=start).logits[0, 0]
    possible = "".join(pieces[i] for i in range(len(pieces)) if logits[i] > -1000)
    assert "book" in possible or "b" in possible
    assert not any("\u0600" <= letter <= "\u06ff" for letter in possible)
    assert "<0xD9>" not in possible
    assert "<pad>" not in possible


def test_the_pad_embedding_stays_zero(finished):
    assert not weights(finished)["model.shared.weight"][-1].any()


def test_fine_tuning_goes_on_from_a_checkpoint(material, finished, tmp_path):
    export(finished, tmp_path / "model", average=1)
    values = configuration(material).model_dump()
    values["model"] = {"start_from": str(tmp_path / "model")}
    values["vocabulary"] = {"reuse": str(tmp_path / "model")}
    values["optimization"] |= {"learning_rate": 1e-9, "total_updates": 2, "warmup_updates": 0}
    train(TrainingConfig.model_validate(values), tmp_path / "tuned")
    for name, weight in weights(tmp_path / "tuned").items():
        assert torch.allclose(weight, weights(finished)[name], atol=2e-3), name


def going_on(material: Path, model: Path) -> dict[str, Any]:
    """A short run from a checkpoint."""
    values = configuration(material).model_dump()
    values["model"] = {"start_from": str(model)}
    values["vocabulary"] = {"reuse": str(model)}
    values["optimization"] |= {"total_updates": 4, "warmup_updates": 0}
    return values


def test_an_export_may_go_a_share_of_the_way_from_the_start(material, finished, tmp_path):
    from safetensors.torch import load_file

    export(finished, tmp_path / "model", average=1)
    values = going_on(material, tmp_path / "model")
    train(TrainingConfig.model_validate(values), tmp_path / "tuned")
    found = {}
    for share in (0.0, 0.25, 1.0):
        export(tmp_path / "tuned", tmp_path / str(share), average=1, share=share)
        path = tmp_path / str(share) / "model.safetensors"
        found[share] = load_file(path)["model.encoder.layers.0.fc1.weight"].float()
    name = "model.encoder.layers.0.fc1.weight"
    assert torch.allclose(found[0.0], weights(finished)[name], atol=1e-3)
    assert torch.allclose(found[1.0], weights(tmp_path / "tuned")[name], atol=1e-3)
    assert not torch.allclose(found[0.0], found[1.0], atol=1e-3)
    assert torch.allclose(found[0.25], 0.75 * found[0.0] + 0.25 * found[1.0], atol=1e-3)


def test_runs_from_one_checkpoint_have_a_mean(material, finished, tmp_path):
    from safetensors.torch import load_file

    export(finished, tmp_path / "model", average=1)
    values = going_on(material, tmp_path / "model")
    runs = [tmp_path / name for name in ("a", "b", "c")]
    for seed, run in enumerate(runs):
        train(TrainingConfig.model_validate(values | {"seed": seed}), run)
    export(runs[0], tmp_path / "mean", average=1, others=runs[1:])
    name = "model.encoder.layers.0.fc1.weight"
    found = load_file(tmp_path / "mean" / "model.safetensors")[name].float()
    each = [weights(run)[name] for run in runs]
    assert torch.allclose(found, sum(each) / 3, atol=1e-3)
    assert not torch.allclose(found, each[0], atol=1e-3)

    with pytest.raises(ConfigError, match="started from nothing"):
        export(runs[0], tmp_path / "mean", average=1, others=[finished])
    values["vocabulary"] = {"size": 302}
    train(TrainingConfig.model_validate(values), tmp_path / "other")
    with pytest.raises(ConfigError, match="another vocabulary"):
        export(runs[0], tmp_path / "mean", average=1, others=[tmp_path / "other"])


def test_what_is_no_run_is_not_exported(tmp_path):
    with pytest.raises(CheckpointError, match="not the folder of a run"):
        export(tmp_path, tmp_path / "model", average=1)
    (tmp_path / "weights").mkdir()
    (tmp_path / "config.json").write_text('{"sources": {}, "rate": 1}', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"config\.json: rate: "):
        export(tmp_path, tmp_path / "model", average=1)


def test_a_share_needs_a_checkpoint_to_start_from(finished, tmp_path):
    with pytest.raises(ConfigError, match="share"):
        export(finished, tmp_path / "model", average=1, share=0.5)


@pytest.mark.parametrize(("encoder", "decoder"), [(1, 0), (0, 1), (3, 2), (5, 1)])
def test_a_checkpoint_made_deeper_computes_the_same_at_first(finished, tmp_path, encoder, decoder):
    export(finished, tmp_path / "model", average=1)
    pieces = vocabulary_pieces(tmp_path / "model")
    same, deeper = (
        continued_model(ModelConfig(start_from=str(tmp_path / "model"), **added), pieces).eval()
        for added in ({}, {"add_encoder_layers": encoder, "add_decoder_layers": decoder})
    )
    assert len(deeper.model.encoder.layers) == len(same.model.encoder.layers) + encoder
    assert len(deeper.model.decoder.layers) == len(same.model.decoder.layers) + decoder
    ids = {"input_ids": torch.tensor([[5, 9, 80, 0]]), "decoder_input_ids": torch.tensor([[4, 7]])}
    with torch.no_grad():
        assert torch.allclose(same(**ids).logits, deeper(**ids).logits, atol=1e-3)


def test_new_layers_learn_and_are_exported(material, finished, tmp_path):
    export(finished, tmp_path / "model", average=1)
    values = configuration(material).model_dump()
    values["model"] = {"start_from": str(tmp_path / "model"), "add_encoder_layers": 1}
    values["vocabulary"] = {"reuse": str(tmp_path / "model")}
    values["optimization"] |= {"total_updates": 4, "warmup_updates": 0}
    train(TrainingConfig.model_validate(values), tmp_path / "tuned")
    new = "model.encoder.layers.1."
    assert weights(tmp_path / "tuned")[f"{new}fc2.weight"].any()
    assert weights(tmp_path / "tuned")[f"{new}self_attn.out_proj.weight"].any()
    export(tmp_path / "tuned", tmp_path / "deeper", average=1)
    from transformers import MarianMTModel

    exported = MarianMTModel.from_pretrained(tmp_path / "deeper", dtype=torch.float32)
    assert exported.config.encoder_layers == exported.config.num_hidden_layers == 2
    assert exported.get_parameter(f"{new}fc2.weight").any()


def test_fine_tuning_takes_a_checkpoint_of_a_hub_by_its_name(
    material, finished, tmp_path, monkeypatch
):
    snapshot = tmp_path / "snapshots" / ("a" * 40)
    export(finished, snapshot, average=1)
    asked = []

    def snapshot_download(name, **_options):
        asked.append(name)
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    values = configuration(material).model_dump()
    values["model"] = {"start_from": "someone/opus"}
    values["vocabulary"] = {"reuse": "someone/opus"}
    values["optimization"] |= {"total_updates": 1, "warmup_updates": 0}
    train(TrainingConfig.model_validate(values), tmp_path / "tuned")
    assert set(asked) == {"someone/opus"}
    assert vocabulary_pieces(tmp_path / "tuned" / "tokenizer") == vocabulary_pieces(snapshot)


def other_vocabulary(material: Path, model: Path) -> TrainingConfig:
    values = configuration(material).model_dump()
    values["model"] = {"start_from": str(model), "outputs": "targets"}
    values["vocabulary"] = {"size": 302}
    values["optimization"] |= {"total_updates": 4, "warmup_updates": 0}
    return TrainingConfig.model_validate(values)


def test_a_checkpoint_goes_on_with_another_vocabulary(material, finished, tmp_path):
    export(finished, tmp_path / "model", average=1)
    train(other_vocabulary(material, tmp_path / "model"), tmp_path / "run")
    pieces = vocabulary_pieces(tmp_path / "run" / "tokenizer")
    assert len(pieces) == 302
    assert weights(tmp_path / "run")["model.shared.weight"].shape == (302, 32)
    assert not weights(tmp_path / "run")["model.shared.weight"][-1].any()
    export(tmp_path / "run", tmp_path / "other", average=1)
    engine = load_engine(resolve(str(tmp_path / "other")), "transformers", "cpu", 1, "float32")
    options = GenerationOptions(beam_size=1, max_new_tokens=20)
    (result,) = engine.generate(engine.tokenize(["رأى ولد بيت ."]), options)
    assert 0 < len(result.tokens) <= 20


def test_a_piece_of_another_vocabulary_starts_from_what_is_known_of_it():
    known = {piece: number for number, piece in enumerate(["</s>", "▁", "new", "s", "ne", "w"])}
    vectors = np.eye(6, 8, dtype=np.float32) * 2
    pieces = ["</s>", "new", "▁news", "news", "sun", "<pad>"]
    found = transferred_embeddings(vectors, known, pieces)
    assert found.shape == (6, 8)
    assert (found[0] == vectors[0]).all() and (found[1] == vectors[2]).all()
    # As few as can be: "▁", "new", "s", not "ne" and "w".
    for number, parts in ((2, [1, 2, 3]), (3, [2, 3])):
        assert np.linalg.norm(found[number]) == pytest.approx(2)
        assert set(np.flatnonzero(found[number])) == set(parts)
        assert len(set(found[number][parts])) == 1
    assert np.linalg.norm(found[4]) == pytest.approx(2)  # of what has an unknown letter: random
    assert not found[5].any()


def test_embeddings_of_their_own_for_each_side_cannot_take_another_vocabulary(
    material, finished, tmp_path
):

    export(finished, tmp_path / "model", average=1)
    config = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
    config |= {"share_encoder_decoder_embeddings": False, "tie_word_embeddings": False}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"vocabulary\.reuse"):
        train(other_vocabulary(material, tmp_path / "model"), tmp_path / "run")


def test_ibm_model_1_finds_the_textbook_translations():
    # das Haus / the house, das Buch / the book, ein Buch / a book (Koehn 2010, section 4.2).
    das, haus, buch, ein, the, house, book, a = range(8)
    pairs = [((das, haus), (the, house)), ((das, buch), (the, book)), ((ein, buch), (a, book))]
    arrays = [(np.array(s, np.int32), np.array(t, np.int32)) for s, t in pairs]
    # After one iteration t(the|das) = (1/2 + 1/2) / 2; the later figures are the book's.
    once = train_ibm1(arrays, 8, 1)
    assert once.lookup(np.array([das], np.int32), np.array([the], np.int32))[0, 0] == 0.5
    table = train_ibm1(arrays, 8, 2)
    row = table.lookup(np.array([das], np.int32), np.array([the, house, book], np.int32))[:, 0]
    assert row == pytest.approx([0.6364, 0.1818, 0.1818], abs=1e-4)
    alignment = soft_alignment(train_ibm1(arrays, 8, 30), *arrays[0])
    assert alignment.sum(axis=1) == pytest.approx([1, 1])
    assert alignment.argmax(axis=1).tolist() == [0, 1]


def test_copy_alignment_prefers_the_place_with_the_same_words_before_it():
    source = np.array([5, 6, 7, 9, 6, 8], np.int32)
    alignment = copy_alignment(source, np.array([9, 6, 8, 4], np.int32))
    assert alignment.argmax(axis=1)[:3].tolist() == [3, 4, 5]
    assert alignment[3].sum() == 0
    assert alignment[:3].sum(axis=1) == pytest.approx([1, 1, 1])


def test_the_oracle_takes_the_sentences_that_the_summary_is_about():
    sentences = ["The weather was fine.", "The port opens on Monday.", "Ships wait outside the port.",
                 "Nobody knew why."]  # fmt: skip
    assert oracle(sentences, "Ships wait outside the port, which opens on Monday.") == [1, 2]
    assert oracle(sentences, "Unrelated words only, zzz.") == []


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ("قال الوزير إن العدد بلغ 250.", "The minister said the number was 250.", None),
        ("قال إن العدد بلغ ٢٥٠.", "He said the number was 250.", None),
        ("قال الوزير إن العدد بلغ 250.", "The minister said the number was 300.", "numbers"),
        ("قال ثلاثة وزراء.", "3 ministers said.", None),
        ("خسر 1200 جنيه.", "He lost 1,200 pounds.", None),
        ("خسر 5 آلاف جنيه.", "He lost 5,000 pounds.", None),
        ("بعد سبعة وأربعين عاما.", "After 47 years.", None),
        ("بعد أعوام.", "After 47 years.", "numbers"),
        ("خسر 45 مزارعا.", "Forty-five farmers lost.", "numbers"),
        ("", "Something", "empty"),
        ("English on both sides of it", "English on both sides of it", "script"),
        ("كلمة", "One word became a whole long sentence without end", "length ratio"),
    ],
)
def test_a_pair_that_cannot_be_right_is_left_out_with_its_reason(source, target, reason):
    assert rejection(source, target, FilterConfig()) == reason


def test_duplicates_are_counted_and_left_out(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("ماء\twater\nماء\twater\nبيت\thouse\n", encoding="utf-8")
    corpus = load_corpus("pairs", SourceConfig(path=str(path)), FilterConfig(), "translator")
    assert len(corpus.pairs) == 2
    assert corpus.rejected == {"duplicate": 1}


def test_sources_of_which_nothing_is_left_are_refused(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("ماء\twater\n", encoding="utf-8")
    sources = {"pairs": {"path": str(path), "vary": True}}
    with pytest.raises(ConfigError, match="no example is left after filtering"):
        train(TrainingConfig.model_validate({"sources": sources}), tmp_path / "run")


def test_pairs_that_follow_one_another_are_joined_where_that_is_not_too_long(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("ماء\twater\nبيت\thouse\nولد صغير\tlittle boy\n", encoding="utf-8")
    source = SourceConfig(path=str(path), join=2)
    corpus = load_corpus("pairs", source, FilterConfig(), "translator")
    assert corpus.pairs == [("ماء بيت", "water house"), ("بيت ولد صغير", "house little boy")]
    corpus = load_corpus("pairs", source, FilterConfig(max_characters=12), "translator")
    assert corpus.pairs == [("ماء بيت", "water house")]
    assert corpus.rejected == {"too long when joined": 1}


def test_a_line_without_a_second_column_is_named(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("ماء\twater\nبيت\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 2"):
        load_corpus("pairs", SourceConfig(path=str(path)), FilterConfig(), "translator")


@pytest.mark.parametrize(
    ("form", "record", "message"),
    [
        ("jsonl", {"arabic": "بيت", "en": "house"}, "record 2: no text in `ar`"),
        ("jsonl", {"ar": "بيت", "en": None}, "record 2: no text in `en`"),
        ("jsonl", ["بيت", "house"], "record 2: no text in `ar`"),
        (
            "articles",
            {"ar": "بيت", "en": "house"},
            "record 2: not of `format: articles`.*paragraphs",
        ),
        ("articles", {"paragraphs": [[{"ar": "بيت"}]]}, "record 2: not of `format: articles`.*en"),
    ],
)
def test_a_record_without_its_texts_is_named(form, record, message, tmp_path):
    path = tmp_path / "pairs.jsonl"
    good = {"ar": "ماء", "en": "water", "paragraphs": []}
    path.write_text(json.dumps(good) + "\n" + json.dumps(record) + "\n", encoding="utf-8")
    source = SourceConfig(path=str(path), format=form)
    with pytest.raises(InputError, match=message):
        load_corpus("pairs", source, FilterConfig(), "translator")


def test_a_development_set_has_no_variants():
    with pytest.raises(ValueError, match=r"validation\.vary"):
        TrainingConfig.model_validate(
            {"sources": {}, "validation": {"path": "dev.tsv", "vary": True}}
        )


def stream(position: Position | None = None) -> BatchStream:
    lengths = np.random.default_rng(1).integers(3, 40, size=500)
    options = OptimizationConfig(batch_tokens=100, max_batch_tokens=300, batch_growth=1.0)
    return BatchStream(lengths, [300, 200], [2.0, 0.5], options, 7, position)


def test_each_pass_has_each_example_as_often_as_its_weight_says():
    batches = stream()
    seen = np.zeros(500)
    while True:
        batch = next(batches)
        if batches.position.epoch:
            break
        np.add.at(seen, batch, 1)
    assert (seen[:300] == 2).all()
    assert seen[300:].sum() == 100
    assert seen[300:].max() == 1


def test_batches_stay_within_their_budget_and_the_budget_grows():
    batches = stream()
    first = [next(batches) for _ in range(10)]
    assert all(len(b) == 1 or len(b) * batches.lengths[b].max() <= 100 for b in first)
    later = [next(batches) for _ in range(600)][-50:]
    costs = [len(b) * batches.lengths[b].max() for b in later]
    assert 150 < max(costs) <= 300


def test_a_stream_goes_on_exactly_where_its_position_says():
    from dataclasses import replace

    batches = stream()
    for _ in range(70):
        next(batches)
    resumed = stream(replace(batches.position))
    for _ in range(70):
        assert next(batches).tolist() == next(resumed).tolist()


def test_a_misspelt_key_of_a_training_configuration_is_named(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("sources: {}\noptimisation: {}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="optimisation"):
        load_training_config(path)


def test_settings_override_the_file(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps({"sources": {}}), encoding="utf-8")
    config = load_training_config(path, ("optimization.total_updates=7", "seed=3"))
    assert (config.optimization.total_updates, config.seed) == (7, 3)
    with pytest.raises(ConfigError, match="key=value"):
        load_training_config(path, ("seed",))


def test_a_vocabulary_too_large_for_its_material_is_refused_with_the_largest_size(
    material, tmp_path
):
    values = configuration(material).model_dump()
    values["vocabulary"] = {"size": 3000}
    with pytest.raises(ConfigError, match="value <="):
        train(TrainingConfig.model_validate(values), tmp_path)


def test_learning_curves_are_drawn_from_the_log(finished, tmp_path):
    from khulasa.models.training.plot import plot_log

    plot_log(finished, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match=r"log\.csv"):
        plot_log(tmp_path, tmp_path / "none.png")
