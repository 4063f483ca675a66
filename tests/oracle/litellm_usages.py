"""Random usages of the models in LiteLLM's price file, and their cost by LiteLLM's calculator.

Every model that is priced by the token gets every kind of usage, whether or not the file prices that kind.
Models that are priced by the image, the second and so on get the usage that they sell.
"""

import contextlib
import datetime
import os
import re
from unittest import mock

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm  # noqa: E402

litellm.suppress_debug_info = True

from litellm.cost_calculator import (  # noqa: E402
    batch_cost_calculator,
    cost_per_token,
    default_image_cost_calculator,
    default_video_cost_calculator,
    ocr_cost,
)
from litellm.litellm_core_utils.llm_cost_calc import utils as cost_utils  # noqa: E402
from litellm.litellm_core_utils.llm_cost_calc.utils import generic_cost_per_token  # noqa: E402
from litellm.llms.base_llm.ocr.transformation import OCRResponse, OCRUsageInfo  # noqa: E402
from litellm.types.utils import (  # noqa: E402
    CacheCreationTokenDetails,
    CompletionTokensDetailsWrapper,
    PromptTokensDetailsWrapper,
    Usage,
)

FEED = os.path.join(os.path.dirname(litellm.__file__), "model_prices_and_context_window_backup.json")
#: Thresholds that feeds know, for every model. A model's own thresholds are added.
THRESHOLDS = {128_000, 200_000, 256_000, 272_000, 512_000}
#: Regions with a surcharge at OpenAI.
REGIONS = ("eu", "us")
#: Modes whose models return no tokens.
SILENT = {"embedding", "moderation", "rerank"}

INPUT = ["input_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens",
         "cache_read_audio_tokens", "input_audio_tokens", "input_image_tokens"]
OUTPUT = ["output_tokens", "reasoning_tokens", "output_audio_tokens", "output_image_tokens"]


def is_by_token(entry):
    """Whether the file has a price for any kind of token, or any price of a chat model."""
    keys = [key for key, value in entry.items() if isinstance(value, (int, float)) and value is not False]
    if any(re.search(r"cost.*token|token.*cost", key) for key in keys):
        return True
    return "tiered_pricing" in entry and entry.get("mode") not in ("search", "ocr")


def thresholds(entry):
    own = {int(n) * 1_000 for key in entry for n in re.findall(r"_above_(\d+)k_tokens", key)}
    return sorted(own), sorted(own | THRESHOLDS)


def kinds(entry):
    """The kinds of usage: a name, and the function that creates it."""
    yield "plain", {}
    yield "cache_read", {"more": ["cache_read_tokens"]}
    yield "cache_write", {"more": ["cache_write_tokens"]}
    yield "cache_write_1h", {"more": ["cache_write_1h_tokens"]}
    yield "cache_all", {"more": ["cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens"]}
    yield "cache_audio", {"more": ["cache_read_tokens", "cache_read_audio_tokens", "input_audio_tokens"]}
    yield "audio_in", {"more": ["input_audio_tokens"]}
    yield "image_in", {"more": ["input_image_tokens"]}
    if entry.get("mode") not in SILENT:
        yield "reasoning", {"more": ["reasoning_tokens"]}
        yield "audio_out", {"more": ["output_audio_tokens"]}
        yield "image_out", {"more": ["output_image_tokens"]}
    own, all_of_them = thresholds(entry)
    for threshold in all_of_them:
        yield f"at_{threshold // 1_000}k", {"at": threshold}
        yield f"above_{threshold // 1_000}k", {"above": threshold}
        yield f"above_{threshold // 1_000}k_cache", {"above": threshold, "more": ["cache_read_tokens", "cache_write_tokens"]}
    for tier in ("flex", "priority", "batch"):
        yield tier, {"tier": tier}
        yield f"{tier}_cache", {"tier": tier, "more": ["cache_read_tokens", "cache_write_tokens"]}
        yield f"{tier}_cache_write_1h", {"tier": tier, "more": ["cache_write_1h_tokens"]}
        yield f"{tier}_cache_audio", {"tier": tier, "more": ["cache_read_tokens", "cache_read_audio_tokens"]}
        yield f"{tier}_audio_in", {"tier": tier, "more": ["input_audio_tokens"]}
        yield f"{tier}_image_in", {"tier": tier, "more": ["input_image_tokens"]}
        if entry.get("mode") not in SILENT:
            yield f"{tier}_reasoning", {"tier": tier, "more": ["reasoning_tokens"]}
            yield f"{tier}_audio_out", {"tier": tier, "more": ["output_audio_tokens"]}
            yield f"{tier}_image_out", {"tier": tier, "more": ["output_image_tokens"]}
        for threshold in own or [272_000]:
            yield f"{tier}_above_{threshold // 1_000}k", {"tier": tier, "above": threshold}
            yield (f"{tier}_above_{threshold // 1_000}k_cache",
                   {"tier": tier, "above": threshold, "more": ["cache_read_tokens", "cache_write_tokens"]})
    for region in REGIONS:
        if f"regional_processing_uplift_multiplier_{region}" in entry:
            yield f"region_{region}", {"region": region, "more": ["cache_read_tokens", "reasoning_tokens"]}
    if "off_peak_pricing" in entry:
        for number in range(20):
            yield f"hours_{number}", {"hours": True, "more": ["cache_read_tokens"]}


