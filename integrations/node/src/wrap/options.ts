/** How wrapped clients estimate, hold and settle. */

import type { RequestOptions } from '../lifetime.js';

/** How a wrapped client works. */
export interface WrapOptions {
  /** How its requests hold and settle. */
  request?: RequestOptions;
  /** The estimate of a request that names no maximum of its own (4096). */
  outputTokens?: number;
  /**
   * Where the money does not pay for the maximum, holds what there is and lowers the request's
   * maximum to the tokens that this pays for (false).
   */
  lower?: boolean;
  /**
   * Counts the tokens of a text. Without it a hold counts two bytes of UTF-8 as a token, which is
   * more than any tokenizer makes of ordinary text, and a broken stream four.
   */
  count?: (text: string) => number;
  /** The estimate of an image, a sound or a file of the input (1600). */
  mediaTokens?: number;
  /** The provider whose prices count; without it the client's own. */
  provider?: string;
  /** The name by which the wallet knows a model, from the request's. */
  model?: (name: string) => string;
}

/** The options of a wrapped client, complete. */
export class Settings {
  readonly request: RequestOptions;
  readonly outputTokens: number;
  readonly lower: boolean;
  readonly mediaTokens: number;
  readonly provider: string;
  readonly model: (name: string) => string;
  readonly #count: ((text: string) => number) | undefined;

  constructor(options: WrapOptions, provider: string) {
    this.request = options.request ?? {};
    this.outputTokens = options.outputTokens ?? 4096;
    this.lower = options.lower ?? false;
    this.mediaTokens = options.mediaTokens ?? 1600;
    this.provider = options.provider ?? provider;
    this.model = options.model ?? ((name) => name);
    this.#count = options.count;
  }

  /** Tokens of a text, for a hold: rather too many. */
  readonly heldTokens = (text: string): number =>
    this.#count?.(text) ?? Math.ceil(Buffer.byteLength(text) / 2);

  /** Tokens of a text of which the provider did not say how many it has. */
  readonly usedTokens = (text: string): number =>
    this.#count?.(text) ?? Math.ceil(Buffer.byteLength(text) / 4);
}
