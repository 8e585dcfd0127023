// The page put together: the verdict on top, tree and curves on one axis, the panel beside them.
const ago = (time) => { const minutes = Math.max(0, (new Date(S.status.now) - new Date(time)) / 60000); return minutes < 90 ? `${Math.round(minutes)} min` : `${(minutes / 60).toFixed(1)} h`; };
const verdict = () => {
  const open = S.status.alerts.filter((each) => each.life === "open"), stalled = S.status.stalled || [], running = S.status.running.filter((key) => S.status.states[key] === "healthy" && !stalled.includes(key));
  if (open.length) return { kind: open[0].state === "collapsed" ? "red" : "amber", icon: "!", alert: open[0], head: `${clean(open[0].model)} ${open[0].state === "collapsed" ? "collapsed" : STATE_WORDS[open[0].state]} at step ${open[0].onset}, ${open[0].state === "held-out fell" ? "held-out reward" : "reward"} ${value(open[0].level)} → ${value(open[0].now)}` };
  const answered = S.status.alerts.find((each) => each.life === "answered");
  if (!S.tree.models.length) return { kind: "green", icon: "·", head: "No models yet" };
  if (stalled.length) return { kind: "amber", icon: "Ⅱ", head: `${stalled.map(called).join(", ")} ${stalled.length === 1 ? "lives and writes" : "live and write"} no step`, answered };
  const text = running.length ? `${count(running.length, "run")} ${running.length === 1 ? "is" : "are"} running and healthy` : "Nothing is wrong";
  return { kind: "green", icon: "✓", head: text, answered };
};
const Verdict = () => {
  const { kind, icon, alert, head, answered } = verdict(), { steps, clock_seconds: seconds, tokens, tokens_in: read, tokens_out: written, price, rollout_seconds: rollouts, seconds: training } = S.status.cost;
  const each = alert && model(id(alert)), origin = each?.forked_from;
  const stalled = S.status.stalled || [], healthy = S.status.running.filter((key) => S.status.states[key] === "healthy" && !stalled.includes(key)).length;
  const answers = S.status.alerts.filter((one) => one.life === "answered");
  return html`<header class=${`verdict v-${kind}`}><span class="big" aria-hidden="true">${icon}</span>
    <div class="grow" role="status" aria-live="polite"><h1>${head}</h1><p>
      ${origin && html`It was forked from ${clean(origin.model)}@${origin.step}${origin.changed.length ? html` with <b>${origin.changed.map(change).join(", ")}</b>` : ""}. `}
      ${alert && alert.last_good !== null && html`Last good step <b>${alert.last_good}</b>. `}
      ${alert && alert.is_running && html`<b>${stalled.includes(id(alert)) ? "Its process lives, without a step" : "Still running"}</b>${alert.since ? `, ${ago(alert.since)} past it` : ""}. `}
      ${alert && healthy > 0 && `${healthy} other${healthy === 1 ? "" : "s"} running and healthy. `}
      ${(answered || alert) && answers.map((one) => html`<span class="word"><button class="link" onClick=${() => jump(id(one))}>${clean(one.model)}</button>’s</span> drop was answered by <span class="word">${called(one.answered_by)}</span>. `)}
    </p></div>
    ${!narrow() && html`<dl class="cost"><dt>steps</dt><dd>${steps.toLocaleString("en")}</dd><dt>compute</dt><dd>${duration(seconds)}</dd>${rollouts > 0 && html`<dt>rollouts</dt><dd>${duration(rollouts)}</dd><dt>training</dt><dd>${duration(training)}</dd>`}${price !== null && price !== undefined && html`<dt>price</dt><dd>${price.toLocaleString("en")}</dd>`}<dt>tokens</dt><dd>${written ? `${amount(read)} in, ${amount(written)} out` : amount(tokens)}</dd>${S.disk !== null && html`<dt>disk</dt><dd>${bytes(S.disk)}</dd>`}</dl>`}
    ${alert && alert.go_on_from !== null && html`<button class="fork" onClick=${() => set({ focus: id(alert), selected: family(id(alert)), tab: "fork", fork: alert.go_on_from })}>Fork from ${alert.last_good}</button>`}</header>`;
};
const Toolbar = () => html`<div class="toolbar"><b>${S.status.projects.map(clean).join(", ")}</b><span class="dim">${count(S.tree.models.length, "branch").replace("branchs", "branches")}, ${S.live === "live" && !S.paper ? html`<span class="live">live</span>` : `as of ${minute(S.status.now)}`}</span>
  ${geometry().card > 640 && html`<input id="find" type="search" placeholder="Find a branch or setting" aria-label="Find a branch or setting" value=${S.find} onInput=${(event) => set({ find: event.currentTarget.value })} />`}<span class="grow"></span>
  ${S.zoom ? html`<button class="plain" onClick=${() => set({ zoom: null })}>Whole axis</button>` : geometry().card > 800 && html`<span class="dim">drag in a chart to zoom</span>`}
  <button class=${`plain ${S.smooth ? "on" : ""}`} aria-pressed=${S.smooth} onClick=${() => set({ smooth: !S.smooth })}>Smooth</button><button class=${`plain ${S.points ? "on" : ""}`} aria-pressed=${S.points} onClick=${() => set({ points: !S.points })}>Table</button><button class="plain" onClick=${() => set({ dark: !S.dark })}>${S.dark ? "Light" : "Dark"}</button>${!phone() && html`<button class="plain" onClick=${() => set({ help: true })}>Keys <kbd>?</kbd></button>`}</div>`;
