"""Creates objects from the schema of a holder: the smallest one with a certain number, and random ones."""

import re

import sdk_rules
import sdk_schema as schema

#: A model of each provider, for responses that name one.
MODELS = {
    "openai": "gpt-4o", "anthropic": "claude-sonnet-4-5", "google": "gemini-2.5-pro", "mistral": "mistral-large-latest",
    "cohere": "command-r-plus", "bedrock": "anthropic.claude-sonnet-4-5-v1:0", "groq": "openai/gpt-oss-120b",
    "ollama": "llama3.2", "xai": "grok-4",
}
#: Keys that contain the model.
MODEL = re.compile("model|model_?version|modelVersion|modelId")
#: Fields with the usage of tools, in addition to that of the response.
BESIDE = ("tool_usage", "svg_usage", "output", "usage_breakdown")
#: Numbers that are not counts and may have a fraction.
FRACTIONS = ("seconds", "time", "duration")


def fits(one, path):
    """Whether the schema has a number at the path."""
    if not path:
        return isinstance(one, schema.Number) or isinstance(one, schema.Choice) and any(fits(o, path) for o in one.of)
    if isinstance(one, schema.Record):
        return path[0] in one.fields and fits(one.fields[path[0]][0], path[1:])
    if isinstance(one, schema.Choice):
        return any(fits(option, path) for option in one.of)
    if isinstance(one, schema.Many):
        return path[0] == "[]" and fits(one.of, path[1:])
    return isinstance(one, schema.Map) and path[0] == "{}" and fits(one.of, path[1:])


def number(one, key, amount):
    """The amount in the JSON form of the number."""
    if one.quoted:
        return str(amount)
    if one.whole:
        return amount
    return amount + 0.5 if any(word in key.lower() for word in FRACTIONS) else float(amount)


def text(one, key, model):
    return one.values[0] if one.values else model if MODEL.fullmatch(key) else "x"


def values_of(one):
    """The values that a text may have, even if others are possible."""
    for option in one.of if isinstance(one, schema.Choice) else (one,):
        if isinstance(option, schema.Text) and option.values:
            return option.values
    return ()


def variants(one):
    """The elements that an array of the schema may have: one for each option and each value of the keys that
    distinguish them, as fixed values by key."""
    options = one.of if isinstance(one, schema.Choice) else (one,)
    for option in options:
        texts = [(key, values_of(field)) for key, (field, _) in option.fields.items() if key != "model" and values_of(field)] \
            if isinstance(option, schema.Record) else []
        key, values = next((text for text in texts if len(text[1]) > 1 or len(options) > 1), (None, (None,)))
        for value in values:
            yield option, {key: value} if key else {}


def least(one, key, model, usage=False):
    """The smallest value of a schema: required fields, and fields with only one possible value. A usage object
    has all its numbers, as zeros."""
    if isinstance(one, schema.Number):
        return number(one, "", 0)
    if isinstance(one, schema.Text):
        return text(one, key, model)
    if isinstance(one, schema.Flag):
        return bool(one.value)
    if isinstance(one, schema.Record):
        return {
            name: least(field, name, model, usage) for name, (field, required) in one.fields.items()
            if required or isinstance(field, schema.Text) and (len(field.values) == 1 or MODEL.fullmatch(name))
            or usage and isinstance(field, (schema.Number, schema.Record))
        }
    if isinstance(one, schema.Many):
        return []
    if isinstance(one, schema.Map):
        return {}
    if isinstance(one, schema.Choice):
        return least(one.of[0], key, model, usage)
    return None


def with_number(one, path, amount, model, above, kind, key=""):
    """The smallest value with the amount at the path, whose usage object begins that many steps down. An array
    in it has one element, of the given kind."""
    if isinstance(one, schema.Choice):
        one = next(option for option in one.of if fits(option, path))
    if not path:
        return number(one, key, amount)
    inner = (path[1:], amount, model, above - 1, kind)
    if isinstance(one, schema.Map):
        return {"web_search": with_number(one.of, *inner, "web_search")}
    if isinstance(one, schema.Many):
        fitting = elements_for(one, path)
        option, fixed = fitting[kind if above <= 0 else 0]
        return [{**with_number(option, *inner), **fixed} if path[1:] else number(option, key, amount)]
    made = least(one, key, model, usage=above <= 0)
    if path[0] in BESIDE and "usage" in one.fields:
        made["usage"] = least(one.fields["usage"][0], "usage", model, usage=True)
    made[path[0]] = with_number(one.fields[path[0]][0], *inner, path[0])
    return made


def elements_for(many, path):
    """The kinds of elements that have a number at the rest of the path."""
    return [(option, fixed) for option, fixed in variants(many.of) if fits(option, path[1:])]


def kinds_at(one, path, above):
    """The distinguishing keys of the elements of the first array in the usage object on the path. One empty
    kind if there is no array."""
    if isinstance(one, schema.Choice):
        one = next(option for option in one.of if fits(option, path))
    if not path:
        return [{}]
    if isinstance(one, schema.Many) and above <= 0:
        return [fixed for _, fixed in elements_for(one, path)]
    below = one.fields[path[0]][0] if isinstance(one, schema.Record) else one.of
    return kinds_at(below, path[1:], above - 1)


def at(value, path):
    """The values at the path, each with its own path: arrays by index."""
    if not path:
        yield (), value
    elif path[0] == "[]":
        for index, element in enumerate(value):
            for rest, found in at(element, path[1:]):
                yield (index, *rest), found
    elif path[0] == "{}":
        for name, inner in value.items():
            for rest, found in at(inner, path[1:]):
                yield (name, *rest), found
    elif isinstance(value, dict) and path[0] in value:
        for rest, found in at(value[path[0]], path[1:]):
            yield (path[0], *rest), found


