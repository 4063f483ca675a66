"""Settings that are one of some words: a word that is misspelt must not mean another one."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin, get_type_hints


def check(settings: Any) -> None:
    """Raises ValueError where a field of a dataclass is none of the words of its type."""
    for name, kind in get_type_hints(type(settings)).items():
        if get_origin(kind) is Literal and getattr(settings, name) not in get_args(kind):
            words = ", ".join(repr(word) for word in get_args(kind))
            raise ValueError(f"{name} is {getattr(settings, name)!r}; it can be {words}")
