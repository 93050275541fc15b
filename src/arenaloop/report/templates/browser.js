"use strict";
(() => {
  const list = document.getElementById("battles");
  const form = document.getElementById("filters");
  if (!list || !form) return;
  const PAGE = 50;
  const pager = document.getElementById("pager");
  const none = document.getElementById("none");
  const searched = document.getElementById("searched");
  const beside = document.getElementById("beside");
  const box = (name) => pager.querySelector(`[name="${name}"]`);
  const fields = form.elements;
  const names = ["kind", "model", "against", "outcome", "status", "flip", "gap", "tag", "order", "search", "view"];
  const inPage = Array.from(list.children);  // the cards of the first battles
  const built = new Map();
  const texts = [];  // of a part: [texts, cards], or who waits for it
  const words = new Map();
  let index = null, chosen = [], page = 0, current = null;

  const make = (tag, name, text) => {
    const node = document.createElement(tag);
    if (name) node.className = name;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const add = (node, ...children) => { node.append(...children); return node; };
  const isolated = (text) => make("bdi", "", text);
  const score = (value) => value === null ? "–" : String(Number(value.toPrecision(3)));

  // ------------------------------------------------------------------ texts

  const partOf = (i) => {
    let low = 0, high = index.parts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (index.parts[middle][0] <= i) low = middle; else high = middle - 1;
    }
    return low;
  };

  const load = (address, failed) => {
    const script = document.createElement("script");
    script.src = address;
    script.onerror = failed;
    document.head.append(script);
  };

  const withPart = (part, then, failed) => {
    const there = texts[part];
    if (there && !there.waiting) { then(there); return; }
    if (there) { there.waiting.push(then); return; }
    texts[part] = { waiting: [then] };
    load(`${beside.dataset.index.split("/")[0]}/${index.parts[part][1]}`, () => { texts[part] = undefined; failed(); });
  };

  window.arenaloopPart = (part, data) => {
    const waiting = texts[part]?.waiting || [];
    texts[part] = data;
    for (const then of waiting) then(data);
  };

  const cut = (many) => make("span", "cut", `… ${many.toLocaleString("en")} characters left out …`);

  const text = (store, code) => {
    if (code === null) return [make("div", "text none", "(no answer is stored)")];
    const [head, left, tail, ...html] = typeof store[code] === "string" ? [store[code], 0, ""] : store[code];
    if (!head && !left && !tail) return [make("div", "text none", "(empty)")];
    const raw = make("div", html.length ? "text raw" : "text");
    raw.dir = "auto";
    add(raw, head, ...(left ? [cut(left), tail] : []));
    if (!html.length) return [raw];
    const shown = make("div", "text md");
    shown.dir = "auto";
    [head, tail].forEach((words, at) => {
      if (!words) return;
      if (at && left) shown.append(cut(left));
      const part = make("div", "part");
      // made from tokens by the report's own table of elements, without attributes
      if (html[at]) part.innerHTML = html[at]; else part.textContent = words;
      shown.append(part);
    });
    return [raw, shown];
  };

  // ------------------------------------------------------------------ cards

  const side = (i, which) => {
    const { a, b, w } = index.rows;
    const won = w[i] === (which === "a" ? 0 : 2);
    return add(make("span", which + (won ? " won" : "")), isolated(index.models[(which === "a" ? a : b)[i]]));
  };

  const summary = (i) => {
    const { w, x, y, f, p } = index.rows;
    const result = w[i] === 3 ? "– : –" : `${score(x[i])} : ${score(y[i])}`;
    const chips = make("span", "chips");
    if (w[i] === 3) chips.append(make("span", "chip look", "undecided"));
    if (f[i] & 2) chips.append(make("span", "chip look", "own failure"));
    if (f[i] & 1) chips.append(make("span", "chip look", "flipped"));
    if (w[i] === 1) chips.append(make("span", "chip", "tie"));
    const snippet = make("span", "snippet", index.prompts[p[i]][0]);
    snippet.dir = "auto";
    const who = add(make("span", "who"), side(i, "a"), make("span", "result", result), side(i, "b"));
    return add(make("summary"), make("span", "no", i + 1), who, snippet, chips);
  };

  const turn = (kind, role, nodes) => add(make("div", `turn ${kind}`), add(make("p", "role"), ...role), ...nodes);

  const body = (i, [store, cards]) => {
    const [history, turns, seats, left, lone, same, problem, meta, said] = cards[i - index.parts[partOf(i)][0]];
    const won = index.rows.w[i];
    const node = make("div", "body");
    if (problem) node.append(make("p", "problem", won === 3 ? `No outcome: ${problem}.` : problem));
    if (left) node.append(make("p", "cutline", `${left} turns of this conversation are not shown.`));
    for (const [role, code] of history) {
      const given = role === "assistant";
      node.append(turn(given ? "answered" : "asked", [given ? `${role}, given` : role], text(store, code)));
    }
    turns.forEach(([user, a, b], at) => {
      if (user !== null) {
        node.append(turn("asked", [turns.length > 1 ? `user, turn ${at + 1}` : "user"], text(store, user)));
      }
      if (same) {
        node.append(turn("answered", [side(i, "a"), " and ", side(i, "b"), " gave the same text"], text(store, a)));
        return;
      }
      const mark = (which) => won === which ? [" ", make("span", "chip win", "won")] : [];
      node.append(add(make("div", "pair"),
        turn(`answered side-a${won === 0 ? " winner" : ""}`, [side(i, "a"), ...mark(0)], text(store, a)),
        turn(`answered side-b${won === 2 ? " winner" : ""}`, [side(i, "b"), ...mark(2)], text(store, b))));
    });
    const verdicts = make("div", "pair verdicts");
    for (const [first, second, swapped, votes, calls] of seats) {
      const seat = make("div", "verdict");
      const sat = (name, which) => make("bdi", which, name);
      seat.append(add(make("p", "role"), "Seat one ", sat(first, swapped ? "b" : "a"), ", seat two ",
        sat(second, swapped ? "a" : "b")));
      if (votes) seat.append(make("p", "ruling", `The jury: ${votes}`));
      for (const [judge, winner, status, one, two, asked, code, error] of calls) {
        const ruling = make("p", "ruling");
        if (calls.length > 1) ruling.append(add(make("span", "quiet"), isolated(judge), ": "));
        if (!winner) ruling.append(make("span", "chip look", status));
        else if (winner === "tie") ruling.append("tie");
        else ruling.append(add(make("strong"), isolated(winner)), " wins");
        if (one !== null) ruling.append(make("span", "quiet", ` ${score(one)} to ${score(two)}`));
        if (asked > 1) ruling.append(make("span", "quiet", ` asked ${asked} times`));
        seat.append(ruling);
        if (error) seat.append(make("p", "problem", error));
        seat.append(...text(store, code));
      }
      if (!calls.length) seat.append(make("p", "ruling", "The judge was not asked, or the verdict is not stored."));
      verdicts.append(seat);
    }
    for (const [who, code] of said) {
      verdicts.append(add(make("div", "verdict"), add(make("p", "role"), isolated(who)), ...text(store, code)));
    }
    node.append(verdicts);
    if (lone) {
      node.append(make("p", "cutline",
        "This battle stands on one seat; the other seat, where it was decided, is a battle of its own."));
    }
    node.append(make("p", "meta", meta));
    return node;
  };

  const fill = (i, card) => {
    if (card.childElementCount > 1) return;
    const wait = card.appendChild(make("div", "body", "…"));
    withPart(partOf(i), (data) => wait.replaceWith(body(i, data)), () => {
      wait.replaceChildren(make("p", "problem", `Its texts cannot be loaded: ${beside.dataset.index.split("/")[0]}/ is ` +
        "not beside this page, or belongs to another one. arenaloop report writes both again."));
    });
  };

  const cardOf = (i) => {
    if (i < inPage.length) return inPage[i];
    if (!built.has(i)) {
      const card = make("details", "battle");
      card.id = `b${i + 1}`;
      card.append(summary(i));
      card.addEventListener("toggle", () => { if (card.open) fill(i, card); });
      built.set(i, card);
    }
    return built.get(i);
  };

  // ------------------------------------------------------------------ filters and pages

  const value = (name) => fields[name].value;

  const wordsOf = (i) => {
    if (words.has(i)) return words.get(i);
    const { a, b, p } = index.rows;
    const [snippet, ...tags] = index.prompts[p[i]];
    let found = [snippet, index.models[a[i]], index.models[b[i]], ...tags.map((tag) => index.tags[tag])].join("\n");
    if (i < inPage.length) found = inPage[i].textContent;
    else {
      const part = partOf(i), there = texts[part];
      if (there && !there.waiting) {
        const [store, cards] = there;
        const card = cards[i - index.parts[part][0]];
        const [history, turns, seats] = card;
        const codes = [...[...history, ...card[8]].map((one) => one[1]), ...turns.flat(), ...seats.flatMap((seat) => seat[4].map((call) => call[6]))];
        found += codes.map((code) => code === null ? "" : typeof store[code] === "string" ? store[code]
          : `\n${store[code][0]}\n${store[code][2]}`).join("\n");
      }
    }
    found = found.toLowerCase();
    if (!beside || i < inPage.length) words.set(i, found);
    return found;
  };

  const gapOf = (i) => {
    const { x, y } = index.rows;
    return x[i] === null || y[i] === null ? null : Math.abs(x[i] - y[i]);
  };

  const choose = () => {
    const { a, b, w, f, p, k } = index.rows;
    const kind = value("kind"), outcome = value("outcome"), status = value("status"), flip = value("flip");
    const model = value("model") === "" ? -1 : Number(value("model"));
    const against = value("against") === "" ? -1 : Number(value("against"));
    const tag = value("tag") === "" ? -1 : Number(value("tag"));
    const gap = value("gap") === "" ? null : Number(value("gap"));
    const wanted = value("search").toLowerCase().split(/\s+/).filter(Boolean);
    for (const one of fields.outcome.options) one.disabled = model < 0 && (one.value === "won" || one.value === "lost");
    chosen = [];
    for (let i = 0; i < a.length; i++) {
      if (kind && (kind === "look" ? k[i] === 0 || k[i] === 5 : k[i] !== 2)) continue;
      if (model >= 0 && a[i] !== model && b[i] !== model) continue;
      if (against >= 0 && a[i] !== against && b[i] !== against) continue;
      if (model >= 0 && model === against) continue;
      if (outcome === "tie" && w[i] !== 1) continue;
      if (outcome === "decisive" && w[i] !== 0 && w[i] !== 2) continue;
      if (outcome === "won" && model >= 0 && w[i] !== (a[i] === model ? 0 : 2)) continue;
      if (outcome === "lost" && model >= 0 && w[i] !== (a[i] === model ? 2 : 0)) continue;
      if (status === "undecided" && w[i] !== 3) continue;
      if (status === "own" && !(f[i] & 2)) continue;
      if (status === "decided" && (w[i] === 3 || f[i] & 2)) continue;
      if (flip && (w[i] === 3 || f[i] & 2 || (flip === "flipped") !== Boolean(f[i] & 1))) continue;
      if (gap !== null && !(gapOf(i) !== null && gapOf(i) >= gap)) continue;
      if (tag >= 0 && !index.prompts[p[i]].includes(tag, 1)) continue;
      if (wanted.length) {
        const found = wordsOf(i);
        if (!wanted.every((word) => found.includes(word))) continue;
      }
      chosen.push(i);
    }
    const order = value("order");
    if (order) {
      const rank = (i) => gapOf(i) === null ? -Infinity : order === "gap" ? gapOf(i) : -gapOf(i);
      chosen.sort((one, other) => rank(other) - rank(one) || one - other);
    }
  };

  const draw = () => {
    const pages = Math.max(1, Math.ceil(chosen.length / PAGE));
    page = Math.min(Math.max(0, page), pages - 1);
    list.replaceChildren(...chosen.slice(page * PAGE, (page + 1) * PAGE).map(cardOf));
    none.hidden = chosen.length > 0;
    box("page").value = page + 1;
    box("page").max = pages;
    box("pages").textContent = `of ${pages.toLocaleString("en")}`;
    box("previous").disabled = page === 0;
    box("next").disabled = page === pages - 1;
    box("shown").textContent = `${chosen.length.toLocaleString("en")} of ${index.rows.a.length.toLocaleString("en")} battles`;
    document.body.classList.toggle("rendered", value("view") === "");
  };

  const keep = () => {
    const state = new URLSearchParams();
    for (const name of names) {
      const chosenModel = ["model", "against", "tag"].includes(name) && value(name) !== "";
      if (value(name) !== "") state.set(name, chosenModel ? (name === "tag" ? index.tags : index.models)[Number(value(name))] : value(name));
    }
    if (page) state.set("page", page + 1);
    const text = state.toString();
    try { history.replaceState(null, "", text ? `#browser?${text}` : "#browser"); } catch { /* the address stays */ }
  };

  const restore = () => {
    if (!location.hash.startsWith("#browser?")) return false;
    const state = new URLSearchParams(location.hash.slice("#browser?".length));
    for (const name of names) {
      const told = state.get(name) ?? "";
      const all = name === "tag" ? index.tags : ["model", "against"].includes(name) ? index.models : null;
      fields[name].value = told && all ? String(all.indexOf(told)) : told;
      if (fields[name].value === "" && fields[name].options) fields[name].selectedIndex = 0;
    }
    page = Math.max(0, (Number(state.get("page")) || 1) - 1);
    return true;
  };

  const changed = () => { page = 0; choose(); draw(); keep(); };
  const turnTo = (to) => { page = to; draw(); keep(); list.scrollIntoView({ block: "start" }); };

  const show = (i) => {
    const card = cardOf(i);
    if (current && current !== card) current.open = false;
    current = card;
    card.open = true;
    card.firstElementChild.focus({ preventScroll: true });
    card.scrollIntoView({ block: "start" });
  };

  const numberOf = (card) => Number(card.id.slice(1)) - 1;

  const go = (step) => {
    if (!chosen.length) return;
    const at = current ? chosen.indexOf(numberOf(current)) : -1;
    const next = at < 0 ? page * PAGE + (step > 0 ? 0 : Math.min(PAGE, chosen.length - page * PAGE) - 1) : at + step;
    if (next < 0 || next >= chosen.length) return;
    if (Math.floor(next / PAGE) !== page) { page = Math.floor(next / PAGE); draw(); keep(); }
    show(chosen[next]);
  };

  const jump = (i) => {
    if (!(i >= 0 && i < index.rows.a.length)) return;
    if (!chosen.includes(i)) {
      for (const name of names) if (name !== "view" && name !== "order") fields[name].value = "";
      choose();
    }
    page = Math.floor(chosen.indexOf(i) / PAGE);
    draw();
    show(i);
  };

  const linked = () => {
    const found = location.hash.match(/^#b(\d+)$/);
    if (found) jump(Number(found[1]) - 1);
    else if (restore()) { choose(); draw(); document.getElementById("browser").scrollIntoView(); }
  };

  const begin = (found) => {
    index = found;
    const option = (label, code) => { const one = make("option", "", label); one.value = code; return one; };
    for (const name of ["model", "against"]) fields[name].append(...index.models.map(option));
    fields.tag.append(...index.tags.slice(0, 500).map(option));
    fields.tag.parentElement.hidden = !index.tags.length;
    form.hidden = false;
    pager.hidden = false;
    document.querySelector(".keys").hidden = false;
    if (beside) {
      searched.textContent = "Search looks at prompts, names and tags of all battles, and at the texts of those on the first " +
        "pages and of those that were opened.";
      fields.search.addEventListener("focus", () => { searched.hidden = false; });
    }
    let timer = 0;
    for (const name of names) {
      fields[name].addEventListener(name === "search" || name === "gap" ? "input" : "change", () => {
        clearTimeout(timer);
        timer = setTimeout(changed, name === "search" || name === "gap" ? 200 : 0);
      });
    }
    form.addEventListener("submit", (event) => event.preventDefault());
    fields.clear.addEventListener("click", () => { for (const name of names) fields[name].value = ""; changed(); });
    box("previous").addEventListener("click", () => turnTo(page - 1));
    box("next").addEventListener("click", () => turnTo(page + 1));
    box("page").addEventListener("change", () => turnTo((Number(box("page").value) || 1) - 1));
    box("battle").addEventListener("change", () => jump(Number(box("battle").value) - 1));
    list.addEventListener("focusin", (event) => { current = event.target.closest(".battle") || current; });
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.target.matches("input, select, textarea")) {
        if (event.key === "Escape") event.target.blur();
        return;
      }
      if (event.key === "j") go(1);
      else if (event.key === "k") go(-1);
      else if (event.key === "n" && !box("next").disabled) turnTo(page + 1);
      else if (event.key === "p" && !box("previous").disabled) turnTo(page - 1);
      else if (event.key === "g") { event.preventDefault(); box("battle").focus(); }
      else if (event.key === "m") { fields.view.value = value("view") ? "" : "raw"; draw(); keep(); }
      else if (event.key === "/") { event.preventDefault(); fields.search.focus(); }
    });
    window.addEventListener("hashchange", linked);
    choose();
    draw();
    linked();
  };

  window.arenaloopIndex = begin;
  if (beside) {
    load(beside.dataset.index, () => { beside.textContent += " That folder cannot be read: only these battles are shown."; });
    return;
  }
  const data = JSON.parse(document.getElementById("data").textContent);
  texts.push(...data.texts);
  begin(data.index);
})();
