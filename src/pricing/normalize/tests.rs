//! Usage objects as the providers' APIs return them, and any JSON at all.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use proptest::prelude::*;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::explain::{Explained, explain};
use super::mapping::{Mapping, Mappings, builtin};
use super::reading::Role;
use super::samples;
use crate::error::{Code, Result};
use crate::pricing::reported::worth;
use crate::pricing::usage::Usage;

thread_local! {
    static BUILTIN: Rc<Mappings> = Rc::new(Mappings::new(builtin().unwrap()));
}

fn mappings() -> Rc<Mappings> {
    BUILTIN.with(Rc::clone)
}

fn read_as(value: &Value, provider: Option<&str>) -> Result<Usage> {
    Usage::read_as(samples::json(value), provider, || Ok(mappings()))
}

fn read(value: &Value) -> Result<Usage> {
    read_as(value, None)
}

/// The meters that are not zero, as one line in the order of their names.
fn shown(usage: &Usage) -> String {
    let mut meters: Vec<String> = usage
        .numbers
        .iter()
        .filter_map(|(meter, quantity)| Some((meter, quantity.as_ref().ok()?)))
        .filter(|(_, quantity)| !quantity.is_zero())
        .map(|(meter, quantity)| format!("{} {quantity}", meter.trim_end_matches("_tokens")))
        .collect();
    meters.sort();
    meters.join(", ")
}

fn tokens(usage: &Usage) -> Decimal {
    usage
        .numbers
        .iter()
        .filter(|(meter, _)| meter.ends_with("_tokens"))
        .map(|(_, quantity)| quantity.clone().unwrap())
        .sum()
}

/// Reads the body and its bare usage object and compares both with what is expected.
fn both(body: &Value, at: &str, expected: &str) -> Usage {
    let usage = read(body).unwrap();
    assert_eq!(shown(&usage), expected, "{body}");
    let bare = read(body.pointer(at).unwrap()).unwrap();
    assert_eq!(shown(&bare), expected, "the bare object of {body}");
    usage
}

#[test]
fn an_openai_chat_completion_is_read() {
    let body = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1741570283, "model": "gpt-4o-2024-08-06",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi", "refusal": null},
                     "logprobs": null, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1117, "completion_tokens": 46, "total_tokens": 1163,
            "prompt_tokens_details": {"cached_tokens": 1024, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 6, "audio_tokens": 0,
                "accepted_prediction_tokens": 10, "rejected_prediction_tokens": 3}},
        "service_tier": "default", "system_fingerprint": "fp_1"
    });
    let usage = both(
        &body,
        "/usage",
        "cache_read 1024, input 93, output 40, reasoning 6",
    );
    assert_eq!(usage.model.as_deref(), Some("gpt-4o-2024-08-06"));
    assert_eq!((usage.service_tier, usage.provider), (None, None));
    for (tier, expected) in [
        ("flex", Some("flex")),
        ("priority", Some("priority")),
        ("auto", None),
    ] {
        let mut body = body.clone();
        body["service_tier"] = json!(tier);
        assert_eq!(read(&body).unwrap().service_tier.as_deref(), expected);
    }
}

#[test]
fn openai_embeddings_are_read() {
    let body = json!({"object": "list", "model": "text-embedding-3-small",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.1, -0.2]}],
        "usage": {"prompt_tokens": 8, "total_tokens": 8}});
    both(&body, "/usage", "input 8");
}

#[test]
fn openai_responses_and_their_stream_events_are_read() {
    let body = json!({"id": "resp_1", "object": "response", "status": "completed", "model": "gpt-5", "output": [],
        "service_tier": "priority",
        "usage": {"input_tokens": 36, "input_tokens_details": {"cached_tokens": 30},
            "output_tokens": 87, "output_tokens_details": {"reasoning_tokens": 64}, "total_tokens": 123}});
    let usage = both(
        &body,
        "/usage",
        "cache_read 30, input 6, output 23, reasoning 64",
    );
    assert_eq!(usage.service_tier.as_deref(), Some("priority"));
    let event = json!({"type": "response.completed", "sequence_number": 7, "response": body});
    let usage = read(&event).unwrap();
    assert_eq!(
        shown(&usage),
        "cache_read 30, input 6, output 23, reasoning 64"
    );
    assert_eq!(usage.model.as_deref(), Some("gpt-5"));
}

