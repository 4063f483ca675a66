/** What the calls return: frozen, with exact decimals as strings. */

import * as exact from './exact.js';

type Row = Record<string, any>;

/** The base of all results. In JSON a bigint is a number, or text where a number loses digits. */
abstract class Result {
  /** The members as JSON can hold them. */
  toJSON(): Record<string, unknown> {
    return Object.fromEntries(Object.entries(this).map(([name, value]) => [name, plain(value)]));
  }
}

function plain(value: unknown): unknown {
  if (typeof value !== 'bigint') return value;
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value.toString();
}

/** How a part of a cost came about. */
export interface Line {
  readonly meter: string;
  readonly quantity: string;
  readonly unitPrice: string;
  readonly per: string;
  readonly amount: string;
  readonly priceId: string | null;
}

/**
 * What was booked.
 *
 * With `spooled` nothing is booked yet: the usage is in the local spool, `entryId` is null, and
 * `cost` and `balance` are null.
 */
export class Charge extends Result {
  readonly entryId: string | null = null;
  readonly cost: string | null = null;
  readonly currency: string | null = null;
  readonly balance: string | null = null;
  readonly model: string | null = null;
  readonly totalTokens: bigint | null = null;
  readonly lines: readonly Line[] = [];
  readonly replayed: boolean = false;
  readonly spooled: boolean = false;

  /** @internal */
  constructor(given: Partial<Charge>) {
    super();
    Object.assign(this, given);
    Object.freeze(this);
  }

  /** The headers of `usageHeaders` without those of limits, and without a round trip. */
  headers(): Record<string, string> {
    const headers: Record<string, string> = {};
    if (this.spooled) return headers;
    headers['X-Usage-Cost'] = String(this.cost);
    headers['X-Usage-Currency'] = String(this.currency);
    if (this.totalTokens !== null) headers['X-Total-Tokens'] = String(this.totalTokens);
    if (this.model !== null) headers['X-Model'] = this.model;
    headers['X-Wallet-Balance'] = String(this.balance);
    return headers;
  }
}

/** A call that went to the spool. */
export const SPOOLED = new Charge({ spooled: true });

/** What is set aside. `affordableTokens` is how many output tokens of the estimate it pays for. */
export class Hold extends Result {
  readonly holdId: string;
  readonly amount: string;
  readonly balance: string;
  readonly expiresAt: Date;
  readonly replayed: boolean;
  readonly affordableTokens: bigint | null;
  readonly status: string;

  /** @internal */
  constructor(row: Row) {
    super();
    this.holdId = row.hold_id;
    this.amount = row.amount;
    this.balance = row.balance;
    this.expiresAt = new Date(row.expires_at);
    this.replayed = row.replayed === 'true';
    this.affordableTokens = whole(row.affordable_tokens);
    this.status = row.status;
    Object.freeze(this);
  }

  /** @internal The same hold with the end and the status of another answer about it. */
  at({ expiresAt, status }: Hold): Hold {
    const copy: { -readonly [K in keyof Hold]: Hold[K] } = Object.create(Hold.prototype);
    return Object.freeze(Object.assign(copy, this, { expiresAt, status }));
  }
}

/** What the balance or one limit would say to a request. */
export interface LimitCheck {
  readonly limitId: string | null;
  readonly scope: string;
  readonly subject: string;
  readonly period: string | null;
  readonly metric: string | null;
  readonly mode: string | null;
  readonly max: string | null;
  readonly used: string | null;
  readonly held: string | null;
  readonly remaining: string | null;
  readonly resetsAt: Date | null;
  readonly allowed: boolean;
  readonly reason: string | null;
  readonly maxPerRequest: string | null;
}

/** What a charge with one of several models would say. At most one of them is `chosen`. */
export interface ModelChoice {
  readonly model: string;
  readonly cost: string | null;
  readonly allowed: boolean;
  readonly reason: string | null;
  readonly remaining: string | null;
  readonly chosen: boolean;
}

