// The curves of what is chosen, stitched at the forks, under the tree and on its axis.
const SHOWN = ["train/reward", "val/reward", "train/entropy", "train/approx_kl", "train/kl", "train/grad_norm", "train/malformed", "train/truncated"];
const TALL = 134, LOW = 52, SMOOTHING = 0.1;
const DASHES = [[], [7, 4], [2, 3], [9, 3, 2, 3], [4, 2], [12, 4]];

const colours = { dark: null, known: new Map() };
const css = (name) => {
  if (colours.dark !== S.dark) Object.assign(colours, { dark: S.dark, known: new Map() });
  if (!colours.known.has(name)) colours.known.set(name, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  return colours.known.get(name);
};
const ancestorsOf = (key) => {
  const found = [];
  for (let each = model(key), seen = new Set(); each && parentOf(each) && !seen.has(parentOf(each)); ) {
    seen.add(parentOf(each));
    found.unshift({ key: parentOf(each), until: each.forked_from.step });
    each = model(parentOf(each));
  }
  return found;
};
// Who is drawn: the chosen in their colours, and the pasts that are nobody's choice once, in grey.
const drawnParts = () => {
  const keys = chosen(), past = new Map();
  for (const key of keys) for (const part of ancestorsOf(key)) if (!keys.includes(part.key)) past.set(part.key, Math.max(part.until, past.get(part.key) ?? 0));
  return [...[...past].map(([key, until]) => ({ key, until, colour: -1 })), ...keys.map((key, colour) => ({ key, until: Infinity, colour }))];
};
// What was asked for and has not come adds no curve yet, and is no reason to make the charts anew.
const readParts = () => drawnParts().filter(({ key }) => need(historyPath(key)));
const historyOf = (key) => {
  const whole = need(historyPath(key)), found = zoomed(key, whole);
  return found && found.steps ? found : { steps: [], metrics: {}, tails: [] };
};
// Of a long branch the whole axis shows the extremes; where it is zoomed, all steps that fit.
const zoomPath = (key) => `${historyPath(key)}?from=${Math.max(0, S.zoom[0] - 1)}&to=${S.zoom[1] + 1}`;
const zoomed = (key, whole) => {
  if (!S.zoom || S.smooth || isFile() || !whole?.thinned) return whole;
  const part = need(zoomPath(key));
  return part?.steps?.length ? part : whole;
};
const versionOf = (key) => { const whole = documents.get(historyPath(key)); return `${whole?.version ?? 0}.${S.zoom && whole?.thinned ? documents.get(zoomPath(key))?.version ?? 0 : ""}`; };
const pastValues = (key, metric) => {
  const points = [];
  for (const part of [...ancestorsOf(key), { key, until: Infinity }]) {
    const { steps, metrics } = historyOf(part.key), column = metrics[metric] || [];
    while (points.length && steps.length && points[points.length - 1][0] >= steps[0]) points.pop();
    steps.forEach((step, place) => { if (step <= part.until && column[place] !== null && column[place] !== undefined) points.push([step, column[place]]); });
  }
  return points;
};
// Smoothed over the whole past, so that a fork makes no jump.
const smoothed = (points) => { let level = null; return points.map(([step, number]) => { level = level === null ? number : level + SMOOTHING * (number - level); return [step, level]; }); };
const isThere = (number) => number !== null && number !== undefined;
// The points of a history that came once are picked out once for each metric.
const columnPoints = (found, metric) => {
  if (found.made?.version !== found.version) found.made = { version: found.version, points: new Map() };
  const { points } = found.made, column = found.metrics[metric] || [];
  if (!points.has(metric)) points.set(metric, found.steps.map((step, place) => [step, column[place]]).filter(([, number]) => isThere(number)));
  return points.get(metric);
};
const upTo = (points, step) => (points.length && points[points.length - 1][0] > step ? points.filter((point) => point[0] <= step) : points);
const pointsOf = (part, metric) => {
  if (!S.smooth) return upTo(columnPoints(historyOf(part.key), metric), part.until);
  const first = model(part.key).first;
  return smoothed(pastValues(part.key, metric)).filter(([step]) => step >= first && step <= part.until);
};
const tailsOf = (part, metric) => (part.colour < 0 ? [] : historyOf(part.key).tails || []).map((tail) => tail.steps.map((step, place) => [step, (tail.metrics[metric] || [])[place] ?? null]));

// Says what the data of a chart are made of: as long as it says the same, nothing is worked out again.
const madeOf = () => [S.smooth, S.tree.models.length, ...readParts().map(({ key, until, colour }) => `${key} ${until} ${colour} ${versionOf(key)}`)].join();
const charted = new Map();
const chartData = (metric) => {
  const key = madeOf(), kept = charted.get(metric);
  if (kept?.key === key) return kept;
  const made = { key, ...workOut(metric) };
  charted.set(metric, made);
  return made;
};
const workOut = (metric) => {
  const lines = readParts().flatMap((part) => [{ part, points: pointsOf(part, metric), tail: false }, ...tailsOf(part, metric).map((points) => ({ part, points, tail: true }))]);
  const steps = [...new Set(lines.flatMap(({ points }) => points.map(([step]) => step)))].sort((a, b) => a - b);
  const place = new Map(steps.map((step, index) => [step, index]));
  const columns = lines.map(({ points }) => { const column = new Array(steps.length).fill(null); for (const [step, number] of points) column[place.get(step)] = number; return column; });
  return { lines, data: [steps, ...columns] };
};
const chartNames = () => {
  const present = new Set(drawnParts().flatMap(({ key }) => Object.keys(historyOf(key).metrics)));
  return SHOWN.filter((name) => present.has(name));
};

const Charts = () => {
  const names = chartNames();
  if (!names.length) return html`<section class="card charts empty" aria-label="Curves"><p>${chosen().length ? "No history was recorded for this branch." : "Choose a branch to see its curves."}</p></section>`;
  if (S.points) return html`<${Points} names=${names} />`;
  return html`<section class="card charts" aria-label="Curves">${names.map((name, index) => html`<${Chart} metric=${name} height=${index === 0 ? TALL : LOW} key=${name} />`)}</section>`;
};
// The same points as numbers: for those who hear the page, and to copy. A branch's past counts as its own.
const MOST_ROWS = 200;
const rowsOf = (key, names) => {
  const columns = names.map((name) => new Map(pastValues(key, name).filter(([step]) => inside(step))));
  const steps = [...new Set(columns.flatMap((column) => [...column.keys()]))].sort((a, b) => a - b);
  return steps.map((step) => [step, ...columns.map((column) => column.get(step) ?? null)]);
};
const pointsText = (names) => {
  const lines = chosen().flatMap((key) => rowsOf(key, names).map((row) => [key, ...row.map((each) => each ?? "")].join("\t")));
  return [["branch", "step", ...names].join("\t"), ...lines].join("\n");
};
const Points = ({ names }) => {
  const key = chosen().includes(S.focus) ? S.focus : chosen()[0], rows = rowsOf(key, names), shown = rows.slice(-MOST_ROWS);
  return html`<section class="card charts points" aria-label="Points"><div class="blockhead"><h2>Points of ${called(key)}</h2><span class="grow dim">${rows.length > shown.length ? `the last ${shown.length} of ${rows.length}; Copy takes all` : count(rows.length, "step")}</span>
      <button onClick=${() => copy(pointsText(names))}>Copy ${count(chosen().length, "branch").replace("branchs", "branches")}</button></div>
    <div class="scrolled" tabindex="0" role="region" aria-label="Table of points"><table><thead><tr><th scope="col">step</th>${names.map((name) => html`<th scope="col">${clean(name)}</th>`)}</tr></thead><tbody>
      ${shown.map(([step, ...numbers]) => html`<tr key=${step}><th scope="row">${step}</th>${numbers.map((number) => html`<td>${value(number)}</td>`)}</tr>`)}</tbody></table></div></section>`;
};
const Chart = ({ metric, height }) => {
  const box = useRef(null), kept = useRef(null);
  const { card, left } = geometry(), { key, lines, data } = chartData(metric), [title, note] = METRIC_WORDS[metric] || [metric, ""];
  useLayoutEffect(() => {
    const alert = S.focus && alertOf(S.focus);
    const looks = [key, card, left, height, S.dark, S.step, S.focus, alert?.onset, alert?.last_good, S.focus && model(S.focus)?.newest, ...bounds()].join();
    if (kept.current?.looks === looks) return;
    const shape = [card, left, height, S.dark, ...lines.map(({ part, tail }) => `${part.key}${part.colour}${tail}`)].join();
    if (kept.current?.shape !== shape) {
      kept.current?.plot.destroy();
      kept.current = { shape, plot: new uPlot(chartOptions(metric, height, lines), data, box.current) };
    } else if (kept.current.key !== key) kept.current.plot.setData(data, false);
    Object.assign(kept.current, { looks, key });
    kept.current.plot.setScale("x", { min: bounds()[0], max: bounds()[1] });
    kept.current.plot.redraw();
  });
  useEffect(() => () => { kept.current?.plot.destroy(); kept.current = null; }, []);
  const newest = (part) => drawnPoints(metric, part.key).at(-1)?.[1] ?? null;
  const shown = drawnParts().filter(({ colour }) => colour >= 0), listed = height === TALL ? shown : shown.slice(0, 1);
  return html`<div class="chart" role="img" aria-label=${`${title} ${note} of ${shown.map((part) => `${called(part.key)}, newest ${value(newest(part))}`).join("; ")}`}>
    <div class="legend" aria-hidden="true" style=${{ width: `${left - 60}px` }}><b>${title}</b> <small>${note}</small>
      ${!phone() && listed.map((part) => html`<div class=${`entry k${part.colour}`}><svg width="18" height="8"><line x1="0" x2="18" y1="4" y2="4" /></svg><span>${called(part.key)}</span><b>${value(newest(part))}</b></div>`)}
    </div>
    <div ref=${box}></div>
  </div>`;
};
const drawnPoints = (metric, key) => chartData(metric).lines.find(({ part, tail }) => part.key === key && !tail)?.points ?? [];
const chartOptions = (metric, height, lines) => {
  const { card, left, right } = geometry(), grid = { stroke: css("--line"), width: 1, dash: [] };
  return {
    width: card, height: height + (height === TALL ? 12 : 0), padding: [height === TALL ? 22 : 8, right, 6, 0], legend: { show: false },
    cursor: { y: false, points: { show: false }, drag: { x: true, y: false, setScale: false }, sync: { key: "steps", setSeries: false } },
    scales: { x: { time: false, auto: false, range: () => bounds() }, y: { range: (_, low, high) => yRange(low, high) } },
    axes: [{ show: false }, { size: left, gap: 4, stroke: css("--dim"), font: "11px system-ui", ticks: { show: false }, grid, splits: (plot) => ySplits(plot, height), values: (_, splits) => splits.map((each) => value(each)) }],
    series: [{}, ...lines.map(({ part, tail }) => ({
      stroke: part.colour < 0 ? css("--dim") : css(`--c${part.colour}`), width: part.colour < 0 ? 1 : 1.75, spanGaps: true, points: { show: false },
      dash: tail ? [2, 3] : part.colour < 0 ? [] : DASHES[part.colour], alpha: tail ? 0.7 : 1,
    }))],
    hooks: {
      drawClear: [(plot) => drawBand(plot)],
      draw: [(plot) => { drawMarks(plot, metric); if (height === TALL) drawNames(plot, metric); }],
      setSelect: [(plot) => { if (plot.select.width > 4) { const zoom = [stepAt(plot.select.left), stepAt(plot.select.left + plot.select.width)]; plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false); if (zoom[1] > zoom[0]) set({ zoom }); } }],
      setCursor: [(plot) => moveHair(plot.cursor.left >= 0 ? plot.cursor.left : null)],
      ready: [(plot) => listen(plot)],
    },
  };
};
const listen = (plot) => {
  let down = null;
  plot.over.addEventListener("mousedown", (event) => { down = event.clientX; });
  plot.over.addEventListener("click", (event) => { if (S.focus && down !== null && Math.abs(event.clientX - down) < 4) openStep(stepAt(plot.cursor.left)); });
  plot.over.addEventListener("dblclick", () => set({ zoom: null }));
};
const openStep = (step) => { const each = model(S.focus); set({ step: Math.min(each.newest, Math.max(each.first, step)), tab: "step", rollout: null }); };
const yRange = (low, high) => {
  if (low === null || high === null) return [0, 1];
  const floor = Math.min(0, low), top = high === floor ? floor + 1 : high;
  return [floor, top + (top - floor) * 0.04];
};
const ySplits = (plot, height) => {
  const { min, max } = plot.scales.y;
  if (height === TALL) { const size = nice((max - min) / 4); return Array.from({ length: 6 }, (_, place) => Math.ceil(min / size) * size + place * size).filter((each) => each <= max); }
  return [min, below(max)];
};
const nice = (rough) => { const power = 10 ** Math.floor(Math.log10(rough || 1)); return [1, 2, 2.5, 5, 10].map((each) => each * power).find((each) => each >= rough) || rough; };

