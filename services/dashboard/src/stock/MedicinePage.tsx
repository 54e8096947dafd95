import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useState } from "react";
import { Link } from "wouter";
import { get, type Schemas } from "../api/client";
import { day, quantity } from "../format";
import { useLocale } from "../i18n";
import { MovementTable } from "../movements/MovementTable";
import { Age, Empty, Failed, Loading, Panel, States } from "../ui";

const HistoryChart = lazy(() => import("./Chart"));
const SPANS = [30, 90, 365];

/** All of one medicine: where it lies, how it went, how long it lasts. */
export function MedicinePage({ id, theme }: { id: number; theme: string }) {
  const { t, language } = useLocale();
  const found = useQuery({
    queryKey: ["medication", id],
    queryFn: ({ signal }) => get("/api/medications/{id}", { id }, signal),
  });
  const back = (
    <Link href="/" className="back">
      ← {t("back")}
    </Link>
  );
  if (!found.data)
    return (
      <>
        {back}
        {found.isError ? (
          <Failed error={found.error} again={() => void found.refetch()} />
        ) : (
          <Loading />
        )}
      </>
    );
  const medicine = found.data;
  return (
    <>
      {back}
      <header className="medicine">
        <h1>{language === "es" ? medicine.name_es : medicine.name_en}</h1>
        <p className="facts">
          <span>
            {[medicine.sku, medicine.barcode, medicine.category].filter(Boolean).join(" · ")}
          </span>
          <States states={medicine.states} />
        </p>
        <p className="big">
          <strong data-quantity>{quantity(medicine.stock_quantity, language)}</strong>{" "}
          {medicine.uom} <Age of={medicine.as_of} />
        </p>
      </header>
      <div className="panels">
        <Levels medicine={medicine} />
        <Outlook medicine={medicine} />
        <History id={id} minimum={medicine.min_stock_level} theme={theme} />
        <Latest id={id} />
      </div>
    </>
  );
}

type Detail = Schemas["MedicationDetail"];

function Levels({ medicine }: { medicine: Detail }) {
  const { t, language } = useLocale();
  return (
    <Panel title={t("where")} as_of={medicine.as_of}>
      {medicine.levels.length === 0 ? (
        <Empty text={t("no_stock")} />
      ) : (
        <table>
          <thead>
            <tr>
              <th scope="col">{t("location")}</th>
              <th scope="col">{t("lot")}</th>
              <th scope="col">{t("expires")}</th>
              <th scope="col" className="number">
                {t("quantity")}
              </th>
            </tr>
          </thead>
          <tbody>
            {medicine.levels.map((level) => (
              <tr key={`${level.location_id}-${level.lot_id}`}>
                <th scope="row">{level.location}</th>
                <td>{level.lot ?? "–"}</td>
                <td>{day(level.expires_at, language)}</td>
                <td className="number">{quantity(level.quantity, language)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </Panel>
  );
}

function Outlook({ medicine }: { medicine: Detail }) {
  const { t, language } = useLocale();
  const use = medicine.consumption;
  const known = (text: string | null) => (text === null ? t("unknown") : quantity(text, language));
  const cover = use.months_of_cover;
  return (
    <Panel title={t("consumption")} as_of={medicine.as_of}>
      <dl className="figures">
        <dt>{t("monthly")}</dt>
        <dd>{known(use.monthly_average)}</dd>
        <dt>{t("cover")}</dt>
        <dd>{cover === null ? t("unknown") : t("months", quantity(cover, language))}</dd>
        <dt>{t("stock_out")}</dt>
        <dd>{use.stock_out_on ? day(use.stock_out_on, language) : t("unknown")}</dd>
        <dt>{t("suggested")}</dt>
        <dd>
          {quantity(use.suggested_order, language)} {medicine.uom}
        </dd>
        <dt>
          {t("minimum")} / {t("maximum")}
        </dt>
        <dd>
          {quantity(medicine.min_stock_level, language)} /{" "}
          {quantity(medicine.max_stock_level, language)}
        </dd>
      </dl>
      <p className="why">{language === "es" ? use.reasoning_es : use.reasoning_en}</p>
    </Panel>
  );
}

function History(props: { id: number; minimum: string | null; theme: string }) {
  const { t } = useLocale();
  const [days, setDays] = useState(90);
  const found = useQuery({
    queryKey: ["history", props.id, days],
    queryFn: ({ signal }) => get("/api/medications/{id}/history", { id: props.id, days }, signal),
  });
  return (
    <Panel title={t("history")} as_of={found.data?.as_of ?? null}>
      <label className="span">
        {t("show")}
        <select value={days} onChange={(event) => setDays(Number(event.target.value))}>
          {SPANS.map((span) => (
            <option key={span} value={span}>
              {t("history_days", span)}
            </option>
          ))}
        </select>
      </label>
      {found.isError && !found.data ? (
        <Failed error={found.error} again={() => void found.refetch()} />
      ) : (
        <div className="chart">
          <Suspense fallback={<Loading />}>
            {found.data && (
              <HistoryChart days={found.data.items} minimum={props.minimum} theme={props.theme} />
            )}
          </Suspense>
        </div>
      )}
    </Panel>
  );
}

function Latest({ id }: { id: number }) {
  const { t } = useLocale();
  const found = useQuery({
    queryKey: ["movements", "latest", id],
    queryFn: ({ signal }) => get("/api/stock-movements", { medication_id: id, limit: 10 }, signal),
  });
  return (
    <Panel title={t("last_movements")} as_of={found.data?.as_of ?? null}>
      {found.data ? (
        <MovementTable rows={found.data.items} isOfOne />
      ) : found.isError ? (
        <Failed error={found.error} again={() => void found.refetch()} />
      ) : (
        <Loading />
      )}
      <Link href={`/movimientos?medication_id=${id}`}>{t("all_movements")}</Link>
    </Panel>
  );
}