#[test]
fn openai_images_are_read_by_tokens_or_counted() {
    let body = json!({"created": 1713833628, "data": [{"b64_json": "…"}], "size": "1024x1024", "quality": "high",
        "usage": {"total_tokens": 100, "input_tokens": 50, "output_tokens": 50,
            "input_tokens_details": {"text_tokens": 10, "image_tokens": 40}}});
    both(&body, "/usage", "input 10, input_image 40, output_image 50");
    let count = json!({"created": 1713833628, "data": [{"url": "a"}, {"url": "b"}]});
    assert_eq!(shown(&read(&count).unwrap()), "images 2");
}

#[test]
fn an_openai_realtime_response_is_read() {
    let body = json!({"type": "response.done", "event_id": "event_1", "response": {"object": "realtime.response",
        "id": "resp_1", "status": "completed", "output": [],
        "usage": {"total_tokens": 253, "input_tokens": 132, "output_tokens": 121,
            "input_token_details": {"text_tokens": 119, "audio_tokens": 13, "image_tokens": 0, "cached_tokens": 70,
                "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 6, "image_tokens": 0}},
            "output_token_details": {"text_tokens": 30, "audio_tokens": 91}}}});
    both(
        &body,
        "/response/usage",
        "cache_read 64, cache_read_audio 6, input 55, input_audio 7, output 30, output_audio 91",
    );
}

#[test]
fn an_openai_transcription_is_read_by_tokens_or_seconds() {
    let body = json!({"text": "Hello.", "usage": {"type": "tokens", "input_tokens": 14,
        "input_token_details": {"text_tokens": 2, "audio_tokens": 12}, "output_tokens": 45, "total_tokens": 59}});
    both(&body, "/usage", "input 2, input_audio 12, output 45");
    let body = json!({"text": "Hello.", "usage": {"type": "duration", "seconds": 27.5}});
    both(&body, "/usage", "audio_seconds 27.5");
}

#[test]
fn an_anthropic_message_and_its_stream_event_are_read() {
    let body = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
        "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn",
        "usage": {"input_tokens": 2095, "cache_creation_input_tokens": 2051, "cache_read_input_tokens": 503,
            "cache_creation": {"ephemeral_5m_input_tokens": 51, "ephemeral_1h_input_tokens": 2000},
            "output_tokens": 17, "service_tier": "standard", "inference_geo": "not_available",
            "server_tool_use": {"web_search_requests": 3, "web_fetch_requests": 1}}});
    let usage = both(
        &body,
        "/usage",
        "cache_read 503, cache_write 51, cache_write_1h 2000, input 2095, output 17, queries 3",
    );
    assert_eq!((usage.service_tier, usage.region), (None, None));
    let event = json!({"type": "message_start", "message": {"model": "claude-haiku-4-5",
        "usage": {"input_tokens": 25, "output_tokens": 1}}});
    assert_eq!(shown(&read(&event).unwrap()), "input 25, output 1");
}

/// litellm issue 9812: tokens written to the cache were charged twice, once as prompt and once as
/// cache write, which nearly doubled the cost. They are not part of Anthropic's `input_tokens`;
/// where a gateway adds them to `prompt_tokens` they are taken out.
#[test]
fn litellm_9812_cached_tokens_are_not_charged_twice() {
    let theirs = json!({"usage": {"input_tokens": 3, "cache_creation_input_tokens": 12304,
        "cache_read_input_tokens": 0, "output_tokens": 550}});
    let expected = "cache_write 12304, input 3, output 550";
    both(&theirs, "/usage", expected);
    let gateway = json!({"usage": {"prompt_tokens": 12307, "completion_tokens": 550, "total_tokens": 12857,
        "prompt_tokens_details": {"cached_tokens": 0, "cache_creation_tokens": 12304},
        "cache_creation_input_tokens": 12304, "cache_read_input_tokens": 0}});
    both(&gateway, "/usage", expected);
}

