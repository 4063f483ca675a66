/** The SQL of every call: text, parameters, and how its rows are read. Nothing here does I/O. */

import * as exact from './exact.js';
import * as results from './results.js';

/** The arguments of a call, by the names of the SQL function. */
export type Arguments = Record<string, unknown>;

/** One call of a function of the wallet. */
export interface Statement<T> {
  readonly function: string;
  readonly arguments: Arguments;
  readonly sql: string;
  readonly parameters: unknown[];
  readonly read: (rows: any[]) => T;
}

const TYPES: Record<string, string> = {
  usage: 'jsonb',
  tags: 'jsonb',
  metadata: 'jsonb',
  amount: 'numeric',
  ttl: 'interval',
  hold_id: 'uuid',
  entry_id: 'uuid',
  event_at: 'timestamptz',
  at: 'timestamptz',
  client_ip: 'inet',
  allow_partial: 'boolean',
  final: 'boolean',
  for_hold: 'boolean',
  models: 'text[]',
};

// Every column is read as text: no type parser of the caller's driver can make a float of it, and
// a time is written the same whatever DateStyle is.
const text = (names: string) =>
  names
    .split(' ')
    .map((name) =>
      name.endsWith('_at') ? `to_json(${name}) #>> '{}' AS ${name}` : `${name}::text`,
    )
    .join(', ');

const CHARGE = text('entry_id cost currency balance model total_tokens lines replayed');
const HOLD = text('hold_id amount balance expires_at replayed affordable_tokens status');
const LIMITS = text(
  'limit_id scope subject period metric mode max used held remaining resets_at allowed reason ' +
    'max_per_request',
);
const MODELS = text('model cost allowed reason remaining chosen');
const FUNCTIONS: Record<string, [string, (rows: any[]) => unknown]> = {
  charge: [CHARGE, results.charge],
  settle: [CHARGE, results.charge],
  hold: [HOLD, results.hold],
  void: [HOLD, results.hold],
  extend_hold: [HOLD, results.hold],
  approve_hold: [HOLD, results.hold],
  deny_hold: [HOLD, results.hold],
  check_limits: [LIMITS, results.limitChecks],
  choose_model: [MODELS, results.modelChoices],
  price_usage: [text('cost currency model total_tokens lines'), results.price],
  usage_headers: [text('name value'), results.headers],
};

// What a function takes of a wallet's own user, team and so on.
const ATTRIBUTION = ['user_id', 'team', 'service', 'tags', 'key', 'client_ip', 'device'];
/** The attributes that each function takes from the wallet. */
export const CONTEXT: Record<string, string[]> = {
  charge: [...ATTRIBUTION, 'actor'],
  hold: [...ATTRIBUTION, 'actor'],
  check_limits: ATTRIBUTION,
  choose_model: ATTRIBUTION,
  settle: ['actor'],
  void: ['actor'],
  extend_hold: ['actor'],
  approve_hold: ['actor'],
  deny_hold: ['actor'],
};

/** A call with those of the arguments that are given, by name. */
export function call(name: string, given: Arguments): Statement<any> {
  const [columns, read] = FUNCTIONS[name]!;
  const parameters: unknown[] = [];
  const kept: Arguments = {};
  const named: string[] = [];
  for (const [argument, value] of Object.entries(given)) {
    if (value === undefined || value === null) continue;
    kept[argument] = value;
    parameters.push(parameter(argument, value));
    named.push(`${argument} => $${parameters.length}::${TYPES[argument] ?? 'text'}`);
  }
  const sql = `SELECT ${columns} FROM wallet.${name}(${named.join(', ')})`;
  return { function: name, arguments: kept, sql, parameters, read };
}

/** Whether an argument is passed as JSON. */
export function isJson(name: string): boolean {
  return TYPES[name] === 'jsonb';
}

function parameter(name: string, value: unknown): unknown {
  if (isJson(name)) return exact.write(value);
  if (name === 'ttl') return typeof value === 'number' ? `${value} seconds` : value;
  if (typeof value === 'bigint') return value.toString();
  return value instanceof Date ? value.toISOString() : value;
}

/** The wallet's money. */
export function balance(wallet: string): Statement<results.Balance | null> {
  const columns = text('wallet currency balance held available credit_limit debt status');
  const sql = `SELECT ${columns} FROM wallet.balances WHERE wallet = $1`;
  const parameters = [wallet];
  return { function: 'balance', arguments: { wallet }, sql, parameters, read: results.balance };
}

/** A hold as it is now. */
export function holdState(wallet: string, holdId: string): Statement<results.HoldState | null> {
  const columns = text('status amount expires_at approved');
  const sql = `SELECT ${columns} FROM wallet.holds WHERE wallet = $1 AND hold_id = $2::uuid`;
  const given = { wallet, hold_id: holdId };
  const parameters = [wallet, holdId];
  return { function: 'holds', arguments: given, sql, parameters, read: results.holdState };
}
