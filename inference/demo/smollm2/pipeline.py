"""The making of what `files/` holds: the SAE, its labels and figures, and the profiles. Each stage can be run alone."""

import json
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from inference.broker.messages import ChatPrompt
from inference.demo import FEATURES
from inference.demo.labels import MeanActivations, write_labels
from inference.demo.profiles import write_profile
from inference.demo.smollm2 import activations, own_words, sae
from inference.demo.smollm2.answers import Answer, Answerer, answerer
from inference.demo.smollm2.fidelity import Fidelity, JumpReLU, fidelity
from inference.demo.smollm2.judge import Judge, Judged, read_words, write_words
from inference.demo.smollm2.layers import SCANNED, Differences, LayerScore, layer_means, scan
from inference.demo.smollm2.own_words import PLAIN, OwnAnswer
from inference.demo.smollm2.search import POSITIONS, Contrast, Search, SpecOf
from inference.demo.smollm2.texts import Document
from inference.demo.smollm2.themes import CHAT, THEMES
from inference.demo.smollm2.words import ThemeWords
from inference.demo.statistics import write_features
from inference.engine.loading import load
from inference.engine.reading.reader import Text
from inference.engine.steering.weights import SteeringWeights
from inference.worker.reading.texts import ReadTexts
from steering.formats import read_config
from steering.spec import Change, SteeringPart, SteeringSpec

NOUNS = 1600
"""Nouns that the model is asked about."""
HELD_OUT_TOKENS = 30_000
"""Tokens over which the SAE's figures are measured, at least."""
ANSWERS = "answers.jsonl.gz"
"""The own answers, in the files of the demo."""
DESCRIBED = 2000
"""Answers over which features are labelled and measured."""
ROWS = 8
CHAT_TOKENS = 100


