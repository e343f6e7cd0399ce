"""Fields of requests that this server does not support, OpenAI's and others', and their values that change nothing."""

from collections.abc import Mapping
from typing import Any

# Fields that would change the answer, with the values that do not, as null does not: other values are refused.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    # OpenAI's
    "tools": ([],),  # of a completion: chats have them
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
    "moderation": (),
    "reasoning_effort": ("none",),
    "verbosity": ("medium",),
    # vLLM, SGLang, llama.cpp, TGI and Ollama: sampling
    "min_tokens": (0,),
    "ignore_eos": (False,),
    "stop_token_ids": ([],),
    "bad_words": ([],),
    "allowed_token_ids": (),
    "logits_processors": (),
    "use_beam_search": (False,),
    "length_penalty": (1,),
    "best_of": (1,),
    "repeat_penalty": (1,),
    "typical_p": (1,),
    "top_a": (0,),
    "tfs_z": (1,),
    "mirostat": (0,),
    "dynatemp_range": (0,),
    "dry_multiplier": (0,),
    "xtc_probability": (0,),
    "samplers": (),
    "max_completion_tokens": (),
    "max_new_tokens": (),
    "max_output_tokens": (),
    "n_predict": (-1,),
    "num_predict": (-1,),
    # … the form of the answer
    "guided_json": (),
    "guided_regex": (),
    "guided_choice": (),
    "guided_grammar": (),
    "structured_outputs": (),
    "grammar": ("",),
    "json_schema": (),
    "regex": (),
    "ebnf": (),
    # … the prompt
    "messages": (),
    "prompt": (),
    "chat_template": (),
    "add_generation_prompt": (True,),
    "continue_final_message": (False,),
    "chat_template_kwargs": ({},),
    "documents": ([],),
    "add_special_tokens": (),
    "truncate_prompt_tokens": (),
    "suffix": ("",),
    "echo": (False,),
    "think": (False,),
    "thinking": ({"type": "disabled"},),
    "reasoning": ({"effort": "none"}, {"enabled": False}),
    "options": ({},),
    # … the report of it
    "include_stop_str_in_output": (False,),
    "skip_special_tokens": (True,),
    "return_token_ids": (False,),
    "return_tokens_as_token_ids": (False,),
    "prompt_logprobs": (),
    "top_logprobs": (0,),
}
# Fields of the API that do not change the answer of this server.
HARMLESS = {
    *("user", "metadata", "store", "service_tier", "parallel_tool_calls", "safety_identifier"),
    *("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
}


def unsupported(given: Mapping[str, Any], neutral: Mapping[str, tuple[Any, ...]] = NEUTRAL) -> str | None:
    """The first of these fields that would change the answer; `neutral` has the values that do not."""
    return next((name for name, value in given.items() if not _is_neutral(name, value, neutral)), None)


def _is_neutral(name: str, value: Any, neutral: Mapping[str, tuple[Any, ...]]) -> bool:
    return value is None or name not in neutral or value in neutral[name]
