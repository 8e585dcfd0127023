// The tree of branches on the step axis: one lane each, forks joined to the curve that they left.
const LANE = () => (phone() ? 36 : 28);
const MANY = 40, BEST = 5, OVERSCAN = 6;
// A state is a shape first and a colour second: a tick, a disc with a cross, a triangle, a disc with an arrow, a dashed box.
const SHAPES = {
  healthy: html`<path d="M3 8.5l3.2 3.2L13 4.8" />`, running: html`<circle cx="8" cy="8" r="6.6" /><path class="full" d="M6.3 4.9l5 3.1l-5 3.1z" />`,
  collapsed: html`<circle class="full" cx="8" cy="8" r="7.2" /><path class="over" d="M5.4 5.4l5.2 5.2m0 -5.2l-5.2 5.2" />`,
  stalled: html`<circle cx="8" cy="8" r="6.6" /><path class="full" d="M5.6 5.2h1.7v5.6h-1.7zm3.1 0h1.7v5.6h-1.7z" />`,
  warning: html`<path class="full" d="M8 1.2l7.2 13.2h-14.4z" /><path class="over" d="M8 5.8v4.2m0 1.4v1.3" />`, foreign: html`<rect x="2" y="2" width="12" height="12" stroke-dasharray="3 2" />`, unknown: html`<circle class="full" cx="8" cy="8" r="1.8" />`,
};
const isStalled = (each) => (S.status.stalled || []).includes(id(each));
const shapeOf = (each) => {
  if (each.foreign.length && !each.last_time) return "foreign";
  if (["held-out fell", "no signal", "drifted"].includes(each.state)) return "warning";
  return each.state === "collapsed" ? "collapsed" : isStalled(each) ? "stalled" : each.is_running ? "running" : each.state;
};
const StateIcon = ({ each }) => html`<svg class=${`icon i-${shapeOf(each)}`} viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">${SHAPES[shapeOf(each)]}</svg>`;

const parentOf = (each) => (each.forked_from ? `${each.forked_from.project}/${each.forked_from.model}` : null);
// Latest fork first: then no connector crosses a sibling's lane.
const ordered = ofTree((tree) => {
  const children = new Map();
  for (const each of tree.models) {
    const parent = model(parentOf(each) || "") ? parentOf(each) : null;
    children.set(parent, [...(children.get(parent) || []), each]);
  }
  const rows = [], seen = new Set();
  const walk = (each, level) => {
    if (seen.has(id(each))) return;
    seen.add(id(each));
    rows.push({ each, level });
    const forks = [...(children.get(id(each)) || [])].sort((a, b) => b.forked_from.step - a.forked_from.step);
    for (const fork of forks) walk(fork, level + 1);
  };
  for (const root of children.get(null) || []) walk(root, 0);
  for (const each of tree.models) walk(each, 0);
  return rows;
});
const kept = (rows) => {
  const keep = new Set([...S.status.running, ...S.status.alerts.filter((each) => each.life === "open").map(id), ...chosen()]);
  const best = [...S.tree.models].sort((a, b) => (b.best_value ?? -Infinity) - (a.best_value ?? -Infinity)).slice(0, BEST);
  for (const each of best) keep.add(id(each));
  for (const key of [...keep]) for (let each = model(key); each; each = model(parentOf(each) || "")) { if (keep.has(parentOf(each))) break; if (parentOf(each)) keep.add(parentOf(each)); }
  return keep;
};
const visibleRows = () => {
  const rows = ordered();
  if (S.find) return rows.filter(({ each }) => `${id(each)} ${(each.forked_from?.changed || []).map(change).join(" ")}`.toLowerCase().includes(S.find.toLowerCase()));
  if (rows.length <= MANY || S.unfolded) return rows;
  const keep = kept(rows), shown = [];
  for (const row of rows) {
    if (keep.has(id(row.each))) { shown.push(row); continue; }
    const last = shown[shown.length - 1];
    if (last && last.folded) last.folded.push(row.each);
    else shown.push({ folded: [row.each], level: row.level });
  }
  return shown;
};
const foldedWords = (folded) => {
  const bad = folded.filter((each) => each.state === "collapsed").length;
  const top = Math.max(...folded.map((each) => each.best_value ?? -Infinity));
  return [`${folded.length} more`, bad ? `${bad} collapsed` : "", Number.isFinite(top) ? `≤ ${value(top)}` : ""].filter(Boolean).join(" · ");
};
const scale = ofTree((tree) => {
  let low = 0, high = 1e-9;
  for (const each of tree.models) for (const number of each.spark[1]) if (number !== null) { low = Math.min(low, number); high = Math.max(high, number); }
  return (number, height) => height - 4 - ((number - low) / (high - low)) * (height - 9);
});
const heightAt = (each, step, y, height) => {
  const [steps, values] = each.spark;
  let best = null;
  for (let place = 0; place < steps.length && steps[place] <= step; place += 1) best = values[place];
  return y(best ?? values[0] ?? 0, height);
};