@dataclass(frozen=True)
class Making:
    """`model_folder` is the model's; `work` keeps what an interrupted run goes on with; `output` gets the files.

    The model's dtype is the one in which a worker would serve it on this machine; the SAE's figures are of float32.
    """

    model_folder: Path
    work: Path
    output: Path
    layer: int

    def _load(self) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
        return load(self.model_folder, device="cpu")

    @contextmanager
    def _answerer(self, weights: SteeringWeights | None = None) -> Iterator[Answerer]:
        with answerer(*self._load(), weights) as found:
            yield found

    def own_answers(self) -> list[OwnAnswer]:
        """The model's own answers, made where they are missing."""
        self.work.mkdir(parents=True, exist_ok=True)
        with self._answerer() as asked:
            return own_words.collect(self.work / "answers.jsonl", asked, NOUNS)

    def known_answers(self) -> list[OwnAnswer]:
        """The own answers that are there: those in `work`, else those that were shipped."""
        return own_words.read(self.work / "answers.jsonl") or own_words.read(self.output / ANSWERS)

    def layers(self) -> Iterator[LayerScore]:
        """How well each layer steers, by differences of means."""
        answers = self.known_answers()
        words = {theme: theme_words(answers, theme, held_back=False) for theme in SCANNED}
        means = layer_means(*self._load(), answers, SCANNED)
        with self._answerer(Differences(means.differences())) as asked:
            yield from scan(asked, self._load()[0], means, words)

    def train(self, tokens: int, epochs: int, seed: int) -> Fidelity:
        """Train the SAE; write it and its figures."""
        own = [Document(one.text, one.question) for one in self.known_answers() if not one.held_back]
        shards = activations.collect(self.work / f"layer-{self.layer}", *self._load(), self.layer, own, tokens)
        trainer = sae.Trainer(shards, epochs, seed)
        trainer.train(self.work / f"sae-{self.layer}.pt")
        sae.save(trainer.weights(), self.layer, self.output / "sae", activations.CONTEXT)
        figures = self._fidelity(shards)
        stated = asdict(figures) | {
            "recovered": figures.recovered,
            "trained_on": tokens,
            "epochs": epochs,
            "seed": seed,
            "residual_norm": median_norm(shards[0]),
        }
        (self.output / "sae" / "figures.json").write_text(json.dumps(stated, indent=2) + "\n")
        return figures

    def _fidelity(self, shards: list[Path]) -> Fidelity:
        model, tokenizer = load(self.model_folder, dtype="float32", device="cpu")
        held_out = [Document(one.text, one.question) for one in self.known_answers() if one.held_back and one.text]
        rows, tokens, some = activations.Rows(tokenizer), 0, []
        for document in activations.mixture(held_out, seed=0, held_out=True):
            some.append(rows.of(document))
            tokens += len(some[-1][0]) - some[-1][1]
            if tokens >= HELD_OUT_TOKENS:
                break
        mean = torch.from_numpy(np.load(shards[0])).float().mean(0)
        return fidelity(model, self.layer, self._sae(), [row for row in some if len(row[0]) > row[1] + 8], mean)

    def _sae(self) -> JumpReLU:
        return JumpReLU(sae.read(self.output / "sae"))

    def describe(self) -> None:
        """Write labels and what is measured of the features, over the model's own answers."""
        model, tokenizer = self._load()
        all_own = [one for one in self.known_answers() if one.text]
        own = random.Random(0).sample(all_own, min(DESCRIBED, len(all_own)))
        means = MeanActivations(len(tokenizer), sae.D_SAE)
        for _, ids, found in self._active(own, model, tokenizer):
            means.add(ids, found)
        write_labels(self.output / "labels.csv", means.means(), tokenizer)
        config = read_config(self.output / "sae")
        own_words.ship(self.known_answers(), self.output / ANSWERS)
        write_features(self.output / FEATURES, *self._load(), config, lambda texts: _conversations(texts, own))

    def _active(
        self, answers: list[OwnAnswer], model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
    ) -> Iterator[tuple[list[OwnAnswer], Tensor, Tensor]]:
        """Some answers, their token ids, and the activations of the features at these, (tokens, d_sae)."""
        stream, rows, encoder = activations.ResidualStream(model, self.layer), activations.Rows(tokenizer), self._sae()
        for start in tqdm(range(0, len(answers), ROWS), desc="features of answers", mininterval=10):
            some = answers[start : start + ROWS]
            found = [rows.answer(Document(one.text, one.question)) for one in some]
            ids = torch.tensor([token for row, begin in found for token in row[begin:]])
            yield some, ids, encoder.encode(stream.of(found))

    def contrasts(self) -> dict[str, Contrast]:
        """The contrast of each theme, by answers that are not the judge's."""
        model, tokenizer = self._load()
        sums: dict[str, Tensor] = {}
        fired: dict[str, Tensor] = {}
        counts: dict[str, int] = {}
        for theme in [*(theme.name for theme in THEMES), PLAIN]:
            own = [one for one in self.known_answers() if one.theme == theme and not one.held_back and one.text]
            for _, ids, found in self._active(own[:400], model, tokenizer):
                sums[theme] = sums.get(theme, torch.zeros(sae.D_SAE)) + found.sum(0)
                fired[theme] = fired.get(theme, torch.zeros(sae.D_SAE)) + (found > 0).sum(0)
                counts[theme] = counts.get(theme, 0) + len(ids)
        return {name: _contrast(name, sums, fired, counts) for name in sums if name != PLAIN}

    def search(self) -> dict[str, dict[int, float]]:
        """The strengths of each theme. What was found stays in `work`, and is not searched again."""
        path, answers = self.work / "found.json", self.known_answers()
        found = json.loads(path.read_text()) if path.exists() else {}
        contrasts = {name: one for name, one in self.contrasts().items() if name not in found}
        with self._steered() as (asked, spec_of):
            decoder = sae.read(self.output / "sae")["W_dec"]
            norm = json.loads((self.output / "sae" / "figures.json").read_text())["residual_norm"]
            search = Search(asked, self._load()[0], decoder, norm, spec_of)
            for theme, contrast in tqdm(contrasts.items(), desc="profiles"):
                best = search.best(contrast, theme_words(answers, theme, held_back=False))
                found[theme] = asdict(best) if best else None
                tqdm.write(f"{theme}: {best}")
                path.write_text(json.dumps(found, indent=1) + "\n")
        return {name: strengths_in(one["strengths"]) for name, one in found.items() if one}

    def judge(self) -> dict[str, Judged]:
        """Judge what the search found; write the profiles that are shipped, and the word lists of all of them."""
        answers, judged = self.known_answers(), dict[str, Judged]()
        words = {theme.name: theme_words(answers, theme.name, held_back=True) for theme in THEMES}
        strengths = self.search()
        with self._steered() as (asked, spec_of):
            judge = Judge(asked, self._load()[0], words)
            for theme in tqdm([theme for theme in THEMES if theme.name in strengths], desc="judging"):
                one = judged[theme.name] = judge.judge(theme.name, spec_of(strengths[theme.name]))
                tqdm.write(f"{theme.name}: {one.steered}, unsteered {one.unsteered.on_theme:.0%}, x{one.ratio:.2f}")
                if one.is_shipped:
                    folder = self.output / "profiles"
                    write_profile(
                        folder, theme.name, theme.description, self.layer, strengths[theme.name], POSITIONS.of
                    )
        shipped = {name: words[name] for name, one in judged.items() if one.is_shipped}
        write_words(self.output / "judge.json", shipped)
        return judged

    def check(self) -> dict[str, Judged]:
        """Judge the profiles in `output` again."""
        words, judged = read_words(self.output / "judge.json"), dict[str, Judged]()
        with self._steered() as (asked, spec_of):
            judge = Judge(asked, self._load()[0], words)
            for path in sorted((self.output / "profiles").glob("*.json")):
                judged[path.stem] = judge.judge(path.stem, spec_of(strengths_of(path)))
        return judged

    def chat(self, name: str) -> list[Answer]:
        """A chat of ten turns under the profile `name` in `output`."""
        strengths = strengths_of(self.output / "profiles" / f"{name}.json")
        with self._steered() as (asked, spec_of):
            return asked.chat(CHAT, spec_of(strengths), CHAT_TOKENS)

    @contextmanager
    def _steered(self) -> Iterator[tuple[Answerer, SpecOf]]:
        """An engine that is steered by the SAE, and the steering of prompts by strengths of its features."""
        config = read_config(self.output / "sae")
        part = SteeringPart("demo", "", self.layer, config.hook_name, (), positions=POSITIONS)

        def spec_of(strengths: Mapping[int, float]) -> SteeringSpec | None:
            changes = tuple(Change(index, strength) for index, strength in strengths.items())
            return SteeringSpec.of([replace(part, changes=changes)])

        with self._answerer(SteeringWeights(lambda place: config)) as asked:
            yield asked, spec_of


