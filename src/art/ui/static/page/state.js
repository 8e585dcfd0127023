// What is shown, what was fetched, and the address that says it.
const S = {
  status: null, tree: null, page: { allow_fork: false }, live: "", problem: null,
  focus: null, selected: [], tab: "why", step: null, compare: null, fork: null, rollout: null,
  zoom: null, hover: null, smooth: false, points: false, dark: false, find: "", help: false, keep: "", disk: null, refused: null, unfolded: false, width: 0, paper: false, said: "",
};
const COLOURS = 6;
const documents = new Map();
const asked = new Set();
let draw = () => {};

// What was about to be forked was of the branch and the step that were looked at.
const leaving = (patch) => ("focus" in patch && patch.focus !== S.focus ? { fork: null, forkName: null, refused: null } : "step" in patch ? { fork: null } : {});
const set = (patch) => { Object.assign(S, leaving(patch), patch); writeAddress(); draw(); };
// What is worked out of a tree once, and again when another one came.
const ofTree = (work) => { let tree = null, found; return () => { if (tree !== S.tree) { tree = S.tree; found = work(tree); } return found; }; };
const indexed = ofTree((tree) => new Map(tree.models.map((each) => [id(each), each])));
const model = (key) => indexed().get(key);
const alertOf = (key) => S.status.alerts.find((each) => id(each) === key);
const chosen = () => [...new Set([S.focus, ...S.selected])].filter((key) => key && model(key)).slice(0, COLOURS);
const colourOf = (key) => chosen().indexOf(key);

// What a new step may change: shown as it was until it was asked for again.
const AGES = /^(step|rollouts|compare|disk|cleanup)/;
const stale = new Set();
// A document that came with the page, was fetched, or is being fetched: undefined until it is there.
const need = (path) => {
  if (documents.has(path) && !stale.has(path)) return documents.get(path);
  if (!asked.has(path)) {
    asked.add(path);
    stale.delete(path);
    fetchDocument(path).then((found) => { arrived(path, found); asked.delete(path); drawTogether(); });
  }
  return documents.get(path);
};
// Curves that were asked for together are drawn together; after a while, those that are there.
const TOGETHER_MS = 200, HISTORY = /^history\/[^?]*$/;
let together = null;
const drawTogether = () => {
  if (![...asked].some((path) => HISTORY.test(path))) { clearTimeout(together); together = null; draw(); return; }
  together ??= setTimeout(() => { together = null; draw(); }, TOGETHER_MS);
};
let versions = 0;
const arrived = (path, found) => { found.version = ++versions; documents.set(path, found); if (path === "disk" && !found.error) S.disk = found.kept_bytes + found.aside_bytes; };
const isFile = () => location.protocol === "file:" || Boolean(document.getElementById("later"));
const fetchDocument = async (path) => {
  if (isFile()) return { error: "This is not in the file; open the page of the store itself for it." };
  try {
    const answer = await fetch(`/api/${path}`);
    return await answer.json();
  } catch (error) {
    return { error: "The server does not answer." };
  }
};
const modelPath = (kind, key) => `${kind}/${key.split("/").map(encodeURIComponent).join("/")}`;
const historyPath = (key) => modelPath("history", key);
const stepPath = (kind, key, step) => `${modelPath(kind, key)}/${step}`;

