"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const reveal = (selector) => all(selector).forEach((element) => { element.hidden = false; });
  reveal(".needs-script");

  // ---- light and dark ----
  const root = document.documentElement;
  const theme = document.getElementById("theme");
  const systemDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches);
  const nameTheme = () => {
    theme.textContent = isDark() ? "Light" : "Dark";
    theme.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
  };
  theme.hidden = false;
  theme.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; nameTheme(); });
  systemDark.addEventListener("change", nameTheme);
  nameTheme();

  // ---- the table: sorting ----
  const table = document.getElementById("ablation");
  const body = table.tBodies[0];
  const sortBy = (column, numeric, heading) => {
    const ascending = heading.getAttribute("aria-sort") !== "ascending";
    all("th", table.tHead).forEach((each) => each.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const value = (row) => row.cells[column].dataset.sort;
    const order = (one, other) => {
      const [a, b] = [value(one), value(other)];
      if (a === "" || b === "") return (a === "") - (b === ""); // what was not measured stays below
      const difference = numeric ? Number(a) - Number(b) : a.localeCompare(b, undefined, { numeric: true });
      return ascending ? difference : -difference;
    };
    [...body.rows].sort(order).forEach((row) => body.append(row));
  };
  all("th", table.tHead).forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => sortBy(column, heading.dataset.kind === "number", heading));
  });

  // ---- rows, points and curves belong together ----
  const rows = new Map(all("tr[data-config]", body).map((row) => [row.dataset.config, row]));
  all("figure svg [id]").forEach((element) => {
    const found = element.id.match(/-(?:point|bars|label|leader|curve|band)-(\d+)(?:-part\d+)?$/);
    if (found) element.dataset.config = found[1];
  });
  const picked = new Set();
  const showPicked = () => {
    all("[data-config]").forEach((each) => each.classList.toggle("picked", picked.has(each.dataset.config)));
    all("figure svg").forEach((svg) => svg.classList.toggle("picking", picked.size > 0));
    all(".pick").forEach((button) => {
      button.setAttribute("aria-pressed", picked.has(button.closest("tr").dataset.config));
    });
  };
  const toggle = (config) => {
    if (!picked.delete(config)) picked.add(config);
    showPicked();
  };
  all(".pick").forEach((button) => {
    button.disabled = false;
    const row = button.closest("tr");
    button.setAttribute("aria-label", `Mark ${row.dataset.label}`);
    button.addEventListener("click", () => toggle(row.dataset.config));
  });
  showPicked();

  // ---- what a point is ----
  const tooltip = document.getElementById("tooltip");
  const describe = (config) => {
    const row = rows.get(config);
    const heads = all("th", table.tHead).map((head) => head.textContent);
    const numbers = [...row.cells].map((cell, column) => [heads[column], cell])
      .filter(([, cell]) => cell.classList.contains("number") && cell.dataset.sort !== "")
      .map(([head, cell]) => `${head}: ${cell.firstChild.textContent}`);
    return [row.dataset.label, ...numbers].join("\n");
  };
  const place = (x, y) => {
    const box = tooltip.getBoundingClientRect();
    tooltip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - box.width - 4))}px`;
    tooltip.style.top = `${y + 18 + box.height > innerHeight ? Math.max(4, y - box.height - 12) : y + 18}px`;
  };
  const show = (element, x, y) => {
    tooltip.textContent = describe(element.dataset.config);
    tooltip.hidden = false;
    place(x, y);
  };
  const hide = () => { tooltip.hidden = true; };
  all("figure svg [data-config]").forEach((element) => {
    if (!rows.has(element.dataset.config)) return;
    element.addEventListener("pointermove", (event) => show(element, event.clientX, event.clientY));
    element.addEventListener("pointerleave", hide);
    element.addEventListener("click", () => toggle(element.dataset.config));
    if (!/-(?:point|curve)-\d+(?:-part\d+)?$/.test(element.id)) return;
    element.setAttribute("tabindex", "0");
    element.setAttribute("role", "button");
    element.setAttribute("aria-label", rows.get(element.dataset.config).dataset.label);
    element.addEventListener("focus", () => {
      const box = element.getBoundingClientRect();
      show(element, box.right, box.bottom);
    });
    element.addEventListener("blur", hide);
    element.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      toggle(element.dataset.config);
    });
  });
  addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });

  // ---- patches: one view for all pictures of a row ----
  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
  const patchView = (patch) => {
    const view = { zoom: 1, x: 0, y: 0 };
    const draw = () => {
      const slack = (1 - 1 / view.zoom) / 2; // beyond it, something else than the picture would show
      view.x = clamp(view.x, -slack, slack);
      view.y = clamp(view.y, -slack, slack);
      patch.style.setProperty("--zoom", view.zoom);
      patch.style.setProperty("--x", `${view.x * 100}%`);
      patch.style.setProperty("--y", `${view.y * 100}%`);
      patch.classList.toggle("enlarged", view.zoom > 1);
    };
    // (atX, atY) of the picture's frame, 0 in its middle, stays where it is
    const zoom = (factor, atX = 0, atY = 0) => {
      const next = clamp(view.zoom * factor, 1, 32);
      view.x += atX * (1 / next - 1 / view.zoom);
      view.y += atY * (1 / next - 1 / view.zoom);
      view.zoom = next;
      draw();
    };
    const move = (x, y) => { view.x += x / view.zoom; view.y += y / view.zoom; draw(); };
    const reset = () => { Object.assign(view, { zoom: 1, x: 0, y: 0 }); draw(); };
    const keys = {
      "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8), "0": reset,
      ArrowLeft: () => move(0.1, 0), ArrowRight: () => move(-0.1, 0),
      ArrowUp: () => move(0, 0.1), ArrowDown: () => move(0, -0.1),
    };
    all(".view", patch).forEach((frame) => watchFrame(frame, { zoom, move, reset, keys }));
    draw();
  };
  const watchFrame = (frame, { zoom, move, reset, keys }) => {
    const fingers = new Map();
    const at = (x, y) => {
      const box = frame.getBoundingClientRect();
      return [(x - box.left) / box.width - 0.5, (y - box.top) / box.height - 0.5];
    };
    const spread = () => {
      const [one, other] = [...fingers.values()];
      return Math.hypot(one.x - other.x, one.y - other.y) || 1;
    };
    frame.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
      event.preventDefault();
      keys[event.key]();
    });
    frame.addEventListener("dblclick", reset);
    // only once it was clicked, so that the page can be scrolled past it
    frame.addEventListener("wheel", (event) => {
      if (document.activeElement !== frame && !event.ctrlKey) return;
      event.preventDefault();
      zoom(Math.exp(-event.deltaY / 400), ...at(event.clientX, event.clientY));
    }, { passive: false });
    frame.addEventListener("pointerdown", (event) => {
      fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      frame.setPointerCapture(event.pointerId);
      frame.classList.add("moving");
    });
    frame.addEventListener("pointermove", (event) => {
      const before = fingers.get(event.pointerId);
      if (!before) return;
      const old = fingers.size === 2 ? spread() : null;
      const width = frame.clientWidth * fingers.size; // each of two fingers moves it half
      move((event.clientX - before.x) / width, (event.clientY - before.y) / width);
      fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      if (old === null) return;
      const [one, other] = [...fingers.values()];
      zoom(spread() / old, ...at((one.x + other.x) / 2, (one.y + other.y) / 2));
    });
    ["pointerup", "pointercancel"].forEach((kind) => frame.addEventListener(kind, (event) => {
      fingers.delete(event.pointerId);
      frame.classList.toggle("moving", fingers.size > 0);
    }));
  };
  all(".patch").forEach(patchView);

  // ---- copying, printing ----
  all(".copy").forEach((button) => button.addEventListener("click", async () => {
    const text = button.parentElement.querySelector("pre").textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch { // browsers may refuse it to files
      getSelection().selectAllChildren(button.parentElement.querySelector("pre"));
      button.textContent = "Selected: copy it with the keyboard";
    }
  }));
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = all(".pair:not([open]), .run:not([open])");
    opened.forEach((each) => { each.open = true; });
  });
  addEventListener("afterprint", () => opened.forEach((each) => { each.open = false; }));
})();
