import { keepPreviousData, useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Button } from "react-aria-components";
import { useLocation, useSearch } from "wouter";
import { get, type Schemas } from "../api/client";
import { useLocale } from "../i18n";
import { Age, Empty, Failed, Loading } from "../ui";
import { csv } from "./csv";
import { MovementTable } from "./MovementTable";

const NAMES = ["medication_id", "location_id", "since", "until"] as const;
const MOST_EXPORTED = 20_000;

/** Filters of the address as the API takes them; a day is the reader's own. */
function filters(query: string) {
  const params = new URLSearchParams(query);
  const start = (day: string | null, plus = 0) => {
    if (!day) return null;
    const at = new Date(`${day}T00:00`);
    at.setDate(at.getDate() + plus);
    return at.toISOString();
  };
  return {
    medication_id: params.get("medication_id"),
    location_id: params.get("location_id"),
    since: start(params.get("since")),
    until: start(params.get("until"), 1), // the last day counts
  };
}

/** What moved, newest first, filtered, and as a file. */
export function MovementsPage() {
  const { t } = useLocale();
  const query = useSearch();
  const [, go] = useLocation();
  const params = new URLSearchParams(query);
  const set = (name: (typeof NAMES)[number], value: string) => {
    const next = new URLSearchParams(query);
    if (value) next.set(name, value);
    else next.delete(name);
    go(next.size ? `/movimientos?${next}` : "/movimientos", { replace: true });
  };
  const locations = useQuery({
    queryKey: ["locations"],
    queryFn: ({ signal }) => get("/api/locations", {}, signal),
    staleTime: 300_000,
  });
  const found = useInfiniteQuery({
    queryKey: ["movements", query],
    queryFn: ({ pageParam, signal }) =>
      get("/api/stock-movements", { ...filters(query), after: pageParam, limit: 50 }, signal),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next,
    placeholderData: keepPreviousData,
  });
  const rows = found.data?.pages.flatMap((page) => page.items);
  return (
    <>
      <h1>{t("movements")}</h1>
      <div className="filters">
        <label>
          {t("from")}
          <input
            type="date"
            value={params.get("since") ?? ""}
            onChange={(event) => set("since", event.target.value)}
          />
        </label>
        <label>
          {t("to")}
          <input
            type="date"
            value={params.get("until") ?? ""}
            onChange={(event) => set("until", event.target.value)}
          />
        </label>
        <label>
          {t("location")}
          <select
            value={params.get("location_id") ?? ""}
            onChange={(event) => set("location_id", event.target.value)}
          >
            <option value="">{t("all")}</option>
            {locations.data?.items.map((place) => (
              <option key={place.id} value={place.id}>
                {place.name}
              </option>
            ))}
          </select>
        </label>
        {params.has("medication_id") && (
          <Button onPress={() => set("medication_id", "")}>
            {(rows?.[0]?.name_es ?? t("name")).slice(0, 40)} ✕
          </Button>
        )}
        <Export query={query} />
      </div>
      {!rows ? (
        found.isError ? (
          <Failed error={found.error} again={() => void found.refetch()} />
        ) : (
          <Loading />
        )
      ) : rows.length === 0 ? (
        <Empty text={t("no_movements")} hint={t("nothing_hint")} />
      ) : (
        <div className="sheet">
          <Age of={found.data?.pages[0]?.as_of} />
          <MovementTable rows={rows} />
          {found.hasNextPage && (
            <Button onPress={() => void found.fetchNextPage()} isPending={found.isFetchingNextPage}>
              {t("more")}
            </Button>
          )}
        </div>
      )}
    </>
  );
}

function Export({ query }: { query: string }) {
  const { t } = useLocale();
  const [error, setError] = useState<Error | null>(null);
  const [isAtWork, setAtWork] = useState(false);
  const download = async () => {
    setAtWork(true);
    setError(null);
    try {
      const rows: Schemas["Movement"][] = [];
      let after: string | null = null;
      do {
        const page: Schemas["Movements"] = await get("/api/stock-movements", {
          ...filters(query),
          after,
          limit: 200,
        });
        rows.push(...page.items);
        after = page.next;
      } while (after && rows.length < MOST_EXPORTED);
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([csv(rows)], { type: "text/csv" }));
      link.download = `movimientos-${new Date().toISOString().slice(0, 10)}.csv`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    } catch (problem) {
      setError(problem as Error);
    } finally {
      setAtWork(false);
    }
  };
  return (
    <>
      <Button onPress={() => void download()} isPending={isAtWork}>
        {t("export")}
      </Button>
      {error && <Failed error={error} again={() => void download()} />}
    </>
  );
}
