"""JSON schemas of parameters: what a grammar adds to them, and what the XML of Qwen3-Coder needs to know of them."""

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]
BRANCHES = ("anyOf", "oneOf")


COMBINED = ("allOf", "anyOf", "oneOf", "not", "if", "$ref", "patternProperties", "unevaluatedProperties")
BY_NAME = ("properties", "$defs", "definitions")
OPEN = ("allOf", "not", "if", "then", "else", "const", "enum", "default", "examples")


def closed(schema: Any) -> Any:
    """The schema whose objects have the properties that it lists, and no others, where it does not say.

    A function takes no other arguments, and a model could write them without end. Objects that are described in several
    places stay open.
    """
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _closed_below(key, value) for key, value in schema.items()}
    is_listed = isinstance(schema.get("properties"), dict) and not any(key in schema for key in COMBINED)
    if is_listed and "additionalProperties" not in schema and schema.get("type", "object") == "object":
        made["additionalProperties"] = False
    return made


def _closed_below(key: str, value: Any) -> Any:
    """The value of a keyword, with its schemas closed."""
    if key in OPEN:
        return value
    if key in BY_NAME and isinstance(value, dict):
        return {name: closed(schema) for name, schema in value.items()}
    return closed(value)


def properties_of(parameters: Schema) -> dict[str, Schema]:
    """The schemas of the parameters, without references at their roots."""
    properties = parameters.get("properties")
    each = properties.items() if isinstance(properties, dict) else ()
    return {name: resolved(schema, parameters) for name, schema in each}


def resolved(schema: Any, root: Schema) -> Schema:
    """The schema that `schema` refers to in `root`; itself where it is no such reference."""
    for _ in range(8):  # a reference may be to a reference, or to itself
        reference = schema.get("$ref") if isinstance(schema, dict) else None
        if not (isinstance(reference, str) and reference.startswith("#/")):
            break
        found: Any = root
        for key in reference.removeprefix("#/").split("/"):
            found = found.get(key.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, dict) else {}
        schema = found
    return schema if isinstance(schema, dict) else {}


def is_text(schema: Schema, root: Schema) -> bool:
    """Return True if a string is allowed, which is written as it is."""
    types = schema.get("type")
    if types is None:
        branches = [branch for name in BRANCHES for branch in schema.get(name) or []]
        given = [*schema.get("enum", []), *([schema["const"]] if "const" in schema else [])]
        if given:
            return any(isinstance(one, str) for one in given)
        return not branches or any(is_text(resolved(branch, root), root) for branch in branches)
    return "string" in (types if isinstance(types, list) else [types])


def texts_of(schema: Schema) -> list[str]:
    """The only strings that are allowed; empty where any string is."""
    given = [schema["const"]] if "const" in schema else schema.get("enum") or []
    return [one for one in given if isinstance(one, str)]
