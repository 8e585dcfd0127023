// The panel beside the tree: why, one step, two branches compared, a fork, the disk.
const TABS = ["why", "step", "compare", "fork", "disk"];
const titleOf = (tab) => tab[0].toUpperCase() + tab.slice(1);
const Waiting = ({ found }) => html`<div class="block"><p class="dim">${found && found.error ? clean(found.error) : "Reading ..."}</p></div>`;
const headOf = (...words) => html`<thead><tr>${words.map((word) => word && html`<th scope="col">${word}</th>`)}</tr></thead>`;

const Panel = () => {
  const body = { why: Why, step: Step, compare: Compare, fork: Fork, disk: Disk }[S.tab === "tree" ? "why" : S.tab] || Why;
  return html`<aside class="panel" aria-label="Details"><${Tabs} />${S.tab === "tree" ? null : html`<div role="tabpanel" aria-label=${titleOf(S.tab)} tabindex="0"><${body} /></div>`}</aside>`;
};
const Tabs = () => {
  const names = phone() ? ["tree", ...TABS] : TABS;
  const step = (event) => { const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key]; if (!way) return; event.preventDefault(); event.stopPropagation(); const place = names.indexOf(S.tab); set({ tab: names[(place + way + names.length) % names.length] }); event.currentTarget.querySelector("[aria-selected=true]")?.focus(); };
  return html`<div class="tabs" role="tablist" aria-label="Views" onKeyDown=${step}>${names.map((name) => html`<button role="tab" aria-selected=${S.tab === name} tabindex=${S.tab === name ? 0 : -1} onClick=${() => set({ tab: name })}>${titleOf(name)}</button>`)}</div>`;
};

