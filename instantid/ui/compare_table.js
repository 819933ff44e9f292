// A table per page; its nodes are made once per comparison and page, and cells are filled as they are done.
const table = element.querySelector('table'), scroll = element.querySelector('.scroll');
const size = element.querySelector('input'), pages = element.querySelector('.pages'), tools = element.querySelector('.tools');
const SMALLEST = 72, LARGEST = 240, WIDE = 150;   // pixels of a cell at first; from where the word “likeness” fits
let page = 0, drawn = '', comparison = '', chosen = null, buttons = [];   // buttons[y][x]

const make = (name, parent, attributes = {}, text = '') => {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.textContent = text;
  parent?.append(node);
  return node;
};
const show = (node, visible) => { node.style.display = visible ? '' : 'none'; };
const labels = axis => axis?.labels ?? [''];
const head = (row, scope, text) => { make('span', make('th', row, {scope, title: text}), {}, text); };
const same = (a, b) => Boolean(a && b) && a.join() === b.join();

const resize = () => table.style.setProperty('--cell', `${size.value}px`);
const fit = columns => {
  const room = scroll.clientWidth - Math.min(176, Math.max(72, innerWidth * 0.18));
  size.value = Math.min(LARGEST, Math.max(SMALLEST, room / columns - 4));
  resize();
};
const choose = (x, y) => {
  const cell = found(x, y);
  if (!cell?.picture && !cell?.error) return;
  chosen = [x, y, page];
  draw();
  trigger('choose', {at: chosen});
};
const found = (x, y) => props.value.cells.find(cell => same(cell.at, [x, y, page]));
const move = event => {
  const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
  if (!step) return;
  for (const [y, row] of buttons.entries()) for (const [x, button] of row.entries()) {
    const next = button === event.target && buttons[y + step[1]]?.[x + step[0]];
    if (!next) continue;
    event.preventDefault();
    button.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
    next.scrollIntoView({block: 'nearest', inline: 'nearest'});
    return;
  }
};

const build = ({x, y, z}) => {
  table.replaceChildren();
  const of = z ? `, ${z.title} ${z.labels[page]}` : '';
  make('caption', table, {}, `${x.title} across${y ? `, ${y.title} down` : ''}${of}`);
  const top = make('tr', make('thead', table));
  const corner = make('th', top, {scope: 'col'});
  for (const text of [`${x.title} →`, ...(y ? [`${y.title} ↓`] : [])]) make('span', corner, {}, text);
  for (const label of x.labels) head(top, 'col', label);
  const body = make('tbody', table);
  buttons = labels(y).map((label, j) => {
    const row = make('tr', body);
    head(row, 'row', label);
    return x.labels.map((_, i) => {
      const button = make('button', make('td', row), {type: 'button', tabindex: i || j ? -1 : 0});
      make('span', button, {class: 'picture'});
      make('span', button, {class: 'note'});
      button.addEventListener('click', () => choose(i, j));
      return button;
    });
  });
  pages.replaceChildren();
  if (z) pages.setAttribute('aria-label', `Pages: ${z.title}`);
  for (const [i, label] of (z?.labels ?? []).entries()) {
    const button = make('button', pages, {type: 'button', 'aria-pressed': i === page}, `${z.title} ${label}`);
    button.addEventListener('click', () => { page = i; draw(); pages.children[i].focus(); });
  }
};
const name_of = (x, y) => ['x', 'y', 'z'].map((place, i) => {
  const axis = props.value[place];
  return axis && `${axis.title} ${axis.labels[[x, y, page][i]]}`;
}).filter(Boolean).join(', ');

const fill = (button, x, y) => {
  const cell = found(x, y), frame = button.children[0], note = button.children[1];
  const {details, working, pinned} = props.value, busy = same(working, [x, y, page]) && !cell;
  const url = cell?.picture?.url ?? '', error = cell?.error ?? '';
  if (button.dataset.shown !== url + error) {
    button.dataset.shown = url + error;
    frame.replaceChildren();
    if (url) {
      const picture = make('img', frame, {alt: '', loading: 'lazy', src: url});
      picture.addEventListener('load', () => {
        if (picture.naturalWidth) table.style.setProperty('--shape', picture.naturalWidth / picture.naturalHeight);
      });
    } else if (error) make('span', frame, {class: 'error'}, error);
  }
  const number = cell?.likeness == null ? '' : cell.likeness.toFixed(2);
  const took = cell?.seconds == null ? '' : `${cell.seconds.toFixed(1)} s`;
  const told = word => [number && word + number, took].filter(Boolean).join(' · ');
  note.textContent = told(size.value >= WIDE ? 'likeness ' : '');
  show(note, details && url);
  const pin = same(pinned, [x, y, page]);
  button.classList.toggle('pinned', pin);
  button.classList.toggle('working', busy);
  button.setAttribute('aria-current', same(chosen, [x, y, page]));
  button.setAttribute('aria-disabled', !cell);
  const state = url ? told('likeness ') : error || (busy ? 'being made' : 'not made yet');
  button.setAttribute('aria-label', [name_of(x, y) + (state && ':'), state, pin && '(kept to compare)'].filter(Boolean).join(' '));
  button.title = button.getAttribute('aria-label');
};
const draw = () => {
  const grid = props.value;
  show(tools, Boolean(grid));
  show(scroll, Boolean(grid));
  if (!grid) return;
  const {x, y, z} = grid, now = JSON.stringify([x, y, z]);
  if (now !== comparison) {
    [comparison, page, chosen] = [now, 0, null];
    fit(x.labels.length);
  }
  if (drawn !== now + page) {
    drawn = now + page;
    build(grid);
  }
  buttons.forEach((row, j) => row.forEach((button, i) => fill(button, i, j)));
};

size.addEventListener('input', () => { resize(); draw(); });
table.addEventListener('keydown', move);
watch('value', draw);
draw();
