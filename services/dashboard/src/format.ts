import type { Language, Translate } from "./i18n";

const tag = (language: Language) => (language === "es" ? "es-ES" : "en-GB");

/** A decimal string as people of that language write it; never rounded. */
export function quantity(text: string | null | undefined, language: Language): string {
  if (text === null || text === undefined) return "–";
  const [whole = "0", part] = text.replace("-", "").split(".");
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, language === "es" ? "\u202f" : ",");
  const sign = text.startsWith("-") ? "\u2212" : "";
  return sign + grouped + (part ? (language === "es" ? "," : ".") + part : "");
}

/** What a person typed as a decimal string of the API, or null when it is no number. */
export function typedQuantity(text: string): string | null {
  const plain = text
    .trim()
    .replace(/[\u2212]/g, "-")
    .replace(",", ".");
  return /^[+-]?\d{1,12}(\.\d{1,6})?$/.test(plain) ? plain.replace(/^\+/, "") : null;
}

export function day(time: string | null | undefined, language: Language): string {
  if (!time) return "–";
  const options = { day: "numeric", month: "short", year: "numeric" } as const;
  // A day without a time has no time zone.
  const zone = time.length === 10 ? { timeZone: "UTC" } : {};
  return new Intl.DateTimeFormat(tag(language), { ...options, ...zone }).format(new Date(time));
}

export function moment(time: string, language: Language): string {
  return new Intl.DateTimeFormat(tag(language), { dateStyle: "short", timeStyle: "short" }).format(
    new Date(time),
  );
}

/** How long ago, in the largest unit that is at least one. */
export function age(seconds: number, t: Translate): string {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return t("seconds", s);
  if (s < 3600) return t("minutes", Math.floor(s / 60));
  if (s < 172_800) return t("hours", Math.floor(s / 3600));
  return t("days", Math.floor(s / 86_400));
}

export const STALE_AFTER_S = 60;
export const isStale = (seconds: number | null) => seconds === null || seconds > STALE_AFTER_S;