/// Gemini's thoughts are not part of the candidates. Taking the candidates for all of the output
/// loses the thoughts, and subtracting the thoughts from them gives too little or less than zero.
#[test]
fn gemini_thoughts_are_not_part_of_the_candidates() {
    let body = json!({"candidates": [{"content": {"parts": [{"text": "Hi"}], "role": "model"}, "finishReason": "STOP"}],
        "modelVersion": "gemini-2.5-pro", "responseId": "r",
        "usageMetadata": {"promptTokenCount": 100, "candidatesTokenCount": 20, "thoughtsTokenCount": 300,
            "totalTokenCount": 420, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 100}]}});
    let usage = both(
        &body,
        "/usageMetadata",
        "input 100, output 20, reasoning 300",
    );
    assert_eq!(usage.model.as_deref(), Some("gemini-2.5-pro"));
}

/// Anthropic's input does not include what was read from the cache: taking the cached tokens out
/// of it, as one does with OpenAI's, would charge too little.
#[test]
fn the_input_of_anthropic_excludes_the_cache() {
    let body = json!({"type": "message", "model": "claude-sonnet-4-5",
        "usage": {"input_tokens": 50, "cache_read_input_tokens": 100_000, "cache_creation_input_tokens": 0, "output_tokens": 10}});
    both(&body, "/usage", "cache_read 100000, input 50, output 10");
}

