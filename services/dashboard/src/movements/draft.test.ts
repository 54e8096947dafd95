import { expect, it } from "vitest";
import { body, changed, newDraft } from "./draft";

const filled = { ...newDraft(), medication_id: 42, location_id: 8, quantity: "1,5" };

it("says what is missing, in the order of the form", () => {
  expect(body(newDraft())).toBe("pick_first");
  expect(body({ ...filled, location_id: null })).toBe("pick_location");
  for (const quantity of ["", "0", "-1", "x"])
    expect(body({ ...filled, quantity })).toBe("number_wrong");
  expect(body({ ...filled, kind: "adjustment", quantity: "-1" })).toMatchObject({ quantity: "-1" });
  expect(body({ ...filled, kind: "count", quantity: "0" })).toMatchObject({ quantity: "0" });
});

it("an expected quantity goes with a count alone", () => {
  expect(body({ ...filled, expected: "3" })).not.toHaveProperty("expected_quantity");
  expect(body({ ...filled, kind: "count", expected: "3" })).toMatchObject({
    expected_quantity: "3",
  });
});

it("a change takes a new key, and the next movement too, which is where the last one was", () => {
  const other = changed(filled, { quantity: "2" });
  expect(other.key).not.toBe(filled.key);
  expect(changed(filled, { quantity: "1,5" }).key).toBe(filled.key);
  const next = newDraft(other);
  expect([next.location_id, next.medication_id, next.quantity]).toEqual([8, null, ""]);
  expect(next.key).not.toBe(other.key);
});
