//! The meaning of the fields of LiteLLM's price file, in one table, and the grammar of their names.
//! Pure.
//!
//! The name of a field is a base of this table. It continues with `_above_200k_tokens` if the price
//! applies only above a number of input tokens, and ends with `_priority` or the like if it applies
//! only to a service tier. A price field that the table does not have is reported as skipped.

/// The number of units for which prices of tokens, characters and pixels are stored. It is a power
/// of ten and keeps every digit, and vendors quote such prices.
pub const MILLION: u32 = 1_000_000;

/// The meaning of a field.
#[derive(Clone, Copy, Debug)]
pub enum Meaning {
    /// The price of one unit of a meter. It is stored for that many units.
    Meter(&'static str, u32),
    /// The price of one unit, for usage that has a key with that value.
    MeterIf(&'static str, &'static str, &'static str),
    /// The price of one unit. The meter depends on the mode of the model; the empty mode is any
    /// other one.
    ByMode(&'static [(&'static str, &'static str)]),
    /// The price of a query, by the size of the search context.
    SearchContext,
    /// Ranges of input tokens with their own prices.
    Tiers,
    /// Prices at certain hours.
    OffPeak,
    /// A factor on all token prices in a region.
    Uplift(&'static str),
    /// Factors by name: a region, or `fast`.
    Factors,
    /// Skipped, for that reason.
    Skip(&'static str),
}

use Meaning::{ByMode, Factors, Meter, MeterIf, OffPeak, SearchContext, Skip, Tiers, Uplift};

/// The fields by name. If two price the same meter, the first that is not zero applies.
pub const FIELDS: &[(&str, Meaning)] = &[
    // Tokens.
    ("input_cost_per_token", Meter("input_tokens", MILLION)),
    ("output_cost_per_token", Meter("output_tokens", MILLION)),
    (
        "output_cost_per_reasoning_token",
        Meter("reasoning_tokens", MILLION),
    ),
    (
        "cache_read_input_token_cost",
        Meter("cache_read_tokens", MILLION),
    ),
    (
        "input_cost_per_token_cache_hit",
        Meter("cache_read_tokens", MILLION),
    ),
    (
        "cache_creation_input_token_cost",
        Meter("cache_write_tokens", MILLION),
    ),
    (
        "cache_creation_input_token_cost_above_1hr",
        Meter("cache_write_1h_tokens", MILLION),
    ),
    (
        "cache_read_input_audio_token_cost",
        Meter("cache_read_audio_tokens", MILLION),
    ),
    (
        "cache_creation_input_audio_token_cost",
        Meter("cache_write_audio_tokens", MILLION),
    ),
    (
        "cache_read_input_image_token_cost",
        Meter("cache_read_image_tokens", MILLION),
    ),
    (
        "input_cost_per_audio_token",
        Meter("input_audio_tokens", MILLION),
    ),
    (
        "output_cost_per_audio_token",
        Meter("output_audio_tokens", MILLION),
    ),
    (
        "input_cost_per_image_token",
        Meter("input_image_tokens", MILLION),
    ),
    (
        "output_cost_per_image_token",
        Meter("output_image_tokens", MILLION),
    ),
    (
        "input_cost_per_video_token",
        Meter("input_video_tokens", MILLION),
    ),
    (
        "output_cost_per_video_token",
        Meter("output_video_tokens", MILLION),
    ),
    ("citation_cost_per_token", Meter("citation_tokens", MILLION)),
    // Characters and pixels.
    (
        "input_cost_per_character",
        Meter("input_characters", MILLION),
    ),
    (
        "output_cost_per_character",
        Meter("output_characters", MILLION),
    ),
    ("input_cost_per_pixel", Meter("input_pixels", MILLION)),
    ("output_cost_per_pixel", Meter("output_pixels", MILLION)),
    // Images. For models that make images, either field has the price of one image.
    (
        "input_cost_per_image",
        ByMode(&[("image_generation", "images"), ("", "input_images")]),
    ),
    ("output_cost_per_image", Meter("images", 1)),
    (
        "output_cost_per_image_512",
        MeterIf("images", "size", "512"),
    ),
    (
        "output_cost_per_image_0.5K",
        MeterIf("images", "size", "0.5K"),
    ),
    (
        "output_cost_per_image_1024",
        MeterIf("images", "size", "1024"),
    ),
    (
        "output_cost_per_image_1536",
        MeterIf("images", "size", "1536"),
    ),
    ("output_cost_per_image_1K", MeterIf("images", "size", "1K")),
    ("output_cost_per_image_2K", MeterIf("images", "size", "2K")),
    ("output_cost_per_image_4K", MeterIf("images", "size", "4K")),
    // Time. A second of audio or of a rented GPU is billed once, whichever field has its price.
    ("cost_per_second", ByMode(&[("", "gpu_seconds")])),
    (
        "output_cost_per_second",
        ByMode(&[
            ("audio_transcription", "audio_seconds"),
            ("audio_speech", "output_audio_seconds"),
            ("video_generation", "video_seconds"),
            ("", "gpu_seconds"),
        ]),
    ),
    (
        "input_cost_per_second",
        ByMode(&[
            ("audio_transcription", "audio_seconds"),
            ("realtime", "audio_seconds"),
            ("", "gpu_seconds"),
        ]),
    ),
    (
        "output_cost_per_second_480p",
        MeterIf("video_seconds", "resolution", "480p"),
    ),
    (
        "output_cost_per_second_720p",
        MeterIf("video_seconds", "resolution", "720p"),
    ),
    (
        "output_cost_per_second_768p",
        MeterIf("video_seconds", "resolution", "768p"),
    ),
    (
        "output_cost_per_second_1080p",
        MeterIf("video_seconds", "resolution", "1080p"),
    ),
    (
        "output_cost_per_second_2k",
        MeterIf("video_seconds", "resolution", "2k"),
    ),
    (
        "output_cost_per_second_4k",
        MeterIf("video_seconds", "resolution", "4k"),
    ),
    ("input_cost_per_audio_per_second", Meter("audio_seconds", 1)),
    (
        "input_cost_per_video_per_second",
        Meter("input_video_seconds", 1),
    ),
    (
        "output_cost_per_video_per_second",
        Meter("video_seconds", 1),
    ),
    // Other things.
    ("ocr_cost_per_page", Meter("pages", 1)),
    ("annotation_cost_per_page", Meter("annotated_pages", 1)),
    ("ocr_cost_per_credit", Meter("credits", 1)),
    ("input_cost_per_query", Meter("queries", 1)),
    ("input_cost_per_request", Meter("requests", 1)),
    ("input_cost_per_text_message", Meter("text_messages", 1)),
    ("code_interpreter_cost_per_session", Meter("sessions", 1)),
    (
        "google_maps_grounding_cost_per_query",
        Meter("map_queries", 1),
    ),
    (
        "file_search_cost_per_1k_calls",
        Meter("file_searches", 1_000),
    ),
    ("search_context_cost_per_query", SearchContext),
    // Tables and factors.
    ("tiered_pricing", Tiers),
    ("off_peak_pricing", OffPeak),
    ("regional_processing_uplift_multiplier_eu", Uplift("eu")),
    ("regional_processing_uplift_multiplier_us", Uplift("us")),
    ("provider_specific_entry", Factors),
    // Skipped fields.
    (
        "regional_endpoint_uplift_multiplier",
        Skip(
            "it holds in every region but one, which no condition says; set prices for the regions that you use",
        ),
    ),
    (
        "input_dbu_cost_per_token",
        Skip("it is in Databricks units; the price in money is next to it"),
    ),
    (
        "output_dbu_cost_per_token",
        Skip("it is in Databricks units; the price in money is next to it"),
    ),
    (
        "input_cost_per_video_per_second_above_8s_interval",
        Skip("no meter counts video by the length of its intervals"),
    ),
    (
        "input_cost_per_video_per_second_above_15s_interval",
        Skip("no meter counts video by the length of its intervals"),
    ),
    (
        "file_search_cost_per_gb_per_day",
        Skip("storage by the day is not part of a request"),
    ),
    (
        "vector_store_cost_per_gb_per_day",
        Skip("storage by the day is not part of a request"),
    ),
    (
        "computer_use_input_cost_per_1k_tokens",
        Skip("no model of the feed has it"),
    ),
    (
        "computer_use_output_cost_per_1k_tokens",
        Skip("no model of the feed has it"),
    ),
    (
        "guardrail_cost_per_unit",
        Skip("it prices units of several kinds, none of which is a meter"),
    ),
    (
        "explicit_cache_read_input_token_cost",
        Skip("usage does not tell explicit from implicit cache reads"),
    ),
    (
        "search_free_requests",
        Skip("an allowance of the vendor's account is not a price"),
    ),
];

/// Service tiers by the endings of field names.
const TIERS: &[(&str, &str)] = &[
    ("_flex", "flex"),
    ("_priority", "priority"),
    ("_batches", "batch"),
    ("_ultrafast", "ultrafast"),
    ("_balanced", "balanced"),
    ("_decisions", "decisions"),
];

/// Words in a field's name which say that the field is about money.
const PRICE_WORDS: &[&str] = &["cost", "price", "pricing", "multiplier", "surcharge"];

/// The parts of a field's name.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The meaning of the base.
    pub meaning: Meaning,
    /// The position of the base in the table.
    pub rank: usize,
    /// The price applies above that many input tokens.
    pub above: Option<i64>,
    /// The price applies to that service tier.
    pub tier: Option<&'static str>,
}

/// The parts of a field's name, if the table has its base.
pub fn field(name: &str) -> Option<Field> {
    if let Some((rank, meaning)) = base(name) {
        return Some(Field {
            meaning,
            rank,
            above: None,
            tier: None,
        });
    }
    let (rest, tier) = TIERS
        .iter()
        .find_map(|(ending, tier)| Some((name.strip_suffix(ending)?, Some(*tier))))
        .unwrap_or((name, None));
    let (rest, above) = match threshold(rest) {
        Some((rest, above)) => (rest, Some(above)),
        None => (rest, None),
    };
    let (rank, meaning) = base(rest)?;
    matches!(meaning, Meter(..) | ByMode(..)).then_some(Field {
        meaning,
        rank,
        above,
        tier,
    })
}

fn base(name: &str) -> Option<(usize, Meaning)> {
    let rank = FIELDS.iter().position(|(known, _)| *known == name)?;
    Some((rank, FIELDS[rank].1))
}

/// Splits `X_above_200k_tokens` into X and 200,000.
fn threshold(name: &str) -> Option<(&str, i64)> {
    let (rest, number) = name.strip_suffix("_tokens")?.rsplit_once("_above_")?;
    let (digits, unit) = match number.strip_suffix('k') {
        Some(digits) => (digits, 1000),
        None => (number, 1),
    };
    Some((rest, digits.parse::<i64>().ok()?.checked_mul(unit)?))
}

/// True for a field that is about money, known or not.
pub fn is_price(name: &str) -> bool {
    PRICE_WORDS.iter().any(|word| name.contains(word))
}

/// The name of a service, by the mode of a model.
pub fn service(mode: &str) -> &str {
    match mode {
        "chat" | "completion" | "responses" => "text",
        "image_generation" | "image_edit" => "image",
        "audio_transcription" | "audio_speech" => "speech",
        "video_generation" => "video",
        other => other,
    }
}

/// The name of a provider. The feed has several names for the interfaces of Google and Amazon,
/// whose prices are the same.
pub fn provider(name: &str) -> &str {
    match name {
        "text-completion-openai" => "openai",
        "bedrock_converse" => "bedrock",
        "azure_text" => "azure",
        "cohere_chat" => "cohere",
        _ if name.starts_with("vertex_ai-") => "vertex_ai",
        other => other,
    }
}

/// Providers that bill the higher price from the threshold on, not only above it.
pub const INCLUSIVE_THRESHOLDS: &[&str] = &["xai"];

/// The size of the search context that a provider uses if a request states none.
pub fn usual_search_context(provider: &str) -> &'static str {
    if provider == "perplexity" {
        "low"
    } else {
        "medium"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let parts =
            |name: &str| field(name).map(|field| (FIELDS[field.rank].0, field.above, field.tier));
        assert_eq!(
            parts("cache_creation_input_token_cost_above_1hr_above_200k_tokens"),
            Some((
                "cache_creation_input_token_cost_above_1hr",
                Some(200_000),
                None
            ))
        );
        assert_eq!(
            parts("input_cost_per_token_above_272k_tokens_priority"),
            Some(("input_cost_per_token", Some(272_000), Some("priority")))
        );
        assert_eq!(
            parts("output_cost_per_token_batches"),
            Some(("output_cost_per_token", None, Some("batch")))
        );
        assert_eq!(
            parts("input_cost_per_token_above_500_tokens"),
            Some(("input_cost_per_token", Some(500), None))
        );
        assert_eq!(parts("input_cost_per_thought"), None);
        assert_eq!(parts("tiered_pricing_priority"), None);
        assert!(is_price("input_cost_per_thought") && !is_price("max_tokens"));
    }

    #[test]
    fn no_field_is_listed_twice() {
        for (index, (name, _)) in FIELDS.iter().enumerate() {
            assert_eq!(base(name).map(|(rank, _)| rank), Some(index), "{name}");
        }
    }
}
