// What both editors have: a button per person, made once. `chosen` is who is being drawn.
let chosen = 0, on_choice = () => {};
const chips = fixed.colours.map((colour, i) => {
  const chip = document.createElement('button');
  chip.type = 'button';
  chip.textContent = `Person ${i + 1}`;
  chip.style.setProperty('--who', colour);
  chip.addEventListener('click', () => { chosen = i; on_choice(); });
  element.querySelector('.people').append(chip);
  return chip;
});
const show = (node, visible) => { node.style.display = visible ? '' : 'none'; };
const draw_chips = () => {
  chosen = Math.min(chosen, props.count - 1);
  show(element.querySelector('.people'), props.count > 1);
  chips.forEach((chip, i) => {
    show(chip, i < props.count);
    chip.setAttribute('aria-pressed', i === chosen);
  });
};

