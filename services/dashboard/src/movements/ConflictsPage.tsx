import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Button } from "react-aria-components";
import { Link } from "wouter";
import { type ApiError, get, post, type Schemas } from "../api/client";
import { moment, quantity, typedQuantity } from "../format";
import { useLocale, type Word } from "../i18n";
import { Age, Empty, Failed, Loading } from "../ui";

type Conflict = Schemas["Conflict"];

/** What Odoo did not take, for a person to decide. */
export function ConflictsPage({ mayWrite }: { mayWrite: boolean }) {
  const { t } = useLocale();
  const found = useQuery({
    queryKey: ["conflicts"],
    queryFn: ({ signal }) => get("/api/conflicts", { limit: 100 }, signal),
  });
  if (!found.data)
    return found.isError ? (
      <Failed error={found.error} again={() => void found.refetch()} />
    ) : (
      <Loading />
    );
  return (
    <>
      <h1>{t("conflicts")}</h1>
      <Age of={found.data.as_of} />
      {found.data.items.length === 0 && (
        <Empty text={t("no_conflicts")} hint={t("no_conflicts_hint")} />
      )}
      <div className="panels">
        {found.data.items.map((conflict) => (
          <Card key={conflict.id} conflict={conflict} mayWrite={mayWrite} />
        ))}
      </div>
    </>
  );
}

/** A field of either side as text; what is missing is nothing. */
function field(side: Record<string, unknown>, name: string): string | null {
  const value = side[name];
  return typeof value === "string" || typeof value === "number" ? String(value) : null;
}

function Card({ conflict, mayWrite }: { conflict: Conflict; mayWrite: boolean }) {
  const { t, language } = useLocale();
  const client = useQueryClient();
  const [counted, setCounted] = useState("");
  const [error, setError] = useState<string | null>(null);
  const has = field(conflict.ours, "quantity");
  const decide = async (resolution: Schemas["Resolution"]["resolution"]) => {
    const count = typedQuantity(counted);
    if (resolution === "recount" && (count === null || count.startsWith("-")))
      return setError(t("number_wrong"));
    setError(null);
    try {
      await post(`/api/conflicts/${conflict.id}/resolution`, {
        resolution,
        ...(resolution === "recount" ? { counted: count, ...(has ? { expected: has } : {}) } : {}),
      });
      void client.invalidateQueries();
    } catch (problem) {
      const why = problem as ApiError;
      setError(why.isTransient ? t("not_sent") : t("refused", why.message));
    }
  };
  const name = (language === "es" ? conflict.name_es : conflict.name_en) ?? "";
  const asked = quantity(field(conflict.theirs, "quantity"), language);
  return (
    <article className="panel" aria-label={name}>
      <h2>
        <Link href={`/medicamentos/${conflict.medication_id}`}>{name}</Link>
      </h2>
      <p>{field(conflict.ours, "detail")}</p>
      <dl className="figures">
        <dt>{t("asked")}</dt>
        <dd>
          {t(`kind_${conflict.kind}` as Word)}: {asked}
        </dd>
        <dt>{t("odoo_has")}</dt>
        <dd>{quantity(has, language)}</dd>
      </dl>
      <small>
        {t("booked_by", conflict.person)} · {moment(conflict.created_at, language)}
      </small>
      {mayWrite && (
        <div className="decide">
          <Button onPress={() => void decide("apply_anyway")}>{t("apply_anyway")}</Button>
          <Button onPress={() => void decide("discard")}>{t("discard")}</Button>
          <label>
            {t("counted")}
            <input
              inputMode="decimal"
              size={6}
              value={counted}
              onChange={(event) => setCounted(event.target.value)}
            />
          </label>
          <Button onPress={() => void decide("recount")}>{t("recount")}</Button>
        </div>
      )}
      {error && (
        <p className="failed" role="alert">
          {error}
        </p>
      )}
    </article>
  );
}