const Why = () => {
  const each = model(S.focus);
  if (!each) return html`<${Empty} />`;
  const alert = alertOf(S.focus);
  return html`<div class="block"><h2>${clean(each.model)} ${STATE_WORDS[each.state]}</h2>
      <p class="dim">${whyWords(each, alert)}</p>
      ${alert && html`<ol class="evidence">
        ${alert.last_good !== null && html`<li><b>${alert.last_good}</b><i class="dot good"></i><span><b class="good">last good step</b>, everything in its usual range</span></li>`}
        ${alert.evidence.map((seen) => html`<li><b>${seen.step}</b><i class="dot"></i><span>${clean(seen.text)}</span><span class="numbers">${value(seen.baseline)} → <b class="red">${value(seen.value)}</b></span></li>`)}
      </ol>`}</div>
    ${alert && alert.last_good !== null && html`<${SamePrompt} each=${each} alert=${alert} />`}
    ${each.forked_from && html`<${Edge} each=${each} />`}
    ${Object.keys(each.problems).length > 0 && html`<${Problems} each=${each} />`}
    ${each.set_aside.length > 0 && html`<${Asides} each=${each} />`}
    ${each.go_on_from !== null || !alert ? html`<${ForkBox} source=${each.go_on_from ?? `${id(each)}@${each.newest}`} title=${alert ? "Go on from the last good step" : "Branch off"} />` : null}
    <${OtherAlarms} />`;
};
const whyWords = (each, alert) => {
  const life = isStalled(each) ? `Its process lives, and has written nothing since ${minute(each.last_time)}.` : each.is_running ? (each.last_time ? "It is still running." : "Waiting for its first step.") : each.last_time ? `Its last step was written at ${minute(each.last_time)}.` : "";
  if (!alert) return each.newest_value === null ? `There is no reward in its history. ${life}` : `Reward ${value(each.newest_value)} at step ${each.newest}${each.best === null ? "" : `, best ${value(each.best_value)} at step ${each.best}`}. ${life}`;
  if (alert.state === "drifted") return `The trainer's distance from the sampler rose from ${value(alert.level)} to ${value(alert.now)} nats a token; from step ${alert.onset} on it has not come back. ${life}`;
  const what = alert.state === "held-out fell" ? "Held-out reward" : "Reward";
  const answered = alert.answered_by ? ` It was answered by ${called(alert.answered_by)}.` : "";
  return `${what} fell from ${value(alert.level)} to ${value(alert.now)}; from step ${alert.onset} on it has not come back. ${life}${answered}`;
};
// The nearest steps with recorded rollouts: the last good one or before it, and the onset or after it.
const recordedAround = (key, alert) => {
  const steps = (holder) => (need(stepPath("step", holder, alert.last_good))?.rollout_steps || []).flatMap(([low, high]) => Array.from({ length: high - low + 1 }, (_, place) => low + place));
  const from = holderOf(alert.go_on_from) || key;
  return { from, good: Math.max(...steps(from).filter((step) => step <= alert.last_good)), bad: Math.min(...steps(key).filter((step) => step >= alert.onset)) };
};
const SamePrompt = ({ each, alert }) => {
  const { from, good: goodStep, bad: badStep } = recordedAround(id(each), alert);
  if (!Number.isFinite(goodStep) || !Number.isFinite(badStep)) return null;
  const before = need(stepPath("rollouts", from, goodStep)), after = need(stepPath("rollouts", id(each), badStep));
  if (!before?.groups?.length || !after?.groups?.length) return null;
  for (const group of before.groups) {
    const other = after.groups.find((one) => one.key === group.key);
    if (!other) continue;
    const good = [...group.trajectories].sort((a, b) => b.reward - a.reward)[0];
    const worst = other.trajectories.find((one) => one.malformed) || [...other.trajectories].sort((a, b) => a.reward - b.reward)[0];
    return html`<div class="block"><h3>Same prompt, before and after</h3><pre class="asked">${promptWords(group)}</pre><div class="pair">
      <div class="said ok"><header>step ${goodStep}<b>reward ${value(good.reward)}</b></header><pre>${clean(lastWords(good))}</pre></div>
      <div class="said no"><header>step ${badStep}<b>reward ${value(worst.reward)}</b></header><pre>${clean(lastWords(worst))}</pre></div></div>
      <button class="link" onClick=${() => set({ tab: "compare", compare: { a: `${from}@${goodStep}`, b: `${id(each)}@${badStep}` } })}>Compare all prompts of both steps</button></div>`;
  }
  return null;
};
const Edge = ({ each }) => {
  const { project, model: source, step, changed, reset, where, remote, edge, merged_with } = each.forked_from;
  const from = `${clean(project === each.project ? source : `${project}/${source}`)}@${step}`;
  return html`<div class="block"><h3>${merged_with ? `Merged from ${from} and ${clean(each.project === merged_with.slice(0, merged_with.indexOf("/")) ? nameOf(merged_with) : merged_with)}` : `What changed at its fork from ${from}`}</h3>
    ${changed.length ? html`<table class="plaintable">${changed.map(([key, before, after]) => html`<tr><th scope="row">${clean(key)}</th><td>${setting(before)} → <b>${setting(after)}</b></td></tr>`)}</table>` : html`<p class="dim">No setting that was written down.</p>`}
    <p>${reset.length ? reset.map((part) => html`<span class="badge">${clean(part)} reset</span>`) : html`<span class="badge">carried everything</span>`}${edge && html`<${EdgeBadge} edge=${edge} />`}${where !== "here" && html`<span class="badge">source ${where === "elsewhere" && remote ? `in ${clean(remote)}` : clean(where)}</span>`}</p></div>`;
};
const Problems = ({ each }) => html`<div class="block"><h3>Damaged steps</h3>${Object.entries(each.problems).map(([step, words]) => html`<p><b>${step}</b> ${clean(words)}</p>`)}<${Command} text=${commandOf("verify", id(each))} /></div>`;
const Asides = ({ each }) => html`<div class="block"><h3>Set aside</h3>${each.set_aside.map((aside) => html`<p><b>${aside.steps.map(([low, high]) => (low === high ? low : `${low} … ${high}`)).join(", ")}</b> ${clean(aside.reason)} <span class="dim">${minute(aside.time)}</span></p>`)}<${Command} text=${commandOf("rewind", id(each), "--undo")} /></div>`;
const OtherAlarms = () => {
  const others = S.status.alerts.filter((each) => id(each) !== S.focus && each.life !== "old").slice(0, 8);
  if (!others.length) return null;
  return html`<div class="block"><h3>Other alarms</h3>${others.map((each) => html`<p><button class="link" onClick=${() => jump(id(each))}>${clean(each.model)}</button> ${STATE_WORDS[each.state]} at step ${each.onset}${each.answered_by ? `, answered by ${called(each.answered_by)}` : ""}</p>`)}</div>`;
};