const Tree = () => {
  const body = useRef(null), [, scrolled] = useState(0);
  const rows = visibleRows(), height = LANE(), { left, width, card } = geometry();
  const first = S.paper ? 0 : Math.max(0, Math.floor((S.scroll || 0) / height) - OVERSCAN);
  const last = Math.min(rows.length, first + Math.ceil(Math.min(rows.length * height, treeHeight()) / height) + 2 * OVERSCAN);
  const place = new Map(rows.map((row, index) => [row.each ? id(row.each) : null, index]));
  const y = scale();
  useEffect(() => { scrollToFocus(body.current, place.get(S.focus), height); }, [S.focus, rows.length]);
  const drawn = rows.slice(first, last);
  return html`<section class="card tree" aria-label="Branches">
    <div class="treehead" style=${{ height: "24px" }}>
      <span class="branchhead">branch${phone() ? "" : ", what it changed"}</span>
      ${ticks().filter((step) => !phone() || at(step) < width - 24).map((step) => html`<span class="tick" style=${{ left: `${left + at(step)}px` }}>${step === ticks()[0] && !phone() ? `step ${step}` : step}</span>`)}
      <span class="rewardhead">reward</span>
    </div>
    <div class="treebody" ref=${body} role="tree" aria-label="Branches on the step axis" style=${{ maxHeight: S.paper ? "none" : `${treeHeight()}px` }}
      onScroll=${(event) => { S.scroll = event.currentTarget.scrollTop; scrolled(Math.floor(S.scroll / height)); }}>
      <div style=${{ height: `${rows.length * height}px`, position: "relative" }}>
        <svg class="lanes" width=${card} height=${rows.length * height} aria-hidden="true">
          ${drawn.map((row, index) => row.each && drawnLink(row.each, place.get(parentOf(row.each)), first + index, y))}
          ${drawn.map((row, index) => row.each?.forked_from?.merged_with && html`<${MergeEdge} each=${row.each} from=${place.get(mergedModel(row.each))} to=${first + index} y=${y} key=${`merge ${id(row.each)}`} />`)}
          ${drawn.map((row, index) => row.each && drawnLane(row.each, (first + index) * height, y))}
          ${S.hover !== null && html`<line class="hair" x1=${left + at(S.hover)} x2=${left + at(S.hover)} y1="0" y2=${rows.length * height} />`}
        </svg>
        ${drawn.map((row, index) => (row.each ? drawnRow(row, (first + index) * height) : html`<${TreeRow} row=${row} top=${(first + index) * height} key=${`fold${first + index}`} />`))}
      </div>
    </div>
    ${S.tree.models.length > MANY && html`<button class="plain unfold" onClick=${() => set({ unfolded: !S.unfolded })}>${S.unfolded ? "Fold" : `All ${S.tree.models.length}`}</button>`}
  </section>`;
};
// A branch is drawn anew only where something that it shows has changed: the same object is passed over, as when scrolling.
const remembered = (make) => {
  const kept = new Map();
  return (key, shows, ...given) => {
    const before = kept.get(key);
    if (before && before.shows.length === shows.length && before.shows.every((each, place) => each === shows[place])) return before.drawn;
    const drawn = make(key, ...given);
    kept.set(key, { shows, drawn });
    return drawn;
  };
};
const onAxis = () => { const { left, width } = geometry(), [low, high] = bounds(); return [left, width, low, high, LANE()]; };
const keptLink = remembered((key, each, from, to, y) => html`<${Connector} each=${each} from=${from} to=${to} y=${y} key=${`link ${key}`} />`);
const keptLane = remembered((key, each, top, y) => html`<${Lane} each=${each} top=${top} y=${y} key=${`lane ${key}`} />`);
const keptRow = remembered((key, row, top) => html`<${TreeRow} row=${row} top=${top} key=${key} />`);
const drawnLink = (each, from, to, y) => keptLink(id(each), [each, from, to, y, colourOf(id(each)), S.find === "", ...onAxis()], each, from, to, y);
const drawnLane = (each, top, y) => keptLane(id(each), [each, top, y, colourOf(id(each)), id(each) === S.focus ? S.step : null, damagedOf(each).join(), ...onAxis()], each, top, y);
const drawnRow = (row, top) => keptRow(id(row.each), [row.each, row.level, top, id(row.each) === S.focus, colourOf(id(row.each)), isStalled(row.each), phone(), narrow(), ...onAxis()], row, top);
const treeHeight = () => S.paper ? Infinity : Math.max(5 * LANE(), Math.min(14 * LANE(), Math.round(innerHeight * 0.42)));
const scrollToFocus = (element, row, height) => {
  if (!element || row === undefined) return;
  const top = row * height;
  if (top < element.scrollTop || top + height > element.scrollTop + element.clientHeight) element.scrollTop = Math.max(0, top - element.clientHeight / 2);
};

