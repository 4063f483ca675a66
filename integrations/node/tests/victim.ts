/** A client that is killed while the provider works for it: DATABASE WALLET URL KEY TTL. */

import { setTimeout as sleep } from 'node:timers/promises';
import OpenAI from 'openai';
import pg from 'pg';
import { LimitExceeded, Wallet, wrap } from '../src/index.js';

const [database, name, url, key, ttl] = process.argv.slice(2) as string[];
const pool = new pg.Pool({ database, max: 1 });
const plain = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'x', maxRetries: 0 });
const client = wrap(plain, new Wallet(pool, name!), { request: { ttl: Number(ttl) } });
const messages = [{ role: 'user' as const, content: 'Tell me about the sea.' }];
const ask = { model: 'gpt-4o', max_tokens: 200, messages };
for (;;) {
  try {
    await client.chat.completions.create(ask, { headers: { 'x-test-id': key! } });
  } catch (error) {
    if (!(error instanceof LimitExceeded)) throw error;
    await sleep(50);
  }
}
