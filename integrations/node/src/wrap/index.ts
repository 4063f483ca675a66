/** `wrap(client, wallet)`: a client of openai or @anthropic-ai/sdk whose calls are charged. */

import type { Wallet } from '../wallet.js';
import * as anthropic from './anthropic.js';
import { Receipt } from './call.js';
import { hook } from './hook.js';
import * as openai from './openai.js';
import { Settings, type WrapOptions } from './options.js';

const WRAPPED = new WeakSet<object>();

/**
 * A copy of the client, of the same type, that charges the wallet.
 *
 * Each call holds its estimate, is made, and is settled with what the provider reports:
 * `response.wallet` has the cost. Calls that are not for a model go through unchanged. An
 * `Idempotency-Key` among the call's headers is the key of hold and settlement too.
 */
export function wrap<C extends object>(client: C, wallet: Wallet, options: WrapOptions = {}): C {
  const given = client as any;
  const kind = kindOf(given);
  if (kind === null || typeof given.withOptions !== 'function') {
    throw new TypeError('this is no client of openai or @anthropic-ai/sdk');
  }
  if (WRAPPED.has(given))
    throw new TypeError('this client is wrapped: its calls would be paid twice');
  const settings = new Settings(options, kind);
  const endpoints =
    kind === 'anthropic' ? anthropic.endpoints(settings) : openai.endpoints(settings);
  // The copy that Azure's client makes of itself forgets these.
  const { apiVersion, deploymentName: deployment } = given;
  const kept = kind === 'azure' ? { apiVersion, deployment } : {};
  const wrapped = given.withOptions(kept);
  hook(wrapped, { wallet, settings, endpoints });
  wrapped.withOptions = (changes: object) =>
    wrap(given.withOptions({ ...kept, ...changes }), wallet, options);
  WRAPPED.add(wrapped);
  return wrapped;
}

/** What a wrapped call cost, from its response, its stream, or the SDK's helper around a stream. */
export function receipt(response: unknown): Receipt | undefined {
  const one = response as any;
  const found = one?.wallet ?? one?.response?.wallet;
  return found instanceof Receipt ? found : undefined;
}

/** The provider of a client, by the calls that it has. */
function kindOf(client: any): 'openai' | 'azure' | 'anthropic' | null {
  if (typeof client?.request !== 'function') return null;
  if (typeof client.chat?.completions?.create === 'function') {
    return 'deploymentName' in client ? 'azure' : 'openai';
  }
  return typeof client.messages?.create === 'function' ? 'anthropic' : null;
}
