import { useQuery } from "@tanstack/react-query";
import { Link } from "wouter";
import { get } from "../api/client";
import { quantity } from "../format";
import { useLocale, type Word } from "../i18n";
import { Age, Failed, Icon, type State } from "../ui";

type Name =
  | "out_of_stock"
  | "below_minimum"
  | "expiring_30"
  | "expiring_90"
  | "expired"
  | "negative";

const TILES: { name: Name & Word; to: string; state: State }[] = [
  { name: "out_of_stock", to: "/?state=out", state: "out" },
  { name: "below_minimum", to: "/?state=low", state: "low" },
  { name: "expired", to: "/?state=expired", state: "expired" },
  { name: "expiring_30", to: "/?days=30", state: "expiring" },
  { name: "expiring_90", to: "/?days=90", state: "expiring" },
  { name: "negative", to: "/?state=negative", state: "negative" },
];

export const useSummary = () =>
  useQuery({
    queryKey: ["summary"],
    queryFn: ({ signal }) => get("/api/summary", {}, signal),
  });

/** What needs somebody's hand, each leading to its list. */
export function Tiles({ current }: { current: string }) {
  const { t, language } = useLocale();
  const summary = useSummary();
  if (summary.isError && !summary.data)
    return <Failed error={summary.error} again={() => void summary.refetch()} />;
  return (
    <nav className="tiles" aria-label={t("stock")}>
      {TILES.map(({ name, to, state }) => {
        const count = summary.data?.[name];
        const isChosen = current !== "" && to === `/?${current}`;
        return (
          <Link
            key={name}
            href={isChosen ? "/" : to}
            className={`tile ${count ? state : "calm"}`}
            aria-current={isChosen ? "true" : undefined}
            data-tile={name}
          >
            <span className="tile-name">
              <Icon state={state} />
              {t(name === "expired" ? "expired_tile" : name)}
            </span>
            <strong>{count === undefined ? "…" : quantity(String(count), language)}</strong>
            <Age of={summary.data?.as_of} />
          </Link>
        );
      })}
    </nav>
  );
}