const Step = () => {
  const each = model(S.focus);
  if (!each) return html`<${Empty} />`;
  const step = S.step ?? each.newest, found = need(stepPath("step", S.focus, step));
  if (!found || found.error) return html`<${Waiting} found=${found} />`;
  const rollouts = need(stepPath("rollouts", S.focus, step)), checkpoint = found.checkpoint, names = Object.keys(found.earned);
  return html`<div class="block"><div class="blockhead"><h2>${clean(each.model)}<span class="dim">@${step}</span></h2><span class="grow"></span>
        <button class="plain" aria-label="Step before" onClick=${() => openStep(step - 1)}>◂</button><button class="plain" aria-label="Next step" onClick=${() => openStep(step + 1)}>▸</button></div>
      <p>${checkpoint ? html`<span class="badge ok">checkpoint, ${bytes(checkpoint.size_bytes)}</span>` : !found.problem && html`<span class="badge">no checkpoint here</span>`}
        ${checkpoint?.edge && html`<${EdgeBadge} edge=${checkpoint.edge} />`}${each.pinned.includes(step) && html`<span class="badge">pinned</span>`}${step === each.best && html`<span class="badge ok">best</span>`}${step === each.newest && html`<span class="badge">newest</span>`}${step === each.last_good && html`<span class="badge ok">last good</span>`}
        ${checkpoint?.foreign && html`<span class="badge">foreign</span>`}${found.problem && html`<span class="badge red">damaged</span>`}
        ${checkpoint && html`<button class="link" onClick=${() => set({ tab: "fork", fork: `${id(each)}@${step}` })}>Fork from here</button>`}</p>
      ${found.problem && html`<p>${clean(found.problem)}</p><${Command} text=${commandOf("verify", `${id(each)}@${step}`)} /><${Command} text=${commandOf("rm", `${id(each)}@${step}`)} />`}</div>
    <div class="block">${names.length ? html`<table>${headOf("earned by these weights", "here", found.before ? `step ${found.before.step}` : "before", "change")}<tbody>
      ${names.map((name) => { const here = found.earned[name], before = found.before?.metrics[name]; return html`<tr><th scope="row">${clean(name)}</th><td><b>${value(here)}</b></td><td>${value(before)}</td><td>${typeof before === "number" && typeof here === "number" ? here === before ? "0" : `${here > before ? "+" : "−"}${value(Math.abs(here - before))}` : "–"}</td></tr>`; })}</tbody></table>` : html`<p class="dim">${step === each.newest ? "What these weights earn, the next step measures." : "Nothing was recorded at this step."}</p>`}</div>
    ${rollouts?.groups?.length ? html`<${Rollouts} groups=${rollouts.groups} />` : html`<div class="block"><p class="dim">${rollouts ? nearest(found.rollout_steps, step) : "Reading ..."}</p></div>`}
    ${checkpoint && html`<${About} checkpoint=${checkpoint} />`}`;
};
const EDGE_WORDS = {
  certified: "Taken again from its parent with what was recorded: the same bits",
  continues: "Everything that continuing needs came along; art replay proves it",
  "weights only": "The optimizer did not come along: another run",
};
const EDGE_SIGNS = { certified: "✓", continues: "≈", "weights only": "○" };
const EdgeBadge = ({ edge }) => html`<span class=${`badge ${edge === "certified" ? "ok" : ""}`} title=${EDGE_WORDS[edge] || ""}>${EDGE_SIGNS[edge] || ""} ${clean(edge)}</span>`;
const nearest = (ranges, step) => {
  if (!ranges.length) return "No rollouts were recorded for this branch.";
  const steps = ranges.flatMap(([low, high]) => [low, high, step >= low && step <= high ? step : low]);
  const close = steps.sort((a, b) => Math.abs(a - step) - Math.abs(b - step))[0];
  return html`No rollouts here. <button class="link" onClick=${() => openStep(close)}>Step ${close} has some.</button>`;
};
const About = ({ checkpoint }) => html`${Object.keys(checkpoint.update).length > 0 && html`<details class="block"><summary>The update that led here</summary><table class="plaintable">
  ${Object.entries(checkpoint.update).map(([key, item]) => html`<tr><th scope="row">${clean(key)}</th><td>${value(item)}</td></tr>`)}</table></details>`}<details class="block"><summary>Settings and files</summary><table class="plaintable">
  ${Object.entries(checkpoint.settings).map(([key, item]) => html`<tr><th scope="row">${clean(key)}</th><td>${setting(item)}</td></tr>`)}
  ${checkpoint.files.map(([path, size]) => html`<tr><th scope="row">${clean(path)}</th><td>${bytes(size)}</td></tr>`)}</table><pre>${clean(checkpoint.path)}</pre></details>`;

