// One step axis for the tree and every chart: where it lies, and what a step is on it.
const phone = () => S.width < 700;
const narrow = () => S.width < 1200;
const geometry = () => {
  const panel = phone() ? 0 : S.tab === "compare" ? Math.round(S.width * (narrow() ? 0.6 : 0.54)) : narrow() ? 360 : 452;
  const card = S.width - panel - (phone() ? 16 : 32) - 2;
  const left = phone() ? 118 : card < 560 ? 170 : card < 760 ? 210 : 286;
  const right = phone() ? 52 : 70;
  return { panel, card, left, width: Math.max(80, card - left - right), right };
};
const wholeAxis = ofTree((tree) => tree.models.reduce(([low, high], each) => [Math.min(low, each.first), Math.max(high, each.newest)], [0, 1]));
const bounds = () => S.zoom || wholeAxis();
const at = (step) => { const [low, high] = bounds(); return ((step - low) / (high - low)) * geometry().width; };
const stepAt = (x) => { const [low, high] = bounds(); return Math.round(low + (x / geometry().width) * (high - low)); };
const ticks = () => {
  const [low, high] = bounds();
  const wanted = Math.max(2, Math.floor(geometry().width / 110));
  const rough = (high - low) / wanted, power = 10 ** Math.floor(Math.log10(Math.max(rough, 1)));
  const size = Math.max(1, [1, 2, 5, 10].map((times) => times * power).find((each) => each >= rough) || 10 * power);
  const found = [];
  for (let step = Math.ceil(low / size) * size; step <= high; step += size) found.push(step);
  return found;
};
