import { keepPreviousData, useInfiniteQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { Button, Input, Label, SearchField } from "react-aria-components";
import { Link, useLocation, useSearch } from "wouter";
import { get, type Schemas } from "../api/client";
import { day, quantity } from "../format";
import { useLocale } from "../i18n";
import { Age, Empty, Failed, Loading, type State, States } from "../ui";
import { Tiles } from "./Tiles";

const DEBOUNCE_MS = 250;
const STATES: State[] = ["out", "low", "expired", "expiring", "negative", "ok"];

/** Medicines with their stock, kept current; what is shown is in the address. */
export function StockPage() {
  const { t } = useLocale();
  const query = useSearch();
  const [, go] = useLocation();
  const params = new URLSearchParams(query);
  const wanted = params.get("q") ?? "";
  const [typed, setTyped] = useState(wanted);
  const filter = params.has("days") ? `days=${params.get("days")}` : (params.get("state") ?? "");

  useEffect(() => setTyped(wanted), [wanted]);
  useEffect(() => {
    if (typed === wanted) return;
    const timer = setTimeout(() => {
      const next = new URLSearchParams(query);
      if (typed) next.set("q", typed);
      else next.delete("q");
      go(next.size ? `/?${next}` : "/", { replace: true });
    }, DEBOUNCE_MS);
    return () => clearTimeout(timer);
  }, [typed, wanted, query, go]);

  const choose = (value: string) => {
    const next = new URLSearchParams(wanted ? { q: wanted } : {});
    if (value.startsWith("days=")) next.set("days", value.slice(5));
    else if (value) next.set("state", value);
    go(next.size ? `/?${next}` : "/");
  };
  params.delete("q");
  return (
    <>
      <h1 className="hidden">{t("stock")}</h1>
      <Tiles current={params.toString()} />
      <div className="filters">
        <SearchField value={typed} onChange={setTyped} className="search">
          <Label>{t("search")}</Label>
          <Input />
        </SearchField>
        <label>
          {t("show")}
          <select value={filter} onChange={(event) => choose(event.target.value)}>
            <option value="">{t("all")}</option>
            {STATES.map((state) => (
              <option key={state} value={state}>
                {t(state)}
              </option>
            ))}
            <option value="days=30">{t("expiring_30")}</option>
            <option value="days=90">{t("expiring_90")}</option>
          </select>
        </label>
      </div>
      <Table q={wanted} state={params.get("state")} days={params.get("days")} />
    </>
  );
}

function Table({ q, state, days }: { q: string; state: string | null; days: string | null }) {
  const { t } = useLocale();
  const found = useInfiniteQuery({
    queryKey: ["medications", q, state, days],
    queryFn: ({ pageParam, signal }) =>
      get(
        "/api/medications",
        { q, state, expires_within_days: days, after: pageParam, limit: 50 },
        signal,
      ),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next,
    placeholderData: keepPreviousData,
  });
  if (!found.data)
    return found.isError ? (
      <Failed error={found.error} again={() => void found.refetch()} />
    ) : (
      <Loading />
    );
  const rows = found.data.pages.flatMap((page) => page.items);
  if (rows.length === 0) return <Empty text={t("nothing")} hint={t("nothing_hint")} />;
  return (
    <div className="sheet">
      <Age of={found.data.pages[0]?.as_of} />
      <table>
        <thead>
          <tr>
            <th scope="col">{t("name")}</th>
            <th scope="col">{t("state")}</th>
            <th scope="col" className="number">
              {t("quantity")}
            </th>
            <th scope="col" className="number wide">
              {t("reserved")}
            </th>
            <th scope="col" className="number middle">
              {t("minimum")}
            </th>
            <th scope="col" className="middle">
              {t("next_expiry")}
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <Row key={row.id} row={row} />
          ))}
        </tbody>
      </table>
      {found.hasNextPage && (
        <Button onPress={() => void found.fetchNextPage()} isPending={found.isFetchingNextPage}>
          {t("more")}
        </Button>
      )}
    </div>
  );
}

function Row({ row }: { row: Schemas["Medication"] }) {
  const { language } = useLocale();
  return (
    <tr data-medication={row.id}>
      <th scope="row">
        <Link href={`/medicamentos/${row.id}`}>
          {language === "es" ? row.name_es : row.name_en}
        </Link>
        <small>{row.sku}</small>
      </th>
      <td>
        <States states={row.states} />
      </td>
      <td className="number">
        <strong data-quantity>{quantity(row.stock_quantity, language)}</strong>{" "}
        <small className="unit">{row.uom}</small>
      </td>
      <td className="number wide">{quantity(row.reserved_quantity, language)}</td>
      <td className="number middle">{quantity(row.min_stock_level, language)}</td>
      <td className="middle">{day(row.next_expiry_at, language)}</td>
    </tr>
  );
}
