"""JSON schemas of files, with which editors complete and check them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rbc_marl.settings import Section


def file_schema(section: type[Section], title: str) -> dict[str, Any]:
    """JSON schema of files that hold names, and under each what a section has.

    Args:
        section: The model.
        title: What such a file is called.
    """
    schema = section.model_json_schema(by_alias=True)
    definitions = schema.pop("$defs", {})
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "title": title, "type": "object"}
    return {**head, "additionalProperties": schema, "$defs": definitions}


def changeable(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema of which nothing is required, and each of whose values may also be a ``change``, a definition."""
    result = {key: value for key, value in schema.items() if key != "required"}
    if "properties" in schema:
        result["properties"] = {name: _or_change(value) for name, value in schema["properties"].items()}
    if isinstance(schema.get("additionalProperties"), dict):
        result["additionalProperties"] = _or_change(schema["additionalProperties"])
    several = schema.get("anyOf", schema.get("oneOf"))
    if several is not None:  # of which nothing is required, so that one value may be of several kinds
        result.pop("oneOf", None)
        result["anyOf"] = [changeable(value) for value in several]
    return result


def _or_change(schema: Mapping[str, Any]) -> dict[str, Any]:
    described = {key: schema[key] for key in ("description", "default") if key in schema}
    bare = {key: value for key, value in schema.items() if key not in ("title", *described)}
    return {**described, "anyOf": [changeable(bare), {"$ref": "#/$defs/change"}]} if bare else described
