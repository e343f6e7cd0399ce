"""The search for the layer: which one steers best by the difference of mean residual streams."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from inference.demo.smollm2.activations import Rows
from inference.demo.smollm2.answers import Answerer
from inference.demo.smollm2.measure import measured, perplexity
from inference.demo.smollm2.own_words import OwnAnswer
from inference.demo.smollm2.search import POSITIONS, asks
from inference.demo.smollm2.texts import Document
from inference.demo.smollm2.words import ThemeWords
from inference.engine.steering.weights import SteeringWeights
from steering.spec import Change, SteeringPart, SteeringSpec

LAYERS = (8, 11, 14, 17, 20)
SCANNED = ("ocean", "cooking", "castle", "money")
"""The themes by which layers are compared."""
LENGTH = 0.6
"""The length of the steering vector, as a share of the residual stream's."""
ROWS = 8


class Differences(SteeringWeights):
    """Directions, (d_model,), of layers and themes; a feature's index is the number of its theme."""

    def __init__(self, found: Mapping[int, Tensor]) -> None:
        self._found = found

    def directions(self, part: SteeringPart) -> Tensor:
        return self._found[part.layer][[change.index for change in part.changes]]


@dataclass(frozen=True)
class LayerMeans:
    """Of each layer: the mean residual stream of each theme's answers, (themes, d_model), and its mean length."""

    means: Mapping[int, Tensor]
    norms: Mapping[int, float]

    def differences(self) -> dict[int, Tensor]:
        """Of each layer: unit vectors from the mean of all themes to each one's, (themes, d_model)."""
        return {
            layer: torch.nn.functional.normalize(means - means.mean(0), dim=-1) for layer, means in self.means.items()
        }

    def steering(self, layer: int, theme: int, length: float) -> SteeringSpec | None:
        """A steering of the prompt to `theme`, of `length` times the residual stream's."""
        change = Change(theme, length * self.norms[layer])
        hook = f"blocks.{layer}.hook_resid_post"
        return SteeringSpec.of([SteeringPart("differences", "", layer, hook, (change,), positions=POSITIONS)])


@torch.inference_mode()
def layer_means(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, answers: Sequence[OwnAnswer], themes: Sequence[str]
) -> LayerMeans:
    """Read the search's answers of each theme; the questions do not count."""
    rows = Rows(tokenizer)
    means: dict[int, list[Tensor]] = {layer: [] for layer in LAYERS}
    norms: dict[int, list[float]] = {layer: [] for layer in LAYERS}
    for theme in themes:
        texts = [one for one in answers if one.theme == theme and not one.held_back and one.text]
        found = [rows.answer(Document(one.text, one.question)) for one in texts]
        sums, count = dict.fromkeys(LAYERS, torch.zeros(model.config.hidden_size)), 0
        for start in range(0, len(found), ROWS):
            some = found[start : start + ROWS]
            longest = max(len(ids) for ids, _ in some)
            ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row, _ in some])
            states = model.base_model(ids, use_cache=False, output_hidden_states=True).hidden_states
            for layer in LAYERS:
                kept = [
                    row[begin : len(one)].float() for row, (one, begin) in zip(states[layer + 1], some, strict=True)
                ]
                sums[layer] = sums[layer] + torch.cat(kept).sum(0)
                norms[layer].append(float(torch.cat(kept).norm(dim=-1).median()))
            count += sum(len(one) - begin for one, begin in some)
        for layer in LAYERS:
            means[layer].append(sums[layer] / count)
    return LayerMeans(
        {layer: torch.stack(rows) for layer, rows in means.items()},
        {layer: sum(found) / len(found) for layer, found in norms.items()},
    )


@dataclass(frozen=True)
class LayerScore:
    """The share of answers on the theme and the perplexity as a multiple of the unsteered one: means of the themes."""

    layer: int
    share: float
    excess: float
    by_theme: Mapping[str, tuple[float, float]]


def scan(
    asked: Answerer, plain: PreTrainedModel, means: LayerMeans, words: Mapping[str, ThemeWords]
) -> Iterator[LayerScore]:
    """Steer by the differences at each layer; `words` are in the order of the themes of `means`."""
    base = perplexity(plain, asked.answers(asks(None)))
    for layer in LAYERS:
        specs = [means.steering(layer, number, LENGTH) for number in range(len(words))]
        answers = asked.answers([ask for spec in specs for ask in asks(spec)])
        size = len(answers) // len(specs)
        found = {}
        for number, (theme, its_words) in enumerate(words.items()):
            done = measured(answers[number * size : (number + 1) * size], its_words, plain)
            found[theme] = (done.on_theme, done.perplexity / base)
        shares, excesses = zip(*found.values(), strict=True)
        yield LayerScore(layer, sum(shares) / len(shares), sum(excesses) / len(excesses), found)
