//! The mappings that come with the extension, in the order in which they are tried.

/// Each with the text of its file.
pub const FILES: &[(&str, &str)] = &[
    ("opentelemetry", include_str!("builtin/opentelemetry.json")),
    ("gemini", include_str!("builtin/gemini.json")),
    ("gemini.sdk", include_str!("builtin/gemini.sdk.json")),
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
    ("gemini.interactions", include_str!("builtin/gemini.interactions.json")),
    ("gemini.images", include_str!("builtin/gemini.images.json")),
    ("vertex.embeddings", include_str!("builtin/vertex.embeddings.json")),
    ("vertex.embeddings.characters", include_str!("builtin/vertex.embeddings.characters.json")),
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
    ("openai.transcription", include_str!("builtin/openai.transcription.json")),
    ("openai.speech", include_str!("builtin/openai.speech.json")),
    ("openai.live", include_str!("builtin/openai.live.json")),
    ("openai.video", include_str!("builtin/openai.video.json")),
    ("openai.moderation", include_str!("builtin/openai.moderation.json")),
    (
        "openai.images.count",
        include_str!("builtin/openai.images.count.json"),
    ),
    ("anthropic", include_str!("builtin/anthropic.json")),
    (
        "bedrock.converse",
        include_str!("builtin/bedrock.converse.json"),
    ),
    ("bedrock.invoke", include_str!("builtin/bedrock.invoke.json")),
    ("bedrock.titan", include_str!("builtin/bedrock.titan.json")),
    ("bedrock.llama", include_str!("builtin/bedrock.llama.json")),
    ("cohere", include_str!("builtin/cohere.json")),
    ("mistral.ocr", include_str!("builtin/mistral.ocr.json")),
    ("ollama", include_str!("builtin/ollama.json")),
    ("total_only", include_str!("builtin/total_only.json")),
];
