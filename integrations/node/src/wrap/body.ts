/** The body of a stream of events, followed while it passes through. */

import type { WalletRequest } from '../request.js';
import { counted } from './call.js';
import type { Meter } from './endpoint.js';

const END_OF_EVENT = /\r\n\r\n|\n\n|\r\r/;

/** Splits a stream of bytes into events, and leaves out those that nobody asked for. */
export class Events {
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  readonly #encoder = new TextEncoder();
  #rest = '';

  constructor(private readonly meter: Meter) {}

  /** The bytes of the events that are complete with this chunk. */
  push(chunk: Uint8Array): Uint8Array {
    this.#rest += this.#decoder.decode(chunk, { stream: true });
    let visible = '';
    for (;;) {
      const end = END_OF_EVENT.exec(this.#rest);
      if (end === null) break;
      const size = end.index + end[0].length;
      const event = this.#rest.slice(0, size);
      this.#rest = this.#rest.slice(size);
      if (this.#see(event)) visible += event;
    }
    return this.#encoder.encode(visible);
  }

  /** What is left when the stream has ended. */
  flush(): Uint8Array {
    const rest = this.#rest + this.#decoder.decode();
    this.#rest = '';
    return this.#encoder.encode(this.#see(rest) ? rest : '');
  }

  #see(event: string): boolean {
    const lines = event.split(/\r\n|\n|\r/).filter((line) => line.startsWith('data:'));
    const data = lines
      .map((line) => line.slice(5))
      .join('\n')
      .trim();
    if (!data.startsWith('{')) return true;
    try {
      return this.meter.see(JSON.parse(data));
    } catch {
      return true; // it is the consumer's to complain
    }
  }
}

/** Ends a request whose stream has ended, broke, or was left: once. */
export class Ending {
  #ended: Promise<void> | undefined;

  constructor(
    readonly request: WalletRequest,
    private readonly meter: Meter,
  ) {}

  /** Settles what the meter has seen, or releases. */
  async finish(error?: unknown): Promise<void> {
    this.#ended ??= this.#finish(error);
    await this.#ended;
  }

  async #finish(error: unknown): Promise<void> {
    const found = this.meter.usage();
    if (found !== null && !this.request.closed) {
      this.request.use(found.usage, counted(found.exact));
    }
    await this.request.close(error);
  }
}

// A stream that nobody holds any more is settled with what it has delivered.
const LOST = new FinalizationRegistry<{ ending: Ending; reader: ReadableStreamDefaultReader }>(
  ({ ending, reader }) => {
    reader.cancel().catch(() => undefined);
    ending.finish(new Error('the stream was left')).catch(() => undefined);
  },
);

/** A body that settles when it ends, breaks, or is left early. */
export function metered(
  source: ReadableStream<Uint8Array>,
  request: WalletRequest,
  meter: Meter,
): ReadableStream<Uint8Array> {
  const reader = source.getReader();
  const ending = new Ending(request, meter);
  const events = new Events(meter);
  request.signal.addEventListener('abort', () => {
    reader.cancel(request.signal.reason).catch(() => undefined);
  });
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          let bytes: Uint8Array = new Uint8Array();
          while (bytes.length === 0) {
            const { done, value } = await reader.read();
            request.signal.throwIfAborted();
            bytes = done ? events.flush() : events.push(value);
            request.check();
            if (bytes.length > 0) controller.enqueue(bytes);
            if (!done) continue;
            await ending.finish();
            controller.close();
            return;
          }
        } catch (error) {
          reader.cancel(error).catch(() => undefined);
          await ending.finish(error).catch(() => undefined);
          controller.error(error);
        }
      },
      async cancel(reason) {
        reader.cancel(reason).catch(() => undefined);
        await ending.finish(reason ?? new Error('the stream was left'));
      },
    },
    { highWaterMark: 0 },
  );
  LOST.register(body, { ending, reader });
  return body;
}
