// Numbers, names and texts as people read them. Pure.
const { html, render, useEffect, useLayoutEffect, useRef, useState } = htmPreact;

const STATE_WORDS = {
  healthy: "healthy", collapsed: "collapsed", "held-out fell": "held-out reward fell",
  "no signal": "learns nothing any more", drifted: "trainer and sampler drifted apart", unknown: "without rewards",
};
const METRIC_WORDS = {
  "train/reward": ["reward", "training"], "val/reward": ["reward", "held out"], "train/entropy": ["entropy", ""],
  "train/approx_kl": ["approx kl", ""], "train/kl": ["kl", "reference"], "train/grad_norm": ["grad norm", ""],
  "train/malformed": ["malformed", ""], "train/truncated": ["truncated", ""],
};

// Text from a store may try to look like something else: what does not show is shown by its number.
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb]/g;
const clean = (text) => String(text).replace(HIDDEN, (c) => "U+" + c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0"));

const value = (number) => {
  if (number === null || number === undefined) return "–";
  if (number === 0) return "0";
  const size = Math.abs(number);
  if (size < 1e-6) return number.toExponential(0);
  if (size >= 100 || size < 0.001) return Number(number.toPrecision(3)).toString();
  return number.toFixed(size < 0.1 ? 3 : 2);
};
const setting = (item) => item === null || item === undefined ? "–" : typeof item === "number" ? short(item) : clean(typeof item === "string" ? item : JSON.stringify(item));
const short = (number) => (Math.abs(number) < 0.001 && number !== 0 ? number.toExponential().replace("e-0", "e-") : String(number));
const SETTING_WORDS = { learning_rate: "lr", epsilon: "ε", epsilon_high: "ε high", temperature: "temp" };
const change = ([key, , after]) => `${SETTING_WORDS[key] || key} ${setting(after)}`;
const count = (number, thing) => `${number.toLocaleString("en")} ${thing}${number === 1 ? "" : "s"}`;
const bytes = (size) => {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (size >= 1024 && at < units.length - 1) { size /= 1024; at += 1; }
  return `${at ? size.toFixed(1) : size} ${units[at]}`;
};
const minute = (time) => `${time.slice(0, 16).replace("T", " ")} UTC`;
const duration = (seconds) => seconds < 120 ? `${Math.round(seconds)} s` : seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
const amount = (number) => number >= 1e9 ? `${(number / 1e9).toFixed(1)} G` : number >= 1e6 ? `${(number / 1e6).toFixed(1)} M` : number >= 1e3 ? `${(number / 1e3).toFixed(1)} k` : String(number);
const id = (model) => `${model.project}/${model.model}`;
const holderOf = (ref) => ref && ref.slice(0, ref.lastIndexOf("@"));
const nameOf = (key) => key.slice(key.indexOf("/") + 1);
const called = (key) => clean(nameOf(key));