const comparePair = () => {
  if (S.compare) return S.compare;
  const each = model(S.focus);
  if (!each) return null;
  const second = `${S.focus}@${S.step ?? each.newest}`, other = chosen().find((key) => key !== S.focus), alert = alertOf(S.focus);
  if (alert && each.last_good !== null) {
    // Where rollouts were kept of few steps, the nearest of those: the same prompts are what is compared.
    const { from, good, bad } = recordedAround(S.focus, alert);
    return { a: `${from}@${Number.isFinite(good) ? good : each.last_good}`, b: S.step === null && Number.isFinite(bad) ? `${S.focus}@${bad}` : second };
  }
  return { a: other ? `${other}@${model(other).newest}` : `${S.focus}@${each.best ?? each.newest}`, b: second };
};
const Compare = () => {
  const pair = comparePair();
  if (!pair) return html`<${Empty} />`;
  const found = need(`compare?a=${encodeURIComponent(pair.a)}&b=${encodeURIComponent(pair.b)}`);
  const choose = (side) => html`<input class="ref" aria-label=${side === "a" ? "First checkpoint" : "Second checkpoint"} list="refs" value=${pair[side]} onChange=${(event) => set({ compare: { ...pair, [side]: event.currentTarget.value.trim() }, rollout: null })} />`;
  return html`<div class="block"><div class="blockhead wrap"><h2>Compare</h2>${choose("a")} with ${choose("b")}<datalist id="refs">${S.tree.models.flatMap((each) => [each.newest, each.best, each.last_good].filter((step) => step !== null && step !== undefined).map((step) => html`<option value=${`${id(each)}@${step}`} />`))}</datalist></div>
    ${found && !found.error && html`<p>${found.part_at ? `They part at ${called(found.part_at)}.` : "They have no past in common."} ${found.settings.length ? html`Settings: ${found.settings.map(([key, before, after]) => html`<b>${clean(key)} ${setting(before)} → ${setting(after)}</b> `)}` : "The same settings."}</p>`}</div>
    ${!found || found.error ? html`<${Waiting} found=${found} />` : html`<${Compared} found=${found} pair=${pair} />`}`;
};
const Compared = ({ found, pair }) => {
  const worse = found.prompts.filter((each) => each.delta < 0).length, better = found.prompts.filter((each) => each.delta > 0).length, same = found.prompts.length - worse - better;
  const mean = (side) => found.prompts.reduce((sum, each) => sum + each[side].mean, 0) / (found.prompts.length || 1);
  const current = found.prompts.find((each) => S.rollout && each.key === S.rollout.key) || found.prompts[0];
  return html`<div class="block">${found.prompts.length ? html`<h3>${count(found.prompts.length, "prompt")} in both, ${count(rolloutsOf(found, "a"), "rollout")} and ${rolloutsOf(found, "b")}</h3>
      <div class="bar" aria-hidden="true"><i class="worse" style=${{ flexGrow: worse }}></i><i class="same" style=${{ flexGrow: same }}></i><i class="better" style=${{ flexGrow: better }}></i></div>
      <p class="split"><span><b class="red">▼ ${worse} worse</b> = ${same} same <b class="good">▲ ${better} better</b></span><span>mean ${value(mean("a"))} → <b>${value(mean("b"))}</b></span></p>` : html`<p class="dim">${unpaired(found, pair)} Only numbers are compared.</p>`}
      <table class="plaintable">${found.metrics.filter(([, one, other]) => one !== other).map(([name, one, other]) => html`<tr><th scope="row">${clean(name)}</th><td>${value(one)} → <b>${value(other)}</b></td></tr>`)}</table></div>
    ${found.prompts.length > 0 && html`<div class="block"><h3>Prompts, worst change first <span class="dim">○ left, ● right</span></h3>
      ${found.prompts.map((each) => html`<button class=${`promptrow ${each === current ? "focus" : ""}`} onClick=${() => set({ rollout: { key: each.key, place: 0 } })}><span class="prompt">${promptWords(each.a)}</span><${Dumbbell} one=${each.a.mean} other=${each.b.mean} /><span>${value(each.a.mean)}</span><b>${value(each.b.mean)}</b><b class=${each.delta < 0 ? "red" : "good"}>${each.delta < 0 ? "▼" : each.delta > 0 ? "▲" : "="} ${value(Math.abs(each.delta))}</b></button>`)}</div>
    <div class="block"><h3>The prompt</h3><${Conversation} turns=${current.a.prompt} /><div class="pair">
      ${[["a", "ok"], ["b", "no"]].map(([side, kind]) => { const group = current[side], rollout = [...group.trajectories].sort((x, y) => side === "a" ? y.reward - x.reward : x.reward - y.reward)[0]; return html`<div class=${`said ${kind}`}><header>${called(pair[side])}<b>reward ${value(rollout.reward)}</b></header><${Conversation} turns=${rollout.messages} /></div>`; })}</div></div>`}`;
};
const unpaired = (found, pair) => {
  const without = ["a", "b"].filter((side, place) => !found.recorded[place]).map((side) => called(pair[side]));
  return without.length ? `No rollouts were recorded at ${without.join(" and at ")}.` : "No prompt was recorded at both steps.";
};
const rolloutsOf = (found, side) => found.prompts.reduce((sum, each) => sum + each[side].trajectories.length, 0);
const Dumbbell = ({ one, other }) => {
  const x = (number) => 6 + Math.max(0, Math.min(1, number)) * 88;
  return html`<svg class=${`dumbbell ${other < one ? "worse" : "better"}`} width="100" height="14" aria-hidden="true"><line class="rail" x1="6" x2="94" y1="7" y2="7" /><line x1=${x(one)} x2=${x(other)} y1="7" y2="7" /><circle class="open" cx=${x(one)} cy="7" r="4" /><circle cx=${x(other)} cy="7" r="4" /></svg>`;
};

