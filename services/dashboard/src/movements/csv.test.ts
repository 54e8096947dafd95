import { expect, it } from "vitest";
import { cell } from "./csv";

it("no cell is a formula, and numbers stay numbers", () => {
  expect(['=1+1"', "+3", "@x", "-cmd", "-3.5", "12", null].map(cell)).toEqual([
    `"'=1+1"""`,
    "'+3",
    "'@x",
    "'-cmd",
    "-3.5",
    "12",
    "",
  ]);
});

it("separators and line ends are quoted", () => {
  expect(cell("a,b\nc")).toBe('"a,b\nc"');
});
