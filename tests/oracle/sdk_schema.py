"""Reads the types of SDKs into one plain schema, whatever library defines them.

A schema is a Record, a Choice of schemas, a Many of one schema (an array), a Map (an object with any keys), or one of
the leaves Number, Text, Flag and Anything.
"""

import collections.abc
import dataclasses
import enum
import functools
import inspect
import sys
import types
import typing

import pydantic
import typing_extensions


@dataclasses.dataclass(frozen=True)
class Number:
    whole: bool = True
    #: Protobuf writes 64-bit numbers as strings.
    quoted: bool = False


@dataclasses.dataclass(frozen=True)
class Text:
    #: The values that it may have. None if it is free.
    values: tuple = ()


@dataclasses.dataclass(frozen=True)
class Flag:
    #: The only value that it may have. None if it is free.
    value: bool | None = None


@dataclasses.dataclass(frozen=True)
class Anything:
    pass


@dataclasses.dataclass(frozen=True)
class Many:
    of: object


@dataclasses.dataclass(frozen=True)
class Map:
    of: object


@dataclasses.dataclass(frozen=True)
class Choice:
    of: tuple


class Record:
    """An object with known keys. They are read on first use, so that types may contain themselves."""

    def __init__(self, name, read):
        self.name = name
        self._read = read

    @functools.cached_property
    def fields(self):
        """The schema by key, and whether the key is required."""
        return self._read()

    def __repr__(self):
        return self.name


# Python types: pydantic, TypedDict, dataclasses, attrs, and what they are made of.


def is_record(kind):
    return inspect.isclass(kind) and (
        issubclass(kind, pydantic.BaseModel)
        or dataclasses.is_dataclass(kind)
        or typing_extensions.is_typeddict(kind)
        or hasattr(kind, "__attrs_attrs__")
    )


def choice(schemas):
    """A choice of several schemas, without empty ones and duplicates."""
    flat = []
    for schema in schemas:
        for one in schema.of if isinstance(schema, Choice) else (schema,):
            if one is not None and one not in flat:
                flat.append(one)
    return flat[0] if len(flat) == 1 else Choice(tuple(flat)) if flat else Anything()


def literals(values):
    if all(isinstance(value, bool) for value in values):
        return choice([Flag(value) for value in values])
    if all(isinstance(value, str) for value in values):
        return Text(tuple(values))
    return choice([
        Flag(v) if isinstance(v, bool) else Text((v,)) if isinstance(v, str) else None if v is None else Number(isinstance(v, int))
        for v in values
    ])


def of_type(kind, module=None, aliases=True):
    """The schema of an annotation, or None. Quoted names are looked up in module."""
    read = functools.partial(of_type, module=module, aliases=aliases)
    if isinstance(kind, (str, typing.ForwardRef)):
        name = kind if isinstance(kind, str) else kind.__forward_arg__
        return read(eval(name, vars(sys.modules[module])))  # noqa: S307 a name of the SDK's own module
    if isinstance(kind, typing_extensions.TypeAliasType):
        return read(kind.__value__)
    if isinstance(kind, typing.TypeVar):
        return read(kind.__bound__) if kind.__bound__ else Anything()
    if hasattr(kind, "__supertype__"):  # a NewType
        return read(kind.__supertype__)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(origin, typing_extensions.TypeAliasType):
        inner = origin.__value__[arguments] if getattr(origin, "__parameters__", ()) else origin.__value__
        return read(inner)
    if origin in (typing.Annotated, typing_extensions.Required, typing_extensions.NotRequired, typing.ClassVar):
        return read(arguments[0])
    if origin in (typing.Literal, typing_extensions.Literal):
        return literals(arguments)
    if origin in (typing.Union, types.UnionType):
        return choice([read(argument) for argument in arguments])
    if kind in (None, type(None)):
        return None
    if origin is not None and inspect.isclass(origin):
        if issubclass(origin, collections.abc.Mapping):
            return Map(read(arguments[1]))
        if issubclass(origin, collections.abc.Iterable) and not is_record(origin):
            return Many(read(arguments[0]))
        return read(origin)
    if not inspect.isclass(kind):
        return Anything()
    if kind.__name__ in ("Unset", "UNSET_TYPE", "NotGiven"):
        return None
    if is_record(kind):
        return of_class(kind, aliases)
    if issubclass(kind, enum.Enum):
        return literals([member.value for member in kind])
    if issubclass(kind, bool):
        return Flag()
    if issubclass(kind, (int, float)):
        return Number(issubclass(kind, int))
    if issubclass(kind, str):
        return Text()
    return Anything()


