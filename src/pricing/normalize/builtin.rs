//! The mappings that come with the extension, in the order in which they are tried.

/// Each with the text of its file.
pub const FILES: &[(&str, &str)] = &[
    ("openinference", include_str!("builtin/openinference.json")),
    ("opentelemetry", include_str!("builtin/opentelemetry.json")),
    ("gemini", include_str!("builtin/gemini.json")),
    ("gemini.inside", include_str!("builtin/gemini.inside.json")),
    ("gemini.sdk", include_str!("builtin/gemini.sdk.json")),
    (
        "gemini.sdk.inside",
        include_str!("builtin/gemini.sdk.inside.json"),
    ),
    ("gemini.cache", include_str!("builtin/gemini.cache.json")),
    ("ai_sdk.v6", include_str!("builtin/ai_sdk.v6.json")),
    ("ai_sdk.spec", include_str!("builtin/ai_sdk.spec.json")),
    ("ai_sdk.v5", include_str!("builtin/ai_sdk.v5.json")),
    (
        "ai_sdk.v5.named",
        include_str!("builtin/ai_sdk.v5.named.json"),
    ),
    (
        "ai_sdk.v5.anthropic",
        include_str!("builtin/ai_sdk.v5.anthropic.json"),
    ),
    (
        "ai_sdk.v5.google",
        include_str!("builtin/ai_sdk.v5.google.json"),
    ),
    ("ai_sdk.embed", include_str!("builtin/ai_sdk.embed.json")),
    ("langchain", include_str!("builtin/langchain.json")),
    ("langchain.ttl", include_str!("builtin/langchain.ttl.json")),
    ("openai.agents", include_str!("builtin/openai.agents.json")),
    (
        "openai.agents.js",
        include_str!("builtin/openai.agents.js.json"),
    ),
    ("codex", include_str!("builtin/codex.json")),
    (
        "codex.app_server",
        include_str!("builtin/codex.app_server.json"),
    ),
    ("cursor", include_str!("builtin/cursor.json")),
    ("pydantic_ai", include_str!("builtin/pydantic_ai.json")),
    ("crewai", include_str!("builtin/crewai.json")),
    ("langfuse", include_str!("builtin/langfuse.json")),
    ("dashscope", include_str!("builtin/dashscope.json")),
    (
        "dashscope.media",
        include_str!("builtin/dashscope.media.json"),
    ),
    ("openrouter", include_str!("builtin/openrouter.json")),
    (
        "openrouter.responses",
        include_str!("builtin/openrouter.responses.json"),
    ),
    (
        "openrouter.generation",
        include_str!("builtin/openrouter.generation.json"),
    ),
    ("perplexity", include_str!("builtin/perplexity.json")),
    (
        "openrouter.audio",
        include_str!("builtin/openrouter.audio.json"),
    ),
    (
        "openrouter.rerank",
        include_str!("builtin/openrouter.rerank.json"),
    ),
    (
        "openrouter.video",
        include_str!("builtin/openrouter.video.json"),
    ),
    (
        "perplexity.responses",
        include_str!("builtin/perplexity.responses.json"),
    ),
    ("groq", include_str!("builtin/groq.json")),
    ("moonshot", include_str!("builtin/moonshot.json")),
    ("mistral.chat", include_str!("builtin/mistral.chat.json")),
    (
        "mistral.conversations",
        include_str!("builtin/mistral.conversations.json"),
    ),
    ("xai.chat.keys", include_str!("builtin/xai.chat.keys.json")),
    (
        "xai.chat.inside",
        include_str!("builtin/xai.chat.inside.json"),
    ),
    ("xai.responses", include_str!("builtin/xai.responses.json")),
    ("xai.sdk", include_str!("builtin/xai.sdk.json")),
    ("xai.media", include_str!("builtin/xai.media.json")),
    (
        "xai.embeddings",
        include_str!("builtin/xai.embeddings.json"),
    ),
    ("xai.realtime", include_str!("builtin/xai.realtime.json")),
    ("voyage", include_str!("builtin/voyage.json")),
    ("jina.reader", include_str!("builtin/jina.reader.json")),
    ("deepgram", include_str!("builtin/deepgram.json")),
    (
        "deepgram.speak",
        include_str!("builtin/deepgram.speak.json"),
    ),
    ("elevenlabs", include_str!("builtin/elevenlabs.json")),
    (
        "elevenlabs.cost",
        include_str!("builtin/elevenlabs.cost.json"),
    ),
    ("assemblyai", include_str!("builtin/assemblyai.json")),
    ("speechify", include_str!("builtin/speechify.json")),
    ("replicate", include_str!("builtin/replicate.json")),
    ("bfl", include_str!("builtin/bfl.json")),
    ("tgi", include_str!("builtin/tgi.json")),
    ("watsonx", include_str!("builtin/watsonx.json")),
    (
        "watsonx.embeddings",
        include_str!("builtin/watsonx.embeddings.json"),
    ),
    ("cloudflare", include_str!("builtin/cloudflare.json")),
    ("sambanova", include_str!("builtin/sambanova.json")),
    (
        "sambanova.responses",
        include_str!("builtin/sambanova.responses.json"),
    ),
    ("cerebras", include_str!("builtin/cerebras.json")),
    ("deepinfra", include_str!("builtin/deepinfra.json")),
    (
        "deepinfra.native",
        include_str!("builtin/deepinfra.native.json"),
    ),
    ("openai.chat", include_str!("builtin/openai.chat.json")),
    ("xai.chat", include_str!("builtin/xai.chat.json")),
    ("gemini.openai", include_str!("builtin/gemini.openai.json")),
    (
        "gemini.interactions",
        include_str!("builtin/gemini.interactions.json"),
    ),
    ("gemini.images", include_str!("builtin/gemini.images.json")),
    (
        "vertex.embeddings",
        include_str!("builtin/vertex.embeddings.json"),
    ),
    (
        "vertex.embeddings.characters",
        include_str!("builtin/vertex.embeddings.characters.json"),
    ),
    ("openai.images", include_str!("builtin/openai.images.json")),
    (
        "openai.responses",
        include_str!("builtin/openai.responses.json"),
    ),
    ("openai.batch", include_str!("builtin/openai.batch.json")),
    (
        "openai.realtime",
        include_str!("builtin/openai.realtime.json"),
    ),
    (
        "openai.duration",
        include_str!("builtin/openai.duration.json"),
    ),
    (
        "openai.transcription",
        include_str!("builtin/openai.transcription.json"),
    ),
    ("openai.speech", include_str!("builtin/openai.speech.json")),
    ("openai.live", include_str!("builtin/openai.live.json")),
    ("openai.video", include_str!("builtin/openai.video.json")),
    (
        "openai.moderation",
        include_str!("builtin/openai.moderation.json"),
    ),
    (
        "openai.images.count",
        include_str!("builtin/openai.images.count.json"),
    ),
    ("anthropic", include_str!("builtin/anthropic.json")),
    (
        "bedrock.converse",
        include_str!("builtin/bedrock.converse.json"),
    ),
    (
        "bedrock.guardrail",
        include_str!("builtin/bedrock.guardrail.json"),
    ),
    (
        "bedrock.invoke",
        include_str!("builtin/bedrock.invoke.json"),
    ),
    ("bedrock.titan", include_str!("builtin/bedrock.titan.json")),
    ("bedrock.llama", include_str!("builtin/bedrock.llama.json")),
    ("cohere", include_str!("builtin/cohere.json")),
    ("mistral.ocr", include_str!("builtin/mistral.ocr.json")),
    ("ollama", include_str!("builtin/ollama.json")),
    ("spring_ai", include_str!("builtin/spring_ai.json")),
    (
        "haystack.anthropic",
        include_str!("builtin/haystack.anthropic.json"),
    ),
    (
        "frameworks.chat",
        include_str!("builtin/frameworks.chat.json"),
    ),
    (
        "frameworks.anthropic",
        include_str!("builtin/frameworks.anthropic.json"),
    ),
    ("total_only", include_str!("builtin/total_only.json")),
];
