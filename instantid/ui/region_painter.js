// Strokes per person: {points: [[x, y], …] in parts of the canvas, radius: in parts of its shorter side, erase}.
const LONG = 800, VEIL = 0.5, NEAR = 0.004;   // pixels shown; opacity of paint; parts between points kept
const stage = element.querySelector('canvas'), size = element.querySelector('input');
const photo = new Image(), paint = document.createElement('canvas');
let strokes = [], tool = 'paint';

const draw = () => {
  const [w, h] = props.canvas;
  stage.width = paint.width = Math.round(LONG * w / Math.max(w, h));
  stage.height = paint.height = Math.round(LONG * h / Math.max(w, h));
  stage.style.aspectRatio = `${w} / ${h}`;
  draw_chips();
  const shown = stage.getContext('2d'), layer = paint.getContext('2d');
  if (props.picture && photo.complete && photo.naturalWidth) shown.drawImage(photo, 0, 0, stage.width, stage.height);
  for (let i = 0; i < props.count; i++) {
    layer.globalCompositeOperation = 'source-over';
    layer.clearRect(0, 0, paint.width, paint.height);
    for (const stroke of strokes[i] ?? []) draw_stroke(layer, stroke, fixed.colours[i]);
    shown.globalAlpha = VEIL;
    shown.drawImage(paint, 0, 0);
    shown.globalAlpha = 1;
  }
  for (const button of element.querySelectorAll('[data-tool]'))
    button.setAttribute('aria-pressed', button.dataset.tool === tool);
  for (const button of element.querySelectorAll('[data-do]')) button.disabled = !strokes[chosen]?.length;
};
const draw_stroke = (layer, stroke, colour) => {
  const points = stroke.points.map(([x, y]) => [x * paint.width, y * paint.height]);
  const radius = stroke.radius * Math.min(paint.width, paint.height);
  layer.globalCompositeOperation = stroke.erase ? 'destination-out' : 'source-over';
  layer.fillStyle = layer.strokeStyle = colour;
  layer.lineWidth = 2 * radius;
  layer.lineCap = layer.lineJoin = 'round';
  layer.beginPath();
  layer.arc(...points[0], radius, 0, 7);
  layer.fill();
  layer.beginPath();
  points.forEach(point => layer.lineTo(...point));
  layer.stroke();
};
const keep = () => {
  const people = [...Array(props.count).keys()].map(i => strokes[i] ?? []);
  props.value = people.some(each => each.length) ? {canvas: [...props.canvas], people} : null;
};
const at = event => {
  const box = stage.getBoundingClientRect(), [w, h] = props.canvas;
  const scale = Math.min(box.width / w, box.height / h);   // as object-fit "contain" does
  return [(event.clientX - box.left - (box.width - scale * w) / 2) / (scale * w),
          (event.clientY - box.top - (box.height - scale * h) / 2) / (scale * h)]
    .map(value => Math.min(Math.max(value, 0), 1));
};
stage.addEventListener('pointerdown', event => {
  if (event.button) return;
  event.preventDefault();
  const stroke = {points: [at(event)], radius: Number(size.value), erase: tool === 'erase'};
  strokes[chosen] = [...(strokes[chosen] ?? []), stroke];
  draw();
  const follow = step => {
    const now = at(step), last = stroke.points.at(-1);
    if (Math.hypot(now[0] - last[0], now[1] - last[1]) < NEAR) return;
    stroke.points.push(now);
    draw();
  };
  const end = () => {
    over.abort();
    keep();
  };
  const over = new AbortController(), until = {signal: over.signal};
  window.addEventListener('pointermove', follow, until);
  for (const ending of ['pointerup', 'pointercancel']) window.addEventListener(ending, end, until);
});
const ACTIONS = {undo: () => strokes[chosen].slice(0, -1), clear: () => []};
for (const button of element.querySelectorAll('[data-do]'))
  button.addEventListener('click', () => { strokes[chosen] = ACTIONS[button.dataset.do](); draw(); keep(); });
for (const button of element.querySelectorAll('[data-tool]'))
  button.addEventListener('click', () => { tool = button.dataset.tool; draw(); });
on_choice = draw;
const receive = () => { strokes = (props.value?.people ?? []).map(each => [...each]); draw(); };
const look = () => { if (photo.src !== props.picture) photo.src = props.picture; draw(); };
photo.addEventListener('load', draw);
watch('value', receive);
watch(['canvas', 'picture', 'count'], look);
receive();
look();
