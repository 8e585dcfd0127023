// One key for everything: none with Ctrl, Alt or Meta, none while typing.
const KEYS = [
  ["j k ↓ ↑", "next, previous branch"], ["← →", "one step, with Shift ten"], ["[ ]", "this fork's point, the next fork off this branch"], ["n", "next alarm"], ["g", "last good step"],
  ["space", "in the charts or not"], ["Enter", "open the step"], ["w c f d", "why, compare, fork, disk"], ["y", "copy the command"], ["s", "smooth"], ["p", "points as a table"], ["/", "find"], ["0", "whole axis"], ["t", "dark or light"], ["?", "these keys"], ["Esc", "close"],
];
const SIGNS = [
  ["◇", "fork"], ["⚑", "last good step"], ["✕", "where it went wrong"], ["●", "newest step; it pulses while the run goes on"], ["┄", "what was rewound"],
  ["┊", "second parent of a merge"], ["✓", "certified edge"], ["⌖", "pinned step"], ["⧅", "damaged step"], ["⬚", "another program’s checkpoints"], ["◌", "source is gone, set aside or elsewhere"],
];
const move = (way) => {
  const rows = visibleRows().filter((row) => row.each), place = rows.findIndex((row) => id(row.each) === S.focus);
  const next = rows[Math.max(0, Math.min(rows.length - 1, place + way))];
  if (next) set({ focus: id(next.each), step: null, rollout: null });
};
const nextAlarm = () => {
  const alerts = S.status.alerts;
  if (!alerts.length) return say("No alarms.");
  const next = alerts[(alerts.findIndex((each) => id(each) === S.focus) + 1) % alerts.length];
  jump(id(next));
};
const stepBy = (way) => { const each = model(S.focus); if (each) openStep((S.step ?? each.newest) + way); };
const forkPoint = (way) => {
  const each = model(S.focus);
  if (!each) return;
  if (way < 0 && each.forked_from) return openStep(each.forked_from.step);
  const points = S.tree.models.filter((other) => parentOf(other) === S.focus).map((other) => other.forked_from.step).sort((a, b) => a - b);
  const next = points.find((step) => step > (S.step ?? -1)) ?? points[0];
  if (next !== undefined) openStep(next);
};
const ACTIONS = {
  j: () => move(1), ArrowDown: () => move(1), k: () => move(-1), ArrowUp: () => move(-1), ArrowRight: (event) => stepBy(event.shiftKey ? 10 : 1), ArrowLeft: (event) => stepBy(event.shiftKey ? -10 : -1),
  "[": () => forkPoint(-1), "]": () => forkPoint(1), n: nextAlarm, g: () => { const each = model(S.focus); if (each && each.last_good !== null) openStep(each.last_good); }, " ": () => S.focus && toggle(S.focus),
  Enter: () => S.focus && openStep(S.step ?? model(S.focus).newest), w: () => set({ tab: "why" }), c: () => set({ tab: "compare", compare: null }), f: () => set({ tab: "fork", fork: null }), d: () => set({ tab: "disk" }),
  y: () => { const command = document.querySelector("[data-command]"); if (command) copy(command.dataset.command); else say("There is no command on this view."); },
  s: () => set({ smooth: !S.smooth }), p: () => set({ points: !S.points }), "/": () => document.getElementById("find")?.focus(), 0: () => set({ zoom: null }), t: () => set({ dark: !S.dark }), "?": () => set({ help: !S.help }), Escape: () => set({ help: false, find: "" }),
};
const onKey = (event) => {
  const element = event.target, typing = /^(INPUT|SELECT|TEXTAREA)$/.test(element.tagName) && element.type !== "checkbox";
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (typing) { if (event.key === "Escape") element.blur(); return; }
  if ((event.key === "Enter" || event.key === " ") && /^(BUTTON|A|SUMMARY)$/.test(element.tagName)) return;
  const action = ACTIONS[event.key];
  if (!action) return;
  event.preventDefault();
  action(event);
};
