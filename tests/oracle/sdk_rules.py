"""The rules of each provider for its numbers: which are parts of which, and what the total is.

A model that is independent of the mappings. Paths are dotted. `a[]` is each element of an array, `a[k=v]` each
element whose `k` is `v`, and `*` every number at that place.
"""

import copy
import re


def camel(name):
    return re.sub(r"_([a-z])", lambda letter: letter[1].upper(), name)


class Usage:
    """The numbers of a usage object by path. Names in snake_case also find keys in camelCase."""

    def __init__(self, raw):
        self.raw = raw

    def _places(self, path):
        """The objects or arrays that hold the last step, and their keys."""
        places = [(self.raw, None)]
        for step in path.split("."):
            name, _, wanted = step.partition("[")
            found = []
            for holder, key in places:
                value = holder if key is None else holder[key]
                if isinstance(value, dict):
                    keys = value if name == "*" else [k for k in dict.fromkeys((name, camel(name))) if k in value]
                    found += [(value, k) for k in keys]
            if wanted:
                key, _, text = wanted.rstrip("]").partition("=")
                found = [
                    (holder[k], index) for holder, k in found for index, element in enumerate(holder[k] or ())
                    if not key or str(element.get(key)).lower() == text
                ]
            places = found
        return places

    def spelled(self, name):
        """A key in the spelling of this object."""
        return camel(name) if any(re.search("[a-z][A-Z]", key) for key in self.raw) else name

    def has(self, path):
        return any(holder[key] is not None for holder, key in self._places(path))

    def get(self, path):
        """The sum of the numbers at the path."""
        values = (holder[key] for holder, key in self._places(path))
        return sum(v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool))

    def array(self, path):
        """The array itself, or None."""
        return next((holder[key] for holder, key in self._places(path)), None)

    def sum(self, *paths):
        return sum(map(self.get, paths))

    def put(self, path, value):
        """Sets the value at the path. Creates it if only the last key is missing."""
        places = self._places(path)
        if not places:
            above, _, name = path.rpartition(".")
            inside = [holder[key] for holder, key in self._places(above)] if above else [self.raw]
            places = [(one, self.spelled(name)) for one in inside if isinstance(one, dict)]
        for holder, key in places[:1]:
            holder[key] = value

    def cover(self, whole, *parts):
        """Makes a whole at least as large as its parts."""
        if self.sum(*parts) > self.get(whole):
            self.put(whole, self.sum(*parts))

    def rest(self, part, whole, *others):
        """Sets a part, if it exists, to what the other parts leave of the whole."""
        if self.has(part):
            self.cover(whole, part, *others)
            self.put(part, self.get(whole) - self.sum(*others))

    def total(self, total, *parts, required=True):
        """Sets a total to the sum of its parts. A total without parts becomes the first part."""
        if self.get(total) and not self.sum(*parts):
            self.put(parts[0], self.get(total))
        if required or self.has(total):
            self.put(total, self.sum(*parts))

    def stated(self, total, *parts):
        """The provider's total, or the sum of its parts if it states none."""
        return self.get(total) if self.has(total) else self.sum(*parts)


class Chat:
    """OpenAI's chat completions, compatible APIs, and embeddings."""

    parts = ("prompt_tokens", "completion_tokens")

    def consistent(self, u):
        details, out = "prompt_tokens_details", "completion_tokens_details"
        u.cover("prompt_tokens", *(f"{details}.{part}_tokens" for part in ("cached", "cache_write", "audio", "image", "video")))
        u.cover("prompt_tokens", "cached_tokens")
        u.cover("prompt_tokens", "cache_read_input_tokens")
        u.cover("completion_tokens", "reasoning_tokens")
        u.rest(f"{details}.text_tokens", "prompt_tokens", f"{details}.audio_tokens", f"{details}.image_tokens")
        u.cover("completion_tokens", *(f"{out}.{part}_tokens" for part in ("reasoning", "audio", "image", "accepted_prediction", "rejected_prediction")))
        u.rest(f"{out}.text_tokens", "completion_tokens", *(f"{out}.{part}_tokens" for part in ("audio", "reasoning", "image")))
        u.total("total_tokens", *self.parts)

    def total(self, u):
        return u.stated("total_tokens", *self.parts)


class Conversation(Chat):
    """Mistral's conversations: connectors are counted in addition to prompt and completion."""

    parts = ("prompt_tokens", "completion_tokens", "connector_tokens")




class Mistral(Chat):
    """If the usage has a duration of audio, the total includes tokens of the audio, which is billed by the second."""

    def total(self, u):
        return u.sum(*self.parts) if u.has("prompt_audio_seconds") else super().total(u)