def meters(rng, shape, mode):
    """The disjoint meters of a random usage of that kind."""
    found = {"input_tokens": rng.randint(1, 30_000)}
    if mode not in SILENT:
        found["output_tokens"] = rng.randint(1, 8_000)
    for meter in shape.get("more", ()):
        found[meter] = rng.randint(1, 20_000)
    if "above" in shape:
        found["input_tokens"] = shape["above"] + rng.randint(1, 50_000)
    if "at" in shape:
        found["input_tokens"] = shape["at"]
    return found


def conditions(rng, shape):
    """The conditions of the usage, as arguments of price_usage(), and its time."""
    given = {"service_tier": shape.get("tier"), "region": shape.get("region")}
    week = datetime.datetime(2026, 3, 2, tzinfo=datetime.timezone.utc)
    at = week + datetime.timedelta(minutes=rng.randint(0, 7 * 24 * 60)) if "hours" in shape else None
    return {name: value for name, value in given.items() if value}, at


def usage_of(meters):
    """The same tokens as LiteLLM counts them: totals, and their parts."""
    get = lambda name: meters.get(name, 0)  # noqa: E731
    prompt = sum(map(get, INPUT))
    completion = sum(map(get, OUTPUT))
    writes = get("cache_write_tokens") + get("cache_write_1h_tokens")
    cached = get("cache_read_tokens") + get("cache_read_audio_tokens")
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        prompt_tokens_details=PromptTokensDetailsWrapper(
            cached_tokens=cached,
            cached_tokens_details={
                "text_tokens": get("cache_read_tokens"),
                "audio_tokens": get("cache_read_audio_tokens"),
            } if get("cache_read_audio_tokens") else None,
            cache_creation_tokens=writes,
            audio_tokens=get("input_audio_tokens") + get("cache_read_audio_tokens"),
            image_tokens=get("input_image_tokens"),
            text_tokens=get("input_tokens") + (get("cache_read_tokens") if get("cache_read_audio_tokens") else 0),
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
        cache_read_input_tokens=cached,
    )


def cost_of(model, entry, meters, given, at=None):
    """The cost by LiteLLM's calculator, which raises an exception if it refuses the model."""
    provider, usage, tier = entry.get("litellm_provider"), usage_of(meters), given.get("service_tier")
    if tier == "batch":
        return sum(batch_cost_calculator(usage=usage, model=model, custom_llm_provider=provider, model_info=entry))
    with mock.patch.object(cost_utils, "current_billing_time", lambda: at) if at else contextlib.nullcontext():
        return sum(cost_per_token(model=model, custom_llm_provider=provider, usage_object=usage, service_tier=tier,
                                  data_residency=given.get("region")))


def general_cost(model, entry, meters, tier):
    """The cost of the file's entry by their general calculator: without special rules of a provider, and with
    the fee per request that it leaves out. Whether a threshold includes its number depends on the file."""
    provider = entry.get("litellm_provider")
    usage = usage_of(meters)
    cost = generic_cost_per_token(model=model, usage=usage, custom_llm_provider=provider if provider == "xai" else "openai",
                                  service_tier=tier, model_info=entry)
    return sum(cost) + (entry.get("input_cost_per_request") or 0)


def batch_cost_as_if(model, entry, meters, copied):
    """Their cost of a batch if the file had certain batch prices: fields by the field they are copied from."""
    known = {**entry, **{to: entry[of] for to, of in copied.items() if of in entry and to not in entry}}
    return cost_of(model, known, meters, {"service_tier": "batch"})


def by_unit(rng, model, entry):
    """Models that are not priced by the token: kind, usage, and their cost."""
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
