/** On whose account a wallet is used, and the options of the calls. Durations are in seconds. */

/** An exact decimal as text, such as `'0.25'`, or a whole number. A float is refused. */
export type Amount = string | bigint;

/** A usage object: a provider's response or usage, a list of a stream's events, or meters. */
export type Usage = object;

/** What a call is about: a usage object, or an amount. */
export type UsageOrAmount = Usage | Amount;

/** What happens while the database does not answer. */
export type Fail = 'closed' | 'open';

/** A connection in the caller's transaction: a client of `pg`, or anything with its `query`. */
export interface Connection {
  query(text: string, values: unknown[]): Promise<{ rows: any[] }>;
}

/** A client that a pool lends: a client of `pg`. */
export interface PooledClient {
  query(query: { name?: string; text: string; values: unknown[] }): Promise<{ rows: any[] }>;
  release(error?: Error | boolean): void;
  on(event: 'error', listener: (error: Error) => void): unknown;
  off(event: 'error', listener: (error: Error) => void): unknown;
}

/** A pool of `pg`. */
export interface Pool {
  connect(): Promise<PooledClient>;
  on(event: 'error', listener: (error: Error, client: any) => void): unknown;
}

/** A logger as of pino: fields first, then the message. `console` fits too. */
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** What every call of a wallet says of its user, team, program and origin. */
export interface Attribution {
  userId?: string;
  team?: string;
  key?: string;
  service?: string;
  tags?: Record<string, string>;
  clientIp?: string;
  device?: string;
  actor?: string;
}

/** The caller's transaction, for calls that take part in it. */
export interface InTransaction {
  client?: Connection;
}

/** Options of calls that write. */
export interface Common {
  idempotencyKey?: string;
  actor?: string;
  metadata?: Record<string, unknown>;
}

/** What is said of a request; what is left out is the wallet's `Attribution`. */
export interface Context {
  userId?: string;
  team?: string;
  key?: string;
  service?: string;
  tags?: Record<string, string>;
  clientIp?: string;
  device?: string;
  model?: string;
  region?: string;
  serviceTier?: string;
  eventAt?: Date | string;
}

/** Where a cost comes from: the wallet's prices, or the cost that the usage states. */
export type CostFrom = 'prices' | 'provider';

/** Options of `charge`. */
export interface ChargeOptions extends Common, Context {
  costFrom?: CostFrom;
}

/** Options of `hold`. */
export interface HoldOptions extends Common, Context {
  /** Seconds that the hold lasts. */
  ttl?: number;
  allowPartial?: boolean;
  /** What becomes of the amount if nobody settles or voids the hold in time (`'release'`). */
  onExpiry?: 'release' | 'charge';
}

/** Options of `settle`. */
export interface SettleOptions extends Common {
  final?: boolean;
  over?: 'charge' | 'cap' | 'debt';
  eventAt?: Date | string;
  costFrom?: CostFrom;
}

/** Options of `checkLimits`. */
export interface CheckOptions extends Context {
  costFrom?: CostFrom;
  /** Checks a hold, which limits on open holds may refuse, and not a charge (false). */
  forHold?: boolean;
}

/** Options of `chooseModel`. */
export interface ChooseOptions extends Omit<Context, 'model'> {
  costFrom?: CostFrom;
  /** Chooses for a hold and not for a charge (false). */
  forHold?: boolean;
}

/** Options of `priceUsage`. */
export interface PriceOptions {
  model?: string;
  region?: string;
  serviceTier?: string;
  at?: Date | string;
  costFrom?: CostFrom;
  currency?: string;
}
