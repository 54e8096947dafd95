import { useSyncExternalStore } from "react";

const listeners = new Set<() => void>();
let now = Date.now();
let ahead_ms = 0;
setInterval(() => {
  now = Date.now();
  for (const tell of listeners) tell();
}, 1_000);

function subscribe(tell: () => void) {
  listeners.add(tell);
  return () => void listeners.delete(tell);
}

/** The server's clock is what ages are told by: a PC's own may be minutes wrong. */
export function setServerTime(header: string | null): void {
  const server = header ? Date.parse(header) : Number.NaN;
  if (!Number.isNaN(server)) ahead_ms = server - Date.now();
}

/** Seconds since a time, anew each second; null when there is none. */
export function useAge(time: string | null | undefined): number | null {
  const at = useSyncExternalStore(subscribe, () => now);
  return time ? Math.max(0, (at + ahead_ms - Date.parse(time)) / 1000) : null;
}

function watchLine(tell: () => void) {
  addEventListener("online", tell);
  addEventListener("offline", tell);
  return () => {
    removeEventListener("online", tell);
    removeEventListener("offline", tell);
  };
}
export const useOnline = () => useSyncExternalStore(watchLine, () => navigator.onLine);
