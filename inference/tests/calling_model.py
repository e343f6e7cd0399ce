"""A small model that calls functions: the last word of its prompt decides its answer, which is in Hermes' form."""

import json
from pathlib import Path

from tokenizers import pre_tokenizers

from inference.tests.scripted import after, byte_level, scripted_model

TEMPLATE = (
    "{# <tool_call> <think> #}{% if tools %}{{ tools | tojson }}{% endif %}"
    "{% for m in messages %}{{ '\\n' + m.content }}{% endfor %}"
)
SPECIAL = ["<|endoftext|>", "<|im_end|>", "<think>", "</think>"]


def call(name: str, **arguments: object) -> str:
    """A call as the model writes it: with the line breaks that the grammar of strict functions wants."""
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments}, ensure_ascii=False)}\n</tool_call>"


# {the last word of the prompt: the tokens of the answer}: a token stands in one answer alone
ANSWERS = {
    "start": ["Let me", " look.\n", call("look", at="né 🌊")],
    "seen": ["<think>", "Hm, ", "a tide.\n", "</think>", "\n\n", call("tide", hours=[1, 2]), call("look", at="x")],
    "back": ["All", " done."],
    "again": [call("tide", hours=[3])],
    "fallen": ["Done", " again."],
    "thanks": ["Wel", "come."],
}
LOOK = {
    "type": "function",
    "name": "look",
    "description": "Look at a place.",
    "parameters": {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]},
}
TIDE = {
    "type": "function",
    "name": "tide",
    "parameters": {"type": "object", "properties": {"hours": {"type": "array", "items": {"type": "integer"}}}},
}


def save(folder: Path) -> None:
    """Write the files of the model."""
    words = [*ANSWERS, *(piece for pieces in ANSWERS.values() for piece in pieces)]
    tokenizer = byte_level(words, SPECIAL, chat_template=TEMPLATE)
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)

    def name_of(text: str) -> str:
        known = text in tokenizer.get_vocab()
        return text if known else "".join(piece for piece, _ in splitter.pre_tokenize_str(text))

    script: dict[int, list[int]] = {}
    for word, pieces in ANSWERS.items():
        script |= after(tokenizer, *map(name_of, [word, *pieces, "<|im_end|>"]))
    scripted_model(tokenizer, script).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
