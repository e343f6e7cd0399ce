"""The known forms of calls and reasoning, as fields of a `response_template` of transformers.

A template of transformers names the delimiters of the parts of an answer (`transformers.utils.chat_parsing`). Few
tokenizers have a template of their own; these are for all others. A body of `RAW` is JSON: one call, a list of calls,
or several of these.

A pattern must not end with an optional part: the parser takes a complete match before it looks for a longer one.
"""

from collections.abc import Mapping
from typing import Any

Fields = Mapping[str, Mapping[str, Any]]

CALLS = "tool_calls"
"""The fields of calls; a form with two ways to write a call has two fields that begin so."""
REASONING = ("reasoning_content", "reasoning", "thinking")
"""The names that templates have for the field of the reasoning."""
SEPARATOR = "separator"
"""The field of a tag that belongs to the form where it follows a call, and is content elsewhere."""

AT_ONCE = {"close_pattern": r"(?=.)"}
"""The end of a field that is its opening tag alone."""
RAW = {"content": "text", "content_args": {"strip": False}, "repeats": True}
NAMED = {"transform": {"type": "function", "function": {"name": "{name}", "arguments": "{content}"}}}
PARAMETER = r"<parameter=(?P<key>[^>\n]+)>\n?(?P<value>.*?)\n?</parameter>"
"""The template writes a line break before and after a value; other spaces belong to the value."""

NO_FORM = "none"
"""The form of a model whose answers are not parsed."""
ONLY_REASONING = "think"

FORMS: dict[str, Fields] = {
    # Hermes, Qwen 2.5 and 3, SmolLM3, Granite 4
    "hermes": {CALLS: {"open": "<tool_call>", "close": "</tool_call>", **RAW}},
    # Qwen3-Coder, Qwen 3.5
    "qwen3_coder": {
        CALLS: {
            "open_pattern": r"(?:<tool_call>\s*)?<function=(?P<name>[^>\n]+)>",
            "close": "</function>",
            "content": "xml-inline",
            "content_args": {"tag_pattern": PARAMETER},
            "repeats": True,
            **NAMED,
        },
        SEPARATOR: {"open": "</tool_call>", **AT_ONCE},
    },
    # Llama 3.1 to 3.3
    "llama3": {CALLS: {"open_pattern": r'\A\s*(?=\{\s*"(?:name|type|function)"\s*:)|<\|python_tag\|>', **RAW}},
    "mistral": {
        CALLS: {"open": "[TOOL_CALLS]", "close_pattern": r"(?=\[TOOL_CALLS\])", **RAW},
        f"{CALLS}_named": {
            "open_pattern": r"\[TOOL_CALLS\]\s*(?P<name>[\w.-]+)(?:\[CALL_ID\]\w+)?(?:\[ARGS\]|(?=\s*\{))",
            "close_pattern": r"(?=\[TOOL_CALLS\])",
            **RAW,
            **NAMED,
        },
    },
    "phi4": {
        CALLS: {"open": "<|tool_call|>", "close": "<|/tool_call|>", **RAW},
        f"{CALLS}_functools": {"open_pattern": r"\A\s*functools(?=\[)", **RAW},
    },
    # Granite 3: the end of the answer ends the list of calls
    "granite": {CALLS: {"open": ["<|tool_call|>", "<tool_call>"], "close": "</tool_call>", **RAW}},
    # DeepSeek R1, V3 (with a block of code) and V3.1
    "deepseek": {
        CALLS: {
            "open_pattern": (
                r"(?:<｜tool▁calls▁begin｜>\s*)?<｜tool▁call▁begin｜>"
                r"(?:function<｜tool▁sep｜>(?P<name>[\w.-]+)\n```json\n|(?P<name>(?!function<)[\w.-]+)<｜tool▁sep｜>)"
            ),
            "close_pattern": r"(?:\n```)?<｜tool▁call▁end｜>",
            **RAW,
            **NAMED,
        },
        SEPARATOR: {"open": "<｜tool▁calls▁end｜>", **AT_ONCE},
    },
    "gemma4": {
        CALLS: {
            "open_pattern": r"<\|tool_call>call:(?P<name>\w+)",
            "close": "<tool_call|>",
            "content": "json",
            "content_args": {"unquoted_keys": True, "string_delims": [['<|"|>', '<|"|>']]},
            "repeats": True,
            **NAMED,
        }
    },
    ONLY_REASONING: {},
}

# Reasoning is at the beginning of an answer. A tag that the answer only talks of is text.
THINK: Fields = {
    "reasoning_content": {
        "open_pattern": r"\A\s*(?:<think>|\[THINK\]|<\|channel>thought\n)",
        "close": ["</think>", "[/THINK]", "<channel|>"],
    },
}
# Where the chat template has opened the reasoning, the prompt ends so.
OPENED = r"(?=(?:<think>|\[THINK\]|<\|channel>thought\n)\s*\Z)"


def response_template(calls: Fields, *, reasoning: bool) -> dict[str, Any]:
    """A `response_template` with these fields of calls, with or without reasoning; all else is content."""
    fields = {**calls, **(THINK if reasoning else {}), "content": {}}
    return {"start_anchor_pattern": OPENED, "fields": {name: {**each} for name, each in fields.items()}}
