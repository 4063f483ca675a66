"""Compares normalize_usage() with the usage that genai-prices extracts from responses, for all its providers and APIs.

Each of its extractors gets random responses with the fields it reads and with numbers that are consistent by the
provider's rules (sdk_rules.py). Its meters include their parts, ours do not: ours are added up to compare them.
Prints its seed (WALLET_SEED repeats a run) and fails on a disagreement that genai_disagreements.json does not
list, and on an entry that explains none.
"""

import collections
import importlib.metadata
import json
import os
import random
import re
import sys
import time
from decimal import Decimal

import psycopg
import sdk_rules
from genai_prices import data

HERE = os.path.dirname(os.path.abspath(__file__))
ROUNDS = int(os.environ.get("WALLET_ORACLE_ROUNDS", "30"))
#: Providers by our names, if theirs differ.
NAMES = {"aws": "bedrock", "x-ai": "xai"}

INPUT = ("input_tokens", "cache_read_tokens", "cache_read_audio_tokens", "cache_write_tokens", "cache_write_1h_tokens",
         "cache_write_audio_tokens", "input_audio_tokens", "input_image_tokens", "input_video_tokens")
OUTPUT = ("output_tokens", "reasoning_tokens", "output_audio_tokens", "output_image_tokens", "output_video_tokens", "citation_tokens")
#: Their meters, and the sum of ours that each one is. We do not separate their text, and cached
#: images and videos. Images and videos of the input are compared without their cached part.
METERS = {
    "input_tokens": INPUT,
    "output_tokens": OUTPUT,
    "cache_read_tokens": ("cache_read_tokens", "cache_read_audio_tokens"),
    "cache_write_tokens": ("cache_write_tokens", "cache_write_1h_tokens", "cache_write_audio_tokens"),
    "cache_write_1h_tokens": ("cache_write_1h_tokens",),
    "cache_audio_read_tokens": ("cache_read_audio_tokens",),
    "input_audio_tokens": ("input_audio_tokens", "cache_read_audio_tokens", "cache_write_audio_tokens"),
    "input_image_tokens": ("input_image_tokens",),
    "input_video_tokens": ("input_video_tokens",),
    "output_audio_tokens": ("output_audio_tokens",),
    "output_image_tokens": ("output_image_tokens",),
    "output_video_tokens": ("output_video_tokens",),
    "output_reasoning_tokens": ("reasoning_tokens",),
    "output_citation_tokens": ("citation_tokens",),
    "web_searches": ("queries",),
    "audio_seconds": ("audio_seconds",),
    "input_document_pages": ("pages",),
    "input_annotated_document_pages": ("annotated_pages",),
}
#: Meters whose cached part, on the right, theirs includes and ours does not.
CACHED = {"input_image_tokens": "cache_image_read_tokens", "input_video_tokens": "cache_video_read_tokens"}

OURS = """
CREATE FUNCTION pg_temp.meters(usage jsonb, provider text) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT coalesce(jsonb_object_agg(meter, quantity), '{}') FROM wallet.normalize_usage(usage, provider));
EXCEPTION WHEN OTHERS THEN
    RETURN to_jsonb(SQLSTATE || ' ' || SQLERRM);
END $$
"""


class XaiChat(sdk_rules.Chat):
    """xAI counts reasoning separately from the completion."""

    parts = ("prompt_tokens", "completion_tokens", "completion_tokens_details.reasoning_tokens")

    def consistent(self, u):
        details = "completion_tokens_details"
        reasoning = u.get(f"{details}.reasoning_tokens")
        u.cover("prompt_tokens", "prompt_tokens_details.cached_tokens")
        u.cover("completion_tokens", f"{details}.audio_tokens")
        u.put("total_tokens", u.sum("prompt_tokens", "completion_tokens") + reasoning)


class Perplexity(sdk_rules.Chat):
    """Perplexity's total excludes reasoning and citations."""

    def consistent(self, u):
        u.total("total_tokens", *self.parts)


#: The rule for a response, by one of its fields.
RULES = [
    ("cached_prompt_text_tokens", sdk_rules.Xai()),
    ("promptTokenCount", sdk_rules.Gemini()),
    ("cacheDetails", sdk_rules.Bedrock()),
    ("prompt_tokens", sdk_rules.Chat()),
    ("input_token_details", sdk_rules.Realtime()),
    ("input_tokens_details.text_tokens", sdk_rules.Images()),
    ("cache_read_input_tokens", sdk_rules.Anthropic()),
    ("input_tokens_details", sdk_rules.Responses()),
    ("tokens.input_tokens", sdk_rules.Cohere()),
    ("", sdk_rules.Plain()),
]
#: APIs whose responses always have all the fields, which identify them.
COMPLETE = {("perplexity", "default")}
#: Other parts of a response, by a word in the name of the API.
AROUND = {
    "chat": {"object": "chat.completion", "choices": []},
    "responses": {"object": "response", "output": []},
    "embeddings": {"object": "list", "data": []},
    "anthropic": {"type": "message", "role": "assistant"},
    "realtime": {"type": "response.done"},
    "ocr": {"pages": []},
    "ocr_annotated": {"pages": [], "document_annotation": "{}"},
    "live": {"type": "session.closed"},
}
MODELS = {"google": "gemini-2.5-pro", "anthropic": "claude-sonnet-4-5", "x-ai": "grok-4", "cohere": "command-r-plus"}


