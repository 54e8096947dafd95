import type { Schemas } from "../api/client";
import { typedQuantity } from "../format";

export const KINDS = ["out", "in", "adjustment", "count"] as const;
export type Kind = (typeof KINDS)[number];

/** What is being typed. Its key stays the same until it is booked, whatever happens between. */
export interface Draft {
  key: string;
  kind: Kind;
  medication_id: number | null;
  location_id: number | null;
  lot_id: number | null;
  quantity: string;
  expected: string | null;
  reason: string;
}

const KEPT = "clinic-movement-draft";

/** Start anew; where the last one was is where the next one most likely is. */
export function newDraft(before?: Draft): Draft {
  return {
    key: crypto.randomUUID(),
    kind: before?.kind ?? "out",
    medication_id: null,
    location_id: before?.location_id ?? null,
    lot_id: null,
    quantity: "",
    expected: null,
    reason: "",
  };
}

export function keptDraft(): Draft {
  try {
    const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "null") as Draft | null;
    return kept?.key ? kept : newDraft();
  } catch {
    return newDraft();
  }
}

export const keep = (draft: Draft) => sessionStorage.setItem(KEPT, JSON.stringify(draft));

/** Change a draft. Another body under a key that may have been sent is refused, so the key changes too. */
export function changed(draft: Draft, to: Partial<Draft>): Draft {
  const names = Object.keys(to) as (keyof Draft)[];
  if (names.every((name) => draft[name] === to[name])) return draft;
  return { ...draft, ...to, key: crypto.randomUUID() };
}

/** What the API takes, or the word for what is missing. */
export function body(
  draft: Draft,
): Schemas["NewMovement"] | "pick_first" | "pick_location" | "number_wrong" {
  if (draft.medication_id === null) return "pick_first";
  if (draft.location_id === null) return "pick_location";
  const quantity = typedQuantity(draft.quantity);
  const sign = Number(quantity);
  const isWrong =
    quantity === null ||
    (draft.kind === "count" ? sign < 0 : draft.kind === "adjustment" ? sign === 0 : sign <= 0);
  if (isWrong) return "number_wrong";
  return {
    kind: draft.kind,
    medication_id: draft.medication_id,
    location_id: draft.location_id,
    quantity,
    ...(draft.lot_id === null ? {} : { lot_id: draft.lot_id }),
    ...(draft.kind === "count" && draft.expected !== null
      ? { expected_quantity: draft.expected }
      : {}),
    ...(draft.reason.trim() ? { reason: draft.reason.trim() } : {}),
  };
}
