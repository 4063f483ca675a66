"""Compares price_usage() with LiteLLM's own calculator, for every model of LiteLLM's own price file.

Prints its seed (WALLET_SEED repeats a run), every kind of disagreement with examples, and fails on one
that disagreements.json does not list with its reason, or on a listed one that is no more.
"""

import collections
import json
import math
import os
import random
import re
import sys
import time

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm  # noqa: E402

litellm.suppress_debug_info = True

import psycopg  # noqa: E402
from litellm.cost_calculator import (  # noqa: E402
    batch_cost_calculator,
    cost_per_token,
    default_image_cost_calculator,
    default_video_cost_calculator,
    ocr_cost,
)
from litellm.llms.base_llm.ocr.transformation import OCRResponse, OCRUsageInfo  # noqa: E402
from litellm.types.utils import (  # noqa: E402
    CacheCreationTokenDetails,
    CompletionTokensDetailsWrapper,
    PromptTokensDetailsWrapper,
    Usage,
)

HERE = os.path.dirname(os.path.abspath(__file__))
TOKEN_MODES = {"chat", "completion", "responses", "embedding", "realtime", "moderation", "evaluation", "extraction", None}
ROUNDS = int(os.environ.get("WALLET_ORACLE_ROUNDS", "3"))


def seed():
    value = int(os.environ.get("WALLET_SEED") or time.time_ns())
    print(f"litellm_oracle: WALLET_SEED={value}")
    return value


def kinds_of(entry):
    """Which kinds of usage say something about the model's prices."""
    keys = [key for key, value in entry.items() if isinstance(value, (int, float)) and "cost" in key]

    def any_key(pattern):
        return any(re.search(pattern, key) for key in keys)

    yield "plain", {}
    if any_key("cache_read_input_token_cost"):
        yield "cache_read", {"cache_read": True}
    if any_key("cache_creation_input_token_cost"):
        yield "cache_write", {"cache_write": True}
        yield "cache_read_write", {"cache_read": True, "cache_write": True}
    if any_key("cache_creation_input_token_cost_above_1hr"):
        yield "cache_write_1h", {"cache_write_1h": True}
    if any_key("output_cost_per_reasoning_token"):
        yield "reasoning", {"reasoning": True}
    if any_key("input_cost_per_audio_token"):
        yield "audio_in", {"audio_in": True}
    if any_key("output_cost_per_audio_token"):
        yield "audio_out", {"audio_out": True}
    if any_key("output_cost_per_image_token"):
        yield "image_out", {"image_out": True}
    thresholds = sorted({int(n) for key in keys for n in re.findall(r"above_(\d+)k_tokens", key)})
    for threshold in thresholds:
        yield f"above_{threshold}k", {"above": threshold * 1000}
        yield f"at_{threshold}k", {"at": threshold * 1000}
        if any_key("cache_read_input_token_cost"):
            yield f"above_{threshold}k_cache", {"above": threshold * 1000, "cache_read": True}
    for tier in ("flex", "priority"):
        if any_key(f"_{tier}$"):
            yield tier, {"tier": tier}
            if any_key("cache_read_input_token_cost"):
                yield f"{tier}_cache", {"tier": tier, "cache_read": True}
    if any_key("_batches$"):
        yield "batch", {"tier": "batch"}