def steps_of(path):
    return [path] if isinstance(path, str) else list(path)


def named(path):
    """A path as text."""
    return ".".join(step if isinstance(step, str) else "[]" for step in steps_of(path))


def put(inside, path, value):
    """Puts a value at a path of theirs. An array gets the element that the path needs."""
    for step, after in zip(path, [*path[1:], None]):
        if after is None:
            inside[step] = value
        elif isinstance(step, str):
            inside = inside.setdefault(step, {} if isinstance(after, str) else [])
        else:
            element = next((one for one in inside if one[step.field] == step.match.equals), None)
            if element is None:
                element = {step.field: step.match.equals}
                inside.append(element)
            inside = element


def rule_of(provider, flavor, paths):
    if (provider, flavor) == ("x-ai", "chat"):
        return XaiChat()
    if (provider, flavor) == ("perplexity", "default"):
        return Perplexity()
    return next(rule for field, rule in RULES if any(path.startswith(field) for path in paths))


def response_of(provider, extractor, rng):
    """A random response that the extractor reads."""
    made, usage = dict(AROUND.get(extractor.api_flavor, {})), {}
    chance = 1 if (provider, extractor.api_flavor) in COMPLETE else 0.6
    some = [mapping for mapping in extractor.mappings if mapping.required or rng.random() < chance]
    for mapping in some or extractor.mappings:
        put(usage, steps_of(mapping.path), rng.choice((0, rng.randint(1, 40), rng.randint(1, 4_000))))
    paths = {named(mapping.path) for mapping in extractor.mappings}
    sdk_rules.make_consistent(rule_of(provider, extractor.api_flavor, paths), usage)
    put(made, steps_of(extractor.root), usage)
    put(made, steps_of(extractor.model_path), MODELS.get(provider, "some-model"))
    return made


def difference(theirs, ours):
    """The first of their meters that ours do not add up to, with both numbers. None if they agree."""
    for meter, parts in METERS.items():
        if meter in theirs:
            expected = Decimal(str(theirs[meter])) - Decimal(str(theirs.get(CACHED.get(meter), 0)))
            counted = sum(Decimal(str(ours.get(part, 0))) for part in parts)
            if expected != counted:
                return f"{meter}: {counted}, theirs {expected}"
    return None


def main():
    seed = int(os.environ.get("WALLET_SEED") or time.time_ns())
    print(f"genai_usage_oracle: WALLET_SEED={seed}, genai-prices {importlib.metadata.version('genai-prices')}")
    rng = random.Random(seed)
    cases = []
    for provider in data.providers:
        for extractor in provider.extractors or ():
            for _ in range(ROUNDS):
                made = response_of(provider.id, extractor, rng)
                theirs = vars(extractor.extract(made)[1])
                cases.append((provider.id, extractor.api_flavor, made, theirs))
    unknown = {meter for *_, theirs in cases for meter in theirs} - METERS.keys()
    print(f"{len({case[:2] for case in cases})} APIs, {len(cases)} responses; not compared: {', '.join(sorted(unknown))}")

    with psycopg.connect(os.environ.get("WALLET_ORACLE_DATABASE", "")) as connection:
        connection.execute("DROP EXTENSION IF EXISTS wallet CASCADE")
        connection.execute("CREATE EXTENSION wallet")
        connection.execute(OURS)
        connection.execute("CREATE TEMP TABLE cases (id int, usage jsonb, provider text)")
        with connection.cursor() as cursor, cursor.copy("COPY cases FROM STDIN") as copy:
            for number, (provider, _, made, _) in enumerate(cases):
                copy.write_row((number, json.dumps(made), NAMES.get(provider, provider)))
        ours = dict(connection.execute("SELECT id, pg_temp.meters(usage, provider) FROM cases").fetchall())
        connection.rollback()

    rules = json.load(open(os.path.join(HERE, "genai_disagreements.json")))
    listed, unlisted = collections.Counter(), collections.defaultdict(list)
    for number, (provider, flavor, made, theirs) in enumerate(cases):
        answer = ours[number]
        found = answer if isinstance(answer, str) else difference(theirs, answer)
        if found is None:
            continue
        rule = next((n for n, rule in enumerate(rules)
                     if re.fullmatch(rule["api"], f"{provider}/{flavor}") and re.match(rule["ours"], found)), None)
        if rule is None:
            unlisted[f"{provider}/{flavor} {found.split(':')[0] if not isinstance(answer, str) else found}"].append((found, theirs, made))
        else:
            listed[rule] += 1
    wrong = sum(map(len, unlisted.values()))
    print(f"{len(cases) - listed.total() - wrong} agree, {listed.total()} disagree for a listed reason, {wrong} for none")
    idle = False
    for number, rule in enumerate(rules):
        print(f"  {listed[number]}: {rule['reason']}")
        if not listed[number]:
            idle = True
            print(f"  WRONG: no disagreement of {rule['api']} needs that entry")
    for name, found in list(unlisted.items())[:40]:
        print(f"  not listed: {name} ({len(found)})")
        print("    ", found[0][0], found[0][1], json.dumps(found[0][2]))
    return 1 if wrong or idle else 0


if __name__ == "__main__":
    sys.exit(main())
