// One face per person: five points in pixels of a canvas whose long side is LONG, drawn as IdentityNet sees them.
const LONG = 1000, DOT = 7, GRIP = 15, STEP = 4;
const COLOURS = ['#ff0000', '#00ff00', '#0000ff', '#ffff00', '#ff00ff'], NOSE = 2;
const BY_HAND = 'by hand', AUTOMATIC = '';
const stage = element.querySelector('svg'), chips = element.querySelector('.people');
const choice = element.querySelector('select');
let entries = [], chosen = 0, width = LONG, height = LONG;

const draw_in = (parent, name, attributes) => {
  const node = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return parent.appendChild(node);
};
const mean = (...points) => [0, 1].map(k => points.reduce((sum, p) => sum + p[k], 0) / points.length);
const middles = points => [mean(points[0], points[1]), mean(points[3], points[4])];   // of eyes and mouth
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

// Where the box lies on five points: as on the face seen from the front.
const frame = points => {
  const measured = face => {
    const [eyes, mouth] = middles(face);
    return {eyes, along: [mouth[0] - eyes[0], mouth[1] - eyes[1]]};
  };
  const front = measured(fixed.views.front.points), seen = measured(points);
  const length = Math.hypot(...seen.along) || 1;
  const down = (0.5 - front.eyes[1]) / front.along[1];
  return {
    centre: [seen.eyes[0] + down * seen.along[0], seen.eyes[1] + down * seen.along[1]],
    size: length / front.along[1],
    tilt: Math.atan2(-seen.along[0], seen.along[1]),
  };
};
const viewed = (view, place) => {
  const {points, box} = fixed.views[view], size = place.size * Math.min(width, height);
  return points.map(([x, y]) => [
    (x - box[2] / 2) * size + place.x * width, (y - box[3] / 2) * size + place.y * height]);
};
const face = i => {
  const entry = entries[i];
  if (entry?.points) return entry.points.map(([x, y]) => [x * width, y * height]);
  if (entry?.view) return viewed(entry.view, entry.place);
  return props.faces[i].map(([x, y]) => [x * width, y * height]);
};
const by_hand = points => ({points: points.map(([x, y]) => [x / width, y / height])});
const placed = (view, points) => {
  const {centre, size} = frame(points);
  return {view, place: {x: clamp(centre[0] / width, 0, 1), y: clamp(centre[1] / height, 0, 1),
                        size: clamp(size / Math.min(width, height), 0.05, 1)}};
};

const put = (i, entry) => { entries[i] = entry; draw(); };
const keep = () => { props.value = entries.slice(0, props.count).map(entry => entry ?? null); };
const move = (i, dx, dy) => {
  const points = face(i), {centre} = frame(points);
  dx = clamp(centre[0] + dx, 0, width) - centre[0];
  dy = clamp(centre[1] + dy, 0, height) - centre[1];
  const {view, place} = entries[i] ?? {};
  put(i, view ? {view, place: {...place, x: clamp(place.x + dx / width, 0, 1), y: clamp(place.y + dy / height, 0, 1)}}
              : by_hand(points.map(([x, y]) => [x + dx, y + dy])));
};
const move_point = (i, k, to) => put(i, by_hand(
  face(i).map((p, n) => n === k ? [clamp(to[0], 0, width), clamp(to[1], 0, height)] : p)));
const turn_and_scale = (i, angle, factor) => {
  const {view, place} = entries[i] ?? {};
  if (view && !angle) return put(i, {view, place: {...place, size: clamp(place.size * factor, 0.05, 1)}});
  const points = face(i), {centre, size} = frame(points), short = Math.min(width, height);
  factor = clamp(size * factor, 0.05 * short, short) / size;
  const [c, s] = [Math.cos(angle) * factor, Math.sin(angle) * factor];
  put(i, by_hand(points.map(([x, y]) => [x - centre[0], y - centre[1]])
    .map(([x, y]) => [centre[0] + c * x - s * y, centre[1] + s * x + c * y])));
};
const ACTIONS = {
  smaller: () => turn_and_scale(chosen, 0, 1 / 1.08), larger: () => turn_and_scale(chosen, 0, 1.08),
  left: () => turn_and_scale(chosen, -Math.PI / 36, 1), right: () => turn_and_scale(chosen, Math.PI / 36, 1),
  reset: () => put(chosen, null),
};

const at = event => {
  const box = stage.getBoundingClientRect();
  const scale = Math.min(box.width / width, box.height / height);   // as preserveAspectRatio "meet" does
  return [(event.clientX - box.left - (box.width - scale * width) / 2) / scale,
          (event.clientY - box.top - (box.height - scale * height) / 2) / scale];
};
const drag = (node, event, i, moved) => {
  event.preventDefault();
  const key = node.dataset.key;
  let last = at(event);
  choose(i);
  const grabbed = element.querySelector(`[data-key="${key}"]`);
  grabbed.focus({preventScroll: true});
  const follow = step => {
    const now = at(step);
    moved(now, [now[0] - last[0], now[1] - last[1]]);
    last = now;
  };
  const end = () => {
    window.removeEventListener('pointermove', follow);
    keep();
  };
  window.addEventListener('pointermove', follow);
  for (const over of ['pointerup', 'pointercancel']) window.addEventListener(over, end, {once: true});
};
const choose = i => { chosen = i; draw(); };
const ARROWS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
const keys = (event, i, k) => {
  const step = event.shiftKey ? 5 * STEP : STEP, [dx, dy] = ARROWS[event.key] ?? [];
  const other = {'+': 'larger', '=': 'larger', '-': 'smaller', '[': 'left', ']': 'right'}[event.key];
  if (dx === undefined && !other) return;
  event.preventDefault();
  chosen = i;
  if (other) ACTIONS[other]();
  else if (k === null) move(i, dx * step, dy * step);
  else move_point(i, k, [face(i)[k][0] + dx * step, face(i)[k][1] + dy * step]);
  keep();
};

