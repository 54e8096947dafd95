import type { Schemas } from "../api/client";

/** A cell that no spreadsheet takes for a formula. https://owasp.org/www-community/attacks/CSV_Injection */
export function cell(value: string | number | boolean | null): string {
  const text = value === null ? "" : String(value);
  const safe = /^[=+@\t\r]/.test(text) || /^-(?!\d+(\.\d+)?$)/.test(text) ? `'${text}` : text;
  return /[",;\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

const COLUMNS = [
  "done_at",
  "medication_id",
  "sku",
  "name_es",
  "lot",
  "quantity",
  "uom",
  "from_location",
  "to_location",
  "is_inventory",
  "reference",
  "origin",
  "done_by",
] as const satisfies (keyof Schemas["Movement"])[];

/** Movements as RFC 4180 says, with a mark by which spreadsheets know UTF-8. */
export function csv(rows: Schemas["Movement"][]): string {
  const lines = rows.map((row) => COLUMNS.map((name) => cell(row[name])).join(","));
  return `\ufeff${[COLUMNS.join(","), ...lines].join("\r\n")}\r\n`;
}
