/**
 * A provider that is not the real one: aimock from npm, which answers, streams, stalls and breaks
 * streams, behind a proxy that writes down the usage it reports.
 *
 * The proxy reads what the mock sends, as a provider's own metering would: the log is the mock's,
 * not the client's.
 */

import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, beforeEach } from 'node:test';
import { type FixtureOpts, LLMock } from '@copilotkit/aimock';

/** One request to the mock. */
export interface Logged {
  testId: string;
  path: string;
  body: any;
  status: number;
  inputTokens: number | null;
  outputTokens: number;
  /** Whether the usage was reported at the end, and not only at the start of a stream. */
  reported: boolean;
  deltas: number;
  finished: boolean;
}

/** A fault of the next requests. */
export interface Fault {
  /** Answers with this status. */
  status?: number;
  headers?: Record<string, string>;
  /** Breaks the connection after so many events. */
  breakAfter?: number;
  /** Ends the stream without its end after so many events. */
  truncateAfter?: number;
  /** Sends no JSON after so many events. */
  corruptAfter?: number;
  /** Sends nothing more for so many milliseconds after `stallAfter` events. */
  stall?: number;
  stallAfter?: number;
  times?: number;
}

export class Mock {
  readonly llm = new LLMock({ port: 0, logLevel: 'silent' });
  readonly log: Logged[] = [];
  /** How many requests are under way, and were at most. */
  now = 0;
  peak = 0;
  #faults: Fault[] = [];
  #server = http.createServer((request, response) => this.#forward(request, response));

  async start(): Promise<this> {
    this.answers();
    await this.llm.start();
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return this;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await this.llm.stop();
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** What the mock answers: a text of some length, with its tokens. */
  answers(options: FixtureOpts = {}): void {
    this.llm.clearFixtures();
    const answer = (request: any) => {
      const asked = JSON.stringify(request.messages ?? '').length;
      const words = 5 + (asked % 23);
      const content = Array.from({ length: words }, (_, n) => `wave${n % 7}`).join(' ');
      const [given, said] = [Math.ceil(asked / 4), words * 2];
      const usage = { prompt_tokens: given, completion_tokens: said };
      return { content, usage: { ...usage, input_tokens: given, output_tokens: said } };
    };
    const chunked = { chunkSize: 6, ...options };
    this.llm.onImage(/.*/, { images: [{ url: 'http://x/1.png' }, { url: 'http://x/2.png' }] });
    this.llm.onSpeech(/.*/, { audio: Buffer.from('RIFF').toString('base64') });
    const usage = { type: 'duration', seconds: 30 };
    this.llm.onTranscription({ transcription: { text: 'Hello', usage } });
    this.llm.onEmbedding(/.*/, { embedding: [0.1, 0.2], usage: { prompt_tokens: 53 } } as any);
    this.llm.on({ predicate: () => true }, answer as any, chunked);
  }

  fault(fault: Fault): void {
    this.#faults.push({ times: 1, ...fault });
  }

  reset(): void {
    this.log.length = 0;
    this.#faults = [];
    this.peak = this.now;
  }

  of(testId: string): Logged[] {
    return this.log.filter((entry) => entry.testId === testId);
  }

  get last(): Logged {
    return this.log.at(-1)!;
  }

  #fault(): Fault {
    const fault = this.#faults[0];
    if (fault === undefined) return {};
    fault.times! -= 1;
    if (fault.times === 0) this.#faults.shift();
    return fault;
  }