const readInline = async () => {
  for (const element of document.querySelectorAll("script[data-path]")) documents.set(element.dataset.path, JSON.parse(element.textContent));
  const later = document.getElementById("later");
  if (later) {
    const packed = Uint8Array.from(atob(later.textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    for (const [path, found] of Object.entries(JSON.parse(await new Response(stream).text()))) arrived(path, found);
  }
  Object.assign(S, { status: documents.get("status"), tree: documents.get("tree"), page: documents.get("page") || S.page });
};

let token = "";
const isDark = () => matchMedia("(prefers-color-scheme: dark)").matches;
const known = (key) => (key && model(key) ? key : null);
const firstFocus = () => {
  const first = S.status.alerts.find((each) => each.life === "open") || S.status.alerts[0];
  return (first && known(id(first))) || known(S.status.running[0]) || (S.tree.models.length ? id(S.tree.models[S.tree.models.length - 1]) : null);
};
// Somebody deleted the branch that is looked at: another one is, and that is said.
const leaveGone = () => {
  if (!S.focus || model(S.focus)) return;
  const gone = S.focus, focus = firstFocus();
  set({ focus, selected: focus ? family(focus) : [], step: null, rollout: null, compare: null, fork: null });
  say(`${clean(gone)} is gone.`);
};
const jump = (key) => set({ focus: key, selected: family(key), tab: "why", step: null });
// What Back goes back to: one view of many quick changes, as of a held arrow key, and none of how it is drawn.
const QUICK_MS = 400;
let shown, changed = -QUICK_MS;
const view = () => JSON.stringify([S.focus, S.tab, S.step, S.selected, S.compare]);
const readAddress = () => {
  const asks = new URLSearchParams(location.hash.slice(1));
  Object.assign(S, { rollout: null, fork: null, forkName: null, refused: null });
  token = asks.get("token") || token;
  S.focus = known(asks.get("m")) || firstFocus();
  S.tab = asks.get("t") || "why";
  S.step = asks.get("s") === null ? null : Number(asks.get("s"));
  S.compare = asks.get("a") && asks.get("b") ? { a: asks.get("a"), b: asks.get("b") } : null;
  const zoomed = /^(\d{1,9})-(\d{1,9})$/.exec(asks.get("z") || "");
  S.zoom = zoomed && Number(zoomed[1]) < Number(zoomed[2]) ? [Number(zoomed[1]), Number(zoomed[2])] : null;
  for (const name of ["smooth", "points"]) S[name] = asks.get(name) === "1";
  S.selected = (asks.get("sel")?.split(",") || (S.focus ? family(S.focus) : [])).filter(known);
  S.dark = asks.has("dark") ? asks.get("dark") === "1" : isDark();
  shown = view();
};
// The branch, and where it came from: what a first look at it needs.
const family = (key) => {
  const origin = model(key).forked_from;
  const parent = origin ? `${origin.project}/${origin.model}` : null;
  return parent && model(parent) ? [key, parent] : [key];
};
const writeAddress = () => {
  const says = new URLSearchParams();
  if (token) says.set("token", token);
  if (S.focus) says.set("m", S.focus);
  says.set("t", S.tab);
  if (S.step !== null) says.set("s", S.step);
  says.set("sel", S.selected.join(","));
  if (S.compare) { says.set("a", S.compare.a); says.set("b", S.compare.b); }
  if (S.zoom) says.set("z", S.zoom.join("-"));
  for (const name of ["smooth", "points"]) if (S[name]) says.set(name, "1");
  if (S.dark !== isDark()) says.set("dark", S.dark ? "1" : "0");
  const now = view(), time = performance.now(), isNew = now !== shown;
  history[isNew && time - changed > QUICK_MS ? "pushState" : "replaceState"](null, "", `#${says}`);
  if (isNew) { shown = now; changed = time; }
};

// Live: whole lines are added to what is shown, and the tree is replaced when it changed.
const watch = () => {
  if (isFile()) { S.live = "file"; return; }
  const source = new EventSource(`/api/events?at=${encodeURIComponent(S.page.version || "")}`);
  // What was written while nobody listened was missed: what is shown of histories is asked for again.
  source.onopen = () => { if (S.live === "lost") for (const path of documents.keys()) stale.add(path); set({ live: "live", problem: null }); };
  source.onerror = () => set({ live: "lost", problem: `Not connected since ${new Date().toTimeString().slice(0, 5)}, showing what was there.` });
  source.addEventListener("entry", (event) => { addEntry(JSON.parse(event.data)); });
  source.addEventListener("overview", (event) => { const { status, models, order } = JSON.parse(event.data); for (const path of documents.keys()) if (AGES.test(path)) stale.add(path); set({ status, tree: renewed(models, order) }); leaveGone(); });
};
const renewed = (models, order) => {
  // What is told of a branch that is gone is forgotten: another one may get its name.
  for (const key of indexed().keys()) if (!order.includes(key)) for (const path of documents.keys()) if (`${path}/`.includes(historyPath(key).replace("history", ""))) documents.delete(path);
  const known = new Map([...indexed(), ...models.map((each) => [id(each), each])]);
  return { ...S.tree, models: order.map((key) => known.get(key)).filter(Boolean) };
};
const addEntry = (entry) => {
  const found = documents.get(historyPath(entry.model));
  if (!found || !found.steps) return;
  let at = found.steps.indexOf(entry.step);
  if (entry.split === "train" && at < 0) {
    const keep = found.steps.filter((step) => step < entry.step).length;
    found.steps.length = keep;
    for (const column of Object.values(found.metrics)) column.length = keep;
  }
  if (at < 0) { at = found.steps.push(entry.step) - 1; for (const column of Object.values(found.metrics)) column[at] = null; }
  for (const [name, number] of Object.entries(entry.metrics)) if (found.metrics[name]) found.metrics[name][at] = number;
  found.version = ++versions;
  for (const path of documents.keys()) if (path.startsWith(`${historyPath(entry.model)}?`)) stale.add(path);
};
const say = (text) => { S.said = text; draw(); setTimeout(() => { if (S.said === text) { S.said = ""; draw(); } }, 4000); };
const copy = async (text) => {
  try { await navigator.clipboard.writeText(text); say("Copied."); } catch { say("The browser does not let this page copy."); }
};
