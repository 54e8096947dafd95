import { Link } from "wouter";
import type { Schemas } from "../api/client";
import { moment, quantity } from "../format";
import { useLocale } from "../i18n";
import { Empty } from "../ui";

type Movement = Schemas["Movement"];

export function MovementTable({ rows, isOfOne = false }: { rows: Movement[]; isOfOne?: boolean }) {
  const { t, language } = useLocale();
  if (rows.length === 0) return <Empty text={t("no_movements")} />;
  return (
    <table>
      <thead>
        <tr>
          <th scope="col">{t("date")}</th>
          {!isOfOne && <th scope="col">{t("name")}</th>}
          <th scope="col" className="number">
            {t("quantity")}
          </th>
          <th scope="col">
            {t("origin")} → {t("destination")}
          </th>
          <th scope="col" className={isOfOne ? "huge" : "middle"}>
            {t("lot")}
          </th>
          <th scope="col" className={isOfOne ? "huge" : "wide"}>
            {t("reference")}
          </th>
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <tr key={row.id}>
            <td>{moment(row.done_at, language)}</td>
            {!isOfOne && (
              <th scope="row">
                <Link href={`/medicamentos/${row.medication_id}`}>
                  {language === "es" ? row.name_es : row.name_en}
                </Link>
              </th>
            )}
            <td className="number">{quantity(row.quantity, language)}</td>
            <td>
              {row.from_location} → {row.to_location}
            </td>
            <td className={isOfOne ? "huge" : "middle"}>{row.lot ?? "–"}</td>
            <td className={isOfOne ? "huge" : "wide"}>
              {row.is_inventory ? t("count_mark") : (row.reference ?? row.origin ?? "–")}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
