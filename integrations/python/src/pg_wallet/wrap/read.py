"""Reads requests and responses, which are dictionaries or the SDK's own objects.

Only numbers, names and types are taken from a response: no text, no image, no argument of a tool.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

_MEDIA = ("image", "audio", "file", "document", "video")
# Keys of a response that say how it is priced.
_NAMES = ("id", "object", "type", "model", "service_tier", "status", "created", "created_at")
_NAMES_OF_IMAGES = ("size", "quality")


def get(value: Any, name: str) -> Any:
    """A member of a dictionary or an object; None where there is none."""
    if isinstance(value, Mapping):
        return value.get(name)
    return getattr(value, name, None)


def plain(value: Any) -> Any:
    """An object of the SDK as JSON, without what it leaves out."""
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(mode="json", exclude_none=True)
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def input_tokens(value: Any, count: Callable[[str], int], media: int) -> int:
    """Tokens of a prompt: all its texts, a number for each medium, and some for each message."""
    value = plain(value)
    if isinstance(value, str):
        return count(value)
    if isinstance(value, Mapping):
        kind = value.get("type")
        if isinstance(kind, str) and any(word in kind for word in _MEDIA):
            return media
        total = 4
        for name, item in value.items():
            # Whatever is no text is small; the names of a tool's schema are part of the prompt.
            total += input_tokens(item, count, media) + (1 if not isinstance(item, str) else 0)
            total += count(str(name)) if isinstance(item, Mapping) else 0
        return total
    if isinstance(value, (list, tuple)):
        return sum(input_tokens(item, count, media) for item in value)
    return 0 if value is None else 1


def usage_of(response: Any) -> dict[str, Any] | None:
    """What a response says of its use: the usage object, names, and the types of its tools."""
    usage = plain(get(response, "usage"))
    if not isinstance(usage, Mapping) or not usage:
        return None
    found: dict[str, Any] = {"usage": usage}
    for name in _NAMES:
        value = get(response, name)
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            found[name] = value
    if get(response, "object") == "response":
        found["output"] = [_tool(item) for item in get(response, "output") or []]
        tools = plain(get(response, "tool_usage"))
        if isinstance(tools, Mapping):
            found["tool_usage"] = tools
    return found


def _tool(item: Any) -> dict[str, Any]:
    """An item of a response's output, as far as tools are billed by it."""
    found: dict[str, Any] = {}
    for name in ("type", "status", "container_id"):
        value = get(item, name)
        if isinstance(value, str):
            found[name] = value
    action = get(get(item, "action"), "type")
    if isinstance(action, str):
        found["action"] = {"type": action}
    container = get(get(item, "environment"), "container_id")
    if isinstance(container, str):
        found["environment"] = {"container_id": container}
    return found


def images_of(response: Any, body: Mapping[str, Any]) -> dict[str, Any] | None:
    """Images of a model that reports no usage: their number, and what their price depends on."""
    data = get(response, "data")
    if not isinstance(data, list):
        return None
    found: dict[str, Any] = {"images": len(data)}
    for name in _NAMES_OF_IMAGES:
        value = get(response, name) or body.get(name)
        if isinstance(value, str):
            found[name] = value
    return found


def event_of(line: str) -> Any:
    """The event of a line of a stream; None for other lines."""
    if not line.startswith("data:"):
        return None
    try:
        return json.loads(line[5:])
    except ValueError:
        return None


def is_zero(usage: Any) -> bool:
    """Whether a usage object has no number but zero."""
    if isinstance(usage, Mapping):
        return all(is_zero(value) for value in usage.values())
    return not isinstance(usage, (int, float)) or usage == 0
