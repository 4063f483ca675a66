"""Finds the types of the SDKs that carry usage, by walking through everything that an SDK defines.

A holder is a type that carries usage: a response, an event, a line of a batch. The usage is in fields with such a
name, or deeper, in the response that an event contains.
"""

import dataclasses
import importlib
import inspect
import pkgutil
import re

import botocore.session
import pydantic
import sdk_schema as schema
from xai_sdk.proto import usage_pb2

#: Fields that are usage, whatever their type.
USAGE = re.compile(
    r"usage|.*_usage|usage_.*|usage(Metadata|Info)|.*Usage"  # of everybody
    r"|meta"  # Cohere
)
#: Fields that contain something with usage.
CARRIER = re.compile(r"response|message|interaction|delta|metadata|result|output|x_groq")
#: Modules whose types are not responses.
NO_TYPES = re.compile(r"\.(tests|cli|_vendor|azure|gcp|extra)(\.|$)|_test|local_tokenizer")
#: Types that are left out, and why.
LEFT_OUT = {
    r"openai\.types\.admin\.|.*[.]organization[.].*": "a report on what an organization used, of responses that were charged for themselves",
    r"openai\.types\.evals\.": "a report on a run, of responses that were charged for themselves",
    r"openai\.types\.fine_tuning\.": "a trial of a grader, which names neither model nor kind of token",
    r"openai\.types\.vector_stores?\.": "bytes that are stored",
    r"openai\.types\.live\.session_usage_updated_event\.ContextWindow": "a ratio",
    r"cohere\.datasets\.": "bytes that are stored",
    r"mistralai\..*\.(GetSpan|Aggregation)": "a record of tracing",
    r"anthropic\..*\.BetaCompliance\w+": "a copy of a response, for review",
    r".*\.(ImageGenerationCall|UsageBreakdownModel|XGroq|StepDeltaMetadata|ChatMessageEndEventDelta)": "part of a holder",
}
#: The types left out that were found.
needed = set()


@dataclasses.dataclass(frozen=True)
class Leaf:
    """A number of usage: its path in the holder, its name in reports, and the place and type of its usage object."""

    path: tuple
    name: str
    usage: tuple
    kind: str


@dataclasses.dataclass(frozen=True)
class Holder:
    """A type that carries usage, and the provider of its SDK."""

    provider: str
    kind: schema.Record
    leaves: tuple

    def __str__(self):
        return self.kind.name


def records_in(one, path=()):
    """The records in a field, without the records inside them, and their paths."""
    if isinstance(one, schema.Record):
        yield path, one
    elif isinstance(one, schema.Choice):
        for option in one.of:
            yield from records_in(option, path)
    elif isinstance(one, schema.Many):
        yield from records_in(one.of, (*path, "[]"))
    elif isinstance(one, schema.Map):
        yield from records_in(one.of, (*path, "{}"))


def dotted(path):
    return "".join(step if step == "[]" else f".{step}" for step in path)


def usage_leaves(record, path=(), above=()):
    """The numbers of usage that a record carries."""
    if record.name in above:
        return
    for key, (field, _) in record.fields.items():
        here = (*path, key)
        if USAGE.fullmatch(key):
            # Numbers are named after the type of the usage, or after the holder if it has none.
            for inside, inner in records_in(field):
                for leaf, _ in schema.leaves(inner):
                    yield Leaf((*here, *inside, *leaf), f"{inner.name}{dotted(leaf)}", (*here, *inside), inner.name)
            if not any(records_in(field)):
                for leaf, _ in schema.leaves(field):
                    yield Leaf((*here, *leaf), f"{record.name}.{key}{dotted(leaf)}", path, record.name)
        elif CARRIER.fullmatch(key):
            for inside, inner in records_in(field):
                yield from usage_leaves(inner, (*here, *inside), (*above, record.name))


def holders_among(provider, records):
    """The holders among records."""
    for record in records:
        leaves = tuple(dict.fromkeys(usage_leaves(record)))
        if leaves:
            left_out = [pattern for pattern in LEFT_OUT if re.match(pattern, record.name)]
            needed.update(left_out)
            if not left_out:
                yield Holder(provider, record, leaves)


def classes_of(package):
    """Every pydantic model that a package defines, by its name."""
    found = {}
    root = importlib.import_module(package)
    names = [package, *(m.name for m in pkgutil.walk_packages(getattr(root, "__path__", []), f"{package}.", onerror=lambda _: None))]
    for name in names:
        if NO_TYPES.search(name):
            continue
        try:
            module = importlib.import_module(name)
        except ImportError:  # needs something that is not installed
            continue
        for kind in list(vars(module).values()):
            if inspect.isclass(kind) and issubclass(kind, pydantic.BaseModel) and kind.__module__.startswith(package):
                found[f"{kind.__module__}.{kind.__qualname__}"] = kind
    return [found[name] for name in sorted(found)]


def of_python(provider, package, aliases=True):
    """The holders of an SDK of Python types, with the keys of the API or the names in Python."""
    yield from holders_among(provider, [schema.of_class(kind, aliases) for kind in classes_of(package)])


def whole(provider, package, names):
    """A holder for types that are usage objects themselves: all their numbers count."""
    for kind in classes_of(package):
        if kind.__name__ in names:
            record = schema.of_class(kind)
            yield Holder(provider, record, tuple(
                Leaf((key,), f"{record.name}.{key}", (), record.name)
                for key, (field, _) in record.fields.items() if isinstance(field, schema.Number)
            ))


def of_botocore(provider, service):
    """The holders among the outputs of a service, and the events of its streams."""
    model = botocore.session.get_session().get_service_model(service)
    records, seen = [], set()

    def add(shape):
        if shape is None or shape.name in seen:
            return
        seen.add(shape.name)
        if shape.type_name == "structure":
            records.append(schema.of_shape(shape, service))
            if getattr(shape, "is_eventstream", False) or shape.serialization.get("eventstream"):
                for member in shape.members.values():
                    add(member)
            for member in shape.members.values():
                if member.serialization.get("eventstream"):
                    add(member)

    for name in model.operation_names:
        add(model.operation_model(name).output_shape)
    yield from holders_among(provider, records)


def of_protobuf(provider, package, camel_case):
    """The holders among the messages of a package of protobuf."""
    records = {}
    for name in (m.name for m in pkgutil.iter_modules(importlib.import_module(package).__path__) if m.name.endswith("_pb2")):
        module = importlib.import_module(f"{package}.{name}")
        for message in module.DESCRIPTOR.message_types_by_name.values():
            record = schema.of_message(message, camel_case)
            records[record.name] = record
    yield from holders_among(provider, [records[name] for name in sorted(records)])


def holders():
    """Every holder of every SDK."""
    yield from of_python("openai", "openai.types")
    yield from of_python("anthropic", "anthropic.types")
    yield from of_python("google", "google.genai")
    yield from of_python("google", "google.genai.types", aliases=False)
    yield from of_python("mistral", "mistralai.client.models")
    yield from of_python("cohere", "cohere")
    yield from of_botocore("bedrock", "bedrock-runtime")
    yield from of_python("groq", "groq.types")
    yield from of_python("ollama", "ollama")
    yield from whole("ollama", "ollama", ("GenerateResponse", "ChatResponse", "EmbedResponse"))
    package = usage_pb2.__name__.rsplit(".", 1)[0]
    for camel_case in (False, True):
        yield from of_protobuf("xai", package, camel_case)
