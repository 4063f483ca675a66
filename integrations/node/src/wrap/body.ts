/** The body of a stream of events, followed while it passes through. */

import type { WalletRequest } from '../request.js';
import { counted } from './call.js';
import type { Meter } from './endpoint.js';

const END_OF_EVENT = /\r\n\r\n|\n\n|\r\r/;

/** Splits a stream of bytes into events, and leaves out those that nobody asked for. */
export class Events implements Follower<Uint8Array> {
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  readonly #encoder = new TextEncoder();
  #rest = '';

  constructor(private readonly meter: Meter) {}

  /** The bytes of the events that are complete with this chunk. */
  push(chunk: Uint8Array): Uint8Array[] {
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
    return this.#encoded(visible);
  }

  /** What is left when the stream has ended. */
  flush(): Uint8Array[] {
    const rest = this.#rest + this.#decoder.decode();
    this.#rest = '';
    return this.#encoded(this.#see(rest) ? rest : '');
  }

  #encoded(text: string): Uint8Array[] {
    return text === '' ? [] : [this.#encoder.encode(text)];
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

/** What becomes of the chunks of a stream. */
export interface Follower<T> {
  push(chunk: T): T[] | Promise<T[]>;
  flush(): T[];
}

/** The iterator of an SDK's stream, which ends when the request has ended. */
export function ended<T>(iterate: () => AsyncIterator<T>, ending: Ending): () => AsyncGenerator<T> {
  return async function* () {
    try {
      yield* { [Symbol.asyncIterator]: iterate };
    } finally {
      // SDKs may leave a body without waiting for it. What fails here was the body's error before.
      await ending.finish(new Error('the stream was left')).catch(() => undefined);
    }
    ending.request.signal.throwIfAborted();
  };
}

/** A stream that settles when it ends, breaks, or is left early. */
export function followed<T>(
  source: ReadableStream<T>,
  ending: Ending,
  follower: Follower<T>,
): ReadableStream<T> {
  const reader = source.getReader();
  const { request } = ending;
  request.signal.addEventListener('abort', () => {
    reader.cancel(request.signal.reason).catch(() => undefined);
  });
  const stream = new ReadableStream<T>(
    {
      async pull(controller) {
        try {
          for (let sent = 0; sent === 0; ) {
            const { done, value } = await reader.read();
            request.signal.throwIfAborted();
            const chunks = done ? follower.flush() : await follower.push(value);
            request.check();
            for (const chunk of chunks) controller.enqueue(chunk);
            sent = chunks.length;
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
  LOST.register(stream, { ending, reader });
  return stream;
}
