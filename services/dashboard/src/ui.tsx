import type { ReactNode } from "react";
import { Button } from "react-aria-components";
import { ApiError, type Schemas } from "./api/client";
import { useAge } from "./clock";
import { age, isStale } from "./format";
import { useLocale } from "./i18n";

export type State = Schemas["StockState"];

const PATHS: Record<State, string> = {
  ok: "M4 10l4 4 8-9",
  low: "M10 3v11M5 10l5 5 5-5",
  out: "M5 5l10 10M15 5L5 15",
  negative: "M4 10h12",
  expired: "M10 2a8 8 0 1 1 0 16 8 8 0 0 1 0-16zM5 5l10 10",
  expiring: "M10 2a8 8 0 1 1 0 16 8 8 0 0 1 0-16zM10 6v5l3 2",
};

export function Icon({ state }: { state: State }) {
  return (
    <svg className="icon" viewBox="0 0 20 20" aria-hidden="true">
      <path d={PATHS[state]} />
    </svg>
  );
}

/** A stock state by word and shape; its colour only repeats them. */
export function States({ states }: { states: State[] }) {
  const { t } = useLocale();
  return (
    <span className="states">
      {states.map((state) => (
        <span key={state} className={`mark ${state}`}>
          <Icon state={state} />
          {t(state)}
        </span>
      ))}
    </span>
  );
}

/** How old what is shown is. */
export function Age({ of }: { of: string | null | undefined }) {
  const { t } = useLocale();
  const seconds = useAge(of);
  if (of === undefined) return null;
  return (
    <small className={isStale(seconds) ? "age old" : "age"}>
      {seconds === null ? t("age_unknown") : t("age", age(seconds, t))}
    </small>
  );
}

export const Loading = () => {
  const { t } = useLocale();
  return (
    <p className="state-note" role="status">
      {t("loading")}
    </p>
  );
};

export function Empty({ text, hint }: { text: string; hint?: string }) {
  return (
    <p className="state-note" role="status">
      <strong>{text}</strong>
      {hint && <span>{hint}</span>}
    </p>
  );
}

export function Failed({ error, again }: { error: Error; again: () => void }) {
  const { t } = useLocale();
  const why = error instanceof ApiError ? error : null;
  const text =
    why?.status === 0 ? t("offline") : why?.status === 401 ? t("session") : (why?.message ?? "");
  return (
    <div className="state-note failed" role="alert">
      <strong>{t("failed")}</strong> <span>{text}</span>
      <Button onPress={again}>{t("retry")}</Button>
    </div>
  );
}

export function Panel(props: { title: string; as_of?: string | null; children: ReactNode }) {
  return (
    <section className="panel">
      <header>
        <h2>{props.title}</h2>
        <Age of={props.as_of} />
      </header>
      {props.children}
    </section>
  );
}