const draw_face = (group, i, pixel) => {
  const points = face(i), {centre, size, tilt} = frame(points);
  const active = i === chosen, key = `${i}`;
  const node = draw_in(group, 'g', {
    class: `face ${active ? 'chosen' : ''} ${entries[i] ? '' : 'automatic'}`, 'data-person': i + 1});
  const outline = draw_in(node, 'ellipse', {
    class: 'outline', cx: centre[0], cy: centre[1], rx: size * 0.4, ry: size / 2, stroke: fixed.colours[i],
    transform: `rotate(${tilt * 180 / Math.PI} ${centre[0]} ${centre[1]})`, tabindex: 0, role: 'button', 'data-key': key,
    'aria-label': `Face of person ${i + 1}. Arrow keys move it, plus and minus resize it, brackets tilt it.`});
  outline.addEventListener('pointerdown', event => drag(outline, event, i, (now, by) => move(i, ...by)));
  outline.addEventListener('keydown', event => keys(event, i, null));
  points.forEach((point, k) => k !== NOSE && draw_in(node, 'line', {
    class: 'limb', x1: point[0], y1: point[1], x2: points[NOSE][0], y2: points[NOSE][1], stroke: COLOURS[k]}));
  points.forEach((point, k) => draw_in(node, 'circle', {
    class: 'dot', cx: point[0], cy: point[1], r: (active ? DOT : DOT / 2) * pixel, fill: COLOURS[k]}));
  if (active) points.forEach((point, k) => {
    const grip = draw_in(node, 'circle', {
      class: 'grip', cx: point[0], cy: point[1], r: GRIP * pixel, tabindex: 0, role: 'button', 'data-key': `${i}-${k}`,
      'data-point': k, 'aria-label': `Person ${i + 1}: ${fixed.names[k]}. Arrow keys move it.`});
    grip.addEventListener('pointerdown', event => drag(grip, event, i, now => move_point(i, k, now)));
    grip.addEventListener('keydown', event => keys(event, i, k));
  });
  if (props.count > 1) draw_in(node, 'text', {
    class: 'name', x: centre[0], y: centre[1] - size * 0.34, 'font-size': 15 * pixel}).textContent = i + 1;
};
const draw = () => {
  const [w, h] = props.canvas;
  width = LONG * w / Math.max(w, h);
  height = LONG * h / Math.max(w, h);
  chosen = Math.min(chosen, props.count - 1);
  stage.setAttribute('viewBox', `0 0 ${width} ${height}`);
  stage.style.aspectRatio = `${width} / ${height}`;
  for (const name of ['.ground', 'image']) {
    stage.querySelector(name).setAttribute('width', width);
    stage.querySelector(name).setAttribute('height', height);
  }
  if (stage.querySelector('image').getAttribute('href') !== props.picture)
    stage.querySelector('image').setAttribute('href', props.picture);
  const focused = document.activeElement?.dataset?.key, inside = element.contains(document.activeElement);
  const box = stage.getBoundingClientRect();
  const pixel = box.width ? 1 / Math.min(box.width / width, box.height / height) : 1;
  const group = stage.querySelector('.faces');
  group.replaceChildren();
  const order = [...Array(props.count).keys()].filter(i => i !== chosen);
  for (const i of [...order, chosen]) draw_face(group, i, pixel);   // the chosen one above the others
  if (inside && focused) group.querySelector(`[data-key="${focused}"]`)?.focus({preventScroll: true});
  chips.replaceChildren(...(props.count < 2 ? [] : [...Array(props.count).keys()].map(i => {
    const chip = document.createElement('button');
    chip.type = 'button';
    chip.textContent = `Person ${i + 1}`;
    chip.style.setProperty('--who', fixed.colours[i]);
    chip.setAttribute('aria-pressed', i === chosen);
    chip.addEventListener('click', () => { choose(i); chips.children[i].focus(); });
    return chip;
  })));
  const {view, points} = entries[chosen] ?? {};
  const options = [[AUTOMATIC, props.automatic], ...Object.keys(fixed.views).map(name => [name, name])];
  if (points) options.push([BY_HAND, BY_HAND]);
  choice.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  choice.value = points ? BY_HAND : view ?? AUTOMATIC;
  element.querySelector('[data-do=reset]').disabled = !entries[chosen];
};

choice.addEventListener('change', () => {
  if (choice.value !== BY_HAND) put(chosen, choice.value ? placed(choice.value, face(chosen)) : null);
  keep();
});
for (const button of element.querySelectorAll('[data-do]'))
  button.addEventListener('click', () => { ACTIONS[button.dataset.do](); keep(); });
const receive = () => { entries = [...(props.value ?? [])]; draw(); };
watch('value', receive);
watch(['canvas', 'picture', 'faces', 'count', 'automatic'], draw);
new ResizeObserver(() => draw()).observe(stage);
receive();