const Help = () => {
  const box = useRef(null);
  useEffect(() => { box.current?.showModal(); }, []);
  return html`<dialog ref=${box} aria-label="Keys" onClose=${() => set({ help: false })}><h2>Keys</h2><table>${KEYS.map(([key, words]) => html`<tr><th scope="row"><kbd>${key}</kbd></th><td>${words}</td></tr>`)}</table><h2>Signs</h2><table>${SIGNS.map(([sign, words]) => html`<tr><th scope="row">${sign}</th><td>${words}</td></tr>`)}</table><button onClick=${() => box.current.close()}>Close</button></dialog>`;
};
const App = () => {
  const { kind, head } = verdict();
  document.title = `${kind === "green" ? "" : "✕ "}${head} · artfork`;
  document.documentElement.dataset.theme = S.dark ? "dark" : "light";
  const showsTree = !phone() || S.tab === "tree", { panel } = geometry();
  return html`<${Verdict} />${S.problem && html`<div class="problem" role="alert">${S.problem}</div>`}
    <main class=${phone() ? "phone" : ""} style=${{ gridTemplateColumns: phone() ? "1fr" : `1fr ${panel}px` }}>
      ${phone() && html`<${Panel} />`}
      ${showsTree && html`<div class="left"><${Toolbar} /><div class="axis"><${Tree} /><${Charts} /><div id="hair" hidden></div></div></div>`}
      ${!phone() && html`<${Panel} />`}</main>
    ${S.help && html`<${Help} />`}<div class="said-line" role="status" aria-live="polite">${S.said}</div>`;
};
const QUICKLY_MEASURED = 5000;
let waiting = false;
const drawNow = () => { waiting = false; render(html`<${App} />`, document.getElementById("app")); };
draw = () => { if (waiting) return; waiting = true; requestAnimationFrame(drawNow); };
// Paper is light, and as wide as a page: A4 across, less its margins, at 96 dots an inch.
const PAPER_WIDTH = 1040;
let onScreen = null;
const toPaper = () => { onScreen ??= { dark: S.dark, width: S.width, paper: false }; Object.assign(S, { dark: false, width: PAPER_WIDTH, paper: true }); drawNow(); };
const toScreen = () => { Object.assign(S, onScreen, { width: innerWidth }); onScreen = null; drawNow(); };
const begin = async () => {
  await readInline();
  S.width = innerWidth;
  readAddress();
  addEventListener("resize", () => { if (S.paper) return; S.width = innerWidth; draw(); });
  addEventListener("keydown", onKey);
  addEventListener("beforeprint", toPaper);
  addEventListener("afterprint", toScreen);
  addEventListener("hashchange", () => { readAddress(); draw(); });
  draw();
  watch();
  // Measuring reads every file's size: soon after the first picture where that is quick, and else when Disk is opened.
  if (S.tree.models.reduce((sum, each) => sum + each.checkpoints.reduce((all, [low, high]) => all + high - low + 1, 0), 0) <= QUICKLY_MEASURED) setTimeout(() => need("disk"), 600);
};
begin();
