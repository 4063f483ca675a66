/**
 * A database with the extension, and a wallet for each test.
 *
 * PostgreSQL is found by PGHOST and PGPORT: scripts/test-integrations.sh sets them.
 */

import { after, before, beforeEach } from 'node:test';
import pg from 'pg';
import { Wallet, type WalletOptions } from '../src/index.js';

// Per million tokens; the model that costs nothing for input shows what output costs.
export const PRICES = `
SELECT wallet.set_price(m, 'input_tokens', i, per => 1000000, effective_from => '2024-01-01'),
       wallet.set_price(m, 'output_tokens', o, per => 1000000, effective_from => '2024-01-01')
  FROM (VALUES ('gpt-4o', 2.50, 10.00), ('gpt-4o-mini', 0.15, 0.60),
               ('claude-sonnet-5', 3.00, 15.00)) AS v (m, i, o);
SELECT wallet.set_price('text-embedding-3-small', 'input_tokens', 0.02, per => 1000000,
                        effective_from => '2024-01-01');
SELECT wallet.set_price('dall-e-3', 'images', 0.04, effective_from => '2024-01-01');
SELECT wallet.set_price('tts-1', 'input_characters', 15.00, per => 1000000,
                        effective_from => '2024-01-01');
SELECT wallet.set_price('whisper-1', 'audio_seconds', 0.006, per => 60,
                        effective_from => '2024-01-01');
`;

/** Creates a database with the extension and the prices. */
export async function create(database: string, more = ''): Promise<void> {
  const admin = new pg.Client({ database: 'postgres' });
  await admin.connect();
  await admin.query(`DROP DATABASE IF EXISTS ${database} WITH (FORCE)`);
  await admin.query(`CREATE DATABASE ${database} TEMPLATE template0 ENCODING 'UTF8'`);
  await admin.end();
  const db = new pg.Client({ database });
  await db.connect();
  await db.query('CREATE EXTENSION wallet');
  await db.query(PRICES + more);
  await db.end();
}

/** Removes a database. */
export async function drop(database: string): Promise<void> {
  const admin = new pg.Client({ database: 'postgres' });
  await admin.connect();
  await admin.query(`DROP DATABASE IF EXISTS ${database} WITH (FORCE)`);
  await admin.end();
}

/** What the database says of a wallet. */
export class Ledger {
  constructor(
    readonly db: pg.Pool,
    readonly name: string,
  ) {}

  /** The first column of all rows, as text. */
  async column(sql: string, ...values: unknown[]): Promise<any[]> {
    const { rows } = await this.db.query({ text: sql, values, rowMode: 'array' });
    return rows.map((row) => row[0]);
  }

  async one(sql: string, ...values: unknown[]): Promise<any> {
    return (await this.column(sql, ...values))[0];
  }

  async charges(): Promise<string[]> {
    const sql =
      "SELECT -amount FROM wallet.entries WHERE wallet = $1 AND kind = 'charge' ORDER BY seq";
    return (await this.column(sql, this.name)).map(trimmed);
  }

  async holds(): Promise<string[]> {
    const sql = 'SELECT status FROM wallet.holds WHERE wallet = $1 ORDER BY created_at';
    return await this.column(sql, this.name);
  }

  async held(): Promise<number> {
    return Number(await this.one('SELECT held FROM wallet.balances WHERE wallet = $1', this.name));
  }

  async balance(): Promise<string> {
    return await this.one('SELECT balance FROM wallet.balances WHERE wallet = $1', this.name);
  }
}

/** A decimal without zeros at its end. */
export function trimmed(decimal: string): string {
  return decimal.includes('.') ? decimal.replace(/\.?0+$/, '') : decimal;
}

/** What a test file works with: filled in before each test. */
export interface Fixture {
  database: string;
  pool: pg.Pool;
  name: string;
  wallet: Wallet;
  ledger: Ledger;
  /** Another wallet on the pool of the tests, for the same wallet of the database. */
  with(options: WalletOptions): Wallet;
}

/** A database for a test file, and a wallet with 100 USD for each of its tests. */
export function fixture(file: string): Fixture {
  const database = `wallet_node_${file}`;
  const found = { database } as Fixture;
  let count = 0;
  before(async () => {
    await create(database);
    found.pool = new pg.Pool({ database, max: 16 });
  });
  beforeEach(async () => {
    found.name = `w${++count}`;
    await found.pool.query('SELECT wallet.create_wallet($1)', [found.name]);
    await found.pool.query('SELECT wallet.fund($1, 100)', [found.name]);
    found.with = (options) => new Wallet(found.pool, found.name, options);
    found.wallet = found.with({});
    found.ledger = new Ledger(found.pool, found.name);
  });
  after(async () => {
    await found.pool.end();
    await drop(database);
  });
  return found;
}

/** A logger that keeps its lines. */
export function recorder() {
  const lines: { level: string; [field: string]: any }[] = [];
  const at = (level: string) => (fields: object, message: string) => {
    lines.push({ level, message, ...fields });
  };
  return { lines, debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}

/** Waits until something is so. */
export async function eventually(condition: () => Promise<boolean> | boolean): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt++) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error('it did not happen');
}
