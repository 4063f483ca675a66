/**
 * Usage that could not be booked, in a local SQLite file until it can.
 *
 * A row is one call with its idempotency key. It is deleted after the call went through, so a
 * process that dies in between makes the call again, and the wallet books it once.
 */

import { closeSync, openSync } from 'node:fs';
import { createRequire } from 'node:module';
import { IdempotencyConflict } from './errors.js';
import * as exact from './exact.js';
import { type Arguments, call, isJson, type Statement } from './statements.js';

const SCHEMA = `
CREATE TABLE IF NOT EXISTS spool (
    id INTEGER PRIMARY KEY,
    wallet TEXT NOT NULL,
    function TEXT NOT NULL,
    key TEXT NOT NULL,
    arguments TEXT NOT NULL,
    added_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    attempts INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    UNIQUE (wallet, function, key)
)`;

/** What `flushSpool` did: `booked` calls, `refused` ones, and how many rows are `left`. */
export interface FlushReport {
  booked: number;
  refused: number;
  left: number;
}

/** A row of the spool. `error` is what the wallet said when it refused the call. */
export interface Spooled {
  id: number;
  wallet: string;
  function: string;
  arguments: Arguments;
  attempts: number;
  error: string | null;
}

/** What this file needs of a library for SQLite. */
interface Database {
  exec(sql: string): unknown;
  prepare(sql: string): {
    run(...parameters: unknown[]): { changes: number | bigint };
    get(...parameters: unknown[]): any;
    all(...parameters: unknown[]): any[];
  };
  close(): void;
}

/** Opens a file with the library that is there: Node's own, better-sqlite3 or libsql. */
function open(path: string): Database {
  const load = createRequire(import.meta.url);
  const libraries: [string, (module: any) => Database][] = [
    ['node:sqlite', (module) => new module.DatabaseSync(path)],
    ['better-sqlite3', (module) => new module(path)],
    ['libsql', (module) => new module(path)],
  ];
  for (const [name, construct] of libraries) {
    let module: unknown;
    try {
      module = load(name);
    } catch {
      continue;
    }
    return construct(module);
  }
  throw new Error('a spool needs better-sqlite3 or libsql, or node:sqlite of Node 22.13 or newer');
}

/**
 * A spool in the file `path`. Several wallets and processes may share it.
 *
 * The file has the arguments of the calls, the secret of an API key among them: only its owner can
 * read it.
 */
export class Spool {
  /** Whether this process is emptying the spool. */
  flushing = false;
  readonly #db: Database;

  constructor(readonly path: string) {
    closeSync(openSync(path, 'a', 0o600));
    this.#db = open(path);
    this.#db.exec('PRAGMA busy_timeout = 30000');
    this.#db.exec('PRAGMA journal_mode = WAL');
    this.#db.exec('PRAGMA synchronous = FULL');
    this.#db.exec(SCHEMA);
  }

  /** Keeps a call; the same call once. Another call with its key is refused. */
  add(statement: Statement<unknown>): void {
    const text = stored(statement.arguments);
    const { wallet, idempotency_key: key } = statement.arguments;
    const identity = [wallet, statement.function, key];
    const insert =
      'INSERT OR IGNORE INTO spool (wallet, function, key, arguments) VALUES (?, ?, ?, ?)';
    if (Number(this.#db.prepare(insert).run(...identity, text).changes) === 1) return;
    const find = 'SELECT arguments FROM spool WHERE wallet = ? AND function = ? AND key = ?';
    const found = this.#db.prepare(find).get(...identity);
    // None: another process has booked it meanwhile, and the wallet knows the key.
    if (found && compared(found.arguments) !== compared(text)) {
      throw new IdempotencyConflict(`idempotency key "${key}" was used for another request`);
    }
  }

  /** Rows in the order in which they were added. */
  rows(after = 0, limit = 100): Spooled[] {
    const sql =
      'SELECT id, wallet, function, arguments, attempts, error FROM spool ' +
      'WHERE id > ? ORDER BY id LIMIT ?';
    const rows = this.#db.prepare(sql).all(after, limit);
    return rows.map((row) => ({ ...row, arguments: restored(row.arguments) }));
  }

  /** Forgets a call that went through. */
  booked(row: Spooled): void {
    this.#db.prepare('DELETE FROM spool WHERE id = ?').run(row.id);
  }

  /** Keeps a call with what the wallet said of it. */
  refused(row: Spooled, error: string): void {
    const sql = 'UPDATE spool SET attempts = attempts + 1, error = ? WHERE id = ?';
    this.#db.prepare(sql).run(error, row.id);
  }

  /** How many calls are in the spool. */
  get length(): number {
    return Number(this.#db.prepare('SELECT count(*) AS n FROM spool').get().n);
  }

  /** Whether a row is there that was not refused. */
  waiting(): boolean {
    const sql = 'SELECT EXISTS (SELECT 1 FROM spool WHERE error IS NULL) AS found';
    return Number(this.#db.prepare(sql).get().found) === 1;
  }

  /** Closes the file. */
  close(): void {
    this.#db.close();
  }
}

/** The call of a row. */
export function statementOf(row: Spooled): Statement<any> {
  return call(row.function, row.arguments);
}

/** The arguments of a call as text, in the order of their names. */
function stored(given: Arguments): string {
  const members = Object.entries(given).map(([name, value]) => [
    name,
    isJson(name) ? exact.write(value) : typeof value === 'number' ? value : plain(value),
  ]);
  return JSON.stringify(Object.fromEntries(members.sort()));
}

function plain(value: unknown): unknown {
  if (value instanceof Date) return value.toISOString();
  return typeof value === 'bigint' ? value.toString() : value;
}

/** What two calls with one key must have in common: all but the time of the attempt. */
function compared(text: string): string {
  const { event_at: _, ...rest } = JSON.parse(text);
  return JSON.stringify(rest);
}

/** The arguments of a call as they were given: JSON is passed on as it was written. */
function restored(text: string): Arguments {
  const members = Object.entries(JSON.parse(text) as Record<string, string>);
  const given = members.map(([name, value]) => [
    name,
    isJson(name) ? new exact.Written(value) : value,
  ]);
  return Object.fromEntries(given);
}
