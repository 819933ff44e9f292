// One face per person: five points in pixels of a canvas whose long side is LONG, drawn as IdentityNet sees them.
const LONG = 1000, DOT = 7, GRIP = 15, STEP = 4;
const COLOURS = ['#ff0000', '#00ff00', '#0000ff', '#ffff00', '#ff00ff'], NOSE = 2;
const BY_HAND = 'by hand', AUTOMATIC = '';
const stage = element.querySelector('svg'), choice = element.querySelector('select');
let entries = [], width = LONG, height = LONG;

const draw_in = (parent, name, attributes) => {
  const node = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return parent.appendChild(node);
};
const mean = (...points) => [0, 1].map(k => points.reduce((sum, p) => sum + p[k], 0) / points.length);
const middles = points => [mean(points[0], points[1]), mean(points[3], points[4])];   // of eyes and mouth
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

// Where the box lies: a view's is known, five free points have it as a face seen from the front.
const frame = i => {
  const {view, place} = entries[i] ?? {};
  if (view) {
    const size = place.size * Math.min(width, height);
    return {centre: [place.x * width, place.y * height], size, wide: fixed.views[view].box[2] * size, tilt: 0};
  }
  const measured = face => {
    const [eyes, mouth] = middles(face);
    return {eyes, along: [mouth[0] - eyes[0], mouth[1] - eyes[1]]};
  };
  const front = measured(fixed.views.front.points), seen = measured(face(i));
  const length = Math.hypot(...seen.along) || 1, size = length / front.along[1];
  const down = (0.5 - front.eyes[1]) / front.along[1];
  return {
    centre: [seen.eyes[0] + down * seen.along[0], seen.eyes[1] + down * seen.along[1]],
    size, wide: fixed.views.front.box[2] * size,
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
const by_hand = points => ({points: points.map(([x, y]) => [x / width, y / height]), shape: width / height});
const sides = shape => shape > 1 ? [LONG, LONG / shape] : [LONG * shape, LONG];
// On a canvas of another shape the five points stay as they are to each other: parts of it would squeeze them.
const unsqueezed = entry => {
  if (!entry?.points || !entry.shape || Math.abs(entry.shape * height / width - 1) < 1e-3) return entry;
  const [w, h] = sides(entry.shape), scale = Math.min(width, height) / Math.min(w, h);
  const points = entry.points.map(([x, y]) => [x * w, y * h]), [cx, cy] = mean(...points);
  return by_hand(points.map(([x, y]) =>
    [cx / w * width + scale * (x - cx), cy / h * height + scale * (y - cy)]));
};
const placed = (view, i) => {
  const {centre, size} = frame(i);
  return {view, place: {x: clamp(centre[0] / width, 0, 1), y: clamp(centre[1] / height, 0, 1),
                        size: clamp(size / Math.min(width, height), 0.05, 1)}};
};

const put = (i, entry) => { entries[i] = entry; draw(); };
const keep = () => { props.value = entries.slice(0, props.count).map(entry => entry ?? null); };
const move = (i, dx, dy) => {
  const points = face(i), {centre} = frame(i);
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
  const points = face(i), {centre, size} = frame(i), short = Math.min(width, height);
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
const drag = (event, i, moved) => {
  event.preventDefault();
  event.currentTarget.focus({preventScroll: true});
  let last = at(event);
  chosen = i;
  draw();
  const follow = step => {
    const now = at(step);
    moved(now, [now[0] - last[0], now[1] - last[1]]);
    last = now;
  };
  const end = () => {
    over.abort();
    raise(i);
    keep();
  };
  const over = new AbortController(), until = {signal: over.signal};
  window.addEventListener('pointermove', follow, until);
  for (const ending of ['pointerup', 'pointercancel']) window.addEventListener(ending, end, until);
};
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

// Nodes are made once and then only changed: a finger that holds one must not lose it.
const make_face = i => {
  const group = draw_in(stage.querySelector('.faces'), 'g', {'data-person': i + 1});
  const outline = draw_in(group, 'ellipse', {
    class: 'outline', stroke: fixed.colours[i], tabindex: 0, role: 'button',
    'aria-label': `Face of person ${i + 1}. Arrow keys move it, plus and minus resize it, brackets tilt it.`});
  outline.addEventListener('pointerdown', event => drag(event, i, (now, by) => move(i, ...by)));
  outline.addEventListener('keydown', event => keys(event, i, null));
  const limbs = COLOURS.map((stroke, k) => k === NOSE ? null : draw_in(group, 'line', {class: 'limb', stroke}));
  const dots = COLOURS.map(fill => draw_in(group, 'circle', {class: 'dot', fill}));
  const grips = COLOURS.map((_, k) => draw_in(group, 'circle', {
    class: 'grip', tabindex: 0, role: 'button', 'data-point': k,
    'aria-label': `Person ${i + 1}: ${fixed.names[k]}. Arrow keys move it.`}));
  grips.forEach((grip, k) => {
    grip.addEventListener('pointerdown', event => drag(event, i, now => move_point(i, k, now)));
    grip.addEventListener('keydown', event => keys(event, i, k));
  });
  // Chromium scrolls the page for a finger on a part of an SVG, whatever its touch-action says.
  for (const node of [outline, ...grips])
    node.addEventListener('touchstart', event => event.preventDefault(), {passive: false});
  const name = draw_in(group, 'text', {class: 'name'});
  name.textContent = i + 1;
  return {group, outline, limbs, dots, grips, name};
};
const faces = fixed.colours.map((_, i) => make_face(i));
const raise = i => {
  if (stage.querySelector('.faces').lastChild !== faces[i].group) faces[i].group.parentNode.append(faces[i].group);
};
const set = (node, attributes) => Object.entries(attributes).forEach(([key, value]) => node.setAttribute(key, value));
const draw_face = (i, pixel) => {
  const {group, outline, limbs, dots, grips, name} = faces[i], active = i === chosen;
  show(group, i < props.count);
  if (i >= props.count) return;
  const points = face(i), {centre: [cx, cy], size, wide, tilt} = frame(i);
  set(group, {class: `face ${active ? 'chosen' : ''} ${entries[i] ? '' : 'automatic'}`});
  set(outline, {cx, cy, rx: wide / 2, ry: size / 2, transform: `rotate(${tilt * 180 / Math.PI} ${cx} ${cy})`});
  points.forEach(([x, y], k) => {
    if (limbs[k]) set(limbs[k], {x1: x, y1: y, x2: points[NOSE][0], y2: points[NOSE][1]});
    set(dots[k], {cx: x, cy: y, r: (active ? DOT : DOT / 2) * pixel});
    set(grips[k], {cx: x, cy: y, r: GRIP * pixel});
    show(grips[k], active);
  });
  set(name, {x: cx, y: cy - size * 0.34, 'font-size': 15 * pixel});
  show(name, props.count > 1);
};
const fit = () => {
  [width, height] = sides(props.canvas[0] / props.canvas[1]);
  const kept = entries.map(unsqueezed);
  if (kept.every((entry, i) => entry === entries[i])) return;
  entries = kept;
  keep();
};
const draw = () => {
  draw_chips();
  stage.setAttribute('viewBox', `0 0 ${width} ${height}`);
  stage.style.aspectRatio = `${width} / ${height}`;
  for (const name of ['.ground', 'image']) {
    stage.querySelector(name).setAttribute('width', width);
    stage.querySelector(name).setAttribute('height', height);
  }
  if (stage.querySelector('image').getAttribute('href') !== props.picture)
    stage.querySelector('image').setAttribute('href', props.picture);
  const box = stage.getBoundingClientRect();
  const pixel = box.width ? 1 / Math.min(box.width / width, box.height / height) : 1;
  faces.forEach((_, i) => draw_face(i, pixel));
  const {view, points} = entries[chosen] ?? {};
  const options = [[AUTOMATIC, props.automatic], ...Object.keys(fixed.views).map(name => [name, name])];
  if (points) options.push([BY_HAND, BY_HAND]);
  if (options.join() !== [...choice.options].map(each => [each.value, each.text]).join())
    choice.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  choice.value = points ? BY_HAND : view ?? AUTOMATIC;
  element.querySelector('[data-do=reset]').disabled = !entries[chosen];
};

choice.addEventListener('change', () => {
  if (choice.value !== BY_HAND) put(chosen, choice.value ? placed(choice.value, chosen) : null);
  keep();
});
for (const button of element.querySelectorAll('[data-do]'))
  button.addEventListener('click', () => { ACTIONS[button.dataset.do](); keep(); });
on_choice = () => { raise(chosen); draw(); };
const shown = () => { fit(); draw(); };
const receive = () => { entries = [...(props.value ?? [])]; shown(); };
watch('value', receive);
watch(['canvas', 'picture', 'faces', 'count', 'automatic'], shown);
new ResizeObserver(() => draw()).observe(stage);
receive();
