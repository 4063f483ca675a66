/**
 * What a wrapped call costs: `scripts/test-integrations.sh node overhead`.
 *
 * Times the same call with and without the wallet, one after the other, against the mock provider.
 */

import { LLMock } from '@copilotkit/aimock';
import OpenAI from 'openai';
import pg from 'pg';
import { Wallet, wrap } from '../src/index.js';
import { create, drop } from './support.js';

const DATABASE = 'wallet_node_overhead';
const content = 'Say something about the sea, please. '.repeat(50);
const ask = { model: 'gpt-4o', messages: [{ role: 'user' as const, content }] };

/** Milliseconds of each, measured in turns so that all meet the same machine. */
async function medians(calls: (() => Promise<unknown>)[], times: number): Promise<number[]> {
  const found: number[][] = calls.map(() => []);
  for (let n = 0; n < times; n++) {
    for (const [index, call] of calls.entries()) {
      const begun = performance.now();
      await call();
      found[index]!.push(performance.now() - begun);
    }
  }
  return found.map((one) => one.sort((a, b) => a - b)[Math.floor(one.length / 2)]!);
}

await create(
  DATABASE,
  "SELECT wallet.create_wallet('acme'); SELECT balance FROM wallet.fund('acme', 1000);",
);
const mock = new LLMock({ port: 0, logLevel: 'silent' });
mock.onMessage(/.*/, { content: 'The sea says hello.' });
await mock.start();
const pool = new pg.Pool({ database: DATABASE });
const wallet = new Wallet(pool, 'acme');
const plain = new OpenAI({ baseURL: `${mock.url}/v1`, apiKey: 'x' });
const wrapped = wrap(plain, wallet);
const calls = [
  async () => await plain.chat.completions.create(ask),
  async () => await wrapped.chat.completions.create(ask),
  async () => await wallet.request('0.01', (r) => r.settle('0.01')),
];
await medians(calls, 50);
const [without, within, alone] = await medians(calls, 300);
const shown = (ms: number) => `${ms.toFixed(2).padStart(6)} ms`;
console.log(`a call without the wallet   ${shown(without!)}`);
console.log(`a wrapped call              ${shown(within!)}`);
console.log(`hold and settle alone       ${shown(alone!)}`);
await mock.stop();
await pool.end();
await drop(DATABASE);
