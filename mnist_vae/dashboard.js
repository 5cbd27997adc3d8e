// Names for what ipywidgets leaves without one: a slider is called what stands beside it, a button of the player what its icon means.
// `this` is the style element whose loading runs the script.
const root = this.closest('.mnist-dash');
const icons = {play: 'Play or pause', pause: 'Pause', stop: 'Stop', retweet: 'Repeat'};

function nameAll() {
  for (const handle of root.querySelectorAll('[role=slider]:not([aria-label])')) {
    handle.ariaLabel = handle.closest('.widget-inline-hbox').querySelector('.widget-label').textContent;
  }
  for (const icon of root.querySelectorAll('.widget-play i')) {
    icon.closest('button').ariaLabel ??= icons[icon.className.split('fa-')[1]];
  }
}

new MutationObserver(nameAll).observe(root, {childList: true, subtree: true});
nameAll();
