import { useCallback, useRef, useState } from "react";
import { Button } from "react-aria-components";
import { Link } from "wouter";
import { get } from "./api/client";
import { moment } from "./format";
import { useLocale } from "./i18n";
import type { LiveEvent } from "./live";

export interface Alert {
  key: number;
  at: string;
  kind: "low" | "conflict" | "applied";
  name: string;
  to: string;
}

const MOST_KEPT = 50;
const TOAST_MS = 10_000;

function beep() {
  const audio = new AudioContext();
  const tone = audio.createOscillator();
  const volume = audio.createGain();
  volume.gain.value = 0.1;
  tone.connect(volume).connect(audio.destination);
  tone.frequency.value = 660;
  tone.start();
  tone.stop(audio.currentTime + 0.2);
  tone.onended = () => void audio.close();
}

/** Alerts as they happen: kept for the list, shown as toasts for a while. */
export function useAlerts(sound: boolean, language: "es" | "en") {
  const [alerts, setAlerts] = useState<Alert[]>([]);
  const [toasts, setToasts] = useState<Alert[]>([]);
  const [unseen, setUnseen] = useState(0);
  const loud = useRef(sound);
  loud.current = sound;
  const add = useCallback((news: Omit<Alert, "key" | "at">) => {
    const alert = { ...news, key: Math.random(), at: new Date().toISOString() };
    setAlerts((before) => [alert, ...before].slice(0, MOST_KEPT));
    setToasts((before) => [...before, alert].slice(-3));
    setUnseen((before) => before + 1);
    setTimeout(() => setToasts((now) => now.filter((each) => each !== alert)), TOAST_MS);
    if (loud.current) beep();
  }, []);
  const hear = useCallback(
    (event: LiveEvent) => {
      if (event.kind === "low_stock.changed" && event.data.opened?.length)
        void lowNames(event.data.opened, language).then((found) => {
          for (const { name, to } of found) add({ kind: "low", name, to });
        });
      if (event.kind === "movement.changed" && event.data.state === "conflict")
        add({ kind: "conflict", name: "", to: "/conflictos" });
      if (event.kind === "movement.changed" && event.data.state === "applied")
        add({ kind: "applied", name: "", to: "/movimientos" });
    },
    [add, language],
  );
  return {
    alerts,
    toasts,
    unseen,
    hear,
    seen: () => setUnseen(0),
    close: (toast: Alert) => setToasts((now) => now.filter((each) => each !== toast)),
  };
}

async function lowNames(rules: number[], language: "es" | "en") {
  if (rules.length > 3) return [{ name: String(rules.length), to: "/?state=low" }];
  const page = await get("/api/stock-alerts", { limit: 200 }).catch(() => null);
  return rules.map((rule) => {
    const found = page?.items.find((alert) => alert.rule_id === rule);
    const name = (language === "es" ? found?.name_es : found?.name_en) ?? "1";
    return { name, to: found ? `/medicamentos/${found.medication_id}` : "/?state=low" };
  });
}

const WORDS = { low: "alert_low", conflict: "alert_conflict", applied: "alert_applied" } as const;

export function AlertText({ alert }: { alert: Alert }) {
  const { t } = useLocale();
  return <Link href={alert.to}>{t(WORDS[alert.kind], alert.name)}</Link>;
}

export function Toasts({ toasts, close }: { toasts: Alert[]; close: (toast: Alert) => void }) {
  const { t } = useLocale();
  return (
    <div className="toasts" role="status" aria-live="polite">
      {toasts.map((toast) => (
        <div key={toast.key} className={`toast ${toast.kind}`}>
          <AlertText alert={toast} />
          <Button aria-label={t("close")} onPress={() => close(toast)}>
            ✕
          </Button>
        </div>
      ))}
    </div>
  );
}

export function AlertList({ alerts }: { alerts: Alert[] }) {
  const { t, language } = useLocale();
  if (alerts.length === 0) return <p>{t("no_alerts")}</p>;
  return (
    <ul>
      {alerts.map((alert) => (
        <li key={alert.key}>
          <AlertText alert={alert} /> <small>{moment(alert.at, language)}</small>
        </li>
      ))}
    </ul>
  );
}
