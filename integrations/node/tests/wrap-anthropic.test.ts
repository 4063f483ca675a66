/** The official client of Anthropic, wrapped, with a mock provider. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import { NotPermitted, receipt, wrap } from '../src/index.js';
import { mocked, price } from './mock.js';
import { fixture, trimmed } from './support.js';

const request = {
  model: 'claude-sonnet-5',
  max_tokens: 500,
  system: 'You are brief.',
  messages: [{ role: 'user' as const, content: 'Say something about the sea, please.' }],
};
const t = fixture('anthropic');
const mock = mocked();
const plain = () => new Anthropic({ baseURL: mock.url, apiKey: 'x', maxRetries: 0 });
const cost = (response: unknown) => trimmed(receipt(response)!.cost!);
const expected = () => price(mock.last, 300n, 1500n);

test('messages are held and settled', async () => {
  const client = wrap(plain(), t.wallet);
  assert.ok(client instanceof Anthropic);
  const answer = await client.messages.create(request);
  assert.equal(cost(answer), expected());
  assert.ok(!JSON.stringify(answer).includes('wallet'));
  const stream = await client.messages.create({ ...request, stream: true });
  const types: string[] = [];
  for await (const event of stream) types.push(event.type);
  assert.equal(types.at(-1), 'message_stop');
  assert.equal(cost(stream), expected());
  const helper = client.messages.stream(request);
  assert.ok(await helper.finalText());
  assert.equal(cost(helper), expected());
  const beta = await client.beta.messages.create(request);
  assert.equal(cost(beta), expected());
  const { data } = await client.messages.create(request).withResponse();
  assert.equal(cost(data), expected());
  assert.deepEqual(await t.ledger.charges(), Array(5).fill(expected()));
  assert.deepEqual(await t.ledger.holds(), Array(5).fill('settled'));
});

test('what a broken stream delivered is settled', async () => {
  const client = wrap(plain(), t.wallet);
  for (const fault of [{ breakAfter: 6 }, { truncateAfter: 6 }]) {
    mock.fault(fault);
    const stream = await client.messages.create({ ...request, stream: true });
    const read = (async () => {
      for await (const _ of stream);
    })();
    // A stream that ends without its end is no error for the SDK.
    if ('breakAfter' in fault) await assert.rejects(read);
    else await read;
    // The provider has said what the input is; the output is counted.
    const [input, output] = receipt(stream)!.charge!.lines;
    assert.equal(input!.quantity, String(mock.last.inputTokens));
    assert.ok(Number(output!.quantity) > 0);
  }
  for await (const _ of client.messages.stream(request)) break;
  for (let waited = 0; (await t.ledger.held()) > 0 && waited < 100; waited++) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.deepEqual(await t.ledger.holds(), Array(3).fill('settled'));
  mock.fault({ status: 529 });
  await assert.rejects(client.messages.create(request), Anthropic.APIError);
  assert.equal((await t.ledger.holds()).at(-1), 'voided');
});

test('a stream that is aborted is settled', async () => {
  const client = wrap(plain(), t.wallet);
  mock.fault({ stall: 3000, stallAfter: 5 });
  const helper = client.messages.stream(request);
  setTimeout(() => helper.abort(), 200);
  await assert.rejects(helper.finalMessage(), Anthropic.APIUserAbortError);
  for (let waited = 0; (await t.ledger.held()) > 0 && waited < 100; waited++) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.deepEqual(await t.ledger.holds(), ['settled']);
});

test('a refused call does not reach the provider', async () => {
  const client = wrap(plain(), t.wallet.bind({ key: 'wk-unknown' }));
  await assert.rejects(client.messages.create(request), NotPermitted);
  assert.deepEqual(mock.log, []);
});
