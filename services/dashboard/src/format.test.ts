import { describe, expect, it } from "vitest";
import { age, day, isStale, quantity, typedQuantity } from "./format";
import { spanish, translator } from "./i18n";
import { english } from "./words.en";

describe("quantities", () => {
  it("are written as the language does, and never rounded", () => {
    expect(quantity("1234567.125", "es")).toBe("1\u202f234\u202f567,125");
    expect(quantity("1234567.125", "en")).toBe("1,234,567.125");
    expect(quantity("-3", "es")).toBe("\u22123");
    expect(quantity("9007199254740993", "en")).toBe("9,007,199,254,740,993");
    expect(quantity(null, "es")).toBe("–");
  });

  it("are read with a comma or a point, and refused when they are no number", () => {
    expect(typedQuantity(" 1,5 ")).toBe("1.5");
    expect(typedQuantity("+2")).toBe("2");
    expect(typedQuantity("\u22122")).toBe("-2");
    for (const wrong of ["", "1.000,5", "2e3", "dos", "1.2.3"])
      expect(typedQuantity(wrong)).toBeNull();
  });
});

describe("ages", () => {
  const t = translator(spanish);
  it("are told in the largest whole unit", () => {
    expect([4.9, 61, 7300, 200_000].map((s) => age(s, t))).toEqual([
      "4 s",
      "1 min",
      "2 h",
      "2 días",
    ]);
    expect(age(-2, t)).toBe("0 s");
  });

  it("are stale after a minute, and when nothing is known", () => {
    expect([60, 61, null].map(isStale)).toEqual([false, true, true]);
  });
});

it("a day without a time is the same day everywhere", () => {
  expect(day("2026-11-01", "es")).toBe("1 nov 2026");
});

it("every word with a number has its place in both languages", () => {
  for (const [word, text] of Object.entries(spanish))
    expect(english[word as keyof typeof english].includes("{n}"), word).toBe(text.includes("{n}"));
});