class Responses:
    """OpenAI's Responses API and compatible APIs."""

    def consistent(self, u):
        for side in ("input", "output"):
            details = f"{side}_tokens_details"
            u.cover(f"{details}.cache_write_tokens", f"{details}.cache_write_tokens_details.*")
            u.cover(f"{side}_tokens", *(f"{details}.{part}_tokens" for part in ("cached", "cache_write", "cache_read_input", "reasoning", "audio")))
        u.cover("output_tokens", "reasoning_tokens")  # of SVG
        u.total("total_tokens", "input_tokens", "output_tokens")

    def total(self, u):
        return u.stated("total_tokens", "input_tokens", "output_tokens")


class Images(Responses):
    """Tokens of images. In a response they are those of a tool."""

    def consistent(self, u):
        for side in ("input", "output"):
            details = f"{side}_tokens_details"
            u.cover(f"{side}_tokens", f"{details}.*")
            rest, other = ("text", "image") if u.has(f"{details}.text_tokens") else ("image", "text")
            u.rest(f"{details}.{rest}_tokens", f"{side}_tokens", f"{details}.{other}_tokens")
        u.cover("cached_tokens", "cached_tokens_details.*")
        u.cover("input_tokens", "cached_tokens")
        for kind in ("image", "text"):
            u.cover(f"input_tokens_details.{kind}_tokens", f"cached_tokens_details.cached_{kind}_tokens")
        u.cover("input_tokens", "input_tokens_details.*")
        u.rest("input_tokens_details.text_tokens", "input_tokens", "input_tokens_details.image_tokens")
        u.total("total_tokens", "input_tokens", "output_tokens")


class OfAnotherModel(Responses):
    """Tokens of another model that a tool called. They are next to the usage of the response, which excludes them."""

    def total(self, u):
        return 0


class Tools(OfAnotherModel):
    """The usage of the tools of a response: the tokens of the model that made images, and searches."""

    def consistent(self, u):
        if u.has("image_gen"):
            Images().consistent(Usage(u.raw["image_gen"]))


class Realtime:
    """OpenAI's Realtime API, and transcriptions: text, audio and images make up input, output and the cached part."""

    def consistent(self, u):
        details = "input_token_details"
        for kind in ("audio", "image", "text"):
            u.cover(f"{details}.{kind}_tokens", f"{details}.cached_tokens_details.{kind}_tokens")
        u.cover(f"{details}.cached_tokens", f"{details}.cached_tokens_details.*")
        if u.has(f"{details}.cached_tokens_details"):
            others = (f"{details}.cached_tokens_details.{kind}_tokens" for kind in ("audio", "image"))
            u.put(f"{details}.cached_tokens_details.text_tokens", u.get(f"{details}.cached_tokens") - u.sum(*others))
        u.cover(f"{details}.text_tokens", f"{details}.cached_tokens_details.text_tokens")
        if not u.has(f"{details}.cached_tokens_details"):  # what is cached is text, as far as it may be
            u.cover(f"{details}.text_tokens", f"{details}.cached_tokens")
        u.cover("input_tokens", *(f"{details}.{kind}_tokens" for kind in ("audio", "image", "text")))
        u.cover("input_tokens", f"{details}.cached_tokens")
        u.rest(f"{details}.text_tokens", "input_tokens", f"{details}.audio_tokens", f"{details}.image_tokens")
        u.cover("output_tokens", "output_token_details.*")
        u.rest("output_token_details.text_tokens", "output_tokens", "output_token_details.audio_tokens")
        for side in ("input_tokens", "output_tokens"):
            u.put(side, u.get(side))
        u.total("total_tokens", "input_tokens", "output_tokens")

    def total(self, u):
        return u.stated("total_tokens", "input_tokens", "output_tokens")


class Live:
    """Seconds of a session, active and paused."""

    def consistent(self, u):
        if u.has("active_seconds"):
            u.put("active_seconds", max(u.get("active_seconds"), int(u.get("seconds") - u.get("paused_seconds"))))
            u.put("seconds", float(u.sum("active_seconds", "paused_seconds")))

    def total(self, u):
        return 0


