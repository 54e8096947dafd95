import { setServerTime } from "../clock";
import type { components, paths } from "./schema";

export type Schemas = components["schemas"];
type Ok<T> = T extends { responses: { 200: { content: { "application/json": infer A } } } }
  ? A
  : never;
type Gets = { [P in keyof paths]: Ok<paths[P]["get"]> extends never ? never : P }[keyof paths];
type Params = Record<string, string | number | null | undefined>;

const TIMEOUT_MS = 15_000;

/** What the API answered instead of what was asked for; `status` 0 is no answer at all. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly title: string,
    detail: string,
  ) {
    super(detail);
  }

  /** Whether asking again may help. */
  get isTransient(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

function address(path: string, params: Params): string {
  const query = new URLSearchParams();
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) =>
    encodeURIComponent(String(params[name])),
  );
  for (const [name, value] of Object.entries(params)) {
    if (value !== undefined && value !== null && value !== "" && !path.includes(`{${name}}`))
      query.set(name, String(value));
  }
  return query.size ? `${filled}?${query}` : filled;
}

async function ask(url: string, init: RequestInit): Promise<Response> {
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  const signal = init.signal ? AbortSignal.any([init.signal, timeout]) : timeout;
  let answer: Response;
  try {
    answer = await fetch(url, { ...init, signal, redirect: "manual" });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ApiError(0, "offline", "");
  }
  setServerTime(answer.headers.get("date"));
  // The gateway leads who is not signed in to the login.
  if (answer.type === "opaqueredirect") throw new ApiError(401, "session", "");
  if (!answer.ok) {
    const problem = (await answer.json().catch(() => ({}))) as { title?: string; detail?: string };
    throw new ApiError(answer.status, problem.title ?? "", problem.detail ?? "");
  }
  return answer;
}

/** Read from the API. */
export async function get<P extends Gets>(
  path: P,
  params: Params = {},
  signal?: AbortSignal,
): Promise<Ok<paths[P]["get"]>> {
  const headers = { accept: "application/json" };
  const init: RequestInit = signal ? { headers, signal } : { headers };
  return (await ask(address(path, params), init)).json();
}

/** Write through the API. The same key again is the same write. */
export async function post<T>(path: string, body: unknown, key?: string): Promise<T> {
  const headers: Record<string, string> = { "content-type": "application/json" };
  if (key) headers["idempotency-key"] = key;
  const answer = await ask(path, { method: "POST", headers, body: JSON.stringify(body) });
  return answer.status === 204 ? (undefined as T) : answer.json();
}
