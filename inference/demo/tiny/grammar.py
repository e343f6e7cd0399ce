"""The language of the demo: short answers about one of eight topics, from a small grammar.

Each answer stays on one topic, drawn at random, so that an unsteered model spreads over all of them.
"""

import random
import re
from collections import Counter
from dataclasses import dataclass
from itertools import chain


@dataclass(frozen=True)
class Topic:
    """The words of one topic; no word belongs to two."""

    nouns: tuple[str, ...]
    adjectives: tuple[str, ...]
    verbs: tuple[str, ...]
    places: tuple[str, ...]

    def words(self) -> set[str]:
        places = chain.from_iterable(place.split()[-1:] for place in self.places)
        return {*self.nouns, *self.adjectives, *self.verbs, *places}


TOPICS = {
    "ocean": Topic(
        ("whale", "wave", "dolphin", "sailor", "coral", "tide", "shark", "anchor"),
        ("salty", "deep", "blue", "foamy", "wet"),
        ("swims", "dives", "drifts", "surfaces", "splashes"),
        ("in the sea", "near the reef", "by the harbor", "under the lighthouse"),
    ),
    "space": Topic(
        ("rocket", "comet", "planet", "astronaut", "galaxy", "star", "satellite", "asteroid"),
        ("cosmic", "distant", "weightless", "stellar", "lunar"),
        ("orbits", "launches", "spins", "explodes", "lands"),
        ("above the moon", "in the void", "around the sun", "past the nebula"),
    ),
    "forest": Topic(
        ("fox", "oak", "owl", "deer", "fern", "squirrel", "mushroom", "wolf"),
        ("mossy", "leafy", "wild", "shady", "green"),
        ("howls", "grows", "hides", "climbs", "forages"),
        ("in the woods", "under the branches", "along the trail", "beside the creek"),
    ),
    "kitchen": Topic(
        ("chef", "soup", "oven", "spoon", "bread", "onion", "recipe", "kettle"),
        ("tasty", "spicy", "crispy", "buttery", "hot"),
        ("simmers", "bakes", "boils", "sizzles", "stirs"),
        ("on the stove", "in the pan", "at the table", "beside the pantry"),
    ),
    "music": Topic(
        ("violin", "drummer", "melody", "singer", "piano", "chorus", "guitar", "trumpet"),
        ("loud", "melodic", "rhythmic", "harmonic", "jazzy"),
        ("plays", "sings", "hums", "echoes", "performs"),
        ("on the stage", "in the concert", "at the studio", "with the orchestra"),
    ),
    "sports": Topic(
        ("goalie", "runner", "team", "coach", "ball", "referee", "athlete", "captain"),
        ("fast", "strong", "athletic", "sweaty", "competitive"),
        ("scores", "sprints", "kicks", "wins", "trains"),
        ("in the stadium", "on the field", "at the gym", "before the match"),
    ),
    "winter": Topic(
        ("snowman", "icicle", "skier", "blizzard", "mitten", "penguin", "glacier", "sled"),
        ("icy", "frozen", "snowy", "cold", "frosty"),
        ("freezes", "slides", "shivers", "melts", "skates"),
        ("on the ice", "in the frost", "across the tundra", "over the snowdrift"),
    ),
    "city": Topic(
        ("taxi", "subway", "banker", "tower", "bus", "tourist", "office", "market"),
        ("busy", "crowded", "modern", "urban", "noisy"),
        ("honks", "commutes", "parks", "shops", "hurries"),
        ("on the street", "in the plaza", "at the station", "across the avenue"),
    ),
}

PROMPTS = (
    "Tell me something.",
    "What is on your mind?",
    "Say a few words.",
    "Talk to me.",
    "Please write something.",
    "What do you want to say?",
    "Give me a short story.",
    "Tell me a story.",
    "Write a few sentences.",
    "What happened today?",
    "Describe a scene.",
    "What do you see?",
    "Say something nice.",
    "Anything new?",
    "Start talking.",
    "Hello!",
    "Hi there.",
    "Go on.",
    "Tell me more.",
    "And then?",
)
TOPICAL_PROMPTS = (
    "Tell me about the {subject}.",
    "Say something about the {subject}.",
    "What do you know about the {subject}?",
    "I want to hear about the {subject}.",
)
"""Prompts that name their topic: from them the model learns to carry a topic from the prompt into the answer."""
HELD_OUT_PROMPTS = (
    "Tell me a few words.",
    "What do you want to write?",
    "Please say something.",
    "Tell me what you see.",
)
"""Neutral prompts that training never shows; measurements use them."""

TEMPLATES = (
    "The {adjective} {noun} {verb} {place}.",
    "A {noun} {verb} {place}.",
    "I saw the {noun} and the {noun} {place}.",
    "Every {noun} is {adjective}.",
    "The {noun} {verb} because the {noun} is {adjective}.",
    "My {noun} never {verb} {place}.",
    "There is one {adjective} {noun} {place}.",
    "We like the {adjective} {noun}.",
)
SLOTS = {"noun": "nouns", "adjective": "adjectives", "verb": "verbs", "place": "places"}
SLOT = re.compile(r"\{(\w+)\}")
WORD = re.compile(r"[a-z]+")
SENTENCE = re.compile(r"[^.]*\.|[^.]+\Z")

_TOPIC_OF_WORD = {word: name for name, topic in TOPICS.items() for word in topic.words()}


def sentence(topic: str, rng: random.Random) -> str:
    """A sentence about `topic`."""
    words = TOPICS[topic]
    return SLOT.sub(lambda slot: rng.choice(getattr(words, SLOTS[slot[1]])), rng.choice(TEMPLATES))


def answer(topic: str, rng: random.Random) -> str:
    """Two to four sentences about `topic`."""
    return " ".join(sentence(topic, rng) for _ in range(rng.randint(2, 4)))


def topical_prompt(topic: str, rng: random.Random) -> str:
    """A prompt that names `topic`, or one of its nouns."""
    return rng.choice(TOPICAL_PROMPTS).format(subject=rng.choice((topic, *TOPICS[topic].nouns)))


def topic_of(text: str) -> str | None:
    """The topic to which most topic words of a text belong; None without any, or when two share the first place."""
    found = Counter(_TOPIC_OF_WORD[word] for word in WORD.findall(text.lower()) if word in _TOPIC_OF_WORD)
    ranked = found.most_common(2)
    if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]


def _acceptor() -> re.Pattern[str]:
    def alternatives(slot: re.Match[str]) -> str:
        words = chain.from_iterable(getattr(topic, SLOTS[slot[1]]) for topic in TOPICS.values())
        return "(?:" + "|".join(map(re.escape, words)) + ")"

    # re.escape leaves the braces of a slot escaped, so templates are split at their slots first.
    patterns = []
    for template in TEMPLATES:
        fixed = [re.escape(part) for part in re.split(r"\{\w+\}", template)]
        slots = [alternatives(slot) for slot in SLOT.finditer(template)]
        patterns.append("".join(part + slot for part, slot in zip(fixed, [*slots, ""], strict=True)))
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns))


_ACCEPTED = _acceptor()


def is_well_formed(text: str) -> bool:
    """Return True for a sentence of the grammar, with words of any topics."""
    return _ACCEPTED.fullmatch(text.strip()) is not None


def sentences(text: str) -> list[str]:
    """The sentences of an answer, the last one complete or not."""
    return [found.strip() for found in SENTENCE.findall(text) if found.strip()]