const freeName = (each) => {
  const taken = new Set(S.tree.models.map((other) => other.model)), [, stem, digits] = each.model.match(/^(.*?)(\d+)$/) || [null, `${each.model}-`, "1"];
  let number = Number(digits), name;
  do { number += 1; name = stem + String(number).padStart(digits.length, "0"); } while (taken.has(name));
  return name;
};
const Fork = () => {
  const each = model(S.focus);
  if (!each) return html`<${Empty} />`;
  return html`<${ForkBox} source=${S.fork ?? ((S.step === null && each.go_on_from) || `${id(each)}@${S.step ?? each.newest}`)} title=${`Fork ${clean(each.model)}`} isView />`;
};
const ForkBox = ({ source, title, isView }) => {
  const each = model(S.focus), [itsProject, itsModel] = holderOf(source).split("/"), step = source.slice(source.lastIndexOf("@") + 1), name = S.forkName ?? freeName(each), part = S.forkReset || "";
  const command = commandOf("fork", source, `${each.project}/${name}`, ...(part ? ["--reset", part] : []));
  const python = [`model = art.TrainableModel(name=${JSON.stringify(name)}, project=${JSON.stringify(each.project)}, base_model=${JSON.stringify(each.base_model || "...")})`,
    `await backend._experimental_fork_checkpoint(model, from_model=${JSON.stringify(itsModel)}${itsProject === each.project ? "" : `, from_project=${JSON.stringify(itsProject)}`}, not_after_step=${step}${part ? `, reset=[${JSON.stringify(part)}]` : ""})`, "await model.register(backend)"].join("\n");
  const text = S.python ? python : command;
  const act = async () => {
    const answer = await fetch("/api/fork", { method: "POST", headers: { "Content-Type": "application/json", "X-Art-Token": token }, body: JSON.stringify({ source, destination: `${each.project}/${name}`, reset: part ? [part] : [] }) });
    const found = await answer.json();
    set(found.error ? { refused: { name, words: found.error } } : { forkName: null, refused: null });
    if (!found.error) say(`${clean(found.forked)} was made by: ${clean(found.command)}`);
  };
  return html`<div class="block">${isView ? html`<h2>${title}</h2>` : html`<h3>${title}</h3>`}<div class="fields"><label>from<input readonly title=${called(source)} value=${called(source)} /></label><label>new branch<input value=${name} onInput=${(event) => set({ forkName: event.currentTarget.value })} /></label>
      <label>reset<select onChange=${(event) => set({ forkReset: event.currentTarget.value })}>${["", "optimizer", "schedule", "random", "state"].map((each) => html`<option value=${each} selected=${each === part}>${each || "nothing"}</option>`)}</select></label></div>
    <p class="split"><span><button class=${`plain ${S.python ? "" : "on"}`} aria-pressed=${!S.python} onClick=${() => set({ python: false })}>Command</button><button class=${`plain ${S.python ? "on" : ""}`} aria-pressed=${Boolean(S.python)} onClick=${() => set({ python: true })}>Python</button></span>
      <span class="dim">${each.checkpoint_bytes ? `shares ${bytes(each.checkpoint_bytes)}` : ""} · undo: art rm</span></p>
    ${S.refused?.name === name && html`<p class="red" role="alert">${clean(S.refused.words)}</p>`}
    <${Command} text=${text} act=${S.page.allow_fork ? act : null} /></div>`;
};
// A name may hold what a shell would obey.
const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`);
// A root that the program does not find by itself stands in every command.
const commandOf = (...words) => ["art", ...words, ...(S.status.command_root ? ["--root", S.status.command_root] : [])].map(quoted).join(" ");
// A line of a command breaks between its words only; what is too long for a line breaks anywhere.
const wordsOf = (text) => text.split(/( |\n)/).map((word) => (word === " " || word === "\n" || word.length > 34 ? word : html`<span class="word">${word}</span>`));
const Command = ({ text, act }) => html`<div class="command"><pre data-command=${text}>${wordsOf(clean(text))}</pre><button onClick=${() => copy(text)}>Copy</button>${act && html`<button class="go" onClick=${act}>Fork</button>`}</div>`;

const legendOf = (kind, words, size) => html`<i class=${`key ${kind}`}></i> ${words} <b>${bytes(Math.max(0, size))}</b>`;
const Disk = () => {
  const found = need("disk");
  if (!found || found.error) return html`<${Waiting} found=${found} />`;
  const rule = S.keep || "newest:2, best:train/reward", plan = need(S.keep ? `cleanup?keep=${encodeURIComponent(rule)}` : "cleanup");
  const goes = Math.min(found.kept_bytes, plan?.freed_bytes || 0);
  return html`<div class="block"><h2>Disk</h2><div class="bar" aria-hidden="true"><i class="kept" style=${{ flexGrow: found.kept_bytes - goes }}></i><i class="going" style=${{ flexGrow: goes }}></i><i class="aside" style=${{ flexGrow: found.aside_bytes }}></i></div>
      <p class="split"><span>${legendOf("kept", "stays", found.kept_bytes - goes)}</span><span>${plan?.rows ? legendOf("going", "could go", goes) : plan?.error ? "" : "planning ..."}</span><span>${legendOf("aside", "set aside", found.aside_bytes)}</span></p><p class="dim">A file that several branches share counts once, with the first of them.</p></div>
    <div class="block"><h3>What a clean-up would free</h3><div class="fields two"><label>keep of each branch<input value=${rule} onChange=${(event) => set({ keep: event.currentTarget.value.trim() })} /></label></div>
      ${plan?.error ? html`<p class="red">${clean(plan.error)}</p>` : html`<p class="dim">Beside that, in any case: the newest, what is pinned, what a branch was forked from, what is damaged or foreign. The command only lists; --yes in the place of --plan deletes.</p><${Command} text=${plan?.command || commandOf("gc", "--keep", rule, "--plan")} />`}</div>
    <div class="block"><table>${headOf("branch", "stays", "goes", "frees", !phone() && "own", "set aside")}<tbody>
      ${found.rows.map((row) => { const of = plan?.rows?.find((each) => each.model === row.model); return html`<tr title=${of ? of.why.map(clean).join(", ") : ""}><th scope="row">${called(row.model)}</th><td>${of ? of.stays : row.checkpoints}</td><td>${of ? of.goes : "–"}</td><td><b>${of ? bytes(of.freed_bytes) : "–"}</b></td>${!phone() && html`<td>${bytes(row.kept_bytes)}</td>`}<td>${bytes(row.aside_bytes)}</td></tr>`; })}</tbody></table></div>`;
};
const Empty = () => html`<div class="block"><h2>No models yet</h2><p>They appear here by themselves.</p><pre>${`import art
from art.local import LocalBackend

backend = LocalBackend(path=${JSON.stringify(S.status.root)})
model = art.TrainableModel(name="agent-001", project="shop", base_model="Qwen/Qwen3-0.6B")`}</pre></div>`;
