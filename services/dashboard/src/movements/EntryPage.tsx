import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useCallback, useEffect, useRef, useState } from "react";
import {
  Button,
  ComboBox,
  Input,
  Label,
  ListBox,
  ListBoxItem,
  Popover,
} from "react-aria-components";
import { type ApiError, get, post, type Schemas } from "../api/client";
import { quantity } from "../format";
import { useLocale, type Word } from "../i18n";
import { body, changed, type Draft, KINDS, keep, keptDraft, newDraft } from "./draft";

type Request = Schemas["MovementRequest"];
const SETTLE_MS = 700;

/** Book a movement: scanner, keyboard or mouse; nothing typed is lost when sending fails. */
export function EntryPage() {
  const { t } = useLocale();
  const client = useQueryClient();
  const [draft, setDraft] = useState<Draft>(keptDraft);
  const [wrong, setWrong] = useState<Word | null>(null);
  const [error, setError] = useState<ApiError | null>(null);
  const [isAtWork, setAtWork] = useState(false);
  const [booked, setBooked] = useState<string | null>(null);
  const form = useRef<HTMLFormElement>(null);
  useEffect(() => keep(draft), [draft]);
  const change = useCallback((to: Partial<Draft>) => {
    setDraft((before) => changed(before, to));
    setWrong(null);
    setError(null);
  }, []);
  const send = async () => {
    const wanted = body(draft);
    if (typeof wanted === "string") {
      setWrong(wanted);
      return;
    }
    setAtWork(true);
    setError(null);
    try {
      const answer = await post<Request>("/api/stock-movements", wanted, draft.key);
      setBooked(answer.id);
      setDraft(newDraft(draft));
      form.current?.querySelector<HTMLInputElement>("[role=combobox]")?.focus();
      void client.invalidateQueries();
    } catch (problem) {
      setError(problem as ApiError);
    } finally {
      setAtWork(false);
    }
  };
  return (
    <>
      <h1>{t("entry")}</h1>
      <form
        ref={form}
        className="panel entry"
        onSubmit={(event) => {
          event.preventDefault();
          void send();
        }}
      >
        <label>
          {t("what")}
          <select
            value={draft.kind}
            onChange={(event) => change({ kind: event.target.value as Draft["kind"] })}
          >
            {KINDS.map((kind) => (
              <option key={kind} value={kind}>
                {t(`kind_${kind}`)}
              </option>
            ))}
          </select>
        </label>
        <MedicinePicker key={booked} draft={draft} change={change} />
        <Place draft={draft} change={change} />
        <label>
          {t("how_many")}
          <input
            inputMode="decimal"
            autoComplete="off"
            value={draft.quantity}
            aria-invalid={wrong === "number_wrong"}
            onChange={(event) => change({ quantity: event.target.value })}
          />
        </label>
        <label>
          {t("reason")}
          <input
            maxLength={1000}
            value={draft.reason}
            onChange={(event) => change({ reason: event.target.value })}
          />
        </label>
        {wrong && (
          <p className="failed" role="alert">
            {t(wrong)}
          </p>
        )}
        {error && (
          <p className="failed" role="alert">
            {error.isTransient || error.status === 401
              ? t("not_sent")
              : t("refused", error.message || error.title)}
          </p>
        )}
        <Button type="submit" className="main" isPending={isAtWork}>
          {t(isAtWork ? "saving" : error ? "retry" : "save")}
        </Button>
        {booked && <Outcome id={booked} />}
      </form>
    </>
  );
}

interface PartProps {
  draft: Draft;
  change: (to: Partial<Draft>) => void;
}

