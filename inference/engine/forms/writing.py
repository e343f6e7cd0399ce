"""How each form writes calls: the texts around name and arguments, for the grammar that holds an answer to calls."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Writing:
    """The texts of a list of calls: `begin`, then each call between `head` and `tail`, then `end`.

    `head` has `{name}` for the name of the function; the arguments follow it. `opening` is the text by which an answer
    is known to call: `begin`, or `head` without one, begins with it, but for Llama 3, which may do without.
    """

    opening: str
    head: str
    tail: str
    begin: str = ""
    between: str = ""
    end: str = ""
    is_xml: bool = False
    """True where each argument has tags of its own; else the arguments are JSON."""
    is_last: bool = False
    """True where only the end of the answer ends its calls."""


LISTED = '{"name": "{name}", "arguments": '
WRITINGS: dict[str, Writing] = {
    "hermes": Writing("<tool_call>", f"<tool_call>\n{LISTED}", "}\n</tool_call>", between="\n"),
    "qwen3_coder": Writing(
        *("<tool_call>", "<tool_call>\n<function={name}>\n", "</function>\n</tool_call>"), between="\n", is_xml=True
    ),
    "llama3": Writing("<|python_tag|>", '{"name": "{name}", "parameters": ', "}", between="; ", is_last=True),
    "mistral": Writing("[TOOL_CALLS]", LISTED, "}", "[TOOL_CALLS][", ", ", "]", is_last=True),
    "phi4": Writing("<|tool_call|>", LISTED, "}", "<|tool_call|>[", ", ", "]<|/tool_call|>"),
    "granite": Writing("<|tool_call|>", LISTED, "}", "<|tool_call|>[", ", ", "]", is_last=True),
    "deepseek": Writing(
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁call▁begin｜>{name}<｜tool▁sep｜>",
        "<｜tool▁call▁end｜>",
        "<｜tool▁calls▁begin｜>",
        "",
        "<｜tool▁calls▁end｜>",
    ),
}


def writing_of(form: str, chat: str) -> Writing | None:
    """The writing of a form as the chat template `chat` has it; None where answers cannot be held to the form."""
    writing = WRITINGS.get(form)
    if writing is None:
        return None
    if form == "mistral" and "[ARGS]" in chat:
        return Writing("[TOOL_CALLS]", "[TOOL_CALLS]{name}[ARGS]", "", is_last=True)
    if form == "granite" and "<|tool_call|>" not in chat:
        return replace(writing, opening="<tool_call>", begin="<tool_call>[")
    if form == "deepseek" and "```json" in chat:  # R1 and V3
        head = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n"
        return replace(writing, head=head, tail="\n```<｜tool▁call▁end｜>", between="\n")
    return writing
