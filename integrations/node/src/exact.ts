/** JSON with exact numbers: they are read as strings, and a bigint is written digit by digit. */

const NUMBER_OR_STRING = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** Parses JSON. Every number becomes a string with its digits as they are. */
export function parse(text: string): unknown {
  return JSON.parse(
    text.replace(NUMBER_OR_STRING, (token) => (token[0] === '"' ? token : `"${token}"`)),
  );
}

/** JSON that was written before, and is passed on as it is. */
export class Written {
  constructor(readonly text: string) {}
}

/** An exact number for a usage object, such as `decimal('12.3456789')`, where a float may not be. */
export function decimal(text: string): Written {
  if (!/^-?(0|[1-9]\d*)(\.\d+)?$/.test(text)) throw new TypeError(`"${text}" is no decimal number`);
  return new Written(text);
}

/** Writes JSON. A bigint is a number; what JSON cannot hold is refused instead of becoming null. */
export function write(value: unknown): string {
  const text = written(value);
  if (text === undefined) throw new TypeError('this value cannot be written as JSON');
  return text;
}

function written(value: unknown): string | undefined {
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'number' && !Number.isFinite(value)) {
    throw new TypeError('JSON has no number that is not finite');
  }
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  if ('toJSON' in value && typeof value.toJSON === 'function') return written(value.toJSON());
  if (value instanceof Written) return value.text;
  if (Array.isArray(value)) return `[${value.map((item) => written(item) ?? 'null').join(',')}]`;
  const members: string[] = [];
  for (const [name, item] of Object.entries(value)) {
    const text = written(item);
    if (text !== undefined) members.push(`${JSON.stringify(name)}:${text}`);
  }
  return `{${members.join(',')}}`;
}
