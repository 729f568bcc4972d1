"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const list = $("list");
  const examples = [...list.querySelectorAll(".example")];
  const value = (id) => ($(id) ? $(id).value : "");

  // Without vowel signs and tatweel, so that a search finds a word however it is written.
  const fold = (text) =>
    text.normalize("NFKD").replace(/[\u0300-\u036f\u0640\u064b-\u065f\u0670]/g, "").toLowerCase();
  const haystack = new Map(
    examples.map((e) => [e, fold(e.dataset.id + " " + e.textContent)]),
  );
  // data-summary-ar is dataset.summaryAr
  const key = (task) => task.replace(/_(\w)/g, (_, letter) => letter.toUpperCase());
  const number = (example, name, missing) =>
    example.dataset[name] ? Number(example.dataset[name]) : missing;

  const orders = {
    worst: (a, b, k) => number(a, k, Infinity) - number(b, k, Infinity),
    best: (a, b, k) => number(b, k, -Infinity) - number(a, k, -Infinity),
    fall: (a, b, k) => number(a, k + "Change", Infinity) - number(b, k + "Change", Infinity),
    id: (a, b) => (a.dataset.id < b.dataset.id ? -1 : 1),
  };

  function update() {
    const words = fold(value("search")).split(/\s+/).filter(Boolean);
    const [dataset, only] = [value("dataset"), value("only")];
    let shown = 0;
    for (const example of examples) {
      const fits =
        (!dataset || example.dataset.dataset === dataset) &&
        (!only || example.dataset.kinds.split(" ").includes(only)) &&
        words.every((word) => haystack.get(example).includes(word));
      example.hidden = !fits;
      shown += fits;
    }
    const order = orders[value("sort")];
    const name = key(list.dataset.task);
    // Infinity - Infinity is NaN: documents without a score are equal.
    list.append(...[...examples].sort((a, b) => order(a, b, name) || 0));
    $("count").textContent =
      shown === examples.length ? `${shown} documents` : `${shown} of ${examples.length} documents`;
    $("none").hidden = shown > 0;
  }

  function show(task) {
    list.dataset.task = task;
    for (const button of document.querySelectorAll("[data-show]"))
      button.setAttribute("aria-pressed", String(button.dataset.show === task));
    update();
  }

  function step(by) {
    const visible = [...list.querySelectorAll(".example:not([hidden])")];
    const at = visible.indexOf(document.activeElement.closest(".example"));
    const next = visible[Math.min(Math.max(at + by, 0), visible.length - 1)];
    if (!next) return;
    next.querySelector("summary").focus({ preventScroll: true });
    next.scrollIntoView({ block: "start" });
  }

  function jump() {
    const example = /^#d-/.test(location.hash) && $(location.hash.slice(1));
    if (!example) return;
    if (example.hidden) reset();
    example.open = true;
    example.querySelector("summary").focus({ preventScroll: true });
    example.scrollIntoView({ block: "start" });
  }

  function reset() {
    for (const id of ["search", "dataset", "only"]) if ($(id)) $(id).value = "";
    update();
  }

  for (const id of ["search", "dataset", "only", "sort"])
    if ($(id)) $(id).addEventListener("input", update);
  const buttons = [...document.querySelectorAll("[data-show]")];
  for (const button of buttons)
    button.addEventListener("click", () => show(button.dataset.show));
  $("reset").addEventListener("click", reset);
  $("open-all").addEventListener("click", (event) => {
    const open = event.target.getAttribute("aria-pressed") !== "true";
    event.target.setAttribute("aria-pressed", String(open));
    event.target.textContent = open ? "Close all" : "Open all";
    for (const example of examples) example.open = open;
  });
  $("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark =
      root.dataset.theme === "dark" ||
      (!root.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
    root.dataset.theme = dark ? "light" : "dark";
  });
  // The browser takes the focus away when it goes to the fragment, after this event.
  addEventListener("hashchange", () => setTimeout(jump, 50));
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^(INPUT|SELECT)$/.test(event.target.tagName)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const task = buttons[Number(event.key) - 1];
    if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
    else if (event.key === "/") $("search").focus();
    else if (task) show(task.dataset.show);
    else return;
    event.preventDefault();
  });
  document.documentElement.classList.add("live");
  update();
  jump();
})();