class Anthropic:
    """The input excludes cache reads and writes. Iterations that sampled the message are included in the
    numbers above them. Those of a compaction are not, and neither are those of an advisor, which is another
    model."""

    counts = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")

    def consistent(self, u):
        for one in u.raw.get("iterations") or ():
            Anthropic().consistent(Usage(one))
        if u.raw.get("iterations"):
            within = ("iterations[type=message]", "iterations[type=fallback_message]")
            for count in self.counts:
                u.put(count, u.sum(*(f"{place}.{count}" for place in within)))
            for ttl in ("5m", "1h"):
                name = f"cache_creation.ephemeral_{ttl}_input_tokens"
                if u.has("cache_creation"):
                    u.put(name, u.sum(*(f"{place}.{name}" for place in within)))
        if u.has("cache_creation"):
            u.cover("cache_creation_input_tokens", "cache_creation.*")
            u.rest("cache_creation.ephemeral_5m_input_tokens", "cache_creation_input_tokens", "cache_creation.ephemeral_1h_input_tokens")
        u.cover("output_tokens", "output_tokens_details.*")

    def total(self, u):
        written = "cache_creation_input_tokens" if u.has("cache_creation_input_tokens") else "cache_creation.*"
        own = u.sum("input_tokens", "cache_read_input_tokens", written, "output_tokens")
        return own + sum(
            self.total(Usage(one)) for one in u.raw.get("iterations") or () if one["type"] == "compaction"
        )


class ManagedAgents(Anthropic):
    """Sessions of agents: cache writes are only listed by their time to live."""

    def consistent(self, u):
        pass


class Gemini:
    """The prompt includes the cached part. Tool input and thoughts are counted in addition to prompt and candidates."""

    parts = ("prompt_token_count", "tool_use_prompt_token_count", "candidates_token_count", "response_token_count", "thoughts_token_count")
    details = {
        "cached_content_token_count": "cache_tokens_details",
        "prompt_token_count": "prompt_tokens_details",
        "tool_use_prompt_token_count": "tool_use_prompt_tokens_details",
        "candidates_token_count": "candidates_tokens_details",
        "response_token_count": "response_tokens_details",
    }
    count, all_of_them = "token_count", "total_token_count"
    cached, prompt = "cached_content_token_count", "prompt_token_count"

    def consistent(self, u):
        for whole, details in self.details.items():
            elements = u.array(details)
            if whole == self.prompt:
                u.cover(whole, self.cached)
                if elements is None and u.array(self.details[self.cached]):
                    u.put(details, elements := [])
                if elements is not None:
                    self.include(elements, u.array(self.details[self.cached]) or (), u.spelled(self.count))
            if elements:
                key = u.spelled(self.count)
                for one in elements:
                    one.setdefault(key, 0)
                text = next((one for one in elements if one["modality"].lower() == "text"), None)
                if text is None:
                    text = {"modality": "TEXT" if elements[0]["modality"].isupper() else "text", key: 0}
                    elements.append(text)
                if whole == self.prompt and not u.array(self.details[self.cached]):  # what is cached is text, as far as it may be
                    text[key] = max(text[key], u.get(self.cached))
                together = sum(one[key] for one in elements)
                text[key] += max(0, u.get(whole) - together)
                u.put(whole, max(u.get(whole), together))
        u.total(self.all_of_them, *self.parts)

    @staticmethod
    def include(elements, parts, key):
        """Each modality is at least as large as it is in the parts."""
        for part in parts:
            same = next((one for one in elements if one["modality"] == part["modality"]), None)
            if same is None:
                elements.append(dict(part))
            else:
                same[key] = max(same.get(key, 0), part[key])

    def total(self, u):
        return u.stated(self.all_of_them, *self.parts)


class Interactions(Gemini):
    """The same for the Interactions API, with other names."""

    parts = ("total_input_tokens", "total_tool_use_tokens", "total_output_tokens", "total_thought_tokens")
    details = {
        "total_cached_tokens": "cached_tokens_by_modality",
        "total_input_tokens": "input_tokens_by_modality",
        "total_tool_use_tokens": "tool_use_tokens_by_modality",
        "total_output_tokens": "output_tokens_by_modality",
    }
    count, all_of_them = "tokens", "total_tokens"
    cached, prompt = "total_cached_tokens", "total_input_tokens"

    def consistent(self, u):
        u.cover("total_input_tokens", "initial_input_tokens")
        super().consistent(u)


class Cached:
    """The size of a cache of Gemini."""

    def consistent(self, u):
        pass

    def total(self, u):
        return u.get("total_token_count")


class Bedrock:
    """Converse: the input excludes cache reads and writes. The total includes them or not, depending on model
    and time, so that the sum counts."""

    parts = ("inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens", "outputTokens")

    def consistent(self, u):
        if u.raw.get("cacheDetails"):
            u.put("cacheWriteInputTokens", u.get("cacheDetails[].inputTokens"))
        u.total("totalTokens", *self.parts)

    def total(self, u):
        written = "cacheWriteInputTokens" if u.has("cacheWriteInputTokens") else "cacheDetails[].inputTokens"
        return u.sum("inputTokens", "cacheReadInputTokens", written, "outputTokens")


