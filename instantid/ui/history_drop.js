() => {
  // A PNG that is dropped anywhere but into a box for photos goes to the button that restores settings.
  if (window.instantidDrop) return;
  window.instantidDrop = true;
  // Gradio 6 puts an upload button's input beside it.
  const input = () => document.querySelector('input[type=file]:has(+ #restore-png)');
  const takes = target => {   // a box that takes files; groups are blocks as well, with boxes in them
    const box = target.closest?.('.block');
    return box?.querySelector('input[type=file]') && !box.querySelector('.block');
  };
  const hint = document.createElement('div');
  hint.id = 'drop-hint';
  hint.textContent = 'Drop a picture made here to restore its settings.';
  hint.hidden = true;
  document.body.append(hint);
  let hiding;
  const files = event => [...(event.dataTransfer?.types ?? [])].includes('Files');
  document.addEventListener('dragover', event => {
    if (!files(event)) return;
    if (!takes(event.target)) event.preventDefault();      // else the browser would open the file
    hint.hidden = false;
    clearTimeout(hiding);
    hiding = setTimeout(() => { hint.hidden = true; }, 400);  // no event says that a drag has left the window
  });
  document.addEventListener('drop', event => {
    hint.hidden = true;
    if (!files(event) || takes(event.target)) return;
    event.preventDefault();
    const [file] = event.dataTransfer.files, to = input();
    if (!file || !to) return;
    const given = new DataTransfer();
    given.items.add(file);
    to.files = given.files;
    to.dispatchEvent(new Event('change', {bubbles: true}));
  });
}
