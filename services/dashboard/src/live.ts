import { type QueryClient, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";

export type Kind =
  | "inventory.changed"
  | "inventory.reloaded"
  | "low_stock.changed"
  | "movement.changed"
  | "reset";
export interface LiveEvent {
  kind: Kind;
  data: { opened?: number[]; request_id?: string; state?: string };
}

const KINDS: Kind[] = [
  "inventory.changed",
  "inventory.reloaded",
  "low_stock.changed",
  "movement.changed",
  "reset",
];
const REOPEN_MS = 3_000;
const REFRESH_MS = 250;

/** Call at once, and then not more often than each `pause` ms, the last call included. */
export function throttled(action: () => void, pause: number): () => void {
  let waiting = false;
  let again = false;
  const run = () => {
    action();
    waiting = true;
    again = false;
    setTimeout(() => {
      waiting = false;
      if (again) run();
    }, pause);
  };
  return () => {
    if (waiting) again = true;
    else run();
  };
}

function follow(
  client: QueryClient,
  tell: (event: LiveEvent) => void,
  live: (is: boolean) => void,
) {
  let source: EventSource;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let last = "";
  let missed = false;
  const refresh = throttled(() => void client.invalidateQueries(), REFRESH_MS);
  const open = () => {
    source = new EventSource(last ? `/api/events?after=${last}` : "/api/events");
    source.onopen = () => {
      live(true);
      if (missed) refresh(); // the figures may have moved while nobody listened
      missed = false;
    };
    source.onerror = () => {
      live(false);
      missed = true;
      // The browser comes back by itself with Last-Event-ID, but for a refusal (503, 401).
      if (source.readyState === EventSource.CLOSED) timer = setTimeout(open, REOPEN_MS);
    };
    for (const kind of KINDS)
      source.addEventListener(kind, (message: MessageEvent<string>) => {
        last = message.lastEventId || last;
        refresh();
        tell({ kind, data: JSON.parse(message.data) as LiveEvent["data"] });
      });
  };
  open();
  return () => {
    clearTimeout(timer);
    source.close();
  };
}

/** Follow the API's events: everything shown is read again, and `tell` hears each. */
export function useLive(tell: (event: LiveEvent) => void): boolean {
  const client = useQueryClient();
  const [isLive, setLive] = useState(false);
  useEffect(() => follow(client, tell, setLive), [client, tell]);
  return isLive;
}
