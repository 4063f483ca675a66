/**
 * Structured logs, and spans where the application has OpenTelemetry.
 *
 * No prompt, no answer and no key is in either: wallet, function, numbers and ids are.
 */

import { createRequire } from 'node:module';
import type { Span, Tracer } from '@opentelemetry/api';
import type { Logger } from './types.js';

type Api = typeof import('@opentelemetry/api');
let found: Api | null | undefined;

/** The API of OpenTelemetry, where the application has installed it. */
function api(): Api | null {
  if (found === undefined) {
    try {
      found = createRequire(import.meta.url)('@opentelemetry/api') as Api;
    } catch {
      found = null;
    }
  }
  return found;
}

/** The level of a line. */
export type Level = 'debug' | 'info' | 'warn' | 'error';

/** One line; its fields are members of the first argument: `function`, `wallet`, `cost`, … */
export function log(
  logger: Logger | undefined,
  level: Level,
  event: string,
  fields: Record<string, unknown>,
): void {
  if (logger === undefined) return;
  const given = Object.entries(fields).filter(([, value]) => value !== undefined && value !== null);
  logger[level]({ event, ...Object.fromEntries(given) }, `wallet: ${event}`);
}

/** Runs `work` in a span. The facts of its result become attributes. */
export async function span<T>(name: string, wallet: string, work: () => Promise<T>): Promise<T> {
  const otel = api();
  if (otel === null) return await work();
  const tracer: Tracer = otel.trace.getTracer('pg-wallet');
  const attributes = { 'db.system.name': 'postgresql', 'wallet.name': wallet };
  const options = { kind: otel.SpanKind.CLIENT, attributes };
  return await tracer.startActiveSpan(`wallet.${name}`, options, async (current: Span) => {
    try {
      const result = await work();
      for (const [fact, value] of Object.entries(facts(result))) {
        current.setAttribute(`wallet.${fact}`, String(value));
      }
      return result;
    } catch (error) {
      if (error instanceof Error) current.recordException(error);
      current.setStatus({ code: otel.SpanStatusCode.ERROR, message: String(error) });
      throw error;
    } finally {
      current.end();
    }
  });
}

const FACTS: Record<string, string> = {
  entryId: 'entry_id',
  holdId: 'hold_id',
  cost: 'cost',
  amount: 'amount',
  balance: 'balance',
  model: 'model',
  replayed: 'replayed',
  status: 'status',
};

/** What a log line or a span says of a result. */
export function facts(result: unknown): Record<string, unknown> {
  if (result === null || typeof result !== 'object') return {};
  const given = Object.entries(result).filter(([name, value]) => FACTS[name] && value !== null);
  return Object.fromEntries(given.map(([name, value]) => [FACTS[name]!, value]));
}
