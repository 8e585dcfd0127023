// What was asked and answered: groups as rows of squares, conversations as text.
const promptWords = (group) => { const users = group.prompt.filter((turn) => turn.role === "user"); return clean((users[users.length - 1] || group.prompt[group.prompt.length - 1] || { text: "" }).text).trim(); };
const Turn = ({ turn }) => html`<div class="turn"><span class="role">${turn.role === "assistant" ? "model" : clean(turn.role)}</span><div class="text">
  ${turn.text && html`<pre>${clean(turn.text)}</pre>`}
  ${(turn.calls || []).map(([name, given]) => html`<pre class="call">→ ${clean(name)}(${clean(given)})</pre>`)}
  ${turn.finish === "length" && html`<span class="cut">cut off at ${turn.tokens ? `${turn.tokens} tokens` : "the limit"}</span>`}
</div></div>`;
const Conversation = ({ turns }) => html`<div class="conversation">${turns.map((turn) => html`<${Turn} turn=${turn} />`)}</div>`;
const lastWords = (rollout) => rollout.messages.filter((turn) => turn.role === "assistant").map((turn) => [turn.text, ...(turn.calls || []).map(([name, given]) => `→ ${name}(${given})`)].filter(Boolean).join("\n")).join("\n");

const Square = ({ rollout, group, place, chosenOne }) => {
  const share = Math.max(0, Math.min(1, rollout.reward / (S.best_reward || 1)));
  return html`<button class=${`square ${rollout.malformed ? "bad" : ""} ${chosenOne ? "chosen" : ""}`} aria-label=${`Rollout ${place + 1}, reward ${value(rollout.reward)}${rollout.malformed ? ", malformed" : ""}`}
    onClick=${() => set({ rollout: { key: group.key, place } })}><i style=${{ height: `${Math.round(share * 100)}%` }}></i>${rollout.malformed ? "×" : ""}</button>`;
};
const Rollouts = ({ groups }) => {
  S.best_reward = Math.max(1e-9, ...groups.flatMap((group) => group.trajectories.map((each) => each.reward)));
  const all = groups.flatMap((group) => group.trajectories.map((rollout, place) => ({ group, rollout, place })));
  const pick = (found) => found && set({ rollout: { key: found.group.key, place: found.place } });
  const worst = [...all].sort((a, b) => a.rollout.reward - b.rollout.reward)[0], best = [...all].sort((a, b) => b.rollout.reward - a.rollout.reward)[0];
  const malformed = all.find(({ rollout }) => rollout.malformed);
  const current = all.find(({ group, place }) => S.rollout && group.key === S.rollout.key && place === S.rollout.place);
  return html`<div class="block"><div class="blockhead"><h3>Rollouts</h3><span class="grow"></span>
      <button class="plain" onClick=${() => pick(worst)}>Worst</button>${malformed && html`<button class="plain" onClick=${() => pick(malformed)}>First malformed</button>`}<button class="plain" onClick=${() => pick(best)}>Best</button></div>
    <p class="dim">One square is one rollout: filled to its reward, × malformed. A row is a prompt, worst first.</p>
    ${groups.map((group) => html`<div class=${`group ${current && current.group === group ? "focus" : ""}`}>
      <span class="squares">${group.trajectories.map((rollout, place) => html`<${Square} rollout=${rollout} group=${group} place=${place} chosenOne=${current && current.group === group && current.place === place} />`)}</span>
      <span class="prompt">${promptWords(group)}</span><b>${group.std === 0 ? `all ${value(group.mean)}` : value(group.mean)}</b></div>`)}
    ${current && html`<${OneRollout} group=${current.group} rollout=${current.rollout} place=${current.place} at=${groups.indexOf(current.group)} />`}
  </div>`;
};
const OneRollout = ({ group, rollout, place, at: number }) => html`<div class="block one"><div class="blockhead"><h3>Rollout ${place + 1} of group ${number + 1}</h3>
    <span class="badge">reward ${value(rollout.reward)}</span><span class="badge">advantage ${value(rollout.advantage)}</span>${rollout.malformed && html`<span class="badge red">malformed</span>`}</div>
  <${Conversation} turns=${[...group.prompt, ...rollout.messages]} /></div>`;