  async #forward(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    this.now += 1;
    this.peak = Math.max(this.peak, this.now);
    response.on('close', () => {
      this.now -= 1;
    });
    const testId = String(request.headers['x-test-id'] ?? '');
    const entry: Logged = {
      ...{ testId, path: request.url!, body: undefined, status: 0, inputTokens: null },
      ...{ outputTokens: 0, reported: false, deltas: 0, finished: false },
    };
    this.log.push(entry);
    const body: Buffer[] = [];
    for await (const chunk of request) body.push(chunk);
    entry.body = parsed(Buffer.concat(body).toString());
    const fault = this.#fault();
    if (fault.status !== undefined) {
      entry.status = fault.status;
      response.writeHead(fault.status, { 'content-type': 'application/json', ...fault.headers });
      response.end('{"error": {"message": "a fault", "type": "fault"}}');
      return;
    }
    // The mock keeps its own state by test: all are one here.
    const { 'x-test-id': _, ...headers } = request.headers;
    const options = { method: request.method, headers: { ...headers, 'accept-encoding': '' } };
    const onward = http.request(`${this.llm.url}${request.url}`, options, (answer) => {
      entry.status = answer.statusCode!;
      pass(answer, response, entry, fault).catch(() => response.destroy());
    });
    onward.on('error', () => response.destroy());
    response.on('close', () => onward.destroy());
    onward.end(Buffer.concat(body));
  }
}

/** Passes an answer on, event by event, and notes what it says. */
async function pass(
  answer: http.IncomingMessage,
  response: http.ServerResponse,
  entry: Logged,
  fault: Fault,
): Promise<void> {
  response.writeHead(answer.statusCode!, answer.headers);
  if (!answer.headers['content-type']?.includes('event-stream')) {
    const chunks: Buffer[] = [];
    for await (const chunk of answer) chunks.push(chunk);
    if (fault.stall) await wait(fault.stall);
    note(entry, Buffer.concat(chunks).toString());
    response.end(Buffer.concat(chunks));
    entry.finished = response.writable || response.writableFinished;
    return;
  }
  let rest = '';
  let count = 0;
  for await (const chunk of answer) {
    rest += chunk.toString();
    const events = rest.split('\n\n');
    rest = events.pop()!;
    for (const event of events) {
      if (response.destroyed) return;
      if (count === fault.breakAfter) return void response.destroy();
      if (count === fault.truncateAfter) return void response.end();
      if (count === fault.corruptAfter) response.write('data: {"no json\n\n');
      if (count === fault.stallAfter) await wait(fault.stall!);
      count += 1;
      response.write(`${event}\n\n`);
      for (const line of event.split('\n')) {
        if (line.startsWith('data:')) note(entry, line.slice(5));
      }
      // Each event is a packet of its own.
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  response.end(rest);
  entry.finished = true;
}

const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

function parsed(text: string): any {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Notes the usage of a message of the provider. */
function note(entry: Logged, text: string): void {
  const data = parsed(text.trim());
  if (data === null || typeof data !== 'object') return;
  const deltas = ['content_block_delta', 'response.output_text.delta'];
  if (deltas.includes(data.type) || data.choices?.[0]?.delta?.content) entry.deltas += 1;
  for (const holder of [data, data.message, data.response]) {
    const usage = holder?.usage;
    if (!usage) continue;
    entry.inputTokens = usage.prompt_tokens ?? usage.input_tokens ?? entry.inputTokens;
    entry.outputTokens = usage.completion_tokens ?? usage.output_tokens ?? 0;
    entry.reported = data.type !== 'message_start';
  }
}

/** A mock for a test file. */
export function mocked(): Mock {
  const mock = new Mock();
  before(async () => {
    await mock.start();
  });
  beforeEach(() => mock.reset());
  after(async () => {
    await mock.stop();
  });
  return mock;
}

/** What the mock's own log says a call costs, by the prices of the tests. */
export function price(entry: Logged, into = 250n, out = 1000n): string {
  const cost = BigInt(entry.inputTokens!) * into + BigInt(entry.outputTokens) * out;
  const digits = cost.toString().padStart(9, '0');
  const decimal = `${digits.slice(0, -8)}.${digits.slice(-8)}`;
  return decimal.replace(/0+$/, '').replace(/\.$/, '');
}
