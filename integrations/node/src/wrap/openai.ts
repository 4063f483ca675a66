/** Chat, completions, responses, embeddings, images and audio of OpenAI's SDK. */

import {
  Base,
  type Endpoint,
  type Found,
  LastMeter,
  type Meter,
  type Prepared,
  whole,
} from './endpoint.js';
import type { Settings } from './options.js';
import { imagesOf, isZero, type Meters, usageOf } from './read.js';

// Sounds have at least this many bytes to the second (16 kbit/s).
const BYTES_PER_SECOND = 2000;
// Ten minutes, for a sound whose size is not known.
const UNKNOWN_SECONDS = 600;
// A large image of best quality.
const IMAGE_TOKENS = 6240;

type Body = Record<string, any>;

/** The last chunk says what was used. Without it, the chunks are counted. */
class ChatMeter implements Meter {
  protected said: Meters | null = null;
  protected began = false;
  #tokens = 0;

  constructor(
    private readonly settings: Settings,
    private readonly prompt: number,
    private readonly hidden: boolean,
  ) {}

  see(event: any): boolean {
    this.began = true;
    const usage = usageOf(event);
    if (usage !== null) this.said = usage;
    const choices: any[] = event?.choices ?? [];
    for (const choice of choices) {
      const delta = choice?.delta ?? {};
      const calls: any[] = delta.tool_calls ?? [];
      const texts = [delta.content, delta.refusal, delta.reasoning_content, choice?.text];
      this.count([...texts, ...calls.map((call) => call?.function?.arguments)]);
    }
    return !(this.hidden && usage !== null && choices.length === 0);
  }

  /** A chunk is a token, or several. */
  protected count(texts: unknown[]): void {
    const given = texts.filter((text): text is string => typeof text === 'string' && text !== '');
    const tokens = given.reduce((total, text) => total + this.settings.usedTokens(text), 0);
    if (given.length > 0) this.#tokens += Math.max(1, tokens);
  }

