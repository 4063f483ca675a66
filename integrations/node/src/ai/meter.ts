/** What a call of the AI SDK uses. */

import type { Found, Meter } from '../wrap/endpoint.js';
import type { Settings } from '../wrap/options.js';
import { isObject, type Meters } from '../wrap/read.js';

/** The usage of a result; null where the provider has reported none. */
export function usageOf(usage: unknown): Meters | null {
  if (!isObject(usage)) return null;
  const totals = [usage.inputTokens, usage.outputTokens].map((one) => one?.total ?? one);
  return totals.some((total) => typeof total === 'number') ? { usage } : null;
}

/** The part `finish` says what was used. Without it, the texts are counted. */
export class PartsMeter implements Meter {
  #said: Meters | null = null;
  #began = false;
  #tokens = 0;

  constructor(
    private readonly settings: Settings,
    private readonly prompt: number,
  ) {}

  see(part: any): boolean {
    // These come before the provider has said anything.
    if (['stream-start', 'response-metadata', 'error'].includes(part?.type)) return true;
    if (part?.type === 'finish') this.#said = usageOf(part.usage);
    else this.#began = true;
    if (String(part?.type).endsWith('-delta') && typeof part.delta === 'string') {
      this.#tokens += Math.max(1, this.settings.usedTokens(part.delta));
    }
    return true;
  }

  usage(): Found | null {
    if (this.#said !== null) return { usage: this.#said, exact: true };
    if (!this.#began) return null;
    const usage = { input_tokens: this.prompt, output_tokens: Math.max(1, this.#tokens) };
    return { usage, exact: false };
  }
}
