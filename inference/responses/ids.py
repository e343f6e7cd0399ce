"""The ids of responses and of their items; the id of an item names its response."""

import re
import uuid

PREFIXES = {"message": "msg", "reasoning": "rs", "function_call": "fc", "function_call_output": "fco"}
RESPONSE_ID = re.compile(r"resp_[0-9a-f]{32}")
ITEM_ID = re.compile(rf"(?:{'|'.join(PREFIXES.values())})_(?P<response>[0-9a-f]{{32}})[io]\d+", re.ASCII)


def new_response_id() -> str:
    return f"resp_{uuid.uuid4().hex}"


def item_id(kind: str, response_id: str, place: int, *, of_input: bool = False) -> str:
    """The id of the item of the type `kind` at a place of the output, or of the input, of a response."""
    return f"{PREFIXES[kind]}_{response_id.removeprefix('resp_')}{'i' if of_input else 'o'}{place}"


def response_of(an_item_id: str) -> str | None:
    """The id of the response that an item belongs to; None for ids that are not of this server."""
    found = ITEM_ID.fullmatch(an_item_id)
    return f"resp_{found['response']}" if found else None