def case(rng, shape, mode):
    """A random usage: LiteLLM's totals, and the disjoint meters of the same tokens."""
    meters = {"input_tokens": rng.randint(1, 60_000)}
    if mode not in ("embedding", "moderation"):
        meters["output_tokens"] = rng.randint(0, 8_000)
    for flag, meter in (
        ("cache_read", "cache_read_tokens"),
        ("cache_write", "cache_write_tokens"),
        ("cache_write_1h", "cache_write_1h_tokens"),
        ("reasoning", "reasoning_tokens"),
        ("audio_in", "input_audio_tokens"),
        ("audio_out", "output_audio_tokens"),
        ("image_out", "output_image_tokens"),
    ):
        if shape.get(flag):
            meters[meter] = rng.randint(1, 20_000)
    if "above" in shape:
        meters["input_tokens"] = shape["above"] + rng.randint(1, 50_000)
    if "at" in shape:
        meters["input_tokens"] = shape["at"]
    get = lambda name: meters.get(name, 0)  # noqa: E731
    prompt = sum(get(m) for m in ("input_tokens", "cache_read_tokens", "cache_write_tokens",
                                  "cache_write_1h_tokens", "input_audio_tokens"))
    completion = sum(get(m) for m in ("output_tokens", "reasoning_tokens", "output_audio_tokens",
                                      "output_image_tokens"))
    writes = get("cache_write_tokens") + get("cache_write_1h_tokens")
    usage = Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        prompt_tokens_details=PromptTokensDetailsWrapper(
            cached_tokens=get("cache_read_tokens"),
            cache_creation_tokens=writes,
            audio_tokens=get("input_audio_tokens"),
            text_tokens=get("input_tokens"),
            cache_creation_token_details=CacheCreationTokenDetails(
                ephemeral_5m_input_tokens=get("cache_write_tokens"),
                ephemeral_1h_input_tokens=get("cache_write_1h_tokens"),
            ) if writes else None,
        ),
        completion_tokens_details=CompletionTokensDetailsWrapper(
            reasoning_tokens=get("reasoning_tokens"),
            audio_tokens=get("output_audio_tokens"),
            text_tokens=get("output_tokens"),
            image_tokens=get("output_image_tokens"),
        ),
        cache_creation_input_tokens=writes,
        cache_read_input_tokens=get("cache_read_tokens"),
    )
    return meters, usage


def theirs(model, entry, usage, tier):
    provider = entry.get("litellm_provider")
    if tier == "batch":
        return sum(batch_cost_calculator(usage=usage, model=model, custom_llm_provider=provider, model_info=entry))
    return sum(cost_per_token(model=model, custom_llm_provider=provider, usage_object=usage, service_tier=tier))


def by_unit(rng, model, entry):
    """Models that are not priced by the token: kind, usage, and what theirs makes of it."""
    provider, mode = entry.get("litellm_provider"), entry.get("mode")

    def priced(call_type, **arguments):
        return sum(cost_per_token(model=model, custom_llm_provider=provider, call_type=call_type, **arguments))

    if mode == "audio_transcription" and "input_cost_per_second" in entry:
        seconds = rng.randint(1, 3_600)
        yield ("seconds", {"audio_seconds": seconds},
               lambda: priced("transcription", audio_transcription_file_duration=float(seconds)))
    if mode == "audio_speech" and "input_cost_per_character" in entry:
        characters = rng.randint(1, 100_000)
        yield ("characters", {"input_characters": characters}, lambda: priced("speech", prompt_characters=characters))
    if mode == "search" and "input_cost_per_query" in entry and "tiered_pricing" not in entry:
        queries = rng.randint(1, 50)
        yield ("queries", {"queries": queries}, lambda: priced("search", number_of_queries=queries))
    if mode == "rerank" and entry.get("input_cost_per_query"):
        queries = rng.randint(1, 50)
        yield ("queries", {"queries": queries},
               lambda: priced("rerank", rerank_billed_units={"search_units": queries}))
    if mode == "ocr" and "ocr_cost_per_page" in entry:
        pages = rng.randint(1, 300)
        response = OCRResponse(pages=[], model=model, usage_info=OCRUsageInfo(pages_processed=pages))
        yield ("pages", {"pages": pages}, lambda: sum(ocr_cost(model=model, custom_llm_provider=provider, response=response)))
    if mode == "video_generation":
        seconds = rng.randint(1, 60)
        sizes = [None] + [size for size in ("480p", "720p", "1080p", "4k") if f"output_cost_per_second_{size}" in entry]
        size = rng.choice(sizes)
        yield ("video", {"video_seconds": seconds, **({"resolution": size} if size else {})},
               lambda: default_video_cost_calculator(model=model, duration_seconds=seconds, custom_llm_provider=provider, video_resolution=size))
    if mode in ("image_generation", "image_edit"):
        # Where both are there, or tokens too, theirs takes the first that it finds; in a model that
        # makes images the price of an "input image" is that of a made one.
        fields = {"input_cost_per_image", "output_cost_per_image", "input_cost_per_token"} & entry.keys()
        if len(fields) == 1 and "input_cost_per_token" not in fields:
            images = rng.randint(1, 10)
            yield ("images", {"images": images},
                   lambda: default_image_cost_calculator(model=model, custom_llm_provider=provider, n=images, model_info=entry))


