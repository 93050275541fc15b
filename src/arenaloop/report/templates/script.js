"use strict";
(() => {
  const list = document.getElementById("battles");
  const form = document.getElementById("filters");
  if (!list || !form) return;
  const cards = Array.from(list.children);
  const first = cards.slice();
  const none = document.getElementById("none");
  const { kind, model, search, close, shown, order, view } = form.elements;
  const words = new Map();  // lower-case text of a card, read when it is first searched
  let visible = cards;
  let current = null;

  const textOf = (card) => {
    if (!words.has(card)) words.set(card, card.textContent.toLowerCase());
    return words.get(card);
  };

  const filter = () => {
    const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    visible = cards.filter((card) =>
      (!kind.value || card.dataset.kind.split(" ").includes(kind.value)) &&
      (!model.value || card.dataset.models.split(" ").includes(model.value)) &&
      wanted.every((word) => textOf(card).includes(word)));
    const keep = new Set(visible);
    for (const card of cards) card.hidden = !keep.has(card);
    none.hidden = visible.length > 0;
    shown.textContent = `${visible.length} of ${cards.length}`;
  };

  const go = (step) => {
    if (!visible.length) return;
    const at = visible.indexOf(current);
    const next = at < 0 ? (step > 0 ? 0 : visible.length - 1) : at + step;
    if (next < 0 || next >= visible.length) return;
    if (current) current.open = false;
    show(visible[next]);
  };

  const show = (card) => {
    current = card;
    card.open = true;
    card.firstElementChild.focus({ preventScroll: true });
    card.scrollIntoView({ block: "start" });
  };

  const sort = () => {
    const [, falling, by] = order.value.match(/^(-?)(.*)$/);
    const rank = (card) => card.dataset[by] === "" ? -Infinity : (falling ? 1 : -1) * Number(card.dataset[by]);
    const sorted = by ? cards.slice().sort((a, b) => rank(b) - rank(a)) : Array.from(first);
    cards.splice(0, cards.length, ...sorted);
    list.append(...cards);
    filter();
  };

  let timer = 0;
  search.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(filter, 120); });
  kind.addEventListener("change", filter);
  model.addEventListener("change", filter);
  order?.addEventListener("change", sort);
  const look = () => document.body.classList.toggle("rendered", view.value === "");
  view.addEventListener("change", look);
  form.addEventListener("submit", (event) => event.preventDefault());
  close.addEventListener("click", () => { for (const card of cards) card.open = false; });
  list.addEventListener("focusin", (event) => { current = event.target.closest(".battle") || current; });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input, select, textarea")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (event.key === "j") go(1);
    else if (event.key === "k") go(-1);
    else if (event.key === "/") { event.preventDefault(); search.focus(); }
  });

  const linked = () => {
    const card = cards.find((one) => `#${one.id}` === location.hash);
    if (card) show(card);
  };
  window.addEventListener("hashchange", linked);
  form.hidden = false;
  document.querySelector(".keys").hidden = false;
  look();
  filter();
  linked();
})();