const below = (top) => { const power = 10 ** Math.floor(Math.log10(top || 1)); return [5, 2, 1].map((each) => each * power).find((each) => each <= top) || top; };

const moveHair = (x) => {
  const hair = document.getElementById("hair");
  if (!hair) return;
  hair.hidden = x === null;
  if (x !== null) hair.style.transform = `translateX(${geometry().left + x + 1}px)`;
};
const drawBand = (plot) => {
  const alert = S.focus && alertOf(S.focus);
  if (!alert || !chosen().includes(S.focus)) return;
  const { ctx, bbox } = plot, from = plot.valToPos(alert.onset, "x", true), to = plot.valToPos(model(S.focus).newest, "x", true);
  ctx.save(); ctx.fillStyle = css("--band"); ctx.fillRect(Math.max(bbox.left, from), bbox.top, Math.max(2, Math.min(to, bbox.left + bbox.width) - Math.max(bbox.left, from)), bbox.height); ctx.restore();
};
const drawMarks = (plot, metric) => {
  const { ctx, bbox } = plot, ratio = devicePixelRatio, alert = S.focus && alertOf(S.focus);
  const vertical = (step, colour, dash) => {
    const x = plot.valToPos(step, "x", true);
    if (x < bbox.left || x > bbox.left + bbox.width) return null;
    ctx.save(); ctx.strokeStyle = colour; ctx.lineWidth = 1.5 * ratio; ctx.setLineDash(dash.map((each) => each * ratio));
    ctx.beginPath(); ctx.moveTo(x, bbox.top - 6 * ratio); ctx.lineTo(x, bbox.top + bbox.height); ctx.stroke(); ctx.restore();
    return x;
  };
  if (alert && alert.last_good !== null) vertical(alert.last_good, css("--good"), []);
  if (S.step !== null && S.focus) vertical(S.step, css("--ink"), [3, 3]);
  ctx.save(); ctx.setLineDash([]);
  for (const key of chosen()) {
    const each = model(key), points = each.forked_from ? drawnPoints(metric, key) : [];
    if (!points.length) continue;
    const [step, number] = points[0], x = plot.valToPos(step, "x", true), y = plot.valToPos(number, "y", true), size = 4.5 * ratio;
    if (x < bbox.left - 1 || x > bbox.left + bbox.width + 1) continue;
    ctx.fillStyle = css("--card"); ctx.strokeStyle = css(`--c${colourOf(key)}`); ctx.lineWidth = 1.5 * ratio;
    ctx.beginPath(); ctx.moveTo(x, y - size); ctx.lineTo(x + size, y); ctx.lineTo(x, y + size); ctx.lineTo(x - size, y); ctx.closePath(); ctx.fill(); ctx.stroke();
  }
  ctx.restore();
};
// Beside the end of its curve, or under it where the card ends.
const nameAt = (part, ctx, x, y, bbox) => {
  const ratio = devicePixelRatio, text = called(part.key), wide = ctx.measureText(text).width, fits = x + wide + 6 * ratio < bbox.left + bbox.width + geometry().right * ratio;
  return { part, text, wide, left: fits ? x + 6 * ratio : x - wide - 6 * ratio, top: fits ? y : y + 12 * ratio };
};
// Names at the curves' ends, pushed apart; the marks' names in the strip above.
const drawNames = (plot, metric) => {
  const { ctx, bbox } = plot, ratio = devicePixelRatio, alert = S.focus && alertOf(S.focus);
  ctx.save(); ctx.font = `600 ${11 * ratio}px system-ui`; ctx.textBaseline = "middle";
  const strip = bbox.top - 12 * ratio;
  const mark = (step, text, colour, side) => {
    const x = plot.valToPos(step, "x", true);
    if (x < bbox.left || x > bbox.left + bbox.width) return;
    ctx.fillStyle = colour; ctx.textAlign = side; ctx.fillText(text, x + (side === "right" ? -5 : 5) * ratio, strip);
  };
  if (alert && alert.last_good !== null) mark(alert.last_good, `last good ${alert.last_good}`, css("--good"), "right");
  if (S.step !== null && S.focus) mark(S.step, `${called(S.focus)}@${S.step}`, css("--ink"), "left");
  if (!phone()) {
    const ends = drawnParts().filter(({ colour }) => colour >= 0).map((part) => ({ part, last: drawnPoints(metric, part.key).filter(([step]) => inside(step)).pop() })).filter(({ last }) => last)
      .map(({ part, last }) => nameAt(part, ctx, plot.valToPos(last[0], "x", true), plot.valToPos(last[1], "y", true), bbox)).sort((a, b) => a.top - b.top);
    // A name that would lie on one above it goes below that.
    ends.forEach((end, place) => { for (const above of ends.slice(0, place)) if (end.left < above.left + above.wide && above.left < end.left + end.wide) end.top = Math.max(end.top, above.top + 13 * ratio); });
    for (const { part, text, left, top } of ends) {
      ctx.textAlign = "left"; ctx.fillStyle = css(`--c${part.colour}`);
      // A rim in the card's colour, so that a name can be read over a curve.
      ctx.strokeStyle = css("--card"); ctx.lineWidth = 3 * ratio; ctx.lineJoin = "round";
      ctx.strokeText(text, left, top); ctx.fillText(text, left, top);
    }
  }
  ctx.restore();
};
