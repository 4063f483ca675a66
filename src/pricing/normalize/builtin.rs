//! The mappings that come with the extension, in the order in which they are tried.

/// Each with the text of its file.
pub const FILES: &[(&str, &str)] = &[
    ("opentelemetry", include_str!("builtin/opentelemetry.json")),
    ("gemini", include_str!("builtin/gemini.json")),
    ("gemini.sdk", include_str!("builtin/gemini.sdk.json")),
    ("ai_sdk.v6", include_str!("builtin/ai_sdk.v6.json")),
    ("ai_sdk.spec", include_str!("builtin/ai_sdk.spec.json")),
    ("ai_sdk.v5", include_str!("builtin/ai_sdk.v5.json")),
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
    ("openai.chat", include_str!("builtin/openai.chat.json")),
    ("xai.chat", include_str!("builtin/xai.chat.json")),
    ("gemini.openai", include_str!("builtin/gemini.openai.json")),
    ("openai.images", include_str!("builtin/openai.images.json")),
    (
        "openai.responses",
        include_str!("builtin/openai.responses.json"),
    ),
    (
        "openai.realtime",
        include_str!("builtin/openai.realtime.json"),
    ),
    (
        "openai.duration",
        include_str!("builtin/openai.duration.json"),
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
