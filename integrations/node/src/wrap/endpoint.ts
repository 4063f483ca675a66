/** What is known of one kind of call of a provider: estimate, usage, the usage of a stream. */

import type { Settings } from './options.js';
import { inputTokens, type Meters } from './read.js';

/** What has been used, and whether the provider has said so. */
export interface Found {
  usage: Meters | unknown[];
  exact: boolean;
}

/** Follows a stream. */
export interface Meter {
  /** Notes what an event says. False: the consumer did not ask for it and does not see it. */
  see(event: any): boolean;
  /** What has been used so far; null for nothing. */
  usage(): Found | null;
}

/**
 * A request before it is sent: its body, and estimates in the order of preference.
 *
 * An estimate that has no price gives way to the next: some models are priced by the image or
 * character, and others by the token.
 */
export interface Prepared {
  model: string;
  body: Record<string, any>;
  estimates: Meters[];
  meter: Meter;
  /** Whether the provider bills the whole of the request once a stream has begun. */
  wholly?: boolean;
  /** Where the request has its maximum of tokens, for `lower`. */
  maximum?: string;
  serviceTier?: unknown;
}

/** One kind of call. */
export interface Endpoint {
  /** `bytes` is the size of the request's files; null where it cannot be known. */
  prepare(body: Record<string, any>, bytes: number | null): Prepared;
  /** What a response says was used; null where it says nothing. */
  used(prepared: Prepared, response: unknown): Meters | null;
}

/** What endpoints share. */
export abstract class Base {
  constructor(protected readonly settings: Settings) {}

  protected model(body: Record<string, any>, fallback = ''): string {
    return this.settings.model(String(body.model ?? fallback));
  }

  protected estimate(meters: Meters): Meters {
    return { provider: this.settings.provider, ...meters };
  }

  /** Tokens of a prompt for the hold, and where the provider does not count them. */
  protected tokens(...parts: unknown[]): { held: number; used: number } {
    const { heldTokens, usedTokens, mediaTokens } = this.settings;
    return {
      held: inputTokens(parts, heldTokens, mediaTokens),
      used: inputTokens(parts, usedTokens, mediaTokens),
    };
  }
}

/** The last event says what was used. Nothing can be counted without it. */
export class LastMeter implements Meter {
  #said: Meters | null = null;

  constructor(private readonly read: (event: unknown) => Meters | null) {}

  see(event: unknown): boolean {
    this.#said = this.read(event) ?? this.#said;
    return true;
  }

  usage(): Found | null {
    return this.#said === null ? null : { usage: this.#said, exact: true };
  }
}

/** Takes an estimate for what a stream used that has begun and does not say. */
export class WholeMeter implements Meter {
  #began = false;

  constructor(
    private readonly meter: Meter,
    private readonly estimate: Meters,
  ) {}

  see(event: unknown): boolean {
    this.#began = true;
    return this.meter.see(event);
  }

  usage(): Found | null {
    const found = this.meter.usage();
    if (found !== null || !this.#began) return found;
    return { usage: { ...this.estimate }, exact: false };
  }
}

/** A whole number of a request, which a form holds as text; undefined where there is none. */
export function whole(body: Record<string, any>, name: string): number | undefined {
  const value = typeof body[name] === 'string' ? Number(body[name]) : body[name];
  return Number.isInteger(value) ? value : undefined;
}