/** A hold as it is now. `approved` is that it waited for approval and was approved. */
export interface HoldState {
  readonly status: string;
  readonly amount: string;
  readonly expiresAt: Date;
  readonly approved: boolean;
}

/** What a usage would cost. */
export class Price extends Result {
  readonly cost: string;
  readonly currency: string;
  readonly model: string | null;
  readonly totalTokens: bigint | null;
  readonly lines: readonly Line[];

  /** @internal */
  constructor(row: Row) {
    super();
    this.cost = row.cost;
    this.currency = row.currency;
    this.model = row.model;
    this.totalTokens = whole(row.total_tokens);
    this.lines = lines(row.lines);
    Object.freeze(this);
  }
}

/** A wallet's money. */
export interface Balance {
  readonly wallet: string;
  readonly currency: string;
  readonly balance: string;
  readonly held: string;
  readonly available: string;
  readonly creditLimit: string;
  readonly debt: string;
  readonly status: string;
}

function whole(text: string | null): bigint | null {
  return text === null ? null : BigInt(text);
}

function lines(text: string | null): readonly Line[] {
  const found = (text ? exact.parse(text) : []) as Row[];
  const read = found.map((line) =>
    Object.freeze({
      meter: String(line.meter),
      quantity: String(line.quantity),
      unitPrice: String(line.unit_price),
      per: String(line.per),
      amount: String(line.amount),
      priceId: line.price_id ?? null,
    }),
  );
  return Object.freeze(read);
}

/** @internal */
export function charge(rows: Row[]): Charge {
  const row = rows[0]!;
  return new Charge({
    entryId: row.entry_id,
    cost: row.cost,
    currency: row.currency,
    balance: row.balance,
    model: row.model,
    totalTokens: whole(row.total_tokens),
    lines: lines(row.lines),
    replayed: row.replayed === 'true',
  });
}

/** @internal */
export function hold(rows: Row[]): Hold {
  return new Hold(rows[0]!);
}

/** @internal */
export function limitChecks(rows: Row[]): readonly LimitCheck[] {
  return rows.map((row) =>
    Object.freeze({
      limitId: row.limit_id,
      scope: row.scope,
      subject: row.subject,
      period: row.period,
      metric: row.metric,
      mode: row.mode,
      max: row.max,
      used: row.used,
      held: row.held,
      remaining: row.remaining,
      resetsAt: row.resets_at === null ? null : new Date(row.resets_at),
      allowed: row.allowed === 'true',
      reason: row.reason,
      maxPerRequest: row.max_per_request,
    }),
  );
}

/** @internal */
export function modelChoices(rows: Row[]): readonly ModelChoice[] {
  return rows.map((row) =>
    Object.freeze({
      model: row.model,
      cost: row.cost,
      allowed: row.allowed === 'true',
      reason: row.reason,
      remaining: row.remaining,
      chosen: row.chosen === 'true',
    }),
  );
}

/** @internal */
export function holdState(rows: Row[]): HoldState | null {
  const row = rows[0];
  if (row === undefined) return null;
  const { status, amount } = row;
  const expiresAt = new Date(row.expires_at);
  return Object.freeze({ status, amount, expiresAt, approved: row.approved === 'true' });
}

/** @internal */
export function price(rows: Row[]): Price {
  return new Price(rows[0]!);
}

/** @internal */
export function balance(rows: Row[]): Balance | null {
  const row = rows[0];
  if (row === undefined) return null;
  const { wallet, currency, balance, held, available, debt, status } = row;
  const creditLimit = row.credit_limit;
  return Object.freeze({ wallet, currency, balance, held, available, creditLimit, debt, status });
}

/** @internal */
export function headers(rows: Row[]): Record<string, string> {
  return Object.fromEntries(rows.map((row) => [row.name, row.value]));
}
