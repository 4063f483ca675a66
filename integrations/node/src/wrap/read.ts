/**
 * Reads requests and responses.
 *
 * Only numbers, names and types are taken from a response: no text, no image, no argument of a
 * tool.
 */

/** A usage object, or the meters of an estimate. */
export type Meters = Record<string, any>;

const MEDIA = ['image', 'audio', 'file', 'document', 'video'];
// Keys of a response that say how it is priced.
const NAMES = ['id', 'object', 'type', 'model', 'service_tier', 'status', 'created', 'created_at'];
const NAMES_OF_IMAGES = ['size', 'quality'];

/** Whether a value is an object with members. */
export function isObject(value: unknown): value is Record<string, any> {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

/** Tokens of a prompt: all its texts, a number for each medium, and some for each message. */
export function inputTokens(
  value: unknown,
  count: (text: string) => number,
  media: number,
): number {
  if (typeof value === 'string') return count(value);
  if (Array.isArray(value)) {
    return value.reduce((total, item) => total + inputTokens(item, count, media), 0);
  }
  // Bytes of a file are no list of members.
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return media;
  if (!isObject(value)) return value === undefined || value === null ? 0 : 1;
  const { type } = value;
  if (typeof type === 'string' && MEDIA.some((word) => type.includes(word))) return media;
  let total = 4;
  for (const [name, item] of Object.entries(value)) {
    // Whatever is no text is small; the names of a tool's schema are part of the prompt.
    total += inputTokens(item, count, media) + (typeof item === 'string' ? 0 : 1);
    total += isObject(item) ? count(name) : 0;
  }
  return total;
}

/** What a response says of its use: the usage object, names, and the types of its tools. */
export function usageOf(response: unknown): Meters | null {
  if (!isObject(response) || !isObject(response.usage)) return null;
  if (Object.keys(response.usage).length === 0) return null;
  const found: Meters = { usage: response.usage };
  for (const name of NAMES) {
    const value = response[name];
    if (typeof value === 'string' || Number.isInteger(value)) found[name] = value;
  }
  if (response.object === 'response') {
    found.output = (response.output ?? []).map(tool);
    if (isObject(response.tool_usage)) found.tool_usage = response.tool_usage;
  }
  return found;
}

/** An item of a response's output, as far as tools are billed by it. */
function tool(item: any): Meters {
  const found: Meters = {};
  for (const name of ['type', 'status', 'container_id']) {
    if (typeof item?.[name] === 'string') found[name] = item[name];
  }
  const action = item?.action?.type;
  if (typeof action === 'string') found.action = { type: action };
  const container = item?.environment?.container_id;
  if (typeof container === 'string') found.environment = { container_id: container };
  return found;
}

/** Images of a model that reports no usage: their number, and what their price depends on. */
export function imagesOf(response: any, body: Record<string, unknown>): Meters | null {
  if (!Array.isArray(response?.data)) return null;
  const found: Meters = { images: response.data.length };
  for (const name of NAMES_OF_IMAGES) {
    const value = response[name] ?? body[name];
    if (typeof value === 'string') found[name] = value;
  }
  return found;
}

/** Whether a usage object has no number but zero. */
export function isZero(usage: unknown): boolean {
  if (isObject(usage)) return Object.values(usage).every(isZero);
  return typeof usage !== 'number' || usage === 0;
}
