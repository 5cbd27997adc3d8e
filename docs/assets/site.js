// Light or dark, search, and a button that copies code. Everything else works without scripts.
const root = document.documentElement, dark = matchMedia('(prefers-color-scheme: dark)'), theme_button = document.getElementById('theme');
const is_dark = () => (root.dataset.theme || (dark.matches ? 'dark' : 'light')) === 'dark';
const show_theme = () => theme_button.setAttribute('aria-pressed', is_dark());
theme_button.addEventListener('click', () => {
  root.dataset.theme = is_dark() ? 'light' : 'dark';
  localStorage.setItem('theme', root.dataset.theme);
  show_theme();
});
dark.addEventListener('change', show_theme);
show_theme();

// mkdocs's own search, loaded with its index when it is first asked for.
const dialog = document.getElementById('search');
function open_search() {
  if (!document.getElementById('search-script')) {
    const script = Object.assign(document.createElement('script'), {id: 'search-script', src: base_url + '/search/main.js'});
    script.onload = () => searchWorker.addEventListener('message', event => { if (event.data.allowSearch) doSearch(); });  // for what is typed already
    document.head.append(script);
  }
  dialog.showModal();
  document.getElementById('mkdocs-search-query').select();
}
document.getElementById('search-open').addEventListener('click', open_search);
document.addEventListener('keydown', event => {
  if (event.key === '/' && !dialog.open && !event.target.closest('input, textarea, select')) { event.preventDefault(); open_search(); }
});
dialog.addEventListener('click', event => { if (event.target === dialog || event.target.closest('a')) dialog.close(); });
document.getElementById('mkdocs-search-query').addEventListener('keydown', event => {
  if (event.key !== 'Enter') return;
  event.preventDefault();
  document.querySelector('#mkdocs-search-results a')?.click();
});

// The list of pages is open where there is room for it beside the text.
const menu = document.querySelector('details.menu'), wide = matchMedia('(min-width: 60rem)');
if (menu) { const fit = () => { menu.open = wide.matches; }; wide.addEventListener('change', fit); fit(); }

for (const code of document.querySelectorAll('main .highlight:not(.output)')) {
  const button = Object.assign(document.createElement('button'), {type: 'button', className: 'copy', textContent: 'Copy'});
  button.addEventListener('click', async () => {
    await navigator.clipboard.writeText(code.querySelector('code').textContent);
    button.textContent = 'Copied';
    setTimeout(() => { button.textContent = 'Copy'; }, 1500);
  });
  code.append(button);
}
// What scrolls sideways can be scrolled by keyboard.
for (const box of document.querySelectorAll('main pre, main .math, main .table')) if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