function MedicinePicker({ draft, change }: PartProps) {
  const { t, language } = useLocale();
  const [typed, setTyped] = useState("");
  const [q, setQ] = useState("");
  useEffect(() => {
    const timer = setTimeout(() => setQ(typed.trim()), 200);
    return () => clearTimeout(timer);
  }, [typed]);
  const found = useQuery({
    queryKey: ["pick", q],
    queryFn: ({ signal }) => get("/api/medications", { q, limit: 20 }, signal),
    enabled: q.length > 1,
  });
  const name = (row: Schemas["Medication"]) => (language === "es" ? row.name_es : row.name_en);
  const [isMissing, setMissing] = useState(false);
  const chosen = useRef("");
  const latest = useRef(0);
  const choose = (row: Schemas["Medication"]) => {
    chosen.current = name(row);
    setTyped(chosen.current);
    setMissing(false);
    if (row.id !== draft.medication_id)
      change({ medication_id: row.id, lot_id: null, expected: null });
  };
  // What stands in the field is what is booked: other words are another medicine, or none yet.
  const type = (words: string) => {
    setTyped(words);
    setMissing(false);
    if (draft.medication_id !== null && chosen.current && words !== chosen.current)
      change({ medication_id: null, lot_id: null, expected: null });
  };
  // A draft that was left and found again knows its medicine by number only.
  const kept = useQuery({
    queryKey: ["medication", draft.medication_id],
    queryFn: ({ signal }) => get("/api/medications/{id}", { id: draft.medication_id }, signal),
    enabled: draft.medication_id !== null,
  });
  const keptName = kept.data && (language === "es" ? kept.data.name_es : kept.data.name_en);
  useEffect(() => {
    if (!keptName) return;
    chosen.current = keptName;
    setTyped(keptName);
  }, [keptName]);
  // A scanner types the code and ends with Enter, before the list has come.
  const scanned = async (code: string) => {
    latest.current += 1;
    const mine = latest.current;
    const page = await get("/api/medications", { q: code, limit: 200 }).catch(() => null);
    if (mine !== latest.current) return; // another code was scanned meanwhile
    const exact = page?.items.filter((row) => row.barcode === code || row.sku === code) ?? [];
    const [only] = exact;
    if (only && exact.length === 1) choose(only);
    else setMissing(true);
  };
  return (
    <ComboBox
      className="picker"
      inputValue={typed}
      onInputChange={type}
      items={found.data?.items ?? []}
      selectedKey={draft.medication_id}
      allowsCustomValue
      onSelectionChange={(key) => {
        const row = found.data?.items.find((each) => each.id === key);
        if (row) choose(row);
      }}
      menuTrigger="input"
    >
      <Label>{t("scan")}</Label>
      <Input
        onKeyDown={(event) => {
          if (event.key !== "Enter" || !typed.trim()) return;
          if (event.currentTarget.getAttribute("aria-activedescendant")) return; // of the list
          event.preventDefault();
          if (typed === chosen.current) return;
          void scanned(typed.trim());
        }}
      />
      {isMissing && (
        <span className="failed" role="alert">
          {t("scan_missing")}
        </span>
      )}
      <Popover>
        <ListBox<Schemas["Medication"]>>
          {(row) => (
            <ListBoxItem id={row.id} textValue={name(row)}>
              {name(row)}{" "}
              <small>
                {row.sku} · {quantity(row.stock_quantity, language)}
              </small>
            </ListBoxItem>
          )}
        </ListBox>
      </Popover>
    </ComboBox>
  );
}

/** Location and lot, with what is there. */
function Place({ draft, change }: PartProps) {
  const { t, language } = useLocale();
  const locations = useQuery({
    queryKey: ["locations"],
    queryFn: ({ signal }) => get("/api/locations", {}, signal),
    staleTime: 300_000,
  });
  const id = draft.medication_id ?? 0;
  const medicine = useQuery({
    queryKey: ["medication", id],
    queryFn: ({ signal }) => get("/api/medications/{id}", { id }, signal),
    enabled: id > 0,
  });
  const here = (medicine.data?.levels ?? []).filter(
    (each) => each.location_id === draft.location_id,
  );
  const shown = here.find((each) => each.lot_id === draft.lot_id)?.quantity ?? "0";
  const isCount =
    draft.kind === "count" && medicine.data !== undefined && draft.location_id !== null;
  // What a count is compared with is what this person saw when it began.
  useEffect(() => {
    if (isCount && draft.expected === null) change({ expected: shown });
  }, [isCount, draft.expected, shown, change]);
  return (
    <>
      <label>
        {t("location")}
        <select
          value={draft.location_id ?? ""}
          onChange={(event) =>
            change({
              location_id: Number(event.target.value) || null,
              lot_id: null,
              expected: null,
            })
          }
        >
          <option value="">{t("pick_location")}</option>
          {locations.data?.items
            .filter((place) => place.usage === "internal")
            .map((place) => (
              <option key={place.id} value={place.id}>
                {place.name}
              </option>
            ))}
        </select>
      </label>
      <label>
        {t("lot")}
        <select
          value={draft.lot_id ?? ""}
          onChange={(event) =>
            change({ lot_id: Number(event.target.value) || null, expected: null })
          }
        >
          <option value="">{t("no_lot")}</option>
          {here
            .filter((each) => each.lot_id !== null)
            .map((each) => (
              <option key={each.lot_id} value={each.lot_id ?? ""}>
                {each.lot} · {quantity(each.quantity, language)}
              </option>
            ))}
        </select>
      </label>
      {medicine.data && draft.location_id !== null && (
        <p className="now">{t("now", `${quantity(shown, language)} ${medicine.data.uom}`)}</p>
      )}
    </>
  );
}

const OUTCOME = { applied: "applied", conflict: "conflicted" } as const;

function Outcome({ id }: { id: string }) {
  const { t } = useLocale();
  const found = useQuery({
    queryKey: ["request", id],
    queryFn: ({ signal }) => get("/api/movement-requests/{id}", { id }, signal),
    refetchInterval: (query) =>
      ["pending", "applying"].includes(query.state.data?.state ?? "pending") ? SETTLE_MS : false,
  });
  const state = found.data?.state;
  const word = state === "applied" || state === "conflict" ? OUTCOME[state] : "sent";
  return (
    <p role="status" className={`outcome ${word}`}>
      {t(word)}
    </p>
  );
}
