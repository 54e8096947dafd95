import {
  CategoryScale,
  Chart,
  Filler,
  LinearScale,
  LineController,
  LineElement,
  PointElement,
  Tooltip,
} from "chart.js";
import { useEffect, useRef } from "react";
import { day } from "../format";
import { useLocale } from "../i18n";

Chart.register(
  LineController,
  LineElement,
  PointElement,
  LinearScale,
  CategoryScale,
  Tooltip,
  Filler,
);

interface Props {
  days: { day: string; quantity: string }[];
  minimum: string | null;
  theme: string;
}

/** The stock of each day as steps, and the minimum as a broken line; the table says the same. */
export default function HistoryChart({ days, minimum, theme }: Props) {
  const { t, language } = useLocale();
  const canvas = useRef<HTMLCanvasElement>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the theme changes what the colours are
  useEffect(() => {
    if (!canvas.current) return;
    const style = getComputedStyle(canvas.current);
    const color = style.color;
    const soft = style.borderColor;
    const line = { pointRadius: 0, borderWidth: 2, stepped: true as const };
    const datasets = [
      {
        ...line,
        label: t("quantity"),
        data: days.map((each) => Number(each.quantity)),
        borderColor: style.outlineColor,
      },
    ];
    if (minimum)
      datasets.push({
        ...line,
        label: t("minimum_line"),
        data: days.map(() => Number(minimum)),
        borderColor: soft,
        ...{ borderDash: [6, 4] },
      });
    const labels = days.map((each) => day(each.day, language));
    const ticks = { color, maxTicksLimit: 6, maxRotation: 0 };
    const chart = new Chart(canvas.current, {
      type: "line",
      data: { labels, datasets },
      options: {
        animation: false,
        maintainAspectRatio: false,
        interaction: { mode: "index", intersect: false },
        locale: language,
        scales: {
          x: { ticks, grid: { display: false } },
          y: { beginAtZero: true, ticks, grid: { color: soft } },
        },
      },
    });
    return () => chart.destroy();
  }, [days, minimum, language, t, theme]);
  return <canvas ref={canvas} role="img" aria-label={t("history")} />;
}
