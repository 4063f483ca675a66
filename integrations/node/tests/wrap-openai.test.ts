/** The official client of OpenAI, wrapped, with a mock provider. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import * as openai6 from 'openai';
import * as openai7 from 'openai-next';
import {
  HoldExpired,
  HoldNotOpen,
  InsufficientFunds,
  LimitExceeded,
  PriceNotFound,
  receipt,
  wrap,
} from '../src/index.js';
import { mocked, price } from './mock.js';
import { eventually, fixture, recorder, trimmed } from './support.js';

const SECRET = 'the-prompt-that-nobody-may-see';
const messages = [{ role: 'user' as const, content: 'Say something about the sea, please.' }];
const ask = { model: 'gpt-4o', messages };
const t = fixture('openai');
const mock = mocked();
const cost = (response: unknown) => trimmed(receipt(response)!.cost!);

async function all<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const one of stream) found.push(one);
  return found;
}

/** Collects garbage until something is so. */
async function collected(condition: () => Promise<boolean>): Promise<void> {
  await eventually(async () => {
    (globalThis as any).gc();
    return await condition();
  });
}

/** The answer of /embeddings, as documented: the mock reports no usage of it. */
async function vectors(): Promise<Response> {
  const embedding = Buffer.from(new Float32Array([0.1, 0.2]).buffer).toString('base64');
  const usage = { prompt_tokens: 53, total_tokens: 53 };
  const data = [{ object: 'embedding', index: 0, embedding }];
  return Response.json({ object: 'list', model: 'text-embedding-3-small', data, usage });
}