#[test]
fn gemini_modalities_tools_and_cache_are_separated() {
    let body = json!({"modelVersion": "gemini-2.5-flash", "usageMetadata": {
        "promptTokenCount": 1000, "cachedContentTokenCount": 600, "candidatesTokenCount": 70, "thoughtsTokenCount": 5,
        "toolUsePromptTokenCount": 40, "totalTokenCount": 1115, "trafficType": "ON_DEMAND",
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 500}, {"modality": "AUDIO", "tokenCount": 300},
            {"modality": "IMAGE", "tokenCount": 200}],
        "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 100}, {"modality": "TEXT", "tokenCount": 500}],
        "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 50}, {"modality": "IMAGE", "tokenCount": 20}]}});
    let usage = both(
        &body,
        "/usageMetadata",
        "cache_read 500, cache_read_audio 100, input 40, input_audio 200, input_image 200, output 50, output_image 20, reasoning 5",
    );
    assert_eq!(tokens(&usage), Decimal::from(1115));
    assert_eq!(usage.service_tier, None);
    let sdk = json!({"model_version": "gemini-2.5-flash", "usage_metadata": {"prompt_token_count": 10,
        "candidates_token_count": 2, "thoughts_token_count": 3, "total_token_count": 15, "cached_content_token_count": null}});
    both(&sdk, "/usage_metadata", "input 10, output 2, reasoning 3");
}

#[test]
fn openrouter_reports_its_cost() {
    let body = json!({"id": "gen-1", "provider": "OpenAI", "model": "openai/gpt-4o", "object": "chat.completion",
        "usage": {"prompt_tokens": 194, "completion_tokens": 2, "total_tokens": 196, "cost": 0.00095, "is_byok": false,
            "prompt_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 100, "audio_tokens": 0},
            "cost_details": {"upstream_inference_cost": null}, "completion_tokens_details": {"reasoning_tokens": 0}}});
    let usage = both(
        &body,
        "/usage",
        "cache_read 10, cache_write 100, input 84, output 2",
    );
    assert_eq!(usage.provider.as_deref(), Some("openrouter"));
    assert_eq!(reported(&usage), "0.00095");
    let generation = json!({"data": {"id": "gen-1", "model": "sao10k/l3-stheno-8b", "total_cost": 0.0015,
        "tokens_prompt": 11, "tokens_completion": 24, "native_tokens_prompt": 10, "native_tokens_completion": 25,
        "native_tokens_reasoning": 5, "native_tokens_cached": 3, "usage": 0.0015}});
    let usage = both(
        &generation,
        "/data",
        "cache_read 3, input 7, output 20, reasoning 5",
    );
    assert_eq!(reported(&usage), "0.0015");
}

/// The amount that is charged for a reported cost, in its own currency.
fn reported(usage: &Usage) -> String {
    let cost = usage.reported_amount().unwrap();
    worth(cost, None).unwrap().to_string()
}

#[test]
fn a_reported_cost_is_rounded_once_half_to_even() {
    for (cost, expected) in [
        ("0.0000000000005", "0.00"),
        ("0.0000000000015", "0.000000000002"),
        ("1.95e-05", "0.0000195"),
        ("0.00019500000000000002", "0.000195"),
        ("0", "0.00"),
    ] {
        let text = format!(r#"{{"usage": {{"prompt_tokens": 1, "cost": {cost}}}}}"#);
        let usage = read(&serde_json::from_str(&text).unwrap()).unwrap();
        assert_eq!(reported(&usage), expected, "{cost}");
    }
    for cost in ["-0.1", "1e20", "0.12345678901234567890123456789012345"] {
        let text = format!(r#"{{"usage": {{"prompt_tokens": 1, "cost": {cost}}}}}"#);
        let usage = read(&serde_json::from_str(&text).unwrap()).unwrap();
        assert_eq!(
            usage.reported_amount().unwrap_err().code,
            Code::InvalidUsage,
            "{cost}"
        );
    }
    let silent = read(&json!({"usage": {"prompt_tokens": 1}})).unwrap();
    assert_eq!(
        silent.reported_amount().unwrap_err().code,
        Code::InvalidUsage
    );
}

#[test]
fn opentelemetry_is_read_in_any_nesting() {
    let expected = "cache_read 200, cache_write 100, input 700, output 50";
    for object in [
        json!({"gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 50,
            "gen_ai.usage.cache_read.input_tokens": 200, "gen_ai.usage.cache_creation.input_tokens": 100,
            "gen_ai.request.model": "gpt-4o", "gen_ai.provider.name": "openai"}),
        json!({"gen_ai": {"usage": {"input_tokens": 1000, "output_tokens": 50,
            "cache_read": {"input_tokens": 200}, "cache_creation": {"input_tokens": 100}},
            "request": {"model": "gpt-4o"}, "provider": {"name": "openai"}}}),
        json!({"name": "chat gpt-4o", "attributes": {"gen_ai.request.model": "gpt-4o", "gen_ai.system": "openai",
            "gen_ai.usage": {"input_tokens": 1000, "output_tokens": 50, "cache_read.input_tokens": 200,
            "cache_creation.input_tokens": 100}}}),
    ] {
        let usage = read(&object).unwrap();
        assert_eq!(shown(&usage), expected, "{object}");
        assert_eq!(usage.model.as_deref(), Some("gpt-4o"), "{object}");
        assert_eq!(usage.provider.as_deref(), Some("openai"), "{object}");
    }
}

#[test]
fn usage_of_further_providers_is_read() {
    for (object, expected) in [
        (
            json!({"usage": {"prompt_tokens": 33, "completion_tokens": 7163, "total_tokens": 7196, "citation_tokens": 20016,
            "num_search_queries": 18, "reasoning_tokens": 73997, "search_context_size": "low"}}),
            "citation 20016, input 33, output 7163, queries 18, reasoning 73997",
        ),
        (
            json!({"usage": {"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 277,
            "completion_tokens_details": {"reasoning_tokens": 236}}}),
            "input 32, output 9, reasoning 236",
        ),
        (
            json!({"usage": {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105,
            "prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 36}}),
            "cache_read 64, input 36, output 5",
        ),
        (
            json!({"usage": {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15, "cacheReadInputTokens": 7}}),
            "cache_read 7, input 10, output 5",
        ),
        (
            json!({"meta": {"billed_units": {"search_units": 1}}}),
            "queries 1",
        ),
        (
            json!({"usage": {"billed_units": {"input_tokens": 5, "output_tokens": 6}, "tokens": {"input_tokens": 70}}}),
            "input 5, output 6",
        ),
        (
            json!({"pages": [{"index": 0}], "model": "mistral-ocr", "usage_info": {"pages_processed": 4, "doc_size_bytes": 9}}),
            "pages 4",
        ),
        (
            json!({"model": "llama3", "created_at": "…", "done": true, "prompt_eval_count": 26, "eval_count": 298}),
            "input 26, output 298",
        ),
        (
            json!({"object": "list", "usage": {"total_tokens": 10}}),
            "input 10",
        ),
    ] {
        assert_eq!(shown(&read(&object).unwrap()), expected, "{object}");
    }
}

#[test]
fn the_provider_decides_where_two_fit() {
    let object = json!({"prompt_tokens": 10, "completion_tokens": 45, "total_tokens": 800});
    assert_eq!(read(&object).unwrap_err().code, Code::InvalidUsage);
    let usage = read_as(&object, Some("gemini")).unwrap();
    assert_eq!(shown(&usage), "input 10, output 45, reasoning 745");
    let mut named = object;
    named["provider"] = json!("gemini");
    assert_eq!(
        shown(&read(&named).unwrap()),
        "input 10, output 45, reasoning 745"
    );
    // A provider that is known or not, of another shape: the shape decides.
    let object = json!({"prompt_tokens": 10, "completion_tokens": 4});
    for provider in ["anthropic", "nobody"] {
        assert_eq!(
            shown(&read_as(&object, Some(provider)).unwrap()),
            "input 10, output 4"
        );
    }
}

#[test]
fn the_flat_form_stays_as_it_is_given() {
    for object in [
        json!({"model": "m", "input_tokens": 1000, "cache_read_tokens": 2000, "output_tokens": 5}),
        json!({"model": "m", "input_tokens": 1000, "cache_read_tokens": 2000, "output_tokens": 5, "total_tokens": 1}),
        json!({"model": "m", "provider": "openai", "input_tokens": 1000, "cache_read_tokens": 2000, "output_tokens": 5,
            "request": {"input_tokens_details": {}}, "service_tier": "default"}),
    ] {
        let usage = read(&object).unwrap();
        assert!(!usage.is_mapped, "{object}");
        let known = shown(&usage).replace(", total 1", "");
        assert_eq!(known, "cache_read 2000, input 1000, output 5", "{object}");
    }
    let tier = read(&json!({"input_tokens": 1, "service_tier": "default"}))
        .unwrap()
        .service_tier;
    assert_eq!(
        tier.as_deref(),
        Some("default"),
        "a tier of one's own prices"
    );
}

#[test]
fn contradictions_name_both_numbers() {
    for (object, message, numbers) in [
        (
            json!({"usage": {"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 11}}}),
            r#"usage part "usage.prompt_tokens_details.cached_tokens" is greater than its whole "usage.prompt_tokens""#,
            r#""usage.prompt_tokens_details.cached_tokens" is 11; "usage.prompt_tokens" is 10."#,
        ),
        (
            json!({"prompt_tokens": 10, "completion_tokens": 3, "completion_tokens_details": {"reasoning_tokens": 2, "audio_tokens": 2}}),
            r#"usage parts "completion_tokens_details.reasoning_tokens", "completion_tokens_details.audio_tokens" add up to more than "completion_tokens""#,
            r#""completion_tokens_details.reasoning_tokens" is 2, "completion_tokens_details.audio_tokens" is 2; "completion_tokens" is 3."#,
        ),
        (
            json!({"prompt_tokens": 10, "completion_tokens_details": {"reasoning_tokens": 2}}),
            r#"usage part "completion_tokens_details.reasoning_tokens" is greater than its whole "completion_tokens""#,
            r#""completion_tokens_details.reasoning_tokens" is 2; "completion_tokens" is missing."#,
        ),
        (
            json!({"usageMetadata": {"promptTokenCount": 5, "cachedContentTokenCount": 6}}),
            r#"usage part "usageMetadata.cachedContentTokenCount" is greater than its whole "usageMetadata.promptTokenCount""#,
            r#""usageMetadata.cachedContentTokenCount" is 6; "usageMetadata.promptTokenCount" is 5."#,
        ),
        (
            json!({"usage": {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 12}}),
            r#"usage total "usage.total_tokens" is not the sum of its parts"#,
            r#""usage.total_tokens" is 12; its parts add up to 13: "usage.prompt_tokens" is 10, "usage.completion_tokens" is 3."#,
        ),
        (
            json!({"usage": {"input_tokens": 10, "cache_creation_input_tokens": 1, "cache_creation": {"ephemeral_1h_input_tokens": 4}}}),
            r#"usage part "usage.cache_creation.ephemeral_1h_input_tokens" is greater than its whole "usage.cache_creation_input_tokens""#,
            r#""usage.cache_creation.ephemeral_1h_input_tokens" is 4; "usage.cache_creation_input_tokens" is 1."#,
        ),
    ] {
        let error = read(&object).unwrap_err();
        assert_eq!(error.code, Code::InvalidUsage);
        assert_eq!(error.message, message);
        assert_eq!(error.detail.as_deref(), Some(numbers));
        assert!(error.hint.is_some());
    }
}

#[test]
fn what_is_no_quantity_is_refused() {
    for bad in [
        json!("10"),
        json!(-1),
        json!(1.5),
        json!(true),
        json!([]),
        json!(1_000_000_000_000_i64),
    ] {
        for object in [
            json!({"usage": {"prompt_tokens": bad}}),
            json!({"usage": {"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": bad}}}),
            json!({"usageMetadata": {"promptTokenCount": bad}}),
        ] {
            let error = read(&object).unwrap_err();
            assert_eq!(error.code, Code::InvalidUsage, "{object}");
            assert!(
                error.message.contains("Token") || error.message.contains("tokens"),
                "{}",
                error.message
            );
        }
    }
    let absent = json!({"usage": {"prompt_tokens": 10, "completion_tokens": null, "prompt_tokens_details": null}});
    assert_eq!(shown(&read(&absent).unwrap()), "input 10");
}

#[test]
fn unknown_shapes_and_mixtures_are_refused() {
    for object in [
        json!({"usage": {"tokens": 5}, "model": "m", "created": 1}),
        json!({"what": {"ever": 1}}),
        json!({"model": "m", "kind": "x"}),
        json!({"usage": {"prompt_tokens": 5}, "images": 2}),
        json!({"usage": {"prompt_tokens": 5, "images": 2}}),
        json!([1]),
        json!("usage"),
    ] {
        let error = read(&object).unwrap_err();
        assert_eq!(error.code, Code::InvalidUsage, "{object}");
        assert!(error.detail.is_some() && error.hint.is_some(), "{object}");
    }
    // Unknown numbers are kept and not counted.
    let object = json!({"usage": {"prompt_tokens": 5, "new_tokens": 7, "queue_time": 0.1}, "x": 1});
    let usage = read(&object).unwrap();
    assert_eq!(shown(&usage), "input 5");
    assert_eq!(usage.object.len(), 2);
}

#[test]
fn a_mapping_of_ones_own_comes_first_and_replaces() {
    let own = r#"{"shapes": [{"at": "bill", "all": ["in"]}], "model": {"path": "engine"}, "cost": "usd",
        "meters": [{"path": "in", "meter": "input_tokens"}, {"path": "clips[kind=long].n", "meter": "clips"}]}"#;
    let chat = r#"{"shapes": [{"at": "usage", "all": ["prompt_tokens"]}], "meters": [{"path": "prompt_tokens", "meter": "credits"}]}"#;
    let all = [
        Mapping::parse("acme", own).unwrap(),
        Mapping::parse("openai.chat", chat).unwrap(),
    ]
    .into_iter()
    .chain(builtin().unwrap());
    let mappings = Rc::new(Mappings::new(all.collect()));
    let read = |value: Value| Usage::read_as(samples::json(&value), None, || Ok(mappings.clone()));
    let usage = read(json!({"engine": "e1", "bill": {"in": 5, "usd": 0.5,
        "clips": [{"kind": "long", "n": 2}, {"kind": "short", "n": 9}, {"kind": "long", "n": 1}]}}))
    .unwrap();
    assert_eq!(shown(&usage), "clips 3, input 5");
    assert_eq!(usage.model.as_deref(), Some("e1"));
    assert_eq!(reported(&usage), "0.50");
    assert_eq!(
        shown(&read(json!({"usage": {"prompt_tokens": 5}})).unwrap()),
        "credits 5"
    );
}

#[test]
fn a_mapping_that_cannot_be_read_says_why() {
    for (text, why) in [
        ("{}", "missing field"),
        (r#"{"shapes": [], "meters": []}"#, "shapes has no element"),
        (
            r#"{"shapes": [{"at": "u"}], "meters": [{"path": "a", "meter": "m"}]}"#,
            "neither all nor any",
        ),
        (
            r#"{"shapes": [{"all": ["input_tokens"]}], "meters": [{"path": "a", "meter": "m"}]}"#,
            "the flat form",
        ),
        (
            r#"{"shapes": [{"all": ["a"]}], "meters": []}"#,
            "meters has no element",
        ),
        (
            r#"{"shapes": [{"all": ["a"]}], "meters": [{"path": [], "meter": "m"}]}"#,
            "has no path",
        ),
        (
            r#"{"shapes": [{"all": ["a"]}], "meters": [{"path": "a", "meter": ""}]}"#,
            "has no name",
        ),
        (
            r#"{"shapes": [{"all": ["a"]}], "meters": [{"path": "a..b", "meter": "m"}]}"#,
            "empty key",
        ),
        (
            r#"{"shapes": [{"all": ["a"]}], "meters": [{"path": "a", "meter": "m", "partz": []}]}"#,
            "unknown field",
        ),
        ("[]", "invalid"),
    ] {
        let said = Mapping::parse("x", text).err().unwrap();
        assert!(said.contains(why), "{text}: {said}");
    }
}

/// Some of a number, and the rest.
fn split(whole: u64, share: f64) -> (u64, u64) {
    let part = (whole as f64 * share) as u64;
    (part.min(whole), whole - part.min(whole))
}

fn json_value() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec![
        "usage",
        "model",
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "input_tokens",
        "output_tokens",
        "usageMetadata",
        "promptTokenCount",
        "candidatesTokenCount",
        "cachedContentTokenCount",
        "cache_read_input_tokens",
        "prompt_tokens_details",
        "cached_tokens",
        "input_tokens_details",
        "input_token_details",
        "cost",
        "gen_ai",
        "gen_ai.usage.input_tokens",
        "response",
        "data",
        "created",
        "images",
        "provider",
        "service_tier",
        "type",
        "x",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0_u64..5000).prop_map(Value::from),
        any::<f64>()
            .prop_filter("finite", |x| x.is_finite() && x.abs() < 1e20)
            .prop_map(Value::from),
        "[a-z]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..8).prop_map(|entries| entries
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v))
                .collect::<serde_json::Map<_, _>>()
                .into()),
        ]
    })
}

/// Numbers other than zero of the whole object, whose paths do not begin with `extra`.
fn leaves(value: &Value, out: &mut usize) {
    match value {
        Value::Number(number) if number.as_f64() != Some(0.0) => *out += 1,
        Value::Array(items) => items.iter().for_each(|item| leaves(item, out)),
        Value::Object(entries) => entries.values().for_each(|item| leaves(item, out)),
        _ => {}
    }
}

/// The pointer to the usage object that a mapping reads, and the usage.
fn explained(value: &Value) -> Option<Vec<Explained>> {
    let is_meter = |name: &str| Ok(crate::pricing::lines::is_known_meter(name));
    explain(samples::json(value), None, || Ok(mappings()), is_meter).ok()
}

proptest! {
    /// Each number is explained once, what is explained is what is charged, and what is unread
    /// there is unread here.
    #[test]
    fn every_number_is_accounted_for(value in json_value()) {
        let read = read(&value);
        let rows = explained(&value);
        prop_assert_eq!(read.is_ok(), rows.is_some());
        if let (Ok(usage), Some(rows)) = (read, rows) && usage.is_mapped {
            let mut charged = BTreeMap::<&str, Decimal>::new();
            for (meter, quantity) in &usage.numbers {
                *charged.entry(meter).or_default() += quantity.clone().unwrap();
            }
            let mut shown = BTreeMap::<&str, Decimal>::new();
            for row in &rows {
                if let (Some(meter), Some(quantity)) = (&row.meter, row.quantity) {
                    *shown.entry(meter).or_default() += quantity;
                }
            }
            charged.retain(|_, quantity| !quantity.is_zero());
            shown.retain(|_, quantity| !quantity.is_zero());
            if usage.mapping.as_deref() != Some("gemini.openai") {
                prop_assert_eq!(charged, shown, "{}", value);
            }
            let unread: BTreeSet<&str> = usage.unread.iter().map(|one| &*one.path).collect();
            let shown: BTreeSet<&str> = rows
                .iter()
                .filter(|row| row.role == Role::Unread && row.value.parse() != Ok(Decimal::ZERO))
                .map(|row| &*row.path)
                .collect();
            prop_assert_eq!(unread, shown, "{}", value);
            let mut all = 0;
            leaves(&value, &mut all);
            prop_assert!(rows.iter().filter(|row| row.value != "0").count() <= all + 8);
        }
    }

    /// A number that nobody knows is unread wherever it is put, and changes nothing that is
    /// charged.
    #[test]
    fn a_new_number_is_noticed(place in 0_usize..64, number in 1_u32..1000, sample in prop::sample::select(samples::all())) {
        let Ok(before) = read_as(&sample.usage, sample.provider.as_deref()) else { return Ok(()) };
        if !before.is_mapped || sample.usage.is_array() { return Ok(()) }
        let at = samples::usage_of(&mappings(), &sample);
        let Some(at) = at else { return Ok(()) };
        let mut usage = sample.usage.clone();
        let mut within = usage.pointer_mut(&at).unwrap();
        for step in 0..place % 3 {
            let objects: Vec<String> = within
                .as_object()
                .unwrap()
                .iter()
                .filter(|(_, value)| value.is_object())
                .map(|(key, _)| key.clone())
                .collect();
            if objects.is_empty() { break }
            within = &mut within[&objects[(place / 3 + step) % objects.len()]];
        }
        within["never_seen_before"] = json!(number);
        // Or it is in a part of the object that is not billed as a whole, or contradicts nothing
        // that can be told.
        match read_as(&usage, sample.provider.as_deref()) {
            Ok(after) => {
                prop_assert_eq!(shown(&after), shown(&before));
                let rows = explain(samples::json(&usage), sample.provider.as_deref(), || Ok(mappings()), |_| Ok(false)).unwrap();
                let row = rows.iter().find(|row| row.path.ends_with("never_seen_before"));
                if let Some(row) = row {
                    let is_unread = after.unread.iter().any(|one| one.path == row.path);
                    prop_assert_eq!(is_unread, row.role == Role::Unread);
                    prop_assert!(is_unread || row.role == Role::NotBilled, "{:?}", row);
                }
            }
            Err(error) => prop_assert_eq!(error.code, Code::InvalidUsage),
        }
    }

    #[test]
    fn any_json_gives_meters_or_wl007(value in json_value()) {
        match read(&value) {
            Ok(usage) if usage.is_mapped => {
                for (_, quantity) in &usage.numbers {
                    prop_assert!(!quantity.as_ref().unwrap().is_sign_negative());
                }
            }
            Ok(_) => {}
            Err(error) => prop_assert_eq!(error.code, Code::InvalidUsage),
        }
    }

    #[test]
    fn meters_are_disjoint_and_add_up(
        prompt in 0_u64..1_000_000_000, completion in 0_u64..1_000_000_000,
        a in 0.0..1.0_f64, b in 0.0..1.0_f64, c in 0.0..1.0_f64,
    ) {
        let total = Decimal::from(prompt + completion);
        let (cached, rest) = split(prompt, a);
        let (audio, text) = split(rest, b);
        let (cached_audio, cached_text) = split(cached, b);
        let (reasoning, output) = split(completion, c);
        let chat = json!({"usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": audio},
            "completion_tokens_details": {"reasoning_tokens": reasoning}}});
        let responses = json!({"input_tokens": prompt, "output_tokens": completion, "total_tokens": prompt + completion,
            "input_tokens_details": {"cached_tokens": cached}, "output_tokens_details": {"reasoning_tokens": reasoning}});
        let realtime = json!({"input_tokens": prompt, "output_tokens": completion, "total_tokens": prompt + completion,
            "input_token_details": {"audio_tokens": audio + cached_audio, "text_tokens": text + cached_text, "cached_tokens": cached,
                "cached_tokens_details": {"audio_tokens": cached_audio, "text_tokens": cached_text}},
            "output_token_details": {"audio_tokens": reasoning}});
        let gemini = json!({"usageMetadata": {"promptTokenCount": prompt, "cachedContentTokenCount": cached,
            "candidatesTokenCount": output, "thoughtsTokenCount": reasoning, "totalTokenCount": prompt + completion,
            "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": audio + cached_audio}],
            "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": cached_audio}]}});
        let anthropic = json!({"input_tokens": text, "cache_read_input_tokens": cached, "cache_creation_input_tokens": audio,
            "cache_creation": {"ephemeral_1h_input_tokens": audio}, "output_tokens": completion});
        let otel = json!({"gen_ai.usage.input_tokens": prompt, "gen_ai.usage.output_tokens": completion,
            "gen_ai.usage.cache_read.input_tokens": cached, "gen_ai.usage.cache_creation.input_tokens": audio});
        for object in [chat, responses, realtime, gemini, anthropic, otel] {
            let usage = read(&object).unwrap();
            prop_assert!(usage.is_mapped);
            prop_assert_eq!(tokens(&usage), total, "{}", object);
            let mut names: Vec<_> = usage.numbers.iter().map(|(meter, _)| meter).collect();
            let count = names.len();
            names.sort();
            names.dedup();
            prop_assert_eq!(names.len(), count);
        }
    }
}
