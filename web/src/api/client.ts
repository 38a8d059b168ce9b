// Questions to the console. Addresses are relative, so that the page works below any path.

import { connection } from './connection.svelte';

export type Said = Record<string, string | number>;

/** The console answered that it will not do it, and why. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly hint: string,
  ) {
    super(message);
  }
}

/** There was no answer. */
export class Unreachable extends Error {}

export function addressOf(path: string, said: Said = {}): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(said)) if (value !== '') query.set(name, String(value));
  const text = query.toString();
  return `api/v1/${path}${text ? `?${text}` : ''}`;
}

async function refusal(response: Response): Promise<Refused> {
  const answer = (await response.json().catch(() => ({}))) as { error?: string; hint?: string };
  if (response.status === 401) connection.refusedWithoutToken();
  return new Refused(response.status, answer.error ?? `the console answered with status ${response.status}`, answer.hint ?? '');
}

/** The response, if it is one of success. An abort is thrown on as it is. */
export async function request(path: string, said: Said, options: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(addressOf(path, said), { credentials: 'same-origin', ...options });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    connection.failed();
    throw new Unreachable('the console does not answer');
  }
  connection.worked();
  if (!response.ok) throw await refusal(response);
  return response;
}

export async function ask<T>(path: string, said: Said = {}, signal?: AbortSignal): Promise<T> {
  const response = await request(path, said, { signal });
  return (await response.json()) as T;
}

/** Hands a token over; the console keeps it in a cookie that scripts cannot read. */
export async function handOverToken(token: string): Promise<void> {
  await request('session', {}, { method: 'POST', headers: { authorization: `Bearer ${token}` } });
  connection.tokenAccepted();
}