@functools.cache
def of_class(kind, aliases=True):
    """The schema of a class with fields. Without aliases, the keys are the names in Python."""

    def read():
        module, found = kind.__module__, {}
        if issubclass(kind, pydantic.BaseModel):
            for name, field in kind.model_fields.items():
                # Annotated keeps the information of the field itself, which pydantic splits.
                key = (field.serialization_alias or field.alias or name) if aliases else name
                found[key] = (of_type(field.annotation, module, aliases) or Anything(), field.is_required())
            return found
        required = getattr(kind, "__required_keys__", None)
        for name, annotation in typing_extensions.get_type_hints(kind, include_extras=True).items():
            found[name] = (of_type(annotation, module, aliases) or Anything(), required is None or name in required)
        return found

    return Record(f"{kind.__module__}.{kind.__qualname__}", read)


# Shapes of botocore's service models.


def of_shape(shape, service):
    """The schema of a shape of a service in botocore."""
    kind = shape.type_name
    if kind == "structure":
        members = shape.members
        return Record(f"{service}.{shape.name}", lambda: {
            name: (of_shape(member, service), name in shape.required_members) for name, member in members.items()
        })
    if kind == "list":
        return Many(of_shape(shape.member, service))
    if kind == "map":
        return Map(of_shape(shape.value, service))
    if kind in ("integer", "long"):
        return Number()
    if kind in ("float", "double", "bigdecimal"):
        return Number(whole=False)
    if kind == "boolean":
        return Flag()
    if kind == "string":
        return Text(tuple(shape.enum))
    return Anything()


# Messages of protobuf, in their JSON form.


def of_message(descriptor, camel_case):
    """The schema of the JSON form of a protobuf message, with its original names or in camel case."""

    def of_field(field):
        numbers = {
            field.CPPTYPE_INT32: Number(), field.CPPTYPE_UINT32: Number(),
            field.CPPTYPE_INT64: Number(quoted=True), field.CPPTYPE_UINT64: Number(quoted=True),
            field.CPPTYPE_FLOAT: Number(whole=False), field.CPPTYPE_DOUBLE: Number(whole=False),
            field.CPPTYPE_BOOL: Flag(), field.CPPTYPE_STRING: Text(),
        }
        if field.cpp_type == field.CPPTYPE_MESSAGE:
            one = of_message(field.message_type, camel_case)
            if field.message_type.GetOptions().map_entry:
                return Map(of_field(field.message_type.fields_by_name["value"]))
        elif field.cpp_type == field.CPPTYPE_ENUM:
            one = Text(tuple(value.name for value in field.enum_type.values))
        else:
            one = numbers[field.cpp_type]
        return Many(one) if field.is_repeated else one

    def read():
        return {
            field.json_name if camel_case else field.name: (of_field(field), False)
            for field in descriptor.fields
        }

    return Record(f"{'json.' if camel_case else ''}{descriptor.full_name}", read)


def leaves(schema, path=(), above=()):
    """Every number below a schema: its path (a tuple of keys, with [] for each element of an array and {} for
    any key) and its schema. Recursive types are not followed."""
    if isinstance(schema, Number):
        yield path, schema
    elif isinstance(schema, Record):
        if schema.name not in above:
            for key, (field, _) in schema.fields.items():
                yield from leaves(field, (*path, key), (*above, schema.name))
    elif isinstance(schema, Choice):
        seen = set()
        for one in schema.of:
            for leaf in leaves(one, path, above):
                if leaf not in seen:
                    seen.add(leaf)
                    yield leaf
    elif isinstance(schema, Many):
        yield from leaves(schema.of, (*path, "[]"), above)
    elif isinstance(schema, Map):
        yield from leaves(schema.of, (*path, "{}"), above)