class Cohere:
    """The billed tokens, and the tokens that were read and written. The input is text, and tokens of images are
    counted separately."""

    def consistent(self, u):
        if u.has("billed_units.text_tokens") and u.has("billed_units.input_tokens"):
            u.cover("billed_units.input_tokens", "billed_units.text_tokens")
            u.put("billed_units.text_tokens", u.get("billed_units.input_tokens"))
        if not u.has("billed_units"):
            u.put("billed_units", {name: u.get(f"tokens.{name}") for name in ("input_tokens", "output_tokens")})
            u.cover("billed_units.input_tokens", "cached_tokens")
        u.cover("tokens.input_tokens", "billed_units.input_tokens", "billed_units.image_tokens")
        u.cover("tokens.input_tokens", "cached_tokens")
        u.cover("tokens.output_tokens", "billed_units.output_tokens")

    def total(self, u):
        text = "input_tokens" if u.has("billed_units.input_tokens") else "text_tokens"
        return u.sum(*(f"billed_units.{name}" for name in (text, "image_tokens", "output_tokens")))


class Xai:
    """xAI's protobuf: text and images make up the prompt. The completion excludes reasoning."""

    parts = ("prompt_tokens", "completion_tokens", "reasoning_tokens")

    def consistent(self, u):
        u.cover("prompt_text_tokens", "cached_prompt_text_tokens")
        u.cover("prompt_tokens", "prompt_text_tokens", "prompt_image_tokens")
        u.put("prompt_text_tokens", u.get("prompt_tokens") - u.get("prompt_image_tokens"))
        u.total("total_tokens", *self.parts)

    def total(self, u):
        return u.stated("total_tokens", *self.parts)


class Breakdown:
    """Groq's compound systems: the usage next to it, repeated by model."""

    def consistent(self, u):
        for model in u.raw.get("models") or ():
            Chat().consistent(Usage(model["usage"]))

    def total(self, u):
        return 0


class Plain:
    """Independent numbers. These are its tokens."""

    def __init__(self, *tokens):
        self.tokens = tokens

    def consistent(self, u):
        pass

    def total(self, u):
        return u.sum(*self.tokens)


#: The rule for a type of usage, by its name.
RULES = [
    (r"openai\..*\.(CompletionUsage|SampleUsage|PerModelUsage)|openai\..*(threads|create_embedding)\S*\.Usage", Chat()),
    (r"openai\..*(image\w*)\.Usage", Images()),
    (r"openai\..*\.ToolUsage", Tools()),
    (r"openai\..*SvgUsage", OfAnotherModel()),
    (r"openai\..*Duration|openai\..*transcription_verbose\.", Plain()),
    (r"openai\..*(transcription\w*)\.|openai\..*\.RealtimeResponseUsage", Realtime()),
    (r"openai\..*\.SessionUsage", Live()),
    (r"openai\.", Responses()),
    (r"anthropic\..*ManagedAgentsSession\w*Usage", ManagedAgents()),
    (r"anthropic\.", Anthropic()),
    (r"google\..*\.interactions\.usage\.Usage", Interactions()),
    (r"google\..*\.CachedContentUsageMetadata", Cached()),
    (r"google\.", Gemini()),
    (r"mistralai\..*\.ConversationUsageInfo", Conversation()),
    (r"mistralai\..*\.ResponsesUsage", Responses()),
    (r"mistralai\..*\.OCRUsageInfo", Plain()),
    (r"mistralai\.", Mistral()),
    (r"cohere\.", Cohere()),
    (r"bedrock-runtime\.TokenUsage", Bedrock()),
    (r"bedrock-runtime\.", Plain()),
    (r"groq\..*\.UsageBreakdown", Breakdown()),
    (r"groq\..*\.XGroqUsage", Plain()),
    (r"groq\.", Chat()),
    (r"ollama\..*\.SystemOneUsage", Plain("input_tokens", "output_tokens")),
    (r"ollama\.", Plain("prompt_eval_count", "eval_count")),
    (r"\S*xai_api\.SamplingUsage", Xai()),
    (r"\S*xai_api\.", Plain()),
]


def rule_of(kind):
    """The rule for a type of usage. None if there is none."""
    return next((rule for pattern, rule in RULES if re.match(pattern, kind)), None)


def make_consistent(rule, usage):
    """Makes the numbers of a usage object consistent. A change of one number may affect others."""
    before = None
    while rule and before != usage:
        before = copy.deepcopy(usage)
        rule.consistent(Usage(usage))