  usage(): Found | null {
    if (this.said !== null) return { usage: this.said, exact: true };
    if (!this.began) return null;
    const usage = { input_tokens: this.prompt, output_tokens: Math.max(1, this.#tokens) };
    return { usage, exact: false };
  }
}

/** /chat/completions and /completions. */
class Chat extends Base implements Endpoint {
  prepare(given: Body): Prepared {
    const body = { ...given };
    const { held, used } = this.tokens(body.messages, body.prompt, body.tools, body.functions);
    const names = ['max_completion_tokens', 'max_tokens'];
    const maximum = names.find((name) => whole(body, name) !== undefined);
    const output = whole(body, maximum ?? '') ?? this.settings.outputTokens;
    const choices = whole(body, 'n') ?? 1;
    const hidden = body.stream === true && !body.stream_options?.include_usage;
    if (body.stream === true) {
      body.stream_options = { ...body.stream_options, include_usage: true };
    }
    return {
      model: this.model(body),
      body,
      estimates: [this.estimate({ input_tokens: 3 + held, output_tokens: output * choices })],
      meter: new ChatMeter(this.settings, 3 + used, hidden),
      // With several answers each has the maximum.
      maximum: choices === 1 && body.messages ? (maximum ?? names[0]) : undefined,
      serviceTier: body.service_tier,
    };
  }

  used(_: Prepared, response: unknown): Meters | null {
    return usageOf(response);
  }
}

/** The event that ends the response says what was used. */
class ResponsesMeter extends ChatMeter {
  override see(event: any): boolean {
    this.began = true;
    this.said = usageOf(event?.response) ?? this.said;
    if (String(event?.type).endsWith('.delta')) this.count([event.delta]);
    return true;
  }
}

/** /responses. */
class Responses extends Base implements Endpoint {
  prepare(body: Body): Prepared {
    if (body.background) {
      throw new TypeError('responses in the background are not metered: they report no usage yet');
    }
    const { held, used } = this.tokens(body.input, body.instructions, body.tools);
    const output = whole(body, 'max_output_tokens') ?? this.settings.outputTokens;
    return {
      model: this.model(body),
      body: { ...body },
      estimates: [this.estimate({ input_tokens: 3 + held, output_tokens: output })],
      meter: new ResponsesMeter(this.settings, 3 + used, false),
      maximum: 'max_output_tokens',
      serviceTier: body.service_tier,
    };
  }

  used(_: Prepared, response: unknown): Meters | null {
    return usageOf(response);
  }
}

/** /embeddings. */
class Embeddings extends Base implements Endpoint {
  prepare(body: Body): Prepared {
    const many: unknown[] = Array.isArray(body.input) ? body.input : [body.input];
    let tokens = 0;
    for (const item of many) {
      if (typeof item === 'string') tokens += this.settings.heldTokens(item);
      else tokens += Array.isArray(item) ? item.length : 1;
    }
    return {
      model: this.model(body),
      body,
      estimates: [this.estimate({ input_tokens: Math.max(1, tokens) })],
      meter: new LastMeter(usageOf),
    };
  }

  used(_: Prepared, response: unknown): Meters | null {
    return usageOf(response);
  }
}

/** /images/generations, /images/edits and /images/variations. */
class Images extends Base implements Endpoint {
  prepare(body: Body, bytes: number | null): Prepared {
    const number = whole(body, 'n') ?? 1;
    const names: Meters = {};
    for (const name of ['size', 'quality']) {
      if (typeof body[name] === 'string' && body[name] !== 'auto') names[name] = body[name];
    }
    const prompt = this.settings.heldTokens(String(body.prompt ?? ''));
    const files = bytes === 0 ? 0 : this.settings.mediaTokens;
    const byToken = { input_tokens: prompt + files, output_image_tokens: number * IMAGE_TOKENS };
    return {
      model: this.model(body, 'dall-e-2'),
      body,
      estimates: [this.estimate({ images: number, ...names }), this.estimate(byToken)],
      // Partial images come before the whole one, whose event has the usage.
      meter: new LastMeter(usageOf),
      wholly: true,
    };
  }

  used(prepared: Prepared, response: unknown): Meters | null {
    const usage = usageOf(response);
    if (usage !== null && !isZero(usage.usage)) return usage;
    return imagesOf(response, prepared.body);
  }
}

/** /audio/speech: the answer is a sound, and what it costs is in the request. */
class Speech extends Base implements Endpoint {
  prepare(body: Body): Prepared {
    const text = String(body.input ?? '');
    // A minute of speech has about 1,200 tokens and 800 characters.
    const byToken = {
      input_tokens: Math.max(1, this.settings.heldTokens(text)),
      output_audio_tokens: 2 * text.length,
    };
    // A character is a code point, as in the other languages.
    const characters = Math.max(1, [...text].length);
    return {
      model: this.model(body),
      body,
      estimates: [this.estimate({ input_characters: characters }), this.estimate(byToken)],
      meter: new LastMeter(usageOf),
      wholly: true,
    };
  }

  used(): Meters | null {
    return null;
  }
}

/** /audio/transcriptions and /audio/translations. */
class Transcriptions extends Base implements Endpoint {
  prepare(body: Body, bytes: number | null): Prepared {
    const known = bytes === null ? UNKNOWN_SECONDS : Math.ceil(bytes / BYTES_PER_SECOND);
    const seconds = Math.max(1, known);
    // Ten tokens of sound and at most five of text to the second.
    const byToken = { input_audio_tokens: 10 * seconds, output_tokens: 5 * seconds };
    return {
      model: this.model(body),
      body,
      estimates: [this.estimate({ audio_seconds: seconds }), this.estimate(byToken)],
      meter: new LastMeter(usageOf),
      wholly: true,
    };
  }

  used(_: Prepared, response: any): Meters | null {
    const usage = usageOf(response);
    if (usage !== null) return usage;
    // Of `verbose_json`: whisper bills by the second.
    const seconds = Number(response?.duration ?? Number.NaN);
    return Number.isFinite(seconds) ? { audio_seconds: seconds } : null;
  }
}

/** The calls of OpenAI's client that are charged, by path. */
export function endpoints(settings: Settings): Record<string, Endpoint> {
  const chat = new Chat(settings);
  const images = new Images(settings);
  const transcriptions = new Transcriptions(settings);
  return {
    '/chat/completions': chat,
    '/completions': chat,
    '/responses': new Responses(settings),
    '/embeddings': new Embeddings(settings),
    '/images/generations': images,
    '/images/edits': images,
    '/images/variations': images,
    '/audio/speech': new Speech(settings),
    '/audio/transcriptions': transcriptions,
    '/audio/translations': transcriptions,
  };
}