OURS = """
CREATE FUNCTION pg_temp.cost(usage jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN (wallet.price_usage(usage)).cost;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END $$
"""


def main():
    rng = random.Random(seed())
    feed = json.load(open(os.path.join(os.path.dirname(litellm.__file__), "model_prices_and_context_window_backup.json")))
    cases, failed = [], collections.Counter()
    for model, entry in feed.items():
        if model == "sample_spec":
            continue
        for _ in range(ROUNDS):
            for kind, meters, cost in by_unit(rng, model, entry):
                try:
                    cases.append((model, kind, {"model": model, **meters}, cost()))
                except Exception as error:  # their calculator refuses the model
                    failed[f"{entry.get('litellm_provider')} {kind}: {type(error).__name__}"] += 1
        if entry.get("mode") not in TOKEN_MODES and not (
            entry.get("mode") in ("audio_speech", "audio_transcription", "image_generation")
            and {"input_cost_per_token", "output_cost_per_token"} <= entry.keys()
        ):
            continue
        for kind, shape in kinds_of(entry):
            for _ in range(ROUNDS):
                meters, usage = case(rng, shape, entry.get("mode"))
                tier = shape.get("tier")
                try:
                    cost = theirs(model, entry, usage, tier)
                except Exception as error:  # their calculator refuses the model
                    failed[f"{entry.get('litellm_provider')}: {type(error).__name__}"] += 1
                    continue
                asked = {"model": model, **meters}
                if tier:
                    asked["service_tier"] = tier
                cases.append((model, kind, asked, cost))
    print(f"{len(feed)} models, {len(cases)} cases; {sum(failed.values())} that their calculator refuses")
    for what, count in failed.most_common(8):
        print("  refused", count, what)

    with psycopg.connect(os.environ.get("WALLET_ORACLE_DATABASE", "")) as connection:
        connection.execute("DROP EXTENSION IF EXISTS wallet CASCADE")
        connection.execute("CREATE EXTENSION wallet")
        feed.pop("sample_spec", None)
        connection.execute("SELECT count(*) FROM wallet.import_prices('litellm', %s, effective_from => '2020-01-01Z')", (json.dumps(feed),))
        connection.execute(OURS)
        connection.execute("CREATE TEMP TABLE cases (id int, usage jsonb)")
        with connection.cursor() as cursor, cursor.copy("COPY cases FROM STDIN") as copy:
            for number, (_, _, usage, _) in enumerate(cases):
                copy.write_row((number, json.dumps(usage)))
        ours = dict(connection.execute("SELECT id, pg_temp.cost(usage) FROM cases").fetchall())
        connection.rollback()

    rules = json.load(open(os.path.join(HERE, "disagreements.json")))
    used, listed, unlisted = collections.Counter(), 0, []
    for number, (model, kind, usage, cost) in enumerate(cases):
        answer = ours[number]
        try:
            if math.isclose(float(answer), cost, rel_tol=1e-9, abs_tol=1e-12):
                continue
        except ValueError:
            pass  # an error of ours
        provider = str(feed[model].get("litellm_provider"))
        rule = next((rule for rule in rules if explains(rule, provider, model, kind, cost, answer)), None)
        if rule is None:
            unlisted.append((provider, kind, usage, cost, answer))
        else:
            listed += 1
            used[rule["reason"]] += 1
    agreeing = len(cases) - listed - len(unlisted)
    print(f"{agreeing} agree within 1e-9, {listed} disagree for a listed reason, {len(unlisted)} for none")
    for reason, count in used.most_common():
        print(f"  {count} {reason}")
    for one in unlisted[:40]:
        print("  not listed:", *one)
    unused = [rule["reason"] for rule in rules if rule["reason"] not in used]
    for reason in unused:
        print("  listed, and no more so:", reason)
    return 1 if unlisted or unused else 0


def explains(rule, provider, model, kind, cost, answer):
    """Whether the rule is about that disagreement."""
    return (
        re.fullmatch(rule.get("provider", ".*"), provider)
        and re.fullmatch(rule.get("model", ".*"), model)
        and re.fullmatch(rule.get("kind", ".*"), kind)
        and re.match(rule.get("ours", ""), answer)
        and (not rule.get("theirs_is_zero") or cost == 0)
    )


if __name__ == "__main__":
    sys.exit(main())
