/** Charges without end, until it is killed: DATABASE WALLET URL NAME. */

import OpenAI from 'openai';
import pg from 'pg';
import { Wallet, wrap } from '../src/index.js';

const [database, name, url, worker] = process.argv.slice(2) as [string, string, string, string];
const pool = new pg.Pool({ database, max: 8 });
const plain = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'x', maxRetries: 0 });
const client = wrap(plain, new Wallet(pool, name), { request: { ttl: 3 } });
const messages = [{ role: 'user' as const, content: 'Tell me about the sea.' }];
console.log('ready');
for (let start = 0; ; start += 10) {
  const numbers = Array.from({ length: 10 }, (_, n) => start + n);
  await Promise.all(
    numbers.map(async (number) => {
      const key = `${worker}-${number}`;
      const headers = { 'Idempotency-Key': key, 'x-test-id': key };
      const ask = { model: 'gpt-4o', max_tokens: 200, messages };
      await client.chat.completions.create(ask, { headers });
    }),
  );
}
