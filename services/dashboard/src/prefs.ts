import { useEffect, useState } from "react";
import type { Language } from "./i18n";

export type Theme = "system" | "light" | "dark";

export interface Prefs {
  language: Language;
  theme: Theme;
  sound: boolean;
}

const KEY = "clinic-dashboard";
const FIRST: Prefs = { language: "es", theme: "system", sound: false };

function kept(): Prefs {
  try {
    return { ...FIRST, ...(JSON.parse(localStorage.getItem(KEY) ?? "{}") as Partial<Prefs>) };
  } catch {
    return FIRST;
  }
}

/** What this person chose on this machine. */
export function usePrefs(): [Prefs, (change: Partial<Prefs>) => void] {
  const [prefs, setPrefs] = useState(kept);
  useEffect(() => {
    localStorage.setItem(KEY, JSON.stringify(prefs));
    document.documentElement.lang = prefs.language;
    document.documentElement.dataset.theme = prefs.theme;
  }, [prefs]);
  return [prefs, (change) => setPrefs((before) => ({ ...before, ...change }))];
}
