/** A call of a wrapped client: what is held, what is settled, who gets to see it. */

import { InsufficientFunds, PriceNotFound } from '../errors.js';
import type { RequestContext, WalletRequest } from '../request.js';
import type { Charge } from '../results.js';
import type { Wallet } from '../wallet.js';
import { type Endpoint, type Found, type Meter, type Prepared, WholeMeter } from './endpoint.js';
import type { Settings } from './options.js';

/** The options of a request as the SDKs make them. */
export interface Sent {
  method: string;
  path: string;
  body?: any;
  stream?: boolean;
  headers?: any;
  idempotencyKey?: string;
  signal?: AbortSignal | null;
  __metadata?: { model?: string };
  [name: string]: any;
}

/** `response.wallet`: what the call cost. Of a stream it is filled in when the stream ends. */
export class Receipt {
  readonly #request: WalletRequest;

  constructor(request: WalletRequest) {
    this.#request = request;
  }

  /** What was booked; null before that, and where nothing was used. */
  get charge(): Charge | null {
    return this.#request.charge;
  }

  /** What was charged, in `charge.currency`. */
  get cost(): string | null {
    return this.charge?.cost ?? null;
  }

  /** The wallet's balance after the charge. */
  get balance(): string | null {
    return this.charge?.balance ?? null;
  }

  /** The id of the ledger's entry. */
  get entryId(): string | null {
    return this.charge?.entryId ?? null;
  }

  /** The X-Usage headers; empty before the charge. */
  get headers(): Record<string, string> {
    return this.#request.headers();
  }

  /** No JSON of a response has it. */
  toJSON(): undefined {
    return undefined;
  }
}

/** One call, from its arguments to its settlement. */
export class Call {
  readonly prepared: Prepared;
  #next = 0;

  constructor(
    private readonly settings: Settings,
    private readonly endpoint: Endpoint,
    private readonly sent: Sent,
  ) {
    const { body, bytes } = fields(sent);
    this.prepared = endpoint.prepare(body, bytes);
  }

  /** The request as it is sent. A form stays as it is. */
  options(request: WalletRequest): Sent {
    const options = { ...this.sent };
    if (isPlain(options.body)) options.body = this.prepared.body;
    if (request.options.beyond === 'stop') {
      const signals = [options.signal, request.signal].filter((one) => one != null);
      options.signal = AbortSignal.any(signals);
    }
    return options;
  }

  /** Holds the first estimate that has a price. */
  async hold(wallet: Wallet): Promise<WalletRequest> {
    for (;;) {
      const estimate = this.prepared.estimates[this.#next++]!;
      const signal = this.sent.signal ?? undefined;
      const options = { ...this.context(), ...this.settings.request, signal };
      const request = wallet.newRequest(estimate, options);
      try {
        await request.open();
      } catch (error) {
        const hasAnother = this.#next < this.prepared.estimates.length;
        if (error instanceof PriceNotFound && hasAnother) continue;
        throw error;
      }
      if (this.affordable(request)) return request;
      await request.void('no money for a token');
      throw new InsufficientFunds(`the wallet "${wallet.wallet}" does not pay for a token`);
    }
  }

  /** What the hold says of the request. */
  private context(): RequestContext {
    const { serviceTier, model, maximum } = this.prepared;
    const tier = typeof serviceTier === 'string' && !['auto', 'default'].includes(serviceTier);
    return {
      model,
      serviceTier: tier ? serviceTier : undefined,
      idempotencyKey: this.sent.idempotencyKey ?? header(this.sent.headers, 'idempotency-key'),
      allowPartial: this.settings.lower && maximum !== undefined ? true : undefined,
    };
  }

  /** Lowers the maximum to what the hold pays for; false where that is nothing. */
  private affordable(request: WalletRequest): boolean {
    const { maximum, body } = this.prepared;
    const tokens = request.hold?.affordableTokens ?? null;
    if (!this.settings.lower || maximum === undefined || tokens === null) return true;
    const wanted = this.prepared.estimates[this.#next - 1]!.output_tokens;
    if (tokens >= wanted) return true;
    if (tokens < 1n) return false;
    body[maximum] = Number(tokens);
    return true;
  }

  /** Follows the stream of the answer. */
  meter(): Meter {
    const { meter, wholly, estimates } = this.prepared;
    return wholly ? new WholeMeter(meter, estimates[this.#next - 1]!) : meter;
  }

  /** What to settle with. */
  used(response: unknown): Found {
    const said = this.endpoint.used(this.prepared, response);
    if (said !== null) return { usage: said, exact: true };
    // The response says nothing: what was estimated from the request.
    return { usage: { ...this.prepared.estimates[this.#next - 1]! }, exact: false };
  }
}

/** The metadata of an entry whose numbers are not the provider's. */
export function counted(exact: boolean): Record<string, string> | undefined {
  return exact ? undefined : { usage: 'counted by the client' };
}

function isPlain(body: unknown): body is Record<string, any> {
  return (
    body !== null && typeof body === 'object' && Object.getPrototypeOf(body) === Object.prototype
  );
}

/** The fields of a request, and the size of its files as far as it is known. */
function fields(sent: Sent): { body: Record<string, any>; bytes: number | null } {
  const { body } = sent;
  if (isPlain(body)) return { body, bytes: 0 };
  // A form that is written while it is sent can be read once.
  if (!(body instanceof FormData)) return { body: { model: sent.__metadata?.model }, bytes: null };
  const found: Record<string, any> = {};
  let bytes = 0;
  for (const [name, value] of body) {
    if (typeof value === 'string') found[name] = value;
    else bytes += value.size;
  }
  return { body: found, bytes };
}

/** A header of a request, in any of the forms that the SDKs take. */
function header(given: any, name: string): string | undefined {
  if (given === null || typeof given !== 'object') return undefined;
  if (typeof given.get === 'function') return given.get(name) ?? undefined;
  if (given.values instanceof Headers) return given.values.get(name) ?? undefined;
  const pairs: any[] = Array.isArray(given) ? given : Object.entries(given);
  const found = pairs.find((pair) => Array.isArray(pair) && String(pair[0]).toLowerCase() === name);
  return typeof found?.[1] === 'string' ? found[1] : undefined;
}
