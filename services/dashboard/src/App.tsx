import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import {
  Button,
  Dialog,
  DialogTrigger,
  I18nProvider,
  Popover,
  Switch,
} from "react-aria-components";
import { Link, Route, Switch as Routes, useLocation } from "wouter";
import { AlertList, Toasts, useAlerts } from "./alerts";
import { ApiError, get } from "./api/client";
import { useAge, useOnline } from "./clock";
import { age, isStale } from "./format";
import { LocaleContext, spanish, translator, useLocale, type Word } from "./i18n";
import { useLive } from "./live";
import { ConflictsPage } from "./movements/ConflictsPage";
import { EntryPage } from "./movements/EntryPage";
import { MovementsPage } from "./movements/MovementsPage";
import { type Prefs, type Theme, usePrefs } from "./prefs";
import { MedicinePage } from "./stock/MedicinePage";
import { StockPage } from "./stock/StockPage";
import { useSummary } from "./stock/Tiles";
import { english } from "./words.en";

export function App() {
  const [prefs, change] = usePrefs();
  const { language } = prefs;
  const locale = useMemo(
    () => ({ language, t: translator(language === "es" ? spanish : english) }),
    [language],
  );
  return (
    <LocaleContext.Provider value={locale}>
      <I18nProvider locale={language === "es" ? "es-ES" : "en-GB"}>
        <Shell prefs={prefs} change={change} />
      </I18nProvider>
    </LocaleContext.Provider>
  );
}

interface ShellProps {
  prefs: Prefs;
  change: (to: Partial<Prefs>) => void;
}

const SECTIONS: { word: Word; to: string; needs?: string }[] = [
  { word: "stock", to: "/" },
  { word: "movements", to: "/movimientos" },
  { word: "entry", to: "/registrar", needs: "inventory.write" },
  { word: "conflicts", to: "/conflictos" },
];

const useMe = () =>
  useQuery({ queryKey: ["me"], queryFn: ({ signal }) => get("/api/me", {}, signal) });

function Shell({ prefs, change }: ShellProps) {
  const { t, language } = useLocale();
  const [path] = useLocation();
  const news = useAlerts(prefs.sound, language);
  const isLive = useLive(news.hear);
  const may = useMe().data?.scopes ?? [];
  const summary = useSummary();
  return (
    <>
      <a className="skip" href="#content">
        {t("skip")}
      </a>
      <header className="top">
        <Link href="/" className="brand">
          <img src="/icon.svg" alt="" width="28" height="28" />
          {t("title")}
        </Link>
        <nav aria-label={t("menu")} className="sections">
          {SECTIONS.filter(({ needs }) => !needs || may.includes(needs)).map(({ word, to }) => (
            <Link key={word} href={to} aria-current={path === to ? "page" : undefined}>
              {t(word)}
              {word === "conflicts" && Boolean(summary.data?.conflicts) && (
                <b className="badge">{summary.data?.conflicts}</b>
              )}
            </Link>
          ))}
        </nav>
        <div className="tools">
          <span className={isLive ? "live" : "live not"} role="status">
            {t(isLive ? "live" : "not_live")}
          </span>
          <DialogTrigger onOpenChange={(isOpen) => isOpen && news.seen()}>
            <Button>
              {t("alerts")}
              {news.unseen > 0 && <b className="badge">{news.unseen}</b>}
            </Button>
            <Popover placement="bottom end">
              <Dialog aria-label={t("alerts")}>
                <AlertList alerts={news.alerts} />
              </Dialog>
            </Popover>
          </DialogTrigger>
          <Settings prefs={prefs} change={change} />
        </div>
      </header>
      <Banner />
      <main id="content" tabIndex={-1}>
        <Routes>
          <Route path="/">
            <StockPage />
          </Route>
          <Route path="/medicamentos/:id">
            {({ id }) => <MedicinePage id={Number(id)} theme={prefs.theme} />}
          </Route>
          <Route path="/movimientos">
            <MovementsPage />
          </Route>
          <Route path="/registrar">
            <EntryPage />
          </Route>
          <Route path="/conflictos">
            <ConflictsPage mayWrite={may.includes("inventory.write")} />
          </Route>
          <Route>
            <Link href="/">{t("back")}</Link>
          </Route>
        </Routes>
      </main>
      <Toasts toasts={news.toasts} close={news.close} />
    </>
  );
}

function Settings({ prefs, change }: ShellProps) {
  const { t } = useLocale();
  const me = useMe();
  return (
    <DialogTrigger>
      <Button>{t("settings")}</Button>
      <Popover placement="bottom end">
        <Dialog aria-label={t("settings")} className="settings">
          <p>
            <strong>{me.data?.name}</strong>
          </p>
          <label>
            {t("language")}
            <select
              value={prefs.language}
              onChange={(event) => change({ language: event.target.value === "en" ? "en" : "es" })}
            >
              <option value="es">Español</option>
              <option value="en">English</option>
            </select>
          </label>
          <label>
            {t("theme")}
            <select
              value={prefs.theme}
              onChange={(event) => change({ theme: event.target.value as Theme })}
            >
              <option value="system">{t("theme_system")}</option>
              <option value="light">{t("theme_light")}</option>
              <option value="dark">{t("theme_dark")}</option>
            </select>
          </label>
          <Switch isSelected={prefs.sound} onChange={(sound) => change({ sound })}>
            <span className="switch" aria-hidden="true" />
            {t("sound")}
          </Switch>
          <a href="/oauth2/signout">{t("signout")}</a>
        </Dialog>
      </Popover>
    </DialogTrigger>
  );
}

/** One sentence over everything when what is shown cannot be trusted to be current. */
function Banner() {
  const { t } = useLocale();
  const isOnline = useOnline();
  const summary = useSummary();
  const seconds = useAge(summary.data?.as_of);
  const status = summary.error instanceof ApiError ? summary.error.status : null;
  if (status === 401)
    return (
      <div className="banner" role="alert">
        {t("session")} <a href={location.href}>{t("signin")}</a>
      </div>
    );
  if (!isOnline || status === 0)
    return (
      <div className="banner" role="alert">
        {t("offline")}
      </div>
    );
  if (!summary.data || !isStale(seconds)) return null;
  return (
    <div className="banner" role="alert">
      {seconds === null ? t("age_unknown") : t("stale", age(seconds, t))}
    </div>
  );
}
