import { expect, it, vi } from "vitest";
import { throttled } from "./live";

it("the first of many changes is shown at once, the last of them is never left out", () => {
  vi.useFakeTimers();
  const seen: number[] = [];
  let now = 0;
  const refresh = throttled(() => seen.push(now), 250);
  for (now = 1; now <= 5; now++) refresh();
  expect(seen).toEqual([1]);
  vi.advanceTimersByTime(250);
  expect(seen).toEqual([1, 6]);
  vi.advanceTimersByTime(1000);
  expect(seen).toEqual([1, 6]);
  vi.useRealTimers();
});