def places_of(holder):
    """The places of usage objects in a holder, innermost first."""
    return sorted({leaf.usage for leaf in holder.leaves}, key=lambda place: -len(place))


def usages_of(holder, made):
    """The usage objects in an object of the holder, innermost first, and the rule for the type of each. If
    several types match, the one that knows most of its keys."""
    for place in places_of(holder):
        keys = {}
        for leaf in holder.leaves:
            if leaf.usage == place:
                keys.setdefault(leaf.kind, set()).add(leaf.path[len(place)])
        for _, usage in at(made, place):
            if isinstance(usage, dict):
                yield usage, sdk_rules.rule_of(max(keys, key=lambda kind: len(keys[kind] & usage.keys())))


def make_consistent(holder, made):
    """Makes the numbers of a holder consistent by the rules of its provider."""
    for usage, rule in usages_of(holder, made):
        sdk_rules.make_consistent(rule, usage)
    return made


def objects_with(holder, leaf, amount):
    """The smallest consistent objects of the holder with a number at the leaf, and the name of the number in
    each: one for each kind of element of an array."""
    for kind, fixed in enumerate(kinds_at(holder.kind, leaf.path, len(leaf.usage))):
        made = with_number(holder.kind, leaf.path, amount, MODELS[holder.provider], len(leaf.usage), kind)
        element = "".join(f"[{key}={value}]" for key, value in fixed.items())
        yield leaf.name.replace("[]", element or "[]", 1), make_consistent(holder, made)


def amount_of(rng):
    return rng.choice((0, rng.randint(1, 30), rng.randint(1, 3_000)))


def anything(one, rng, model, key=""):
    """A random value of a schema."""
    if isinstance(one, schema.Number):
        return number(one, key, amount_of(rng))
    if isinstance(one, schema.Text):
        return rng.choice(one.values) if one.values and not MODEL.fullmatch(key) else text(one, key, model)
    if isinstance(one, schema.Record):
        return {
            name: anything(field, rng, model, name) for name, (field, required) in one.fields.items()
            if required or rng.random() < 0.75
        }
    if isinstance(one, schema.Many):
        kinds = list(variants(one.of))
        return [{**anything(option, rng, model), **fixed} if fixed else anything(option, rng, model)
                for option, fixed in rng.sample(kinds, rng.randint(0, len(kinds)))]
    if isinstance(one, schema.Map):
        return {name: anything(one.of, rng, model, name) for name in ("web_search", "code_interpreter") if rng.random() < 0.5}
    if isinstance(one, schema.Choice):
        return anything(rng.choice(one.of), rng, model, key)
    return least(one, key, model)


def with_random(one, places, rng, model, key=""):
    """A value with random usage objects at the places, and the smallest values elsewhere."""
    if () in places:
        return anything(one, rng, model, key)
    if isinstance(one, schema.Choice):
        inside = [option for option in one.of if any(leads(option, place) for place in places)]
        return with_random(rng.choice(inside), places, rng, model, key)
    if isinstance(one, schema.Many):
        options = [option for option, _ in variants(one.of) if any(leads(option, place[1:]) for place in places)]
        return [with_random(rng.choice(options), [place[1:] for place in places], rng, model) for _ in range(rng.randint(1, 2))]
    if isinstance(one, schema.Map):
        return {"key": with_random(one.of, [place[1:] for place in places], rng, model)}
    made = least(one, key, model)
    for first in dict.fromkeys(place[0] for place in places):
        if first in one.fields:
            made[first] = with_random(one.fields[first][0], [place[1:] for place in places if place[0] == first], rng, model, first)
    return made


def leads(one, place):
    """Whether a schema has a value at the place."""
    if not place:
        return isinstance(one, schema.Record)
    if isinstance(one, schema.Record):
        return place[0] in one.fields and leads(one.fields[place[0]][0], place[1:])
    if isinstance(one, schema.Choice):
        return any(leads(option, place) for option in one.of)
    return isinstance(one, (schema.Many, schema.Map)) and place[0] in ("[]", "{}") and leads(one.of, place[1:])


def random_object(holder, rng):
    """A random consistent object of the holder."""
    places = places_of(holder)
    # The usage of tools may be next to that of a response. Other usages repeat the same numbers.
    beside = [place for place in places if any(step in BESIDE for step in place)]
    chosen = [rng.choice([place for place in places if place not in beside])] + [place for place in beside if rng.random() < 0.3]
    return make_consistent(holder, with_random(holder.kind, chosen, rng, MODELS[holder.provider]))


def numbers_in(value):
    """The places of numbers: the object or array that contains each, and its key."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(inner, (dict, list)):
            yield from numbers_in(inner)
        elif isinstance(inner, (int, float)) and not isinstance(inner, bool):
            yield value, key


def spoil(holder, made, rng):
    """Changes some of the numbers of usage, so that they may be inconsistent."""
    places = [numbers for usage, _ in usages_of(holder, made) for numbers in numbers_in(usage)]
    for _ in range(rng.randint(1, 3)):
        if places:
            inside, key = rng.choice(places)
            inside[key] = rng.choice((None, float(amount_of(rng)) if isinstance(inside[key], float) else amount_of(rng)))
    return made


def total_of(holder, made):
    """The provider's own total of everything in the object."""
    return sum(rule.total(sdk_rules.Usage(usage)) for usage, rule in usages_of(holder, made))
