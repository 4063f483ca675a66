/** Messages of Anthropic's SDK. */

import { Base, type Endpoint, type Found, type Meter, type Prepared, whole } from './endpoint.js';
import type { Settings } from './options.js';
import { isObject, type Meters, usageOf } from './read.js';

/** /v1/messages. */
class Messages extends Base implements Endpoint {
  prepare(body: Record<string, any>): Prepared {
    const { held } = this.tokens(body.system, body.messages, body.tools);
    const output = whole(body, 'max_tokens') ?? this.settings.outputTokens;
    return {
      model: this.model(body),
      body: { ...body },
      estimates: [this.estimate({ input_tokens: 8 + held, output_tokens: output })],
      meter: new MessagesMeter(this.settings),
      maximum: 'max_tokens',
    };
  }

  used(_: Prepared, response: unknown): Meters | null {
    return usageOf(response);
  }
}

/** `message_start` has the input, `message_delta` all of the output so far. */
class MessagesMeter implements Meter {
  #start: Meters | null = null;
  #delta: Meters | null = null;
  #tokens = 0;

  constructor(private readonly settings: Settings) {}

  see(event: any): boolean {
    if (event?.type === 'message_start') this.#start = usageOf(event.message);
    if (event?.type === 'message_delta' && isObject(event.usage)) this.#delta = event.usage;
    if (event?.type === 'content_block_delta') {
      for (const name of ['text', 'thinking', 'partial_json']) {
        const text = event.delta?.[name];
        if (text && typeof text === 'string') {
          this.#tokens += Math.max(1, this.settings.usedTokens(text));
        }
      }
    }
    return true;
  }

  usage(): Found | null {
    if (this.#start === null) return null;
    // Without a delta the stream ended before the output was reported.
    const reported = Number(this.#start.usage.output_tokens ?? 0);
    const said = this.#delta ?? { output_tokens: Math.max(1, reported, this.#tokens) };
    const usage = [
      { type: 'message_start', message: this.#start },
      { type: 'message_delta', usage: said },
    ];
    return { usage, exact: this.#delta !== null };
  }
}

/** The calls of Anthropic's client that are charged, by path. */
export function endpoints(settings: Settings): Record<string, Endpoint> {
  return { '/v1/messages': new Messages(settings) };
}