/** The tests of one version of the SDK. */
function suite({ default: OpenAI, AzureOpenAI, toFile }: typeof openai6, collects: boolean): void {
  const plain = (options = {}) =>
    new OpenAI({ baseURL: `${mock.url}/v1`, apiKey: 'x', maxRetries: 0, ...options });
  test('chat is held and settled', async () => {
    const client = wrap(plain(), t.wallet);
    assert.ok(client instanceof OpenAI);
    const answer: any = await client.chat.completions.create({ ...ask, max_tokens: 500 });
    assert.ok(answer.choices[0].message.content);
    assert.equal(trimmed(answer.wallet.cost), price(mock.last));
    assert.equal(answer.wallet.balance, await t.ledger.balance());
    assert.deepEqual(answer.wallet.headers, await t.wallet.usageHeaders(answer.wallet.entryId));
    assert.ok(!JSON.stringify(answer).includes('wallet'));
    assert.deepEqual(await t.ledger.charges(), [price(mock.last)]);
    assert.deepEqual(await t.ledger.holds(), ['settled']);
  });

  test('the client given is left alone', async () => {
    const given = plain();
    const client = wrap(given, t.wallet);
    await given.chat.completions.create(ask);
    await client.models.list();
    assert.deepEqual(await t.ledger.holds(), []);
    await client.withOptions({ timeout: 5000 }).chat.completions.create(ask);
    assert.deepEqual(await t.ledger.holds(), ['settled']);
  });

  test('a stream is settled with its usage, which nobody sees who did not ask', async () => {
    const client = wrap(plain(), t.wallet);
    const stream = await client.chat.completions.create({ ...ask, stream: true });
    const chunks = await all(stream);
    assert.ok(chunks.length > 5 && chunks.every((chunk) => chunk.choices.length > 0));
    assert.equal(cost(stream), price(mock.last));
    const asked = await client.chat.completions.create({
      ...ask,
      stream: true,
      stream_options: { include_usage: true },
    });
    assert.ok((await all(asked)).at(-1)!.usage);
    assert.deepEqual(await t.ledger.charges(), [price(mock.last), price(mock.last)]);
  });

  test('helpers of the SDK and raw responses are charged too', async () => {
    const client = wrap(plain(), t.wallet);
    const helper = client.chat.completions.stream(ask);
    assert.ok((await helper.finalChatCompletion()).choices[0]!.message.content);
    const parsed = await client.chat.completions.parse(ask);
    assert.equal(cost(parsed), price(mock.last));
    const { data, response } = await client.chat.completions.create(ask).withResponse();
    assert.equal(cost(data), price(mock.last));
    assert.equal(receipt(response)!.cost, receipt(data)!.cost);
    const raw = await client.chat.completions.create(ask).asResponse();
    assert.ok(((await raw.json()) as any).usage);
    const events = await client.chat.completions.create({ ...ask, stream: true }).asResponse();
    const text = await events.text();
    assert.ok(text.includes('[DONE]') && !text.includes('"usage"'));
    assert.equal(cost(events), price(mock.last));
    const early = client.chat.completions.stream(ask);
    for await (const _ of early) break;
    await eventually(async () => (await t.ledger.held()) === 0);
    assert.deepEqual(await t.ledger.holds(), Array(6).fill('settled'));
    assert.equal((await t.ledger.charges()).length, 6);
  });

  test('a split stream and one for a browser are charged once', async () => {
    const client = wrap(plain(), t.wallet);
    const [left, right] = (await client.chat.completions.create({ ...ask, stream: true })).tee();
    const [one, other] = await Promise.all([all(left), all(right)]);
    assert.equal(one.length, other.length);
    const stream = await client.chat.completions.create({ ...ask, stream: true });
    assert.ok(await new Response(stream.toReadableStream() as any).text());
    assert.deepEqual(await t.ledger.charges(), [price(mock.last), price(mock.last)]);
  });

  test('a call that nobody waits for is settled', async () => {
    const client = wrap(plain(), t.wallet);
    void client.chat.completions.create(ask);
    await eventually(async () => (await t.ledger.charges()).length === 1);
  });

  test('responses, embeddings and images are charged', async () => {
    const client = wrap(plain(), t.wallet);
    const say = { model: 'gpt-4o', input: 'Say something about the sea.' };
    const answer = await client.responses.create(say);
    assert.equal(cost(answer), price(mock.last));
    const stream = await client.responses.create({ ...say, stream: true });
    assert.equal((await all(stream)).at(-1)!.type, 'response.completed');
    assert.equal(cost(stream), price(mock.last));
    await client.responses.stream(say).finalResponse();
    const embedding = { model: 'text-embedding-3-small', input: 'A text '.repeat(50) };
    const vector = await wrap(plain({ fetch: vectors }), t.wallet).embeddings.create(embedding);
    assert.equal(cost(vector), '0.00000106');
    assert.equal(vector.data[0]!.embedding.length, 2);
    const image = await client.images.generate({ model: 'dall-e-3', prompt: 'The sea', n: 2 });
    assert.equal(cost(image), '0.08');
    assert.deepEqual(await t.ledger.holds(), Array(5).fill('settled'));
    assert.equal((await t.ledger.charges()).length, 5);
    await assert.rejects(client.responses.create({ ...say, background: true }), /background/);
  });

  test('audio is charged by character and second', async () => {
    const client = wrap(plain(), t.wallet);
    const speech = { model: 'tts-1', voice: 'alloy', input: 'Hello, sea!' };
    const sound = await client.audio.speech.create(speech);
    assert.ok((await sound.arrayBuffer()).byteLength > 0);
    assert.equal(cost(sound), '0.000165');
    const file = await toFile(Buffer.alloc(100_000), 'sea.mp3');
    const text = await client.audio.transcriptions.create({ model: 'whisper-1', file });
    assert.equal(text.text, 'Hello');
    assert.equal(cost(text), '0.003');
    assert.deepEqual(await t.ledger.charges(), ['0.000165', '0.003']);
    assert.deepEqual(await t.ledger.holds(), ['settled', 'settled']);
  });

  test('a stream of images that is left is settled as a whole', async () => {
    const partial =
      'event: p\ndata: {"type": "image_generation.partial_image", "b64_json": "x"}\n\n';
    const headers = { 'content-type': 'text/event-stream' };
    const fetch = async () => new Response(partial, { headers });
    const client = wrap(plain({ fetch }), t.wallet);
    const ask = { model: 'dall-e-3', prompt: 'The sea', n: 2, stream: true as const };
    for await (const _ of await client.images.generate(ask)) break;
    assert.deepEqual(await t.ledger.charges(), ['0.08']);
  });

  test('what a broken stream delivered is settled', async () => {
    const client = wrap(plain(), t.wallet);
    for (const fault of [{ breakAfter: 4 }, { truncateAfter: 4 }, { corruptAfter: 4 }]) {
      mock.fault(fault);
      const stream = await client.chat.completions.create({ ...ask, stream: true });
      const read = all(stream);
      if ('truncateAfter' in fault) await read;
      else await assert.rejects(read);
      const { charge } = receipt(stream)!;
      assert.ok(Number(charge!.cost) > 0 && Number(charge!.cost) < 0.001);
      assert.ok(charge!.totalTokens! > 5n);
    }
    assert.deepEqual(await t.ledger.holds(), Array(3).fill('settled'));
    const said = `SELECT DISTINCT metadata ->> 'usage' FROM wallet.entries
                 WHERE wallet = $1 AND kind = 'charge'`;
    assert.deepEqual(await t.ledger.column(said, t.name), ['counted by the client']);
  });

  test('a stream left early is settled, and one that nobody reads is released', async () => {
    const client = wrap(plain(), t.wallet);
    const create = async () => await client.chat.completions.create({ ...ask, stream: true });
    for await (const _ of await create()) break;
    assert.deepEqual(await t.ledger.holds(), ['settled']);
    const stream = await create();
    const iterator = stream[Symbol.asyncIterator]();
    await iterator.next();
    await iterator.return!();
    assert.deepEqual(await t.ledger.holds(), ['settled', 'settled']);
    // Nobody holds these any more.
    await (async () => {
      if (collects) await (await create())[Symbol.asyncIterator]().next();
      await create();
    })();
    await collected(async () => (await t.ledger.held()) === 0);
    assert.deepEqual(
      (await t.ledger.holds()).slice(2),
      collects ? ['settled', 'voided'] : ['voided'],
    );
  });

  test('a stalled stream that is aborted is settled', async () => {
    const client = wrap(plain(), t.wallet);
    mock.fault({ stall: 3000, stallAfter: 3 });
    const signal = AbortSignal.timeout(300);
    const stream = await client.chat.completions.create({ ...ask, stream: true }, { signal });
    const begun = Date.now();
    await all(stream); // the SDK ends an aborted stream without an error
    assert.ok(Date.now() - begun < 2000);
    assert.deepEqual(await t.ledger.holds(), ['settled']);
    const other = await client.chat.completions.create({ ...ask, stream: true });
    for await (const _ of other) other.controller.abort();
    await eventually(async () => (await t.ledger.held()) === 0);
    assert.deepEqual(await t.ledger.holds(), ['settled', 'settled']);
  });

  test('an aborted call releases its hold', async () => {
    const client = wrap(plain(), t.wallet);
    for (const ms of [0, 1, 10, 100]) {
      mock.fault({ stall: 500 });
      const signal = AbortSignal.timeout(ms);
      await assert.rejects(
        client.chat.completions.create(ask, { signal }),
        OpenAI.APIUserAbortError,
      );
    }
    const holds = await t.ledger.holds();
    assert.ok(holds.length >= 1 && holds.every((status) => status === 'voided'));
    mock.fault({ stall: 1000 });
    const slow = wrap(plain({ timeout: 100 }), t.wallet);
    await assert.rejects(slow.chat.completions.create(ask), OpenAI.APIConnectionTimeoutError);
    assert.equal(await t.ledger.held(), 0);
  });

  test('a stream beyond its hold stops or goes on', async () => {
    for (const beyond of ['stop', 'continue'] as const) {
      mock.fault({ stall: 700, stallAfter: 3 });
      const client = wrap(plain(), t.wallet, { request: { ttl: 0.3, extend: false, beyond } });
      const stream = await client.chat.completions.create({ ...ask, stream: true });
      if (beyond === 'stop') await assert.rejects(all(stream), HoldExpired);
      else await all(stream);
    }
    assert.equal((await t.ledger.charges()).length, 2);
    assert.equal((await t.ledger.charges())[1], price(mock.last));
    assert.equal(await t.ledger.held(), 0);
    mock.fault({ stall: 700 });
    const stop = { ttl: 0.3, extend: false, beyond: 'stop' as const };
    const client = wrap(plain(), t.wallet, { request: stop });
    await assert.rejects(client.chat.completions.create(ask), HoldExpired);
  });

  test('a long stream extends its hold', async () => {
    mock.fault({ stall: 1200, stallAfter: 3 });
    const client = wrap(plain(), t.wallet, { request: { ttl: 0.6 } });
    const stream = await client.chat.completions.create({ ...ask, stream: true });
    const read = all(stream);
    await sleep(1000);
    assert.deepEqual(await t.ledger.holds(), ['open']);
    assert.ok((await t.ledger.held()) > 0);
    await read;
    assert.deepEqual(await t.ledger.charges(), [price(mock.last)]);
  });

  test('an error of the provider releases, and a retry is one call', async () => {
    const client = wrap(plain(), t.wallet);
    mock.fault({ status: 500 });
    await assert.rejects(client.chat.completions.create(ask), OpenAI.InternalServerError);
    mock.fault({ status: 429, headers: { 'retry-after-ms': '50' }, times: 2 });
    const again = client.withOptions({ maxRetries: 3 });
    const answer = await again.chat.completions.create(ask);
    assert.equal(cost(answer), price(mock.last));
    assert.equal(mock.log.filter((entry) => entry.path.endsWith('completions')).length, 4);
    assert.deepEqual(await t.ledger.holds(), ['voided', 'settled']);
  });

  test('a refused call does not reach the provider', async () => {
    await t.ledger.one("SELECT wallet.set_limit($1, 0.001, 'day')", t.name);
    const client = wrap(plain(), t.wallet);
    await assert.rejects(client.chat.completions.create(ask), (error) => {
      assert.ok(error instanceof LimitExceeded && error.resetsAt !== null);
      return true;
    });
    const unheard = { ...ask, model: 'unheard-of' };
    await assert.rejects(client.chat.completions.create(unheard), PriceNotFound);
    assert.deepEqual(mock.log, []);
  });

  test('the maximum is lowered to what the money pays for', async () => {
    await t.ledger.one('SELECT cost FROM wallet.charge($1, amount => 99.99)', t.name);
    const client = wrap(plain(), t.wallet, { lower: true });
    await assert.rejects(wrap(plain(), t.wallet).chat.completions.create(ask), InsufficientFunds);
    await client.chat.completions.create({ ...ask, max_tokens: 4000 });
    assert.ok(mock.last.body.max_tokens > 900 && mock.last.body.max_tokens < 1000);
    await t.ledger.one('SELECT cost FROM wallet.charge($1, amount => 0.0094)', t.name);
    const long = {
      model: 'gpt-4o',
      messages: [{ role: 'user' as const, content: 'x'.repeat(2000) }],
    };
    await assert.rejects(client.chat.completions.create(long), InsufficientFunds);
    assert.equal(await t.ledger.held(), 0);
  });

  test('an idempotency key of the caller runs once', async () => {
    const client = wrap(plain(), t.wallet);
    for (const headers of [
      { 'Idempotency-Key': 'answer-7' },
      new Headers({ 'idempotency-key': 'answer-8' }),
    ]) {
      await client.chat.completions.create(ask, { headers });
      await assert.rejects(client.chat.completions.create(ask, { headers }), HoldNotOpen);
    }
    assert.equal(mock.log.length, 2);
    const keys = `SELECT idempotency_key FROM wallet.entries
                 WHERE wallet = $1 AND kind = 'charge' ORDER BY seq`;
    assert.deepEqual(await t.ledger.column(keys, t.name), ['answer-7', 'answer-8']);
  });

  test('no prompt and no answer is stored or logged', async () => {
    const logger = recorder();
    const client = wrap(plain(), t.with({ logger }));
    const secret = { ...ask, messages: [{ role: 'user' as const, content: SECRET }] };
    const answer = await client.chat.completions.create(secret);
    await all(await client.chat.completions.create({ ...secret, stream: true }));
    await client.responses.create({ model: 'gpt-4o', input: SECRET });
    const unheard = client.chat.completions.create({ ...secret, model: 'unheard-of' });
    await assert.rejects(unheard, PriceNotFound);
    let stored = JSON.stringify(logger.lines, (_, value) =>
      typeof value === 'bigint' ? `${value}` : value,
    );
    for (const table of ['entries', 'holds']) {
      const sql = `SELECT string_agg(t::text, ' ') FROM wallet.${table} t WHERE wallet = $1`;
      stored += await t.ledger.one(sql, t.name);
    }
    assert.ok(stored.includes('gpt-4o'));
    for (const text of [SECRET, answer.choices[0]!.message.content!])
      assert.ok(!stored.includes(text));
  });

  test("Azure's client is charged by its own prices", async () => {
    const price = `SELECT wallet.set_price('gpt-4o', $1, 20, per => 1000000, provider => 'azure',
                                         effective_from => '2024-01-01')`;
    await t.pool.query(price, ['input_tokens']);
    await t.pool.query(price, ['output_tokens']);
    const azure = new AzureOpenAI({ endpoint: mock.url, apiKey: 'x', apiVersion: '2026-01-01' });
    const answer = await wrap(azure, t.wallet).chat.completions.create(ask);
    const tokens = BigInt(mock.last.inputTokens! + mock.last.outputTokens);
    assert.equal(receipt(answer)!.charge!.totalTokens, tokens);
    assert.equal(Number(cost(answer)), (Number(tokens) * 20) / 1e6);
  });

  test('only clients of the SDKs can be wrapped', () => {
    for (const wrong of [{}, { request: () => 0 }, new Map()]) {
      assert.throws(() => wrap(wrong, t.wallet), TypeError);
    }
    assert.throws(() => wrap(wrap(plain(), t.wallet), t.wallet), /twice/);
  });
}

describe('openai 6', () => suite(openai6, true));
// It keeps a stream that was begun and dropped until its connection ends.
describe('openai 7', () => suite(openai7 as unknown as typeof openai6, false));