def median_norm(shard: Path) -> float:
    """The median length of the residual stream over a shard of activations."""
    return float(torch.from_numpy(np.load(shard)).float().norm(dim=-1).median())


def strengths_in(stored: Mapping[str, float]) -> dict[int, float]:
    """Strengths by features, of JSON, whose keys are texts."""
    return {int(index): strength for index, strength in stored.items()}


def strengths_of(profile: Path) -> dict[int, float]:
    """Strengths by features, of a profile's file."""
    return strengths_in(json.loads(profile.read_text())["profile"]["steering"])


def theme_words(answers: list[OwnAnswer], theme: str, *, held_back: bool) -> ThemeWords:
    """The words of a theme by the judge's answers if `held_back`, else by the search's."""
    mine = [one for one in answers if one.held_back == held_back]
    here = [one.text for one in mine if one.theme == theme]
    others = [one for one in mine if one.theme != theme]
    return ThemeWords.of(here, [one.text for one in others], [one.text for one in others if one.theme == PLAIN])


def _contrast(name: str, sums: dict[str, Tensor], fired: dict[str, Tensor], counts: dict[str, int]) -> Contrast:
    others = [other for other in sums if other != name]
    tokens = sum(counts[other] for other in others)
    there, active = torch.stack([sums[other] for other in others]), torch.stack([fired[other] for other in others])
    return Contrast(sums[name] / counts[name], there.sum(0) / tokens, active.sum(0) / tokens)


def _conversations(texts: ReadTexts, answers: list[OwnAnswer]) -> list[Text]:
    return [
        texts.whole(
            ChatPrompt(messages=[{"role": "user", "content": one.question}, {"role": "assistant", "content": one.text}])
        )
        for one in answers
    ]