const TreeRow = ({ row, top }) => {
  const height = LANE();
  if (row.folded) return html`<button class="row folded" style=${{ top: `${top}px`, height: `${height}px`, paddingLeft: `${16 + row.level * 17}px` }} onClick=${() => set({ unfolded: true })}>${foldedWords(row.folded)}</button>`;
  const { each, level } = row, key = id(each), isFocus = key === S.focus, colour = colourOf(key);
  const changed = changedWords(each);
  const words = `${clean(each.model)}, ${isStalled(each) ? "stalled, " : each.is_running ? "running, " : ""}${STATE_WORDS[each.state]}, reward ${value(each.newest_value)}${changed ? `, changed ${changed}` : ""}`;
  return html`<div class=${`row ${isFocus ? "focus" : ""}`} role="treeitem" aria-level=${level + 1} aria-selected=${isFocus} aria-label=${words} tabindex=${isFocus ? 0 : -1}
      style=${{ top: `${top}px`, height: `${height}px` }} onClick=${(event) => { if (event.target.tagName !== "INPUT") focusOn(key, event); }}>
    <input type="checkbox" tabindex="-1" aria-label=${`Show ${clean(each.model)} in the charts`} class=${colour >= 0 ? `k${colour}` : null} checked=${colour >= 0} onChange=${(event) => { toggle(key); event.currentTarget.checked = chosen().includes(key); }} />
    ${!phone() && Array.from({ length: level }, () => html`<i class="indent"></i>`)}
    <${StateIcon} each=${each} />
    <span class="name">${clean(each.model)}</span>
    ${!narrow() && changed && html`<span class="changed">${changed}</span>`}
    <span class="newest">${value(each.newest_value)}</span>
  </div>`;
};
// A merge resets everything but the weights: that it is one says so.
const changedWords = ({ forked_from: origin }) => {
  if (!origin) return "";
  const began = origin.merged_with ? [`merged with ${called(origin.merged_with)}`] : origin.reset.map((part) => `${part} reset`);
  return [...began, ...origin.changed.map(change)].join(" · ");
};
// A click on the axis opens the step under it; a click on the name opens the branch.
const focusOn = (key, event) => {
  const { left, width } = geometry();
  const x = event ? event.clientX - event.currentTarget.getBoundingClientRect().left - left : -1;
  const each = model(key);
  if (x < 0 || x > width) return set({ focus: key, step: null, rollout: null, tab: S.tab === "step" ? "why" : S.tab });
  const step = Math.min(each.newest, Math.max(each.first, stepAt(x)));
  set({ focus: key, step, tab: "step", rollout: null });
};
// Six at most, and the branch in focus is one of them.
const toggle = (key) => {
  const selected = chosen().includes(key) ? S.selected.filter((each) => each !== key) : [...S.selected, key];
  set({ selected: selected.slice(-(selected.includes(S.focus) ? COLOURS : COLOURS - 1)) });
};

