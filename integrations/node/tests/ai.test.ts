/** The AI SDK with the middleware, the official providers and a mock provider. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createAnthropic } from '@ai-sdk/anthropic';
import * as provider6 from '@ai-sdk/openai';
import * as ai6 from 'ai';
import * as ai7 from 'ai-next';
import * as provider7 from 'ai-sdk-openai-next';
import { z } from 'zod';
import { walletMiddleware } from '../src/ai/index.js';
import { HoldExpired, InsufficientFunds, LimitExceeded, type WrapOptions } from '../src/index.js';
import { mocked, price } from './mock.js';
import { eventually, fixture, trimmed } from './support.js';

const prompt = 'Say something about the sea, please.';
const t = fixture('ai');
const mock = mocked();

type SDK = typeof ai6 & typeof provider6;

/** The tests of one version of the SDK. */
function suite({
  createOpenAI,
  generateText,
  stepCountIs,
  streamText,
  tool,
  wrapLanguageModel,
}: SDK) {
  const openai = () => createOpenAI({ baseURL: `${mock.url}/v1`, apiKey: 'x' });
  const wrapped = (model: any, options?: WrapOptions) =>
    wrapLanguageModel({ model, middleware: walletMiddleware(t.wallet, options) });
  const chat = (options?: WrapOptions) => wrapped(openai().chat('gpt-4o'), options);
  const costs = (metadata: any) => trimmed(metadata.wallet.cost);

  test('a generation is held and settled', async () => {
    const result = await generateText({ model: chat(), prompt, maxOutputTokens: 500 });
    assert.ok(result.text);
    assert.equal(costs(result.providerMetadata), price(mock.last));
    const responses = await generateText({ model: wrapped(openai().responses('gpt-4o')), prompt });
    assert.equal(costs(responses.providerMetadata), price(mock.last));
    const claudes = createAnthropic({ baseURL: `${mock.url}/v1`, apiKey: 'x' });
    const claude = await generateText({ model: wrapped(claudes('claude-sonnet-5')), prompt });
    assert.equal(costs(claude.providerMetadata), price(mock.last, 300n, 1500n));
    assert.deepEqual(await t.ledger.holds(), ['settled', 'settled', 'settled']);
    assert.equal((await t.ledger.charges()).length, 3);
  });

  test('a stream is settled with its usage', async () => {
    for (const model of [chat(), wrapped(openai().responses('gpt-4o'))]) {
      const result = streamText({ model, prompt });
      await result.consumeStream();
      assert.equal(costs(await result.providerMetadata), price(mock.last));
    }
    assert.deepEqual(await t.ledger.holds(), ['settled', 'settled']);
  });

  test('a stream that breaks or is aborted is settled with what it delivered', async () => {
    const onError = () => undefined;
    mock.fault({ breakAfter: 4 });
    await streamText({ model: chat(), prompt, onError, maxRetries: 0 }).consumeStream();
    mock.fault({ truncateAfter: 4 });
    await streamText({ model: chat(), prompt, onError, maxRetries: 0 }).consumeStream();
    mock.fault({ stall: 3000, stallAfter: 4 });
    const abortSignal = AbortSignal.timeout(300);
    await streamText({ model: chat(), prompt, abortSignal, onError }).consumeStream();
    await eventually(async () => (await t.ledger.held()) === 0);
    assert.deepEqual(await t.ledger.holds(), ['settled', 'settled', 'settled']);
    const said = `SELECT count(*) FROM wallet.entries
                 WHERE wallet = $1 AND metadata ->> 'usage' = 'counted by the client'`;
    assert.equal(await t.ledger.one(said, t.name), '3');
  });

  test('a stream that nobody reads to its end is settled', async () => {
    await (async () => {
      const { stream } = await chat().doStream({
        prompt: [{ role: 'user', content: [{ type: 'text', text: prompt }] }],
      });
      const reader = stream.getReader();
      for (let n = 0; n < 4; n++) await reader.read();
    })();
    await eventually(async () => {
      (globalThis as any).gc();
      return (await t.ledger.held()) === 0;
    });
    assert.deepEqual(await t.ledger.holds(), ['settled']);
  });

  test('an error or an abort before the answer releases', async () => {
    mock.fault({ status: 500 });
    await assert.rejects(generateText({ model: chat(), prompt, maxRetries: 0 }));
    mock.fault({ stall: 2000 });
    const abortSignal = AbortSignal.timeout(100);
    await assert.rejects(generateText({ model: chat(), prompt, abortSignal }));
    assert.deepEqual(await t.ledger.holds(), ['voided', 'voided']);
    mock.fault({ status: 429, headers: { 'retry-after-ms': '10' } });
    await generateText({ model: chat(), prompt });
    assert.deepEqual((await t.ledger.holds()).slice(2), ['voided', 'settled']);
  });

  test('a refused call does not reach the provider', async () => {
    await t.ledger.one("SELECT wallet.set_limit($1, 0.001, 'day')", t.name);
    await assert.rejects(generateText({ model: chat(), prompt }), LimitExceeded);
    assert.deepEqual(mock.log, []);
  });

  test('each step of a generation with tools is charged', async () => {
    const call = { name: 'tide', arguments: '{"place": "here"}' };
    mock.llm.addFixture({
      match: { userMessage: 'tide', hasToolResult: false },
      response: { toolCalls: [call], usage: { prompt_tokens: 40, completion_tokens: 20 } },
    });
    // The first match counts.
    const fixtures = [...mock.llm.getFixtures()];
    mock.llm.clearFixtures().addFixtures([fixtures.at(-1)!, ...fixtures.slice(0, -1)]);
    const tide = tool({
      inputSchema: z.object({ place: z.string() }),
      execute: async () => 'high',
    });
    const result = await generateText({
      model: chat(),
      prompt: 'What is the tide?',
      tools: { tide },
      stopWhen: stepCountIs(3),
    });
    mock.answers();
    assert.equal(result.steps.length, 2);
    assert.equal(costs(result.steps[0]!.providerMetadata), '0.0003');
    assert.equal((await t.ledger.charges()).length, 2);
  });

  test('the maximum is lowered, and a hold may end a generation', async () => {
    await t.ledger.one('SELECT cost FROM wallet.charge($1, amount => 99.99)', t.name);
    await assert.rejects(generateText({ model: chat(), prompt }), InsufficientFunds);
    await generateText({ model: chat({ lower: true }), prompt, maxOutputTokens: 4000 });
    const { max_tokens } = mock.last.body;
    assert.ok(max_tokens > 900 && max_tokens < 1000, String(max_tokens));
    mock.fault({ stall: 2000 });
    const request = { ttl: 0.3, extend: false, beyond: 'stop' as const };
    const model = chat({ request, outputTokens: 100 });
    await assert.rejects(generateText({ model, prompt }), HoldExpired);
  });
}

describe('ai 6', () => suite({ ...ai6, ...provider6 } as unknown as SDK));
describe('ai 7', () => suite({ ...ai7, ...provider7 } as unknown as SDK));