const Connector = ({ each, from, to, y }) => {
  if (!each.forked_from) return null;
  // Where the source is not there any more, or elsewhere, the way to it ends in a ring.
  if (from === undefined || each.forked_from.where !== "here") return html`<${NoSource} each=${each} to=${to} y=${y} />`;
  const height = LANE(), { left } = geometry(), step = each.forked_from.step, x = left + at(step);
  const source = model(parentOf(each)), colour = colourOf(id(each));
  if (at(step) < 0 || at(step) > geometry().width) return null;
  const top = from * height + heightAt(source, step, y, height), bottom = to * height + heightAt(each, step, y, height);
  return html`<line class=${`link ${colour >= 0 ? `k${colour}` : ""}`} x1=${x} x2=${x} y1=${top} y2=${bottom} />`;
};
const NoSource = ({ each, to, y }) => {
  if (S.find || !inside(each.first) || (model(parentOf(each)) && each.forked_from.where === "here")) return null;
  const height = LANE(), x = geometry().left + at(each.first), end = to * height + heightAt(each, each.first, y, height), top = Math.max(to * height - 4, end - 18);
  return html`<g class="lost"><title>${`source ${each.forked_from.where}`}</title><line class="link" x1=${x} x2=${x} y1=${top + 3} y2=${end} /><circle cx=${x} cy=${top} r="3" /></g>`;
};
// The other parent of a merge: from its step on its own lane to where the child begins.
const mergedModel = (each) => each.forked_from.merged_with.slice(0, each.forked_from.merged_with.lastIndexOf("@"));
const MergeEdge = ({ each, from, to, y }) => {
  const other = model(mergedModel(each)), step = Number(each.forked_from.merged_with.slice(each.forked_from.merged_with.lastIndexOf("@") + 1));
  if (from === undefined || !other || !inside(step) || !inside(each.first)) return null;
  const height = LANE(), { left } = geometry(), colour = colourOf(id(each));
  return html`<path class=${`merge ${colour >= 0 ? `k${colour}` : ""}`} d=${`M${left + at(step)} ${from * height + heightAt(other, step, y, height)}L${left + at(each.first)} ${to * height + heightAt(each, each.first, y, height)}`}><title>${`merged with ${clean(each.forked_from.merged_with)}`}</title></path>`;
};
const inside = (step) => at(step) >= -1 && at(step) <= geometry().width + 1;
const line = (steps, values, y, height, left) => {
  let path = "", pen = "M";
  steps.forEach((step, place) => {
    if (values[place] === null || !inside(step)) return;
    path += `${pen}${(left + at(step)).toFixed(1)} ${y(values[place], height).toFixed(1)}`;
    pen = "L";
  });
  return path;
};
const Lane = ({ each, top, y }) => {
  const height = LANE(), { left } = geometry(), key = id(each), colour = colourOf(key);
  const [steps, values] = each.spark, path = line(steps, values, y, height, left);
  const shown = steps.filter(inside), base = height - 3;
  const area = path && shown.length ? `${path}L${left + at(shown[shown.length - 1])} ${base}L${left + at(shown[0])} ${base}Z` : "";
  const end = [left + at(each.newest), heightAt(each, each.newest, y, height)], last = shown[shown.length - 1];
  const bad = each.onset !== null && each.state !== "healthy";
  return html`<g transform=${`translate(0 ${top})`} class=${colour >= 0 ? `lane k${colour}` : "lane"}>
    ${!path && html`<rect class="box" x=${left + at(each.first)} y="8" width=${Math.max(6, at(each.newest) - at(each.first))} height=${height - 16} />`}
    <path class="area" d=${area} /><path class="curve" d=${path} />
    ${path && shown.length > 0 && last === steps[steps.length - 1] && last < each.newest && inside(each.newest) && html`<path class="tail" d=${`M${left + at(last)} ${end[1]}L${end[0]} ${end[1]}`}><title>no reward yet</title></path>`}
    ${each.set_aside.map((aside) => html`<path class="tail" d=${line(aside.spark[0], aside.spark[1], y, height, left)} />`)}
    ${damagedOf(each).filter((step) => inside(Number(step))).map((step) => html`<path class="damaged" d=${`M${left + at(Number(step)) - 4} ${height - 10}h8v8h-8zm0 8l8 -8`} />`)}
    ${(each.certified || []).flatMap(([low, high]) => Array.from({ length: high - low + 1 }, (_, place) => low + place)).filter(inside).map((step) => html`<path class="certified" d=${tick(left + at(step), Math.max(4, heightAt(each, step, y, height) - 7))}><title>${`step ${step}: certified`}</title></path>`)}
    ${each.forked_from && inside(each.first) && html`<${Diamond} x=${left + at(each.first)} y=${heightAt(each, each.first, y, height)} />`}
    ${bad && each.last_good !== null && inside(each.last_good) && html`<path class="flag" d=${`M${left + at(each.last_good)} ${height - 3}V4l-8 4l8 4`} />`}
    ${bad && inside(each.onset) && html`<path class=${`onset s-${each.state.replace(/[^a-z]/g, "")}`} d=${cross(left + at(each.onset), heightAt(each, each.onset, y, height))} />`}
    ${(each.pinned || []).filter(inside).map((step) => html`<g class="pin" transform=${`translate(${left + at(step)} ${height - 3})`}><title>${`step ${step}: pinned`}</title><path d="M0 0v-6" /><circle cy="-8" r="2.6" /></g>`)}
    ${path && inside(each.newest) && html`<circle class=${`end ${each.is_running ? "running" : ""} s-${each.state.replace(/[^a-z]/g, "")}`} cx=${end[0]} cy=${end[1]} r="3" />`}
    ${key === S.focus && S.step !== null && inside(S.step) && html`<g class="marker"><line x1=${left + at(S.step)} x2=${left + at(S.step)} y1="0" y2=${height} /><circle cx=${left + at(S.step)} cy=${heightAt(each, S.step, y, height)} r="3.5" /></g>`}
  </g>`;
};
const damagedOf = (each) => { const shown = documents.get(stepPath("step", id(each), S.step)); return [...Object.keys(each.problems), ...(shown?.problem ? [S.step] : [])]; };
const Diamond = ({ x, y }) => html`<path class="fork" d=${`M${x} ${y - 5}l5 5l-5 5l-5 -5z`} />`;
const tick = (x, y) => `M${x - 3} ${y}l2 2l4 -4`;
const cross = (x, y) => `M${x - 3.5} ${y - 3.5}l7 7m0 -7l-7 7`;
